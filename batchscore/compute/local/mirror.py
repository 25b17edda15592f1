"""The mirror between Blob storage and folders: pulls inputs, pushes what is new or changed."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from azure.core import MatchConditions
from azure.core.exceptions import ResourceModifiedError, ResourceNotFoundError
from azure.storage.blob import BlobBlock, ContainerClient

from batchscore.compute.base import Location
from batchscore.compute.local.ledger import Ledger
from batchscore.compute.local.wire import BlobChangedError, BlobVersion, Wire
from batchscore.errors import ComputeError
from batchscore.printable import quoted
from batchscore.storage import LIST_PAGE, Storage, translated

CHUNK_BYTES = 2 << 20
THREADS = 8
LONGEST_PART = 255
"""Bytes in the name of a file or folder."""

_Item = TypeVar("_Item")


TEMPORARY = re.compile(r"\..*\.part")
"""Names of files that are still being written, by an entry script or by the mirror itself."""


class MissingDataError(ComputeError):
    """An input is not in storage, or cannot be laid out as files."""


class UnnameableFileError(ComputeError):
    """A step wrote a file whose name no blob can have."""


class TransferStoppedError(ComputeError):
    """The transfer was stopped before it was done."""


@dataclass(frozen=True)
class Push:
    """A local file or folder and where it goes."""

    local: Path
    target: Location


class Mirror:
    """Copies between storage and local paths, some files at a time, each in pieces: memory is bounded."""

    def __init__(self, storage: Storage, ledger: Ledger, stopped: threading.Event) -> None:
        """Setting `stopped` ends transfers after the piece at hand, with TransferStoppedError."""
        self._storage = storage
        self._ledger = ledger
        self._stopped = stopped
        self._wire = Wire(storage, THREADS)

    def pull_file(self, what: str, source: Location, target: Path) -> None:
        """Copy one blob to `target`. MissingDataError names the blob that is not there."""
        blob = self._now(source, source.path)
        if blob is None:
            raise MissingDataError(f"{what}: there is no blob {source}.")
        self._fetch(what, source, blob, target)

    def pull_folder(self, what: str, source: Location, target: Path) -> int:
        """Copy all blobs below a prefix into `target`; how many there are. Files that are there already stay."""
        target.mkdir(parents=True, exist_ok=True)
        prefix = source.path.rstrip("/") + "/" if source.path else ""

        def fetch(blob: BlobVersion) -> None:
            self._fetch(what, source, blob, _inside(what, target, blob.name.removeprefix(prefix)))

        return self._each(fetch, self._listed(source, prefix))

    def remember(self, push: Push) -> None:
        """Count what lies at a local path as pushed, because it has just been pulled from there."""
        for file, blob in _files_to_push(push):
            self._ledger.add(_key(push.target, blob), file.stat())

    def forget_removed(self, target: Location) -> None:
        """Count what somebody removed from a place in storage as not pushed."""
        there = (_key(target, blob.name) for blob in self._listed(target, target.path))
        self._ledger.keep_only(_key(target, target.path), there)

    def remove_stale(self, push: Push) -> int:
        """Remove from storage what is not at the local path any more; how many blobs were looked at."""
        prefix = push.target.path + "/"

        def remove(blob: BlobVersion) -> None:
            file = push.local / blob.name.removeprefix(prefix)
            if blob.name.startswith(prefix) and not file.exists():
                with translated(f"blob {blob.name}"), suppress(ResourceNotFoundError):
                    self._container(push.target).delete_blob(blob.name)

        return self._each(remove, self._listed(push.target, prefix))

    def push(self, pushes: Iterable[Push], changed_before_ns: int | None = None) -> int:
        """Copy the files that are new or changed, but none changed later than a given time; how many were looked at."""
        jobs = (
            (push.target, file, blob)
            for push in pushes
            for file, blob in _files_to_push(push)
            if changed_before_ns is None or _changed_ns(file) < changed_before_ns
        )
        return self._each(self._upload_if_new, jobs)

    def _upload_if_new(self, job: tuple[Location, Path, str]) -> None:
        target, file, blob = job
        try:
            before = file.stat()
            if self._ledger.has(_key(target, blob), before):
                return
            self._upload(target, blob, file)
            after = file.stat()
        except FileNotFoundError:
            return  # a temporary name that has become another one since the folder was read
        if (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns):
            self._ledger.add(_key(target, blob), after)

    def _upload(self, target: Location, blob: str, file: Path) -> None:
        container = self._storage.container(target.account, target.container, create=True)
        with file.open("rb") as stream:
            data = stream.read(CHUNK_BYTES)
            if len(data) < CHUNK_BYTES:
                self._wire.write(target.account, target.container, blob, data)
                return
            client = container.get_blob_client(blob)
            blocks: list[BlobBlock] = []
            with translated(f"blob {target.container}/{blob}"):
                while data:
                    self._check()
                    block = f"{len(blocks):08d}"
                    client.stage_block(block, data)
                    blocks.append(BlobBlock(block))
                    data = stream.read(CHUNK_BYTES)
                client.commit_block_list(blocks)

    def _fetch(self, what: str, source: Location, blob: BlobVersion, target: Path) -> None:
        stamp = _stamp(blob)
        if _is_there(target, blob.size, stamp):
            return
        # not made of the name itself, which may be as long as a name can be
        temporary = target.with_name(f".{hashlib.sha256(target.name.encode()).hexdigest()[:32]}.pull.part")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            self._download(source, blob, temporary)
            os.utime(temporary, ns=(stamp, stamp))
            temporary.replace(target)
        except (BlobChangedError, ResourceModifiedError, ResourceNotFoundError) as error:
            now = self._now(source, blob.name)
            if now is not None and now.etag != blob.etag and now.holds_the_same_as(blob):
                self._fetch(
                    what, source, now, target
                )  # somebody wrote the same again, as a repeated event does
                return
            raise MissingDataError(
                f"{what}: blob {source.container}/{blob.name} changed or went away while it was read."
            ) from error
        except (NotADirectoryError, IsADirectoryError, FileExistsError) as error:
            raise MissingDataError(
                f"{what}: blob {source.container}/{blob.name} cannot be a file here, because another blob's "
                "name makes a folder of it, or makes it a folder."
            ) from error
        finally:
            with suppress(NotADirectoryError):
                temporary.unlink(missing_ok=True)

    def _now(self, source: Location, name: str) -> BlobVersion | None:
        """A blob as it is now; None when it is not there."""
        try:
            with translated(f"blob {source.container}/{name}"):
                seen = self._container(source).get_blob_client(name).get_blob_properties()
        except ResourceNotFoundError:
            return None
        md5 = base64.b64encode(seen.content_settings.content_md5 or b"").decode()
        return BlobVersion(name, seen.size, seen.etag, int(seen.last_modified.timestamp()), md5)

    def _download(self, source: Location, blob: BlobVersion, target: Path) -> None:
        if blob.size < CHUNK_BYTES:
            target.write_bytes(self._wire.read(source.account, source.container, blob.name, blob.etag))
            return
        client = self._container(source).get_blob_client(blob.name)
        with target.open("wb") as stream:
            for offset in range(0, blob.size, CHUNK_BYTES):
                self._check()
                with translated(f"blob {source.container}/{blob.name}"):
                    client.download_blob(
                        offset,
                        min(CHUNK_BYTES, blob.size - offset),
                        etag=blob.etag,
                        match_condition=MatchConditions.IfNotModified,
                    ).readinto(stream)

    def _listed(self, source: Location, prefix: str) -> Iterator[BlobVersion]:
        return self._wire.listed(source.account, source.container, prefix, LIST_PAGE)

    def _container(self, location: Location) -> ContainerClient:
        return self._storage.container(location.account, location.container)

    def _check(self) -> None:
        if self._stopped.is_set():
            raise TransferStoppedError("the transfer was stopped")

    def _each(self, act: Callable[[_Item], None], items: Iterable[_Item]) -> int:
        """Do all, a few at once, without reading ahead; the first fault ends it and is raised."""
        count = 0
        gate = threading.Semaphore(2 * THREADS)
        faults: list[BaseException] = []

        def guarded(item: _Item) -> None:
            try:
                if not faults:
                    act(item)
            except BaseException as error:  # raised again below
                faults.append(error)
            finally:
                gate.release()

        with ThreadPoolExecutor(THREADS, thread_name_prefix="mirror") as pool:
            for item in items:
                gate.acquire()
                self._check()
                if faults:
                    break
                pool.submit(guarded, item)
                count += 1
        if faults:
            raise faults[0]
        return count


def _inside(what: str, folder: Path, name: str) -> Path:
    """Where a blob goes in a folder; MissingDataError when its name would lead out of it."""
    parts = name.split("/")
    if any(part in ("", ".", "..") or "\0" in part or len(part.encode()) > LONGEST_PART for part in parts):
        raise MissingDataError(
            f"{what}: a blob is named {quoted(name, 300)}, which cannot be a file. Rename or remove it."
        )
    return folder.joinpath(*parts)


def _stamp(blob: BlobVersion) -> int:
    """The time of change, in ns, that a pulled file gets: the blob's own seconds, its ETag below them."""
    return blob.changed_s * 10**9 + zlib.crc32(blob.etag.encode()) % 10**9


def _is_there(file: Path, size: int, stamp: int) -> bool:
    try:
        stat = file.stat()
    except OSError:
        return False
    return file.is_file() and (stat.st_size, stat.st_mtime_ns) == (size, stamp)


def _key(target: Location, blob: str) -> str:
    return f"{target.account}/{target.container}/{blob}"


def _files_to_push(push: Push) -> Iterator[tuple[Path, str]]:
    if push.local.is_file():
        yield push.local, push.target.path
        return
    for folder, _, names in os.walk(push.local):
        for name in names:
            file = Path(folder) / name
            if not TEMPORARY.fullmatch(name) and file.is_file():
                blob = f"{push.target.path}/{file.relative_to(push.local).as_posix()}"
                try:
                    blob.encode()
                except UnicodeEncodeError:
                    raise UnnameableFileError(
                        f"the file {name!r} has a name that is not UTF-8; rename it."
                    ) from None
                yield file, blob


def _changed_ns(file: Path) -> int:
    try:
        return file.stat().st_mtime_ns
    except FileNotFoundError:
        return 0
