"""Files of readings as tables, a piece at a time: JSON lines, a JSON array, or CSV, told apart by how they begin."""

from __future__ import annotations

import codecs
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import pyarrow as pa
import pyarrow.json

from sensors import readings_file
from sensors.csv_readings import read_csv
from sensors.errors import ReadingsError
from sensors.fields import REQUIRED, Faults, fields_of, table_of_rows, whole_table
from sensors.readings_file import ReadingsFile, cut, is_utf8, pieces_of

_BOM = b"\xef\xbb\xbf"
_ARROW_TYPES = {str: pa.string(), int: pa.int64()}
_KINDS: dict[str, tuple[type, ...]] = {
    "time": (str,),
    "device": (str, int),
    "tag": (str, int),
    "value": (int, float),
    "id": (str, int),
    "partition": (str, int),
    "sequence": (int,),
    "index": (int,),
    "enqueued": (str,),
}


def read_tables(files: Iterable[ReadingsFile], faults: Faults) -> Iterator[Any]:
    """Tables (`fields.SCHEMA`) of all readings of the files, in order; rows that are none go to `faults`.

    Rows that are all well are read by Arrow, a piece of several megabytes at a time, small files together. What
    is around a row that is not is read again row by row, which is slow and tells each one's fault. Memory does not
    grow with the files. ReadingsError when a file is not the one that it must be, or of no known form.
    """
    lines = _Lines(faults)
    for file in files:
        pieces = pieces_of(file)
        first = next((piece for each in pieces if (piece := each.removeprefix(_BOM).lstrip())), b"")
        start = first[:1]
        if start == b"[":
            yield from lines.flush()
            yield from _array(file, chain([first], pieces), faults)
        elif start == b"{":
            for piece in chain([first], pieces):
                yield from lines.add(file.name, piece)
        elif start:
            yield from lines.flush()
            yield from read_csv(file, chain([first], pieces), faults)
    yield from lines.flush()


_Shape = tuple[tuple[str, str, Any], ...]
"""Known field, its name and its Arrow type."""


@dataclass
class _Lines:
    """JSON lines of one shape (the same fields of the same kinds), gathered until they are worth a call of Arrow."""

    faults: Faults
    shape: _Shape | None = None
    parts: list[tuple[str, bytes]] = field(default_factory=list)
    size: int = 0

    def add(self, file: str, piece: bytes) -> Iterator[Any]:
        shape = _shape(piece)
        if self.parts and shape != self.shape:
            yield from self.flush()
        self.shape = shape
        self.parts.append((file, piece if piece.endswith(b"\n") else piece + b"\n"))
        self.size += len(piece)
        if self.size >= readings_file.PIECE_BYTES:
            yield from self.flush()

    def flush(self) -> Iterator[Any]:
        parts, self.parts, self.size = self.parts, [], 0
        if parts:
            yield from self._tables(self.shape, parts)

    def _tables(self, shape: _Shape | None, parts: Sequence[tuple[str, bytes]]) -> Iterator[Any]:
        table = self._whole(shape, parts) if shape else None
        if table is not None:
            yield table
        elif smaller := _smaller(parts):
            for part in smaller:
                yield from self._tables(_shape(part[1]), [part])
        else:
            yield from _rows_of_lines(parts, self.faults)

    def _whole(self, shape: _Shape, parts: Sequence[tuple[str, bytes]]) -> Any | None:
        content = b"".join(piece for _, piece in parts)
        if not is_utf8(content):
            return None
        schema = pa.schema([(name, kind) for _, name, kind in shape])
        try:
            table = pyarrow.json.read_json(
                io.BytesIO(content),
                parse_options=pyarrow.json.ParseOptions(explicit_schema=schema),
            )
        except pa.ArrowInvalid:
            return None
        if fields_of(table.column_names) != {known: name for known, name, _ in shape}:
            return None  # a later line calls a field by another name
        return whole_table({known: table[name].combine_chunks() for known, name, _ in shape})


def _smaller(parts: Sequence[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    """The same lines in more parts; none when there are few of them."""
    if len(parts) > 1:
        return list(parts)
    ((file, piece),) = parts
    return [(file, each) for each in cut(piece)]


def _shape(piece: bytes) -> _Shape | None:
    """The shape of the first line; None when it cannot be told. What it lacks may be in later lines, by its own name."""
    end = piece.find(b"\n")
    try:
        row = json.loads(piece[: end if end >= 0 else len(piece)])
    except (ValueError, RecursionError):
        return None
    if not isinstance(row, dict):
        return None
    names = fields_of(row)
    if not names.keys() >= set(REQUIRED):
        return None
    shape = []
    for known, kinds in _KINDS.items():
        name = names.get(known, known)
        kind = type(row[name]) if known in names else kinds[0]
        if kind not in kinds:
            return None
        shape.append((known, name, pa.float64() if known == "value" else _ARROW_TYPES[kind]))
    return tuple(shape)


def _rows_of_lines(parts: Iterable[tuple[str, bytes]], faults: Faults) -> Iterator[Any]:
    for file, piece in parts:
        rows: list[tuple[str, object, dict[str, Any]]] = []
        for line in piece.split(b"\n"):
            line = line.strip()
            if not line:
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                row = None
            if isinstance(row, dict):
                rows.append((file, row, row))
            else:
                faults.add(file, line.decode(errors="replace"), "the line is no JSON object")
        yield table_of_rows(rows, faults)


def _array(file: ReadingsFile, pieces: Iterator[bytes], faults: Faults) -> Iterator[Any]:
    """A JSON array of objects, decoded one by one. One that is not closed (yet) is counted as a fault."""
    decode = codecs.getincrementaldecoder("utf-8")().decode
    decoder = json.JSONDecoder()
    text, opened, closed = "", False, False
    for piece in pieces:
        try:
            text += decode(piece)
        except UnicodeDecodeError as error:
            raise ReadingsError(f"{file.name} is not UTF-8: {error}.") from None
        rows: list[tuple[str, object, dict[str, Any]]] = []
        place = 0
        while not closed:
            place = _skip(text, place, " \t\r\n," if opened else " \t\r\n")
            if place == len(text):
                break
            if not opened or text[place] == "]":
                opened, closed, place = True, opened, place + 1
                continue
            try:
                row, place = decoder.raw_decode(text, place)
            except (ValueError, RecursionError):
                break  # the rest of it may be in the next piece
            if isinstance(row, dict):
                rows.append((file.name, row, row))
            else:
                faults.add(file.name, row, "the element is no JSON object")
        text = text[place:].lstrip()
        if len(text) > readings_file.LONGEST_ROW_BYTES or (closed and text):
            break
        yield table_of_rows(rows, faults)
    if text:
        raise ReadingsError(f"{file.name} is no JSON array from {text[:60]!r} on.")
    if not closed:
        faults.add(file.name, "", "the array is not closed; is the file still written?")


def _skip(text: str, place: int, blanks: str) -> int:
    while place < len(text) and text[place] in blanks:
        place += 1
    return place
