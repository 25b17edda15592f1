"""`logs`: what the steps of a run wrote."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from batchscore.cli import terminal
from batchscore.cli.environment import application
from batchscore.cli.watching import RunId
from batchscore.errors import RequestError

if TYPE_CHECKING:
    from azure.storage.blob import ContainerClient

    from batchscore.application import Application
    from batchscore.runs import Run

POLL_S = 1.0


@dataclass(frozen=True)
class Log:
    """One log file of a run: its name below the run's prefix, and its size."""

    name: str
    size_bytes: int

    @property
    def attempt(self) -> int | None:
        text = self.name.partition("/")[0].removeprefix("attempt-")
        return int(text) if text.isdecimal() else None

    @property
    def step(self) -> str:
        """The step that wrote it (`outer/inner` in a pipeline component); empty for the log of the whole attempt."""
        return "/".join(self.name.split("/")[1:-1])

    def belongs_to(self, step: str) -> bool:
        """Whether the step wrote it, or a step inside that step."""
        return self.step == step or self.step.startswith(f"{step}/")


@dataclass(frozen=True)
class LogLine:
    file: str
    text: str


def logs(
    run_id: RunId,
    step: Annotated[str | None, typer.Option(help="Only the logs of this step.")] = None,
    attempt: Annotated[int | None, typer.Option(min=1, help="Only the logs of this attempt.")] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what is written until the run is over.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON document per line, for programs.")] = False,
) -> None:
    """Print the logs of a run's steps."""
    with application() as control:
        run = control.run(run_id)
        reader = LogReader(control, run, step, attempt)
        last = not follow or run.state.ended
        printed = _print(reader, json, last)
        while not last:
            time.sleep(POLL_S)
            run = control.store.get(run.id)
            last = run.state.ended
            printed += _print(reader, json, last)
        if not printed:
            _say_why_nothing(reader, run, step)


class LogReader:
    """Reads a run's logs, each time what is new since the last."""

    def __init__(self, control: Application, run: Run, step: str | None, attempt: int | None) -> None:
        from batchscore import paths

        self._prefix = f"{run.id}/"
        self._container: ContainerClient = control.storage.container("system", paths.LOGS)
        self._step = step
        self._attempt = attempt
        self._read: dict[str, int] = {}

    def files(self) -> list[Log]:
        """All logs of the run's attempts, in order; receipts and markers lie beside them."""
        from azure.core.exceptions import ResourceNotFoundError

        from batchscore.storage import translated

        found = []
        with translated("the logs"):
            try:
                for blob in self._container.list_blobs(name_starts_with=self._prefix):
                    log = Log(blob.name.removeprefix(self._prefix), blob.size)
                    if log.attempt is not None:
                        found.append(log)
            except ResourceNotFoundError:
                return []
        return sorted(found, key=lambda log: (log.attempt or 0, log.name))

    def new_lines(self, last: bool) -> Iterator[LogLine]:
        """What was written since the last call, file by file. A line that is not finished waits, but not when this
        is the last call."""
        for log in self.files():
            other_step = self._step is not None and not log.belongs_to(self._step)
            if other_step or self._attempt not in (None, log.attempt):
                continue
            seen = self._read.get(log.name, 0)
            if log.size_bytes < seen:
                seen = 0  # it was written anew
            if log.size_bytes > seen:
                yield from self._lines(log, seen, last)

    def _lines(self, log: Log, start: int, last: bool) -> Iterator[LogLine]:
        from azure.core.exceptions import ResourceNotFoundError

        from batchscore.storage import translated

        rest = b""
        with translated(log.name):
            try:
                chunks = self._container.download_blob(
                    self._prefix + log.name, offset=start, length=log.size_bytes - start
                ).chunks()
                for chunk in chunks:
                    *lines, rest = (rest + chunk).split(b"\n")
                    for line in lines:
                        yield LogLine(log.name, line.decode("utf-8", "replace").rstrip("\r"))
            except ResourceNotFoundError:
                return
        if rest and last:
            yield LogLine(log.name, rest.decode("utf-8", "replace"))
        self._read[log.name] = log.size_bytes - (0 if last else len(rest))


def _print(reader: LogReader, json: bool, last: bool) -> int:
    file, count = None, 0
    for line in reader.new_lines(last):
        count += 1
        if json:
            terminal.answer_json_line(line)
            continue
        if line.file != file:
            if file is not None:
                terminal.answer("")
            terminal.answer(f"── {line.file} ──", "bold")
            file = line.file
        terminal.out.print(line.text, soft_wrap=True)
    return count


def _say_why_nothing(reader: LogReader, run: Run, step: str | None) -> None:
    from batchscore.cli.accounts import short

    steps = sorted({log.step for log in reader.files() if log.step})
    if step is not None and not any(log.belongs_to(step) for log in reader.files()):
        there = f"There are logs of: {', '.join(steps)}." if steps else "No step has written any yet."
        raise RequestError(f"run {short(run)} has no logs of a step {step!r}. {there}")
    terminal.note(f"run {short(run)} has written no logs" + ("." if run.state.ended else " yet."))
