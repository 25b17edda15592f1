"""Files of this machine brought into the data account, never over something else that is there."""

from __future__ import annotations

import hashlib
import mimetypes
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from azure.core.exceptions import ResourceExistsError, ResourceNotFoundError
from azure.storage.blob import ContentSettings

from batchscore import paths
from batchscore.cli import terminal
from batchscore.cli.wording import counted, size
from batchscore.errors import RequestError
from batchscore.storage import translated

if TYPE_CHECKING:
    from azure.storage.blob import ContainerClient

CONNECTIONS = 4
MARK_LENGTH = 8
MOST_NAMED = 3


@dataclass(frozen=True)
class Upload:
    """One local file and the blob that it becomes."""

    file: Path
    blob: str
    size_bytes: int
    md5: bytes
    replace: bool = False


class Uploads:
    """Finds a place in the data container for local files and folders; `send` then brings them there.

    Content that is there already is not sent again. A name that other content has taken is left alone: the new file
    gets a name with a mark made of its content.
    """

    def __init__(self, container: ContainerClient) -> None:
        self._container = container
        self._waiting: list[Upload] = []

    def file(self, file: Path, folder: str) -> str:
        """The path at which this file will be, below `folder`."""
        md5 = _md5(file)
        size_bytes = file.stat().st_size
        blob = paths.user_path(f"{folder}/{file.name}", f"the path for {file.name!r}")
        there = self._content(blob)
        if there is not None and there != (size_bytes, md5):
            blob = f"{folder}/{file.stem}-{md5.hex()[:MARK_LENGTH]}{file.suffix}"
            terminal.note(f"another file has the name {file.name} there; this one becomes {blob}.")
            there = self._content(blob)
        if there is None:
            self._waiting.append(Upload(file, blob, size_bytes, md5))
        return blob

    def folder(self, source: Path, folder: str) -> str:
        """The prefix below which the files of this folder will be; its name has a mark made of their content."""
        found = [(path.relative_to(source).as_posix(), path, _md5(path)) for path in _files(source)]
        if not found:
            raise RequestError(f"{str(source)!r} holds no files.")
        digest = hashlib.md5(usedforsecurity=False)
        for name, _, md5 in found:
            digest.update(f"{name}\0".encode() + md5)
        prefix = f"{folder}/{source.resolve().name}-{digest.hexdigest()[:MARK_LENGTH]}"
        for name, path, md5 in found:
            blob = paths.user_path(f"{prefix}/{name}", f"the path for {name!r}")
            if self._content(blob) is None:
                self._waiting.append(Upload(path, blob, path.stat().st_size, md5))
        return prefix

    def exactly(self, source: Path, path: str, *, replace: bool) -> None:
        """Bring a file or folder to this very path: what is missing there, and with `replace` what differs."""
        pairs = [(source, path)]
        if source.is_dir():
            pairs = [(each, f"{path}/{each.relative_to(source).as_posix()}") for each in _files(source)]
        for file, blob in pairs:
            upload = Upload(file, blob, file.stat().st_size, _md5(file), replace)
            there = self._content(blob)
            if there == (upload.size_bytes, upload.md5):
                continue
            if there is None or replace:
                self._waiting.append(upload)
            else:
                terminal.note(
                    f"{blob} differs from the local file and is used as it is; --upload replaces it.",
                    "yellow",
                )

    def exists(self, path: str) -> bool:
        """Whether there is a blob of this name, or one below it."""
        if self._content(path) is not None:
            return True
        with translated(path):
            try:
                names = self._container.list_blob_names(name_starts_with=f"{path}/", results_per_page=1)
                return next(iter(names), None) is not None
            except ResourceNotFoundError:
                return False

    def send(self) -> None:
        """Upload what waits, with a progress bar."""
        if not self._waiting:
            return
        with translated("the data container"), suppress(ResourceExistsError):
            self._container.create_container()
        total = sum(upload.size_bytes for upload in self._waiting)
        what = counted(len(self._waiting), "file")
        with terminal.bytes_progress() as progress:
            task = progress.add_task(f"uploading {what}", total=total)
            sent = 0
            for upload in self._waiting:

                def tell(count: int, _: int | None, before: int = sent) -> None:
                    progress.update(task, completed=before + count)

                self._send(upload, tell)
                sent += upload.size_bytes
                progress.update(task, completed=sent)
        if len(self._waiting) > MOST_NAMED:
            terminal.note(f"uploaded {what}, {size(total)}.")
        else:
            for upload in self._waiting:
                terminal.note(f"uploaded {upload.blob} ({size(upload.size_bytes)}).")
        self._waiting.clear()

    def _send(self, upload: Upload, tell: Callable[[int, int | None], None]) -> None:
        kind, encoding = mimetypes.guess_type(upload.file.name)
        settings = ContentSettings(
            content_type=kind if kind and not encoding else "application/octet-stream",
            content_md5=bytearray(upload.md5),
        )
        with translated(f"the upload of {upload.blob}"), upload.file.open("rb") as stream:
            try:
                self._container.upload_blob(
                    upload.blob,
                    stream,
                    length=upload.size_bytes,
                    overwrite=upload.replace,
                    content_settings=settings,
                    max_concurrency=CONNECTIONS,
                    progress_hook=tell,
                )
            except ResourceExistsError as error:
                raise RequestError(
                    f"somebody else has just uploaded {upload.blob!r}. Submit again."
                ) from error

    def _content(self, blob: str) -> tuple[int, bytes | None] | None:
        """Size and MD5 (where storage knows it) of a blob; None when there is none."""
        with translated(blob):
            try:
                found = self._container.get_blob_client(blob).get_blob_properties()
            except ResourceNotFoundError:
                return None
        md5 = found.content_settings.content_md5
        return found.size, bytes(md5) if md5 else None


def _files(folder: Path) -> Iterable[Path]:
    """The files below a folder; hidden ones stay here."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts):
            yield path


def _md5(file: Path) -> bytes:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).digest()
