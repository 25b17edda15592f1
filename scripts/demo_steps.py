"""What both halves of the demo do: say what happens, wait for a run, fetch an output."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from batchscore.application import Application
from batchscore.compute.base import Location
from batchscore.runs import Run, RunState

ROOT = Path(__file__).resolve().parent.parent
OUTPUT = ROOT / "demo-output"
HOST_LOG = OUTPUT / "host.log"
PATIENCE_S = 900
DONE = (RunState.SUCCEEDED, RunState.SUCCEEDED_WITH_ERRORS)

console = Console()


def say(what: str, details: str) -> None:
    console.print(f"[bold]{what}[/bold] {details}", highlight=False)


def wait_for_run(application: Application, run_id: str, items: str) -> Run:
    """The run once it is over; `items` names what its parallel step counts."""
    columns = (TextColumn("   {task.description:<28}"), BarColumn(), TextColumn("{task.fields[count]}"))
    deadline = time.monotonic() + PATIENCE_S
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        bar = progress.add_task("waiting for the host", total=None, count="")
        while time.monotonic() < deadline:
            time.sleep(0.3)
            found = application.store.find(run_id)
            if not found:
                continue
            run = found[0]
            total, done, failed = run.items
            step = next((step.name for step in run.steps if step.state == "running"), "")
            progress.update(
                bar,
                description=f"run {run.id[:8]} {run.state} {step}",
                total=total or None,
                completed=done + failed,
                count=f"{done} of {total} {items}" if total else "",
            )
            if run.state.ended:
                return run
    raise SystemExit(f"The run {run_id} did not end within {PATIENCE_S} s; see {HOST_LOG}.")


def wait_until(what: str, true: Callable[[], bool]) -> None:
    """Wait until it is so; SystemExit names what did not come."""
    deadline = time.monotonic() + PATIENCE_S
    with Progress(TextColumn("   {task.description}"), TimeElapsedColumn(), console=console) as progress:
        progress.add_task(what, total=None)
        while True:
            began = time.monotonic()
            if true():
                return
            if began > deadline:
                raise SystemExit(f"Not within {PATIENCE_S} s: {what}; see {HOST_LOG}.")
            time.sleep(max(0.3, 2 * (time.monotonic() - began)))


def fetch(application: Application, location: Location, target: Path) -> None:
    """Copy what lies below a place in storage into a folder."""
    container = application.storage.container(location.account, location.container)
    for name in container.list_blob_names(name_starts_with=f"{location.path}/"):
        file = target / name.removeprefix(f"{location.path}/")
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("wb") as stream:
            container.download_blob(name).readinto(stream)
