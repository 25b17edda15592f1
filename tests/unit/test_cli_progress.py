"""The progress of steps: bars on a terminal, a line per change of state elsewhere."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from batchscore.cli import terminal
from batchscore.cli.progress import StepsProgress
from batchscore.compute.base import JobState, StepProgress

QUEUED, RUNNING, SUCCEEDED, FAILED = JobState.QUEUED, JobState.RUNNING, JobState.SUCCEEDED, JobState.FAILED

ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")

HISTORY = (
    (StepProgress("split", RUNNING), StepProgress("stylize", QUEUED)),
    (StepProgress("split", RUNNING), StepProgress("stylize", QUEUED)),
    (StepProgress("split", SUCCEEDED), StepProgress("stylize", RUNNING)),
    (StepProgress("split", SUCCEEDED), StepProgress("stylize", RUNNING, 60, 20, 2)),
    (StepProgress("split", SUCCEEDED), StepProgress("stylize", SUCCEEDED, 60, 58, 2)),
)


def test_without_a_terminal_there_is_one_line_per_change_of_state(capsys: pytest.CaptureFixture[str]) -> None:
    with StepsProgress(terminal.err) as progress:
        for steps in HISTORY:
            progress.show(steps)

    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "split: running",
        "split: succeeded",
        "stylize: running",
        "stylize: succeeded, 58 of 60 items, 2 failed",
    ]


def drawn(*history: tuple[StepProgress, ...]) -> list[str]:
    """The lines that stay on a terminal of 80 columns."""
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=80, no_color=True, _environ={"TERM": "xterm"})
    with StepsProgress(console) as progress:
        for steps in history:
            progress.show(steps)
    last = ANSI.sub("", stream.getvalue().rpartition("\x1b[2K")[2])
    return [line.rstrip() for line in last.strip("\n").splitlines()]


def test_a_finished_step_has_a_whole_bar_and_its_counts() -> None:
    split, stylize = drawn(*HISTORY)

    assert split.startswith("✓ split   ━━━━━━━━━━━━━━━━━━━━")
    assert stylize.startswith("✓ stylize ━━━━━━━━━━━━━━━━━━━━ 60/60, 2 failed")


def test_a_step_that_waits_has_a_dot_and_one_that_failed_a_cross() -> None:
    split, stylize = drawn((StepProgress("split", FAILED), StepProgress("stylize", QUEUED)))

    assert split.startswith("✗ split")
    assert stylize.startswith("· stylize")


def test_a_step_at_work_shows_how_many_items_are_finished() -> None:
    _, stylize = drawn(*HISTORY[:4])

    assert "22/60, 2 failed" in stylize


def test_the_bars_fit_80_columns() -> None:
    name = "a_step_with_a_rather_long_name"
    lines = drawn(
        (StepProgress(name, RUNNING, 123_456, 1_234, 12),), (StepProgress(name, RUNNING, 123_456, 9_999, 12),)
    )

    assert len(lines) == 1
    assert len(lines[0]) <= 80
    assert "10,011/123,456, 12 failed" in lines[0]
