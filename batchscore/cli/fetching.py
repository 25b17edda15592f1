"""`fetch`: a run's results as files of this machine, each of them whole."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated

import typer

from batchscore.cli import terminal
from batchscore.cli.environment import application
from batchscore.cli.outcome import Exit
from batchscore.cli.watching import RunId
from batchscore.cli.wording import counted, size
from batchscore.errors import RequestError, RunConflictError

if TYPE_CHECKING:
    from batchscore.compute.base import Location
    from batchscore.runs import Run
    from batchscore.storage import Storage

CONNECTIONS = 8
MOST_NAMED = 10
LOGS_FOLDER = "logs"


@dataclass(frozen=True)
class Source:
    """One blob to fetch and the path, below the folder, that it goes to."""

    location: Location
    path: PurePosixPath
    size_bytes: int
    modified_at: datetime


@dataclass(frozen=True)
class Fetched:
    """How many files are in the folder now and how large they are; the first by name; blobs that were refused."""

    files: int = 0
    size_bytes: int = 0
    first: tuple[PurePosixPath, ...] = ()
    refused: tuple[str, ...] = ()

    def with_source(self, source: Source) -> Fetched:
        if not is_safe(source.path):
            return replace(self, refused=(*self.refused, str(source.location)))
        first = (*self.first, source.path) if len(self.first) < MOST_NAMED else self.first
        return replace(
            self, files=self.files + 1, size_bytes=self.size_bytes + source.size_bytes, first=first
        )


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
    """Bring the results of a run to a folder; files that are there already are left out."""
    from batchscore.cli.accounts import headline, short

    with application() as control:
        run = control.run(run_id)
        places = places_of(run, everything)
        target = folder or Path(short(run))
        if target.exists() and not target.is_dir():
            raise RequestError(f"{target} is a file. Give a folder.")
        if not run.state.ended:
            terminal.note(f"{headline(run, datetime.now().astimezone())} What is there so far is fetched.")
        found = fetch_all(control.storage, places, target)
    if json:
        terminal.answer_json(
            {
                "run": run.id,
                "folder": str(target.absolute()),
                "files": found.files,
                "size_bytes": found.size_bytes,
            }
        )
    else:
        terminal.answer(f"{counted(found.files, 'file')}, {size(found.size_bytes)}, in {target}{os.sep}")
        for path in found.first:
            terminal.answer(f"  {target / path}")
        if found.files > len(found.first):
            terminal.answer(f"  and {found.files - len(found.first):,} more")
    for name in found.refused:
        terminal.complain(f"{name} is left out: its name leads out of the folder.")
    if not found.files and run.state.ended:
        terminal.complain(
            f"run {short(run)} left no files. 'batchscore show {short(run)}' says what happened."
        )
    if found.refused or not found.files:
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


def fetch_all(storage: Storage, places: dict[str, Location], folder: Path) -> Fetched:
    """Fetch everything below these places.

    The listing is read twice (once for the total), so that memory does not grow with the number of files.
    """
    found = Fetched()
    for source in _sources(storage, places):
        found = found.with_source(source)
    with terminal.bytes_progress() as progress, ThreadPoolExecutor(CONNECTIONS) as pool:
        task = progress.add_task(f"fetching {counted(found.files, 'file')}", total=found.size_bytes)
        running: set[Future[None]] = set()

        def tell(size_bytes: int) -> None:
            progress.advance(task, size_bytes)

        try:
            for source in _sources(storage, places):
                if not is_safe(source.path):
                    continue
                if len(running) >= 2 * CONNECTIONS:
                    done, running = wait(running, return_when=FIRST_COMPLETED)
                    for future in done:
                        future.result()
                running.add(pool.submit(_fetch, storage, source, folder / source.path, tell))
            for future in running:
                future.result()
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return found


def is_safe(path: PurePosixPath) -> bool:
    """Whether a path made of a blob's name stays below the folder it is put in."""
    text = str(path)
    return not path.is_absolute() and ".." not in path.parts and "\\" not in text and "\0" not in text


def _sources(storage: Storage, places: dict[str, Location]) -> Iterator[Source]:
    """The blobs at and below each place. A blob that only marks a folder is none."""
    from azure.core.exceptions import ResourceNotFoundError

    from batchscore.compute.base import Location
    from batchscore.storage import translated

    for name, place in places.items():
        container = storage.container(place.account, place.container)
        with translated(str(place)):
            try:
                for blob in container.list_blobs(name_starts_with=place.path, include=["metadata"]):
                    rest = blob.name.removeprefix(place.path)
                    is_folder = blob.name.endswith("/") or (blob.metadata or {}).get("hdi_isfolder") == "true"
                    if is_folder or (rest and not rest.startswith("/")):
                        continue
                    path = PurePosixPath(name + rest)
                    location = Location(place.account, place.container, blob.name)
                    yield Source(location, path, blob.size, blob.last_modified)
            except ResourceNotFoundError:
                continue


def _fetch(storage: Storage, source: Source, target: Path, tell: Callable[[int], None]) -> None:
    """One file, to a temporary name beside it and then renamed; it keeps the blob's time, which tells it is the
    same file the next time."""
    from batchscore.storage import translated

    modified = source.modified_at.timestamp()
    if target.is_file():
        there = target.stat()
        if there.st_size == source.size_bytes and there.st_mtime == modified:
            tell(source.size_bytes)
            return
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name[:100]}.{uuid.uuid4().hex[:8]}.partial")
    location = source.location
    container = storage.container(location.account, location.container)
    try:
        with translated(str(location)), partial.open("wb") as stream:
            for chunk in container.download_blob(location.path).chunks():
                stream.write(chunk)
                tell(len(chunk))
        os.utime(partial, (modified, modified))
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
