"""`batchscore …`: what a person does at a terminal. Commands import what is heavy when they are called."""

from __future__ import annotations

import typer

from batchscore.cli import (
    deploying,
    examining,
    fetching,
    hours,
    logs,
    models,
    pipelines,
    planned,
    programs,
    records,
    sending,
    sharing,
    submitting,
    watching,
)
from batchscore.cli.outcome import Commands

app = typer.Typer(
    cls=Commands,
    help="Batch scoring, event-driven: drop a trigger file or a video, every item is scored exactly once.",
    epilog="Exit codes: 0 good, 1 the run or check failed, 2 wrong usage or input, 3 no such run, "
    "4 storage or compute did not answer, 5 the run succeeded but items failed, 130 interrupted.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)

RUNS, LOCAL, STORAGE = "Runs", "This machine", "Storage and host"

app.command(rich_help_panel=RUNS)(submitting.submit)
app.command(rich_help_panel=RUNS)(planned.plan)
app.command(rich_help_panel=RUNS)(records.runs)
app.command(rich_help_panel=RUNS)(records.show)
app.command(rich_help_panel=RUNS)(watching.watch)
app.command(rich_help_panel=RUNS)(logs.logs)
app.command(rich_help_panel=RUNS)(fetching.fetch)
app.command(rich_help_panel=RUNS)(records.cancel)
app.command(rich_help_panel=RUNS)(records.retry)
app.command(rich_help_panel=RUNS)(records.replay)
app.command(rich_help_panel=RUNS)(sending.send)
app.add_typer(hours.app, name="hours", rich_help_panel=RUNS)
app.command(rich_help_panel=LOCAL)(pipelines.run)
app.command(rich_help_panel=LOCAL)(pipelines.check)
app.command(rich_help_panel=LOCAL, context_settings=programs.PASS_THROUGH)(programs.split)
app.command(rich_help_panel=LOCAL, context_settings=programs.PASS_THROUGH)(programs.stitch)
app.command(rich_help_panel=STORAGE)(sharing.share)
app.command(rich_help_panel=STORAGE)(examining.doctor)
app.command(rich_help_panel=STORAGE)(deploying.deploy)
app.add_typer(models.app, name="models", rich_help_panel=STORAGE)
app.command(rich_help_panel=STORAGE, context_settings={**programs.PASS_THROUGH, "help_option_names": []})(
    programs.start
)


def main() -> None:
    app(prog_name="batchscore")
