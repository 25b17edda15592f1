"""Output files that are either whole or not there."""

from __future__ import annotations

import hashlib
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CHUNK_BYTES = 1 << 20
LONGEST_NAME_BYTES = 255
_TEMPORARY = re.compile(r"\..+\.(?P<host>[A-Za-z0-9-]+)\.(?P<pid>[0-9]+)\.part")
_swept: set[Path] = set()


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's content, in hex; the file is read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


@contextmanager
def whole_file(target: Path) -> Iterator[Path]:
    """A temporary path in the target's folder that becomes `target` when the block ends well.

    When the block raises, nothing stays. What killed writers of this machine left in the folder is removed
    before the first file. A reader that sees the target's name sees a whole file (on a mounted blob folder,
    where a rename is a copy, only a receipt can say so).
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(target.parent)
    temporary = target.with_name(_temporary_name(target.name))
    try:
        yield temporary
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def write_whole(target: Path, content: bytes) -> None:
    """Write `content` to `target`, wholly or not at all."""
    with whole_file(target) as temporary:
        temporary.write_bytes(content)


def _temporary_name(name: str) -> str:
    """A name for what becomes the file `name`; that of a long one is shortened, so that it is still a name."""
    ending = f".{_host()}.{os.getpid()}.part"
    encoded = name.encode(errors="surrogateescape")
    if len(encoded) + len(ending) + 1 > LONGEST_NAME_BYTES:
        name = hashlib.sha256(encoded).hexdigest()
    return f".{name}{ending}"


def worker_name() -> str:
    """`host:pid` of this process, as receipts name their worker."""
    return f"{_host()}:{os.getpid()}"


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname()) or "localhost"


def _remove_leftovers(folder: Path) -> None:
    """Remove what killed writers of this machine left in a folder; looked at once per process."""
    if folder in _swept:
        return
    _swept.add(folder)
    for entry in os.scandir(folder):
        match = _TEMPORARY.fullmatch(entry.name)
        if match and match["host"] == _host() and not _alive(int(match["pid"])):
            Path(entry.path).unlink(missing_ok=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
