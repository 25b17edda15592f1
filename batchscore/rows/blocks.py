"""Cutting a file of lines into blocks of about so many bytes, at the ends of lines, without reading all of it.

The rule is that of Azure ML's reader with `partition_size`: a line belongs to the block in which the line break
before it lies, the first line to the first block.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

CHUNK_BYTES = 1 << 20


class Block(NamedTuple):
    """Whole lines of a file: bytes from `start` to before `end`, `rows` of the lines not empty."""

    start: int
    end: int
    rows: int


def cut(stream: BinaryIO, size: int, first: int, block_bytes: int) -> Iterator[Block]:
    """The blocks of a file of `size` bytes whose rows begin at byte `first`; blocks without rows are left out."""
    start = first
    for begin in range(block_bytes, size + block_bytes, block_bytes):
        end = size if begin >= size else min(_line_after(stream, begin), size)
        if end <= start:
            continue
        rows = count_rows(stream, start, end)
        if rows:
            yield Block(start, end, rows)
        start = end


def _line_after(stream: BinaryIO, position: int) -> int:
    """Where the line begins that follows the first line break at `position` or after it."""
    stream.seek(position)
    while data := stream.read(CHUNK_BYTES):
        found = data.find(b"\n")
        if found >= 0:
            return position + found + 1
        position += len(data)
    return position


def count_rows(stream: BinaryIO, start: int, end: int) -> int:
    """How many lines between two bytes are not empty."""
    stream.seek(start)
    rows, rest, last = 0, end - start, b"\n"
    while rest and (data := stream.read(min(rest, CHUNK_BYTES))):
        rest -= len(data)
        rows += data.count(b"\n") - _empty_lines(last + data)
        last = data[-1:]
    return rows + (last != b"\n")


def _empty_lines(data: bytes) -> int:
    """How often a line break follows a line break directly."""
    if b"\n\n" not in data:
        return 0
    return sum(len(run) - 1 for run in _runs(data))


def _runs(data: bytes) -> Iterator[bytes]:
    position = data.find(b"\n\n")
    while position >= 0:
        end = position
        while data[end : end + 1] == b"\n":
            end += 1
        yield data[position:end]
        position = data.find(b"\n\n", end)
