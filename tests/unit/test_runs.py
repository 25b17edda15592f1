"""Which state comes next: the decisions, as tables."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from batchscore import runs
from batchscore.compute.base import Job, JobState, JobStatus, Location, StepProgress
from batchscore.errors import RunConflictError
from batchscore.receipts import ItemSummary
from batchscore.runs import Cause, Run, RunState
from batchscore.triggers import RunRequest

T0 = datetime(2026, 1, 1, tzinfo=UTC)
T1 = T0 + timedelta(minutes=1)
CAUSE = Cause("trigger_file", "a.json", "0x1")


def job(attempt: int = 1) -> Job:
    place = Location("data", "data", "runs/x/out")
    return Job(
        f"x-{attempt}", "x", attempt, "w/p", "w/p.pipeline.yml", {"n": 1, "v": place}, {"out": place}, place
    )


def in_state(state: RunState, attempts: int = 1) -> Run:
    run = runs.accepted(CAUSE, RunRequest("w/p", {"n": 1}), T0)
    for number in range(1, attempts + 1):
        run = runs.submitted(runs.planned(replace(run, state=RunState.ACCEPTED), job(number), {}, T0), T0)
    return replace(run, state=state)


@pytest.mark.parametrize(
    ("status", "cancel_requested", "attempts", "state", "outcome"),
    [
        (JobState.QUEUED, False, 1, RunState.RUNNING, ""),
        (JobState.RUNNING, False, 1, RunState.RUNNING, ""),
        (JobState.SUCCEEDED, False, 1, RunState.SUCCEEDED, "succeeded"),
        (JobState.FAILED, False, 1, RunState.FAILED, "failed"),
        (JobState.CANCELED, True, 1, RunState.CANCELED, "canceled"),
        (JobState.LOST, False, 1, RunState.ACCEPTED, "lost"),
        (JobState.LOST, False, 2, RunState.ACCEPTED, "lost"),
        (JobState.LOST, False, 3, RunState.FAILED, "lost"),
        (JobState.LOST, True, 1, RunState.CANCELED, "lost"),
        (JobState.SUCCEEDED, True, 1, RunState.SUCCEEDED, "succeeded"),
    ],
)
def test_what_the_compute_says_decides_the_next_state(
    status: JobState, cancel_requested: bool, attempts: int, state: RunState, outcome: str
) -> None:
    run = replace(in_state(RunState.RUNNING, attempts), cancel_requested=cancel_requested)
    after = runs.after_status(run, JobStatus(status, "why"), T1, max_attempts=3)
    assert after.state is state
    assert after.attempts[-1].outcome == outcome
    assert (after.ended_at == T1) == state.ended


@pytest.mark.parametrize(
    ("by_receipts", "by_the_engine", "state"),
    [
        (None, 0, RunState.SUCCEEDED),
        (0, 0, RunState.SUCCEEDED),
        (2, 0, RunState.SUCCEEDED_WITH_ERRORS),
        (0, 2, RunState.SUCCEEDED_WITH_ERRORS),
        (None, 2, RunState.SUCCEEDED_WITH_ERRORS),
    ],
)
def test_a_success_with_failed_items_is_one_with_errors(
    by_receipts: int | None, by_the_engine: int, state: RunState
) -> None:
    """The receipts of a command step, or the engine's count of items that killed their worker: either says it."""
    steps = (StepProgress("s", JobState.SUCCEEDED, 5, 5 - by_the_engine, by_the_engine),)
    summary = None if by_receipts is None else ItemSummary(ok=3, failed=by_receipts)
    status = JobStatus(JobState.SUCCEEDED, steps=steps)
    after = runs.after_status(in_state(RunState.RUNNING), status, T1, 3, summary)
    assert after.state is state
    assert after.state.ended
    assert after.attempts[-1].outcome == "succeeded"
    assert after.reason == (
        ""
        if state is RunState.SUCCEEDED
        else "2 items failed, no more than is allowed; everything else is done."
    )


def test_nothing_new_changes_nothing() -> None:
    steps = (StepProgress("s", JobState.RUNNING, 10, 5, 0),)
    run = replace(in_state(RunState.RUNNING), steps=steps)
    assert runs.after_status(run, JobStatus(JobState.RUNNING, steps=steps), T1, 3) is run


