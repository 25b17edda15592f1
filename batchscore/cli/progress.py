"""The progress of a job's steps: bars on a terminal, a line per change of state elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TaskID, TextColumn
from rich.table import Column
from rich.text import Text

from batchscore.cli.accounts import step_words
from batchscore.cli.terminal import note
from batchscore.cli.wording import duration
from batchscore.compute.base import JobState, StepProgress

SPEED_PERIOD_S = 60
_MARKS = {JobState.SUCCEEDED: ("✓", "green"), JobState.QUEUED: ("·", "dim")}
_FAILED_MARK = ("✗", "red")


class _Rate(ProgressColumn):
    """Items per second, or seconds per item when that reads better."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        if not speed or not task.fields["counts"]:
            return Text("")
        return Text(f"{speed:.1f}/s" if speed >= 1 else f"{duration(1 / speed)} each", style="dim")


class _TimeLeft(ProgressColumn):
    """How long the rest will take at the present rate."""

    def render(self, task: Task) -> Text:
        if not task.fields["counts"] or task.finished or task.time_remaining is None:
            return Text("")
        return Text(f"{duration(task.time_remaining)} left")


class _Mark(SpinnerColumn):
    """A spinner while a step runs, then how it ended."""

    def render(self, task: Task) -> RenderableType:
        state = task.fields["state"]
        if state is JobState.RUNNING:
            return super().render(task)
        mark, style = _MARKS.get(state, _FAILED_MARK)
        return Text(mark, style=style)


class StepsProgress:
    """Shows the steps as they are told. Use as a context."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._tasks: dict[str, TaskID] = {}
        self._said: dict[str, JobState] = {}
        self._progress = Progress(
            _Mark(),
            TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, max_width=16)),
            BarColumn(
                bar_width=None,  # what is left of the line, within the column's bounds
                complete_style="blue",
                finished_style="green",
                table_column=Column(min_width=5, max_width=20),
            ),
            TextColumn("{task.fields[counts]}", markup=False, table_column=Column(no_wrap=True)),
            _Rate(Column(no_wrap=True)),
            _TimeLeft(Column(no_wrap=True)),
            console=console,
            disable=not console.is_terminal,
            speed_estimate_period=SPEED_PERIOD_S,
        )

    def __enter__(self) -> StepsProgress:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def show(self, steps: Sequence[StepProgress]) -> None:
        """The steps as they are now."""
        for step in steps:
            if self._console.is_terminal:
                self._draw(step)
            elif step.state is not JobState.QUEUED and self._said.get(step.name) is not step.state:
                note(step_words(step))
            self._said[step.name] = step.state

    def say(self, text: str, style: str | None = None) -> None:
        """A line above the bars."""
        note(text, style)

    def _draw(self, step: StepProgress) -> None:
        counts = f"{step.items_done + step.items_failed:,}/{step.items_total:,}" if step.items_total else ""
        if step.items_failed:
            counts += f", {step.items_failed:,} failed"
        if step.name not in self._tasks:
            self._tasks[step.name] = self._progress.add_task(
                step.name, total=1, state=step.state, counts=counts
            )
        task = self._tasks[step.name]
        if self._said.get(step.name) in (None, JobState.QUEUED) and step.state is JobState.RUNNING:
            self._progress.reset(task)  # the clock of its rate starts now
        total, completed = _extent(step)
        self._progress.update(task, total=total, completed=completed, state=step.state, counts=counts)


def _extent(step: StepProgress) -> tuple[int, int]:
    """How long a bar is and how much of it is done: items; without items, nothing before and everything after."""
    if step.items_total:
        return step.items_total, step.items_done + step.items_failed
    return 1, int(step.state is JobState.SUCCEEDED)
