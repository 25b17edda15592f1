"""`fetch`: a run's results as files of this machine: what is whole, and a word on what is missing."""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from batchscore.cli import terminal
from batchscore.cli.environment import application
from batchscore.cli.outcome import Exit
from batchscore.cli.watching import RunId
from batchscore.cli.wording import counted, size
from batchscore.errors import BatchscoreError, RequestError, RunConflictError

if TYPE_CHECKING:
    from batchscore.application import Application
    from batchscore.cli.downloads import Fetched
    from batchscore.compute.base import Location
    from batchscore.definitions.model import Pipeline
    from batchscore.runs import Run

LOGS_FOLDER = "logs"


def fetch(
    run_id: RunId,
    folder: Annotated[
        Path | None, typer.Argument(help="Where to put the files; without one, a folder named after the run.")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Also what steps hand to each other, the receipts and the logs.")
    ] = False,
    json: terminal.Json = False,
) -> None:
    """Bring the results of a run to a folder: what is whole, of a run in any state. What is there stays."""
    from batchscore.cli.accounts import headline, short

    with application() as control:
        run = control.run(run_id)
        places = places_of(run, everything)
        target = folder or Path(short(run))
        if target.exists() and not target.is_dir():
            raise RequestError(f"{target} is a file. Give a folder.")
        if not run.state.ended:
            terminal.note(f"{headline(run, datetime.now(UTC))} What is whole by now is fetched.")
        found = bring(control, run, places, target)
    missing = missing_words(run, places, found, everything)
    if json:
        terminal.answer_json(_document(run, target, found, missing))
    else:
        _tell(target, found)
    for line in missing:
        terminal.complain(line)
    if missing and not _succeeded(run):
        raise typer.Exit(Exit.FAILED)
    if found.left_out or not found.files:
        raise typer.Exit(Exit.FAILED)


def places_of(run: Run, everything: bool) -> dict[str, Location]:
    """What to fetch, by folder name; RunConflictError for a run that never was planned."""
    from batchscore.compute.base import Location

    if run.job is None:
        raise RunConflictError(f"run {run.id} is {run.state}: it has made nothing to fetch.")
    if not everything:
        return dict(run.results or {})
    logs = run.job.logs
    prefix = logs.path.rsplit("/", 1)[0]
    attempts = {
        f"{LOGS_FOLDER}/attempt-{attempt.number}": Location(
            logs.account, logs.container, f"{prefix}/attempt-{attempt.number}"
        )
        for attempt in run.attempts
    }
    return {**run.job.outputs, **attempts}


def bring(control: Application, run: Run, places: dict[str, Location], folder: Path) -> Fetched:
    """Fetch what is whole. The listing is read twice (once for what receipts speak of and for the total), so that
    memory does not grow with the number of files."""
    from batchscore.cli.downloads import Source, fetch_all, sources
    from batchscore.cli.wholeness import Check, Promises, check, finished_outputs
    from batchscore.paths import RECEIPTS_OUTPUT

    receipts = run.job.outputs.get(RECEIPTS_OUTPUT) if run.job else None
    promises = Promises(control.receipt_lines(receipts) if receipts else ())
    finished = finished_outputs(run, _pipeline(control, run))
    covered: set[str] = set()

    def told(source: Source) -> Check:
        if source.output == RECEIPTS_OUTPUT or source.output.startswith(f"{LOGS_FOLDER}/"):
            return Check()
        return check(
            promises.of(source.name),
            source.size_bytes,
            finished=source.output in finished,
            covered=source.output in covered,
        )

    try:
        count = size_bytes = 0
        for source in sources(control.storage, places):
            count, size_bytes = count + 1, size_bytes + source.size_bytes
            if source.output not in covered and told(source).promised:
                covered.add(source.output)
        return fetch_all(control.storage, places, folder, told, (count, size_bytes))
    finally:
        promises.close()


def missing_words(run: Run, places: dict[str, Location], found: Fetched, everything: bool) -> list[str]:
    """What is not in the folder, and why: a sentence each; none when everything is."""
    from batchscore.cli.accounts import short

    lines = [f"left out: {name}: {reason}." for name, reason in found.first_left_out]
    if found.left_out > len(found.first_left_out):
        lines.append(f"left out: {found.left_out - len(found.first_left_out):,} more.")
    total, done, _ = run.items
    failed = run.failed_items
    if run.summary is not None and run.state.ended:
        done = run.summary.ok
    open_items = max(0, total - done - failed)
    if failed:
        lines.append(
            f"missing: {counted(failed, 'item')} that failed; 'batchscore show {short(run)} --failed' says why."
        )
    if open_items and not _succeeded(run):
        lines.append(f"missing: {counted(open_items, 'item')} of {total:,} that are not done yet.")
    if not _succeeded(run):
        empty = [name for name in places if name not in found.outputs and not name.startswith(LOGS_FOLDER)]
        if empty:
            lines.append(f"missing: {', '.join(empty)}: the run did not get so far{_more(run, everything)}.")
    elif not found.files:
        lines.append(f"run {short(run)} left no files. 'batchscore show {short(run)}' says what happened.")
    return lines


def _more(run: Run, everything: bool) -> str:
    from batchscore.cli.accounts import short

    intermediates = set(run.job.outputs if run.job else ()) - set(run.results or {})
    if everything or not intermediates:
        return ""
    return f"; 'batchscore fetch {short(run)} --all' brings what its steps have finished on the way"


def _tell(target: Path, found: Fetched) -> None:
    news = "nothing new" if not found.new else "all new" if found.new == found.files else f"{found.new:,} new"
    there = f", {news}" if found.files else ""
    terminal.answer(f"{counted(found.files, 'file')}, {size(found.size_bytes)}, in {target}{os.sep}{there}")
    if not found.new:
        return
    for path in found.first:
        terminal.answer(f"  {target / path}")
    if found.files > len(found.first):
        terminal.answer(f"  and {found.files - len(found.first):,} more")


def _document(run: Run, target: Path, found: Fetched, missing: list[str]) -> dict[str, object]:
    return {
        "run": run.id,
        "state": run.state,
        "folder": str(target.absolute()),
        "files": found.files,
        "new": found.new,
        "size_bytes": found.size_bytes,
        "left_out": found.left_out,
        "missing": missing,
    }


def _succeeded(run: Run) -> bool:
    from batchscore.runs import RunState

    return run.state in (RunState.SUCCEEDED, RunState.SUCCEEDED_WITH_ERRORS)


def _pipeline(control: Application, run: Run) -> Pipeline | None:
    """The run's pipeline as it is now; None when it is gone or cannot be read."""
    with suppress(BatchscoreError):
        return control.workloads.pipeline(run.workload)
    return None
