"""What happened to a run, in words."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
from rich.console import Console

from batchscore import runs
from batchscore.cli.accounts import account, headline, items_words, next_steps, waiting_words
from batchscore.cli.records import runs_table
from batchscore.compute.base import Job, JobState, JobStatus, Location, Overrides, StepProgress
from batchscore.receipts import FailedItem, ItemSummary
from batchscore.runs import Cause, Run, RunState
from batchscore.triggers import RunRequest

T0 = datetime(2026, 1, 1, 12, tzinfo=UTC)
LATER = T0 + timedelta(seconds=72)
CAUSE = Cause("trigger_file", "demo.json", "0x1")
VIDEO = Location("data", "data", "videos/x.mp4")
MODEL = Location("system", "models", "starry-night/3")


def accepted() -> Run:
    request = RunRequest("style_transfer/video", {"video": "videos/x.mp4"}, Overrides(mini_batch_size=5))
    return runs.accepted(CAUSE, request, T0)


def running() -> Run:
    run = accepted()
    result = Location("data", "data", f"runs/{run.id}/video")
    job = Job(
        f"{run.id}-1",
        run.id,
        1,
        run.workload,
        "style_transfer/video.pipeline.yml",
        {"video": VIDEO, "style": MODEL, "strength": 0.5},
        {"video": result},
        Location("system", "logs", f"{run.id}/attempt-1"),
    )
    run = runs.submitted(runs.planned(run, job, {"video": result}, T0), T0)
    steps = (StepProgress("split", JobState.SUCCEEDED), StepProgress("stylize", JobState.RUNNING, 60, 12, 1))
    return runs.after_status(run, JobStatus(JobState.RUNNING, "", steps), T0, 3)


def ended(state: JobState, message: str = "", summary: ItemSummary | None = None) -> Run:
    run = running()
    steps = (
        tuple(replace(step, items_failed=0) for step in run.steps)
        if state is JobState.SUCCEEDED
        else run.steps
    )
    return runs.after_status(run, JobStatus(state, message, steps), LATER, 3, summary)


def story(run: Run) -> dict[str, tuple[str, ...]]:
    return {chapter.title: chapter.lines for chapter in account(run, LATER)}


def test_a_running_run_says_how_long_and_how_far() -> None:
    assert headline(running(), LATER) == (
        f"run {running().id[:8]} has been running for 1 min 12 s: 12 of 60 items, 1 failed."
    )


def test_a_run_that_is_asked_to_stop_says_so() -> None:
    assert "is being canceled: 12 of 60 items" in headline(runs.cancel(running(), T0), LATER)


def test_a_run_that_waits_for_machines_says_so_and_what_for() -> None:
    waits = JobStatus(JobState.QUEUED, "waits for nodes of 'gpu-cluster': all 4 are busy with other jobs.")
    run = runs.after_status(running(), waits, LATER, 3)
    assert headline(run, LATER).endswith("waits for machines: 12 of 60 items, 1 failed.")
    assert story(run)["Reason"] == (waits.message,)
    assert "is being canceled" in headline(runs.cancel(run, LATER), LATER)
    starting = runs.after_status(running(), JobStatus(JobState.QUEUED), LATER, 3)
    assert "has been running for 1 min 12 s" in headline(starting, LATER)  # it is only being started


@pytest.mark.parametrize(
    ("run", "says"),
    [
        (accepted(), "is accepted and waits for its turn."),
        (runs.rejected(CAUSE, "the request is empty.", T0), "was rejected."),
        (runs.poisoned(CAUSE, "{}", T0), "is poisoned."),
        (ended(JobState.SUCCEEDED, summary=ItemSummary(ok=60)), "succeeded after 1 min 12 s: 60 items."),
        (
            ended(JobState.SUCCEEDED, summary=ItemSummary(ok=58, failed=2)),
            "succeeded with errors after 1 min 12 s: 58 of 60 items, 2 failed.",
        ),
        (ended(JobState.FAILED, "step 'split': no"), "failed after 1 min 12 s: 12 of 60 items, 1 failed."),
    ],
)
def test_every_state_has_a_sentence(run: Run, says: str) -> None:
    assert headline(run, LATER).endswith(says)


def test_the_receipts_count_once_the_run_is_over() -> None:
    assert items_words(ended(JobState.SUCCEEDED, summary=ItemSummary(ok=58, failed=2))) == (
        "58 of 60 items, 2 failed"
    )


def test_the_story_names_cause_inputs_steps_and_places() -> None:
    run = running()

    assert story(run) == {
        "Run": (run.id,),
        "Workload": ("style_transfer/video",),
        "Cause": ("trigger file demo.json, 2026-01-01 12:00:00 UTC",),
        "Inputs": (
            "video = data/videos/x.mp4",
            "style = models/starry-night/3 (system account)",
            "strength = 0.5",
        ),
        "Options": ("mini_batch_size = 5",),
        "Attempts": ("1. 12:00:00, for 1 min 12 s now",),
        "Steps": ("split: succeeded", "stylize: running, 12 of 60 items, 1 failed"),
        "Results": (f"video: data/runs/{run.id}/video (data account)",),
        "Logs": (f"logs/{run.id}/attempt-1 (system account)",),
        "Next": (f"batchscore watch {run.id[:8]}   follow it", f"batchscore cancel {run.id[:8]}  stop it"),
    }


def test_failed_items_are_named_with_their_reasons_ten_at_most() -> None:
    failures = tuple(FailedItem(f"frame-{n:02}.png", "cannot be decoded") for n in range(12))
    run = ended(JobState.SUCCEEDED, summary=ItemSummary(ok=48, failed=12, failures=failures))

    lines = story(run)["Failed"]

    assert lines[0] == "frame-00.png: cannot be decoded"
    assert lines[10] == f"and 2 more ('batchscore show {run.id[:8]} --failed')"
    assert len(lines) == 11


def test_timings_are_medians_per_phase() -> None:
    summary = ItemSummary(
        ok=60, skipped=4, workers=2, median_milliseconds={"decode": 3.0, "infer": 41.27, "total": 50.0}
    )

    assert story(ended(JobState.SUCCEEDED, summary=summary))["Timings"] == (
        "50 ms per item (median): decode 3 ms, infer 41.3 ms",
        "2 workers; 4 items found finished by an earlier try",
    )


@pytest.mark.parametrize(
    ("run", "commands"),
    [
        (ended(JobState.SUCCEEDED, summary=ItemSummary(ok=60)), ["fetch"]),
        (ended(JobState.SUCCEEDED, summary=ItemSummary(ok=58, failed=2)), ["fetch", "retry"]),
        (ended(JobState.FAILED, "no"), ["logs", "show", "fetch", "retry"]),
        (runs.cancel(accepted(), T0), ["retry"]),
        (runs.poisoned(CAUSE, "{}", T0), ["replay"]),
        (accepted(), ["watch", "cancel"]),
    ],
)
def test_what_to_do_next_depends_on_how_it_went(run: Run, commands: list[str]) -> None:
    assert [line.split()[1] for line in next_steps(run)] == commands


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        (
            "step 'split' ended with exit code 1: error: clip.mp4 is damaged or cut off",
            "the same input fails again: put it right and drop demo.json again: a new run",
        ),
        (
            "step 'stylize': init() failed in every worker; first causes: ModelError: no input",
            "the same input fails again",
        ),
        (
            "step 's': 3 of 9 items failed, more than error_threshold 2 allows; first causes: a: torn",
            "the same input fails again",
        ),
        (
            "step 's': 3 of 9 items failed, more than error_threshold 2 allows; first causes: a: the worker was killed "
            "by SIGKILL",
            "another attempt; what is finished is kept",
        ),
        (
            "step 's': run() took longer than 60 s (retry_settings.timeout)",
            "another attempt; what is finished is kept",
        ),
        ("input 'video': there is no blob data/videos/x.mp4.", "another attempt, once the input is in place"),
        ("something new", "another attempt, once the cause is mended"),
    ],
)
def test_retry_is_what_to_do_only_where_it_can_help(reason: str, expected: str) -> None:
    lines = next_steps(ended(JobState.FAILED, reason))
    assert any(expected in line for line in lines), lines
    assert ("the same input fails again" in " ".join(lines)) == expected.startswith("the same input")


@pytest.mark.parametrize("limits", [{"max_attempts": 1}, {"max_attempts": 9, "patience_s": 1}])
def test_a_run_whose_attempts_were_lost_is_worth_another_one(limits: dict[str, int]) -> None:
    stuck = replace(running(), steps=())
    run = runs.after_status(stuck, JobStatus(JobState.LOST, "gone"), LATER, **limits)
    assert run.state is RunState.FAILED
    assert any("another attempt; what is finished is kept" in line for line in next_steps(run)), run.reason


def test_a_failed_run_tells_its_reason_once_and_what_it_did_not_reach() -> None:
    steps = (StepProgress("split", JobState.FAILED), StepProgress("stylize", JobState.QUEUED))
    told = story(replace(ended(JobState.FAILED, "step 'split': no"), steps=steps))
    assert told["Reason"] == ("step 'split': no",)
    assert told["Attempts"] == ("1. 12:00:00, failed after 1 min 12 s",)
    assert told["Steps"] == ("split: failed", "stylize: not reached")
    assert told["Results"][0].endswith("/video (data account), not finished")


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("trigger_file", "correct it and drop jobs/1.json again: a new run"),
        (
            "inbox_file",
            "drop it again in the right place: a new run ('batchscore models' lists the names)",
        ),
        ("http", "correct the request and submit it again"),
        ("cli", "correct the request and submit it again"),
    ],
)
def test_a_rejected_run_is_to_be_corrected_where_it_came_from(kind: str, says: str) -> None:
    run = runs.rejected(runs.Cause(kind, "jobs/1.json"), "the request is empty.", T0)

    assert next_steps(run) == (says,)
    assert story(run)["Reason"] == ("the request is empty.",)


@pytest.mark.parametrize(
    ("waited_s", "others", "host", "says"),
    [
        (14, 0, False, None),
        (16, 0, False, "Start one with 'make start'"),
        (16, 0, True, "its log says why"),
        (16, 1, True, "another run is active"),
        (16, 3, False, "3 other runs are active"),
    ],
)
def test_a_run_that_waits_too_long_says_why(waited_s: int, others: int, host: bool, says: str | None) -> None:
    words = waiting_words(accepted(), T0 + timedelta(seconds=waited_s), others, host)

    assert words is None if says is None else words is not None and says in words


def test_a_run_that_moves_does_not_wait() -> None:
    assert waiting_words(replace(accepted(), state=RunState.RUNNING), LATER, 0, False) is None


def test_a_run_of_a_shipped_workload_is_one_line_of_the_table() -> None:
    screen = Console(width=80, file=StringIO())
    run = replace(ended(JobState.FAILED), request=RunRequest("style_transfer/frames", {}))
    screen.print(runs_table([run], T0 + timedelta(minutes=59)))
    lines = screen.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert len(lines) == 2, lines
    assert "style_transfer/frames" in lines[1]
    assert lines[1].rstrip().endswith("59 min")