def test_progress_is_kept_with_its_time() -> None:
    steps = (StepProgress("s", JobState.RUNNING, 10, 5, 1),)
    run = runs.after_status(in_state(RunState.RUNNING), JobStatus(JobState.RUNNING, steps=steps), T1, 3)
    assert run.items == (10, 5, 1)
    assert run.progress_at == T1


def test_what_the_compute_says_of_a_run_under_way_is_its_reason_until_it_says_something_else() -> None:
    silent = runs.after_status(
        in_state(RunState.RUNNING), JobStatus(JobState.RUNNING, "no heartbeat."), T0, 3
    )
    assert silent.reason == "no heartbeat."
    assert runs.after_status(silent, JobStatus(JobState.RUNNING), T1, 3).reason == ""
    done = runs.after_status(silent, JobStatus(JobState.SUCCEEDED), T1, 3)
    assert (done.state, done.reason) == (RunState.SUCCEEDED, "")
    stopped = runs.after_status(silent, JobStatus(JobState.CANCELED, "canceled elsewhere."), T1, 3)
    assert stopped.reason == "canceled elsewhere."
    wished = runs.cancel(silent, T1)
    assert runs.after_status(wished, JobStatus(JobState.RUNNING, "stopping."), T1, 3).reason == wished.reason


def test_what_holds_a_run_up_is_told_and_not_more_than_once_a_minute() -> None:
    run = runs.held_up(in_state(RunState.ACCEPTED, 0), "not deployed.", T0)
    assert (run.state, run.reason) == (RunState.ACCEPTED, "not deployed.")
    assert runs.held_up(run, "something else.", T0 + timedelta(seconds=59)) is run
    assert runs.held_up(run, "not deployed.", T1) is run
    assert runs.held_up(run, "something else.", T1).reason == "something else."
    assert runs.planned(run, job(), {}, T1).reason == ""
    wished = runs.cancel(in_state(RunState.RUNNING), T0)
    assert runs.held_up(wished, "down.", T1) is wished
    over = in_state(RunState.FAILED)
    assert runs.held_up(over, "down.", T1) is over


def test_cancel_of_a_waiting_run_is_immediate_and_of_a_running_one_a_wish() -> None:
    assert runs.cancel(in_state(RunState.ACCEPTED, 0), T1).state is RunState.CANCELED
    running = runs.cancel(in_state(RunState.RUNNING), T1)
    assert running.state is RunState.RUNNING
    assert running.cancel_requested
    assert runs.cancel(running, T1) is running


def test_a_run_canceled_while_it_is_submitted_keeps_the_reason() -> None:
    canceled = runs.cancel(replace(in_state(RunState.RUNNING), state=RunState.SUBMITTING), T1)
    after = runs.after_status(runs.submitted(canceled, T1), JobStatus(JobState.CANCELED, "stopped"), T1, 3)
    assert (after.state, after.reason) == (RunState.CANCELED, "canceled on request.")


@pytest.mark.parametrize("state", [state for state in RunState if state.ended])
def test_what_has_ended_cannot_be_canceled(state: RunState) -> None:
    with pytest.raises(RunConflictError, match=rf"has ended already \({state}\)"):
        runs.cancel(in_state(state), T1)


@pytest.mark.parametrize("state", [RunState.FAILED, RunState.CANCELED, RunState.SUCCEEDED_WITH_ERRORS])
def test_retry_queues_again_and_forgives_the_attempts_so_far(state: RunState) -> None:
    run = runs.retry(in_state(state, attempts=3), T1)
    assert (run.state, run.queued_at, run.attempts_before_retry) == (RunState.ACCEPTED, T1, 3)
    assert run.ended_at is None
    again = runs.submitted(runs.planned(run, job(4), {}, T1), T1)
    assert runs.after_status(again, JobStatus(JobState.LOST), T1, 3).state is RunState.ACCEPTED


