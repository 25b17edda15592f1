"""What is written where: answers on stdout, progress and errors on stderr; JSON for programs."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from batchscore.printable import printable_lines

if TYPE_CHECKING:
    from rich.progress import Progress

out = Console(markup=False, highlight=False, emoji=False)
err = Console(markup=False, highlight=False, emoji=False, stderr=True)

Json = Annotated[bool, typer.Option("--json", help="Answer in JSON, for programs.")]


def answer(text: str, style: str | None = None) -> None:
    """A line of the answer. Only a terminal gets it wrapped."""
    out.print(printable_lines(text), style=style, soft_wrap=not out.is_terminal)


def note(text: str, style: str | None = None) -> None:
    """A line about what is going on, beside the answer."""
    err.print(printable_lines(text), style=style, soft_wrap=not err.is_terminal)


def complain(text: str) -> None:
    note(text, "red")


def answer_json(value: object) -> None:
    """The answer as indented JSON; dataclasses become objects, times ISO 8601."""
    import msgspec

    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")


def answer_json_line(value: object) -> None:
    """One JSON document on one line."""
    import msgspec

    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")


def bytes_progress() -> Progress:
    """A bar for bytes that move; nothing is drawn where stderr is no terminal."""
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(compact=True),
        console=err,
        disable=not err.is_terminal,
        transient=True,
    )
