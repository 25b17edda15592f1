"""A file of readings in pieces that end with a line, and whether it is the file that it must be."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sensors.errors import ReadingsError

PIECE_BYTES = 8 << 20
CUTS = 16
FEW_BYTES = 64 << 10
"""A piece in which something is wrong is cut into so many until it has so few bytes: the rest of it is read by Arrow."""
LONGEST_ROW_BYTES = 64 << 20


@dataclass(frozen=True)
class ReadingsFile:
    """A file of readings; size and MD5 (base64) are those that it must have, where somebody knows them."""

    path: Path
    name: str
    size_bytes: int | None = None
    md5: str | None = None


def pieces_of(file: ReadingsFile) -> Iterator[bytes]:
    """The content in pieces that end with a line; checks at its end that it was the file it must be."""
    digest = hashlib.md5(usedforsecurity=False)
    kept = b""
    try:
        # As much memory as the file needs: of small ones there are thousands.
        wanted = min(PIECE_BYTES, file.path.stat().st_size + 1)
        with file.path.open("rb", buffering=0) as stream:
            while block := stream.read(wanted):
                if file.md5 is not None:
                    digest.update(block)
                cut = block.rfind(b"\n") + 1
                if cut:
                    yield kept + block[:cut]
                    kept = block[cut:]
                else:
                    kept += block
                if len(kept) > LONGEST_ROW_BYTES:
                    if kept.lstrip()[:1] != b"[":
                        raise ReadingsError(
                            f"{file.name}: a line is longer than {LONGEST_ROW_BYTES >> 20} MiB; is it a file of readings?"
                        )
                    yield kept
                    kept = b""
    except FileNotFoundError:
        raise ReadingsError(f"{file.name} is missing: the manifest names it, and it is not there.") from None
    if kept:
        yield kept
    found = file.path.stat().st_size
    if file.size_bytes is not None and found != file.size_bytes:
        raise ReadingsError(
            f"{file.name} has {found} bytes; the manifest says {file.size_bytes}. It was changed after it was listed."
        )
    md5 = base64.b64encode(digest.digest()).decode()
    if file.md5 is not None and md5 != file.md5:
        raise ReadingsError(
            f"{file.name} has the MD5 {md5}; the manifest says {file.md5}. It was changed after it was listed."
        )


def cut(piece: bytes) -> list[bytes]:
    """The same lines in CUTS pieces or so, each with an end of a line at its end; none when there are few of them."""
    if len(piece) <= FEW_BYTES:
        return []
    pieces, begin = [], 0
    while begin < len(piece):
        end = piece.find(b"\n", begin + len(piece) // CUTS) + 1 or len(piece)
        pieces.append(piece[begin:end])
        begin = end
    return pieces if len(pieces) > 1 else []


def is_utf8(content: bytes) -> bool:
    if content.isascii():
        return True
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True