def lost_again_and_again(*losses: tuple[int, bool], every_s: int = 10) -> Run:
    """A run whose attempts were lost one after another; each with the items it had done, and whether it was blameless."""
    run = runs.accepted(CAUSE, RunRequest("w/p"), T0)
    for number, (done, blameless) in enumerate(losses, start=1):
        now = T0 + timedelta(seconds=every_s * number)
        run = runs.submitted(runs.planned(run, job(number), {}, now), now)
        steps = (StepProgress("score", JobState.RUNNING, 10, done, 0),)
        run = runs.after_status(
            run, JobStatus(JobState.LOST, "gone", steps, blameless), now, 3, patience_s=3_600
        )
        if run.state.ended:
            break
    return run


@pytest.mark.parametrize(
    ("losses", "state"),
    [
        ([(0, False)] * 3, RunState.FAILED),
        ([(0, False)] * 2, RunState.ACCEPTED),
        ([(number, False) for number in range(1, 9)], RunState.ACCEPTED),  # each got further
        (
            [(1, False), (2, False), (2, False), (1, False), (0, False)],
            RunState.FAILED,
        ),  # three got no further
        ([(1, False), (1, False), (1, False), (2, False), (2, False)], RunState.ACCEPTED),
        ([(0, True)] * 20, RunState.ACCEPTED),  # its surroundings failed, not it
        ([(0, True), (0, False), (0, True), (0, False), (0, True)], RunState.ACCEPTED),
        ([(0, True), (0, False), (0, True), (0, False), (0, False)], RunState.FAILED),
    ],
)
def test_only_losses_that_got_no_further_and_are_the_runs_own_count(
    losses: list[tuple[int, bool]], state: RunState
) -> None:
    run = lost_again_and_again(*losses)
    assert run.state is state
    assert ("MAX_ATTEMPTS" in run.reason) == run.state.ended


def test_a_run_whose_surroundings_keep_failing_waits_longer_and_longer_and_is_given_up_in_the_end() -> None:
    delays = []
    for count in range(1, 12):
        run = lost_again_and_again(*[(0, True)] * count)
        delays.append((run.queued_at - run.updated_at).total_seconds() if run.queued_at > T0 else 0)
    assert delays == [0, 0, 5, 10, 20, 40, 80, 160, 300, 300, 300]
    given_up = lost_again_and_again(*[(0, True)] * 9, every_s=600)
    assert given_up.state is RunState.FAILED
    assert "no attempt got any further for 3600 s (setting STALLED_AFTER_S)" in given_up.reason


def test_a_success_with_every_item_leaves_nothing_to_retry() -> None:
    with pytest.raises(RunConflictError, match="nothing to retry"):
        runs.retry(in_state(RunState.SUCCEEDED), T1)


@pytest.mark.parametrize(
    "state", [RunState.ACCEPTED, RunState.SUBMITTING, RunState.RUNNING, RunState.REJECTED]
)
def test_only_what_failed_or_was_canceled_is_retried(state: RunState) -> None:
    with pytest.raises(RunConflictError):
        runs.retry(in_state(state), T1)


def test_a_poisoned_run_comes_back_by_replay_alone() -> None:
    run = runs.poisoned(CAUSE, '{"BlobName": "a.json"}', T0)
    assert "batchscore replay" in run.reason
    with pytest.raises(RunConflictError):
        runs.retry(run, T1)
    back = runs.replay(run, RunRequest("w/p"), T1)
    assert (back.state, back.queued_at) == (RunState.ACCEPTED, T1)
    with pytest.raises(RunConflictError, match="only a poisoned run"):
        runs.replay(back, RunRequest("w/p"), T1)


def test_a_long_message_is_shortened_in_the_record() -> None:
    after = runs.after_status(
        in_state(RunState.RUNNING), JobStatus(JobState.FAILED, "a" * 10**6 + "end"), T1, 3
    )
    assert len(after.reason) < 5_000
    assert after.reason.endswith("end")


def test_a_record_survives_json() -> None:
    run = replace(
        in_state(RunState.RUNNING, 2), summary=ItemSummary(ok=1, median_milliseconds={"infer": 1.5})
    )
    assert msgspec.json.decode(msgspec.json.encode(run), type=Run) == run
