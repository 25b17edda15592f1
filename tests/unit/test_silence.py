"""When a run that shows no progress is given up, and what is no silence."""

from __future__ import annotations

from datetime import timedelta

from batchscore import runs, silence
from batchscore.compute.base import JobState, JobStatus, StepProgress
from batchscore.runs import Run, RunState
from tests.unit.test_runs import T0, T1, in_state

PATIENCE = silence.Patience(stalled_after_s=60, queued_after_s=3_600)


def test_a_run_without_progress_is_given_up_and_says_so() -> None:
    run = in_state(RunState.RUNNING)
    assert not silence.stalled(run, T0 + timedelta(seconds=60), PATIENCE, T0)
    assert silence.stalled(run, T0 + timedelta(seconds=61), PATIENCE, T0)
    assert not silence.stalled(
        run, T0 + timedelta(seconds=61), PATIENCE, T0 + timedelta(seconds=2)
    )  # not watched till then
    given_up = silence.give_up(run, T1, PATIENCE)
    assert not silence.stalled(given_up, T0 + timedelta(hours=1), PATIENCE, T0)
    canceled = runs.after_status(given_up, JobStatus(JobState.CANCELED), T1, 3)
    assert canceled.state is RunState.CANCELED
    assert "no progress for 60 s" in canceled.reason


def test_a_run_that_waits_for_machines_has_more_patience_and_says_what_it_waits_for() -> None:
    waits = JobStatus(JobState.QUEUED, "the quota has no room.")
    queued = runs.after_status(in_state(RunState.RUNNING), waits, T0, 3)
    assert (queued.state, queued.waits, queued.reason) == (RunState.RUNNING, True, "the quota has no room.")
    assert runs.after_status(queued, waits, T1, 3) is queued
    assert not silence.stalled(queued, T0 + timedelta(hours=1), PATIENCE, T0)
    late = T0 + timedelta(hours=1, seconds=1)
    assert silence.stalled(queued, late, PATIENCE, T0)
    given_up = silence.give_up(queued, late, PATIENCE)
    assert given_up.reason == (
        "canceled: it waited 3600 s for machines (setting QUEUED_AFTER_S): the quota has no room."
    )
    assert runs.after_status(given_up, waits, late, 3).reason == given_up.reason


def test_time_spent_waiting_for_machines_is_no_silence() -> None:
    steps = (StepProgress("s", JobState.QUEUED),)
    queued = runs.after_status(in_state(RunState.RUNNING), JobStatus(JobState.QUEUED, steps=steps), T0, 3)
    begun = T0 + timedelta(minutes=50)
    running = runs.after_status(queued, JobStatus(JobState.RUNNING, steps=steps), begun, 3)
    assert (running.waits, running.reason) == (False, "")
    assert not silence.stalled(running, begun + timedelta(seconds=60), PATIENCE, T0)
    assert silence.stalled(running, begun + timedelta(seconds=61), PATIENCE, T0)


def seen(run: Run, state: JobState, at_s: float, done: int = 0) -> Run:
    """The run after a look at a job of three items."""
    status = JobStatus(state, steps=(StepProgress("s", state, 3, done),))
    return runs.after_status(run, status, T0 + timedelta(seconds=at_s), 3, watching_since=T0)


def test_a_run_whose_machines_are_taken_away_again_and_again_is_given_up_when_it_gets_no_further() -> None:
    run = seen(in_state(RunState.RUNNING), JobState.RUNNING, 0)
    run = seen(run, JobState.QUEUED, 40)
    run = seen(run, JobState.RUNNING, 1_040)
    assert not silence.stalled(run, T0 + timedelta(seconds=1_060), PATIENCE, T0)
    assert silence.stalled(run, T0 + timedelta(seconds=1_061), PATIENCE, T0)
    further = seen(seen(run, JobState.RUNNING, 1_050, done=1), JobState.QUEUED, 1_060, done=1)
    further = seen(further, JobState.RUNNING, 2_000, done=1)
    assert not silence.stalled(further, T0 + timedelta(seconds=2_050), PATIENCE, T0)
    assert silence.stalled(further, T0 + timedelta(seconds=2_051), PATIENCE, T0)


def test_what_nobody_watched_does_not_count_as_running_in_vain() -> None:
    run = seen(in_state(RunState.RUNNING), JobState.RUNNING, 0)
    back = T0 + timedelta(hours=9)
    queued = JobStatus(JobState.QUEUED, steps=(StepProgress("s", JobState.QUEUED, 3),))
    run = runs.after_status(run, queued, back, 3, watching_since=back)
    running = JobStatus(JobState.RUNNING, steps=(StepProgress("s", JobState.RUNNING, 3),))
    run = runs.after_status(run, running, back + timedelta(seconds=50), 3, watching_since=back)
    assert not silence.stalled(run, back + timedelta(seconds=110), PATIENCE, back)


def test_a_run_that_its_compute_never_stops_is_left_and_says_which_job_to_look_at() -> None:
    asked = runs.cancel(in_state(RunState.RUNNING), T0)
    assert not silence.abandoned(asked, T0 + timedelta(seconds=120), PATIENCE, T0)
    late = T0 + timedelta(seconds=121)
    assert silence.abandoned(asked, late, PATIENCE, T0)
    assert not silence.abandoned(asked, late, PATIENCE, T0 + timedelta(seconds=2))  # not watched till then
    assert not silence.abandoned(in_state(RunState.RUNNING), late, PATIENCE, T0)
    left = runs.leave(asked, late)
    assert (left.state, left.attempts[-1].outcome, left.ended_at) == (RunState.CANCELED, "canceled", late)
    assert left.reason == (
        "canceled on request. The compute never confirmed that job x-1 has stopped: look there."
    )
