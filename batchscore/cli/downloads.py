"""Blobs to files of this machine: each of them whole, in its place below one folder, and only once."""

from __future__ import annotations

import hashlib
import os
import uuid
import zlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from batchscore.cli import terminal
from batchscore.cli.wholeness import NOT_AS_PROMISED, Check
from batchscore.cli.wording import counted

if TYPE_CHECKING:
    from azure.storage.blob import BlobProperties

    from batchscore.compute.base import Location
    from batchscore.storage import Storage

CONNECTIONS = 8
MOST_NAMED = 10
LEADS_OUT = "its name leads out of the folder"
CHANGED = "it changed or went away while it was read"


@dataclass(frozen=True)
class Source:
    """One blob to fetch: the output it belongs to, its path below that, and what it is now."""

    location: Location
    output: str
    path: PurePosixPath
    size_bytes: int
    etag: str
    stamp_ns: int
    """The time of change that its file gets: the blob's seconds, its ETag below them. It tells the same file."""

    @property
    def target(self) -> PurePosixPath:
        """Where it goes, below the folder."""
        return PurePosixPath(self.output) / self.path

    @property
    def name(self) -> str:
        """What its receipt calls it."""
        return str(self.path)


@dataclass
class Fetched:
    """What is in the folder now (`files`, of which `new` came with this fetch), and what was left out and why."""

    files: int = 0
    new: int = 0
    size_bytes: int = 0
    first: list[PurePosixPath] = field(default_factory=list)
    left_out: int = 0
    first_left_out: list[tuple[str, str]] = field(default_factory=list)
    outputs: set[str] = field(default_factory=set)
    """The outputs of which there are files."""

    def add(self, source: Source, ending: Ending | str) -> None:
        if isinstance(ending, str):
            self.left_out += 1
            if len(self.first_left_out) < MOST_NAMED:
                self.first_left_out.append((str(source.target), ending))
            return
        self.files += 1
        self.new += ending is Ending.NEW
        self.size_bytes += source.size_bytes
        self.outputs.add(source.output)
        if len(self.first) < MOST_NAMED:
            self.first.append(source.target)


class Ending(Enum):
    NEW = "new"
    THERE = "there"


def sources(storage: Storage, places: Mapping[str, Location]) -> Iterator[Source]:
    """The blobs at and below each place, by output. A blob that only marks a folder is none."""
    from azure.core.exceptions import ResourceNotFoundError

    from batchscore.compute.base import Location
    from batchscore.storage import LIST_PAGE, translated

    for output, place in places.items():
        container = storage.container(place.account, place.container)
        with translated(str(place)):
            try:
                for blob in container.list_blobs(
                    name_starts_with=place.path, include=["metadata"], results_per_page=LIST_PAGE
                ):
                    rest = blob.name.removeprefix(place.path)
                    is_folder = blob.name.endswith("/") or (blob.metadata or {}).get("hdi_isfolder") == "true"
                    if is_folder or (rest and not rest.startswith("/")):
                        continue
                    location = Location(place.account, place.container, blob.name)
                    path = PurePosixPath(rest.removeprefix("/"))
                    yield Source(location, output, path, blob.size, str(blob.etag), _stamp_ns(blob))
            except ResourceNotFoundError:
                continue


def fetch_all(
    storage: Storage,
    places: Mapping[str, Location],
    folder: Path,
    check: Callable[[Source], Check],
    total: tuple[int, int],
) -> Fetched:
    """Fetch everything below these places that its check lets through; `total` is files and bytes, for the bar."""
    found = Fetched()
    with terminal.bytes_progress() as progress, ThreadPoolExecutor(CONNECTIONS) as pool:
        task = progress.add_task(f"fetching {counted(total[0], 'file')}", total=total[1])
        running: dict[Future[Ending | str], Source] = {}

        def tell(size_bytes: int) -> None:
            progress.advance(task, size_bytes)

        try:
            for source in sources(storage, places):
                if len(running) >= 2 * CONNECTIONS:
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        found.add(running.pop(future), future.result())
                verdict = check(source)
                if not is_safe(source.target) or verdict.reason:
                    found.add(source, verdict.reason or LEADS_OUT)
                    continue
                running[pool.submit(_fetch, storage, source, folder / source.target, verdict, tell)] = source
            for future, source in running.items():
                found.add(source, future.result())
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    found.first.sort()
    return found


def is_safe(path: PurePosixPath) -> bool:
    """Whether a path made of a blob's name stays below the folder it is put in."""
    text = str(path)
    return not path.is_absolute() and ".." not in path.parts and "\\" not in text and "\0" not in text


def _fetch(
    storage: Storage, source: Source, target: Path, verdict: Check, tell: Callable[[int], None]
) -> Ending | str:
    """One file, to a temporary name beside it and then renamed. Gives how it went, or why it is left out."""
    from azure.core import MatchConditions
    from azure.core.exceptions import HttpResponseError

    from batchscore.storage import translated

    if _is_there(target, source):
        tell(source.size_bytes)
        return Ending.THERE
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name[:100]}.{uuid.uuid4().hex[:8]}.partial")
    location, digest = source.location, hashlib.sha256()
    container = storage.container(location.account, location.container)
    try:
        with translated(str(location)), partial.open("wb") as stream:
            download = container.download_blob(
                location.path, etag=source.etag, match_condition=MatchConditions.IfNotModified
            )
            for chunk in download.chunks():
                stream.write(chunk)
                digest.update(chunk)
                tell(len(chunk))
        if verdict.promised and digest.hexdigest() not in {each.sha256 for each in verdict.promised}:
            return NOT_AS_PROMISED
        os.utime(partial, ns=(source.stamp_ns, source.stamp_ns))
        partial.replace(target)
    except HttpResponseError as error:
        if error.status_code not in (404, 412):
            raise
        return CHANGED
    finally:
        partial.unlink(missing_ok=True)
    return Ending.NEW


def _is_there(target: Path, source: Source) -> bool:
    if not target.is_file():
        return False
    there = target.stat()
    return (there.st_size, there.st_mtime_ns) == (source.size_bytes, source.stamp_ns)


def _stamp_ns(blob: BlobProperties) -> int:
    return int(blob.last_modified.timestamp()) * 10**9 + zlib.crc32(str(blob.etag).encode()) % 10**9
