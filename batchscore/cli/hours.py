"""`hours`: how the last hours were scored, and scoring one anew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from json import loads
from typing import TYPE_CHECKING, Annotated, Any

import typer

from batchscore.cli import terminal
from batchscore.cli.environment import application
from batchscore.settings import MOST_HOURS

if TYPE_CHECKING:
    from rich.console import RenderableType

    from batchscore.application import Application
    from batchscore.hour_accounts import HourAccount

MOST_TOLD = 5
app = typer.Typer(help="List the last hours, show one, or score one anew.", invoke_without_command=True)


@app.callback()
def list_hours(
    ctx: typer.Context,
    last: Annotated[int, typer.Option(min=1, max=MOST_HOURS, help="How many, the newest first.")] = 24,
    json: terminal.Json = False,
) -> None:
    """List the last hours that are over: scored, empty, waiting or failed, and why."""
    if ctx.invoked_subcommand is not None:
        return
    with application() as control:
        found = control.hour_accounts.last(last)
    if json:
        terminal.answer_json({"hours": found})
    else:
        terminal.out.print(hours_table(found))
        for line in reasons(found):
            terminal.answer(line)


@app.command()
def rescore(
    hour: Annotated[str, typer.Argument(help="The hour by its start in UTC, such as 2026-11-21T17.")],
    json: terminal.Json = False,
) -> None:
    """Make a new version of an hour from the readings that are there now."""
    with application() as control:
        run = control.rescore(hour)
    if json:
        terminal.answer_json(run)
    else:
        from batchscore.cli.accounts import short

        terminal.answer(
            f"run {short(run)} makes {run.cause.version} of hour {hour}. 'batchscore watch {short(run)}' follows it."
        )


@app.command()
def show(
    hour: Annotated[str, typer.Argument(help="The hour by its start in UTC, such as 2026-11-21T17.")],
    json: terminal.Json = False,
) -> None:
    """Say how an hour is, and what was found in it: the summary of its published predictions."""
    from batchscore.hours import hour_named

    with application() as control:
        account = control.hour_accounts.of(hour_named(hour))
        summary = _summary(control, account.path) if account.path else {}
    if json:
        terminal.answer_json({"hour": account, "summary": summary})
        return
    where = f"; {account.published} is published in {account.path}" if account.published else ""
    terminal.answer(f"hour {account.hour}: {account.state.value}{where}")
    for line in [account.reason] if account.reason else []:
        terminal.answer(f"  {line}")
    for line in summary_lines(summary):
        terminal.answer(f"  {line}")
    if account.run:
        terminal.answer(f"  'batchscore show {account.run[:8]}' tells of its newest run")


def _summary(control: Application, path: str) -> Mapping[str, Any]:
    """What the workload has written of the hour; nothing where it writes none."""
    from azure.core.exceptions import ResourceNotFoundError

    from batchscore.storage import translated

    container = control.storage.container("data", control.settings.data_container)
    try:
        with translated(f"{path}/summary.json"):
            found = loads(container.download_blob(f"{path}/summary.json").readall())
    except (ResourceNotFoundError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def summary_lines(summary: Mapping[str, Any]) -> list[str]:
    """The summary in lines: a number or a text as it is, of an object its members, of a list its objects, a line each."""

    def told(members: Mapping[str, Any]) -> str:
        return ", ".join(f"{key} {_told(value)}" for key, value in members.items())

    lines = []
    for key, value in summary.items():
        name = key.replace("_", " ")
        if isinstance(value, dict):
            if value:
                lines.append(f"{name}: {told(value)}")
        elif isinstance(value, list):
            lines += [f"{name}: {told(each)}" for each in value[:MOST_TOLD] if isinstance(each, dict)]
        elif value is not None and key != "hour":
            lines.append(f"{name}: {_told(value)}")
    return lines


def _told(value: object) -> str:
    from batchscore.printable import printable

    return f"{value:,}" if isinstance(value, int) else printable(str(value), 100)


def hours_table(found: Sequence[HourAccount]) -> RenderableType:
    """Hours as a table that fits 80 columns."""
    from rich.table import Table
    from rich.text import Text

    from batchscore.cli.accounts import SHORT_ID
    from batchscore.cli.wording import counted, size
    from batchscore.hour_accounts import HourState

    styles = {
        HourState.DUE: "cyan",
        HourState.MISSED: "yellow",
        HourState.EMPTY: "dim",
        HourState.WAITING: "yellow",
        HourState.SCORING: "blue",
        HourState.SCORED: "green",
        HourState.WITH_ERRORS: "yellow",
        HourState.FAILED: "red",
        HourState.UNREADABLE: "red",
    }
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for title in ("Hour", "State", "Published", "Readings", "Run"):
        table.add_column(title, no_wrap=True)
    for each in found:
        newest = each.versions[-1].name if each.versions else ""
        published = each.published if each.published == newest else f"{each.published or 'none'} of {newest}"
        table.add_row(
            each.hour,
            Text(
                "with errors" if each.state is HourState.WITH_ERRORS else each.state.value, styles[each.state]
            ),
            published if newest else "",
            f"{counted(each.blobs, 'blob')}, {size(each.size_bytes)}" if each.blobs else "",
            each.run[:SHORT_ID],
        )
    return table


def reasons(found: Sequence[HourAccount]) -> list[str]:
    """Why hours wait or failed, each reason once with the hours that it is true of."""
    hours: dict[str, list[str]] = {}
    for each in found:
        if each.reason:
            hours.setdefault(each.reason, []).append(each.hour)
    return [
        f"{names[0]}{f' and {len(names) - 1} more' if len(names) > 1 else ''}: {reason}"
        for reason, names in hours.items()
    ]
