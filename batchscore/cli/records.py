"""`runs`, `show`, `cancel`, `retry`, `replay`: what is known of runs, and what a person may ask of one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from batchscore.cli import terminal
from batchscore.cli.environment import application
from batchscore.cli.watching import RunId
from batchscore.errors import RequestError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from batchscore.application import Application
    from batchscore.receipts import FailedItem
    from batchscore.runs import Run

MOST_LISTED = 500


def runs(
    state: Annotated[
        str | None, typer.Option(help="Only runs in this state: accepted, running, succeeded, failed, …")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=MOST_LISTED, help="How many, the newest first.")] = 20,
    json: terminal.Json = False,
) -> None:
    """List the newest runs."""
    from batchscore.runs import RunState

    if state is not None and state not in list(RunState):
        raise RequestError(f"--state is {state!r}; it must be one of {', '.join(RunState)}.")
    with application() as control:
        found = control.store.recent(limit, RunState(state) if state else None)
    if json:
        terminal.answer_json({"runs": found})
    elif found:
        terminal.out.print(runs_table(found, datetime.now(UTC)))
    else:
        which = f"no run is {state}" if state else "there are no runs yet. 'batchscore submit' starts one"
        terminal.answer(f"{which}.")


def show(
    run_id: RunId,
    failed: Annotated[
        bool, typer.Option("--failed", help="Every item that failed, with its reason; nothing else.")
    ] = False,
    json: terminal.Json = False,
) -> None:
    """Say what happened to a run, and what to do next."""
    with application() as control:
        run = control.run(run_id)
        items = control.failed_items(run) if failed else ()
    if failed:
        _tell_failed(run, items, json)
        return
    if json:
        terminal.answer_json(run)
        return
    from batchscore.cli.accounts import STYLES, headline

    now = datetime.now(UTC)
    terminal.answer(headline(run, now), STYLES[run.state])
    terminal.out.print(account_table(run, now))


def _tell_failed(run: Run, items: Sequence[FailedItem], json: bool) -> None:
    from batchscore.cli.accounts import short

    if json:
        terminal.answer_json({"run": run.id, "failed": items})
        return
    for each in items:
        terminal.answer(f"{each.item}: {each.error or 'no reason given'}")
    if not items:
        terminal.note(f"no item of run {short(run)} has failed" + ("." if run.state.ended else " so far."))


def cancel(run_id: RunId, json: terminal.Json = False) -> None:
    """Stop a run; what is finished is kept."""
    _ask(run_id, lambda control, name: control.cancel(name), "is asked to stop", json)


def retry(run_id: RunId, json: terminal.Json = False) -> None:
    """Try a run that failed, was canceled or has failed items again; only what is missing is done."""
    _ask(run_id, lambda control, name: control.retry(name), "is tried again", json)


def replay(run_id: RunId, json: terminal.Json = False) -> None:
    """Read the trigger file of a poisoned run again."""
    _ask(run_id, lambda control, name: control.replay(name), "is accepted after all", json)


def runs_table(found: Sequence[Run], now: datetime) -> RenderableType:
    """Runs as a table that fits 80 columns."""
    from rich.table import Table
    from rich.text import Text

    from batchscore.cli.accounts import SHORT_STATES, STYLES, items_words, short, what_words, worked_s
    from batchscore.cli.wording import age, duration

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for title in ("Run", "State", "Workload", "Items", "Took", "Ago"):
        table.add_column(title, no_wrap=title != "Workload", justify="left", overflow="fold")
    for run in found:
        took = worked_s(run, now)
        table.add_row(
            short(run),
            Text(SHORT_STATES.get(run.state, run.state.value), style=STYLES[run.state]),
            what_words(run),
            items_words(run).replace(" items", "").replace(" item", ""),
            "" if took is None else duration(took),
            age(run.created_at, now).removesuffix(" ago"),
        )
    return table


def account_table(run: Run, now: datetime) -> RenderableType:
    """The account of a run, titles at the left."""
    from rich.table import Table
    from rich.text import Text

    from batchscore.cli.accounts import account

    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for chapter in account(run, now):
        table.add_row(chapter.title, Text("\n".join(chapter.lines)))
    return table


def _ask(run_id: str, act: Callable[[Application, str], Run], what: str, json: bool) -> None:
    from batchscore.cli.accounts import short
    from batchscore.runs import RunState

    with application() as control:
        run = act(control, control.run(run_id).id)
    if json:
        terminal.answer_json(run)
    elif run.state is RunState.CANCELED:
        terminal.answer(f"run {short(run)} is canceled: it had not started.")
    else:
        terminal.answer(f"run {short(run)} {what}. 'batchscore watch {short(run)}' follows it.")
