"""`watch`: follow a run until it is over."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from batchscore.cli import terminal
from batchscore.cli.environment import application, host_is_running
from batchscore.cli.outcome import code_of_run

if TYPE_CHECKING:
    from batchscore.application import Application
    from batchscore.runs import Run

POLL_S = 0.5

RunId = Annotated[str, typer.Argument(metavar="RUN", help="The run's id, or the beginning of it.")]


def watch(run_id: RunId, json: terminal.Json = False) -> None:
    """Follow a run until it is over; the exit code says how it ended."""
    with application() as control:
        run = follow(control, control.run(run_id))
    tell_outcome(run, json)
    raise typer.Exit(code_of_run(run))


def follow(control: Application, run: Run) -> Run:
    """Show the run's progress until it has ended. Leaving (Ctrl-C) does not stop the run."""
    from batchscore.cli.accounts import headline, short
    from batchscore.cli.progress import StepsProgress

    said, hinted, reason = "", False, ""
    with StepsProgress(terminal.err) as progress:
        try:
            while True:
                if run.state.value != said and not run.state.ended:
                    progress.say(headline(run, datetime.now(UTC)))
                    said = run.state.value
                if run.reason != reason and not run.state.ended:
                    reason = run.reason
                    if reason:
                        progress.say(reason)
                progress.show(run.steps)
                if run.state.ended:
                    return run
                hint = None if hinted else _hint(control, run)
                if hint:
                    progress.say(hint)
                    hinted = True
                time.sleep(POLL_S)
                run = control.store.get(run.id)
        except KeyboardInterrupt:
            progress.say(
                f"run {short(run)} goes on. 'batchscore watch {short(run)}' follows it, "
                f"'batchscore cancel {short(run)}' stops it."
            )
            raise


def tell_outcome(run: Run, json: bool) -> None:
    """How a run ended, and what to do now."""
    from batchscore.cli.accounts import STYLES, headline, next_steps

    if json:
        terminal.answer_json(run)
        return
    terminal.answer(headline(run, datetime.now(UTC)), STYLES[run.state])
    if run.reason:
        terminal.answer(run.reason)
    for line in next_steps(run):
        terminal.answer(f"  {line}")


def _hint(control: Application, run: Run) -> str | None:
    from batchscore.cli.accounts import waiting_words
    from batchscore.runs import RunState

    now = datetime.now(UTC)
    if waiting_words(run, now, 0, True) is None:
        return None
    others = sum(
        other.id != run.id and other.state is not RunState.ACCEPTED for other in control.store.active()
    )
    return waiting_words(run, now, others, host_is_running())
