"""Files of readings as tables, a piece at a time: JSON lines, a JSON array, or CSV, told apart by how they begin."""

from __future__ import annotations

import base64
import codecs
import csv
import hashlib
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.json

from sensors.errors import ReadingsError
from sensors.fields import REQUIRED, Faults, fields_of, table_of_rows, whole_table

PIECE_BYTES = 8 << 20
CUTS = 16
FEW_BYTES = 64 << 10
"""A piece in which something is wrong is cut into so many until it has so few bytes: the rest of it is read by Arrow."""
LONGEST_ROW_BYTES = 64 << 20
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


@dataclass(frozen=True)
class ReadingsFile:
    """A file of readings; size and MD5 (base64) are those that it must have, where somebody knows them."""

    path: Path
    name: str
    size_bytes: int | None = None
    md5: str | None = None


def read_tables(files: Iterable[ReadingsFile], faults: Faults) -> Iterator[Any]:
    """Tables (`fields.SCHEMA`) of all readings of the files, in order; rows that are none go to `faults`.

    Rows that are all well are read by Arrow, a piece of several megabytes at a time, small files together. What
    is around a row that is not is read again row by row, which is slow and tells each one's fault. Memory does not
    grow with the files. ReadingsError when a file is not the one that it must be, or of no known form.
    """
    lines = _Lines(faults)
    for file in files:
        pieces = _pieces(file)
        first = next((piece for each in pieces if (piece := each.removeprefix(_BOM).lstrip())), b"")
        start = first[:1]
        if start == b"[":
            yield from lines.flush()
            yield from _array(file, _chain(first, pieces), faults)
        elif start == b"{":
            for piece in _chain(first, pieces):
                yield from lines.add(file.name, piece)
        elif start:
            yield from lines.flush()
            yield from _csv(file, _chain(first, pieces), faults)
    yield from lines.flush()


def _chain(first: bytes, rest: Iterable[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


def _pieces(file: ReadingsFile) -> Iterator[bytes]:
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
        if self.size >= PIECE_BYTES:
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
        if not _is_utf8(content):
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
    return [(file, each) for each in _cut(piece)]


def _cut(piece: bytes) -> list[bytes]:
    """The same lines in CUTS pieces or so, each with an end of a line at its end; none when there are few of them."""
    if len(piece) <= FEW_BYTES:
        return []
    pieces, begin = [], 0
    while begin < len(piece):
        end = piece.find(b"\n", begin + len(piece) // CUTS) + 1 or len(piece)
        pieces.append(piece[begin:end])
        begin = end
    return pieces if len(pieces) > 1 else []


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


def _is_utf8(content: bytes) -> bool:
    if content.isascii():
        return True
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


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
        if len(text) > LONGEST_ROW_BYTES or (closed and text):
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


def _csv(file: ReadingsFile, pieces: Iterator[bytes], faults: Faults) -> Iterator[Any]:
    """Lines of text with a header."""
    first = next(pieces)
    head, _, rest = first.partition(b"\n")
    header = _split(head.decode(errors="replace").rstrip("\r"))
    fields = fields_of(header)
    if missing := [name for name in REQUIRED if name not in fields]:
        raise ReadingsError(
            f"{file.name} begins with {head.decode(errors='replace')[:100]!r}: neither JSON nor a header with "
            f"columns TS, Device, Tag and Value (no {', '.join(missing)})."
        )
    if len(set(header)) != len(header):
        raise ReadingsError(
            f"{file.name}: the header {head.decode(errors='replace')[:100]!r} has a name twice."
        )
    for piece in _chain(rest, pieces):
        if not piece.strip():
            continue
        yield from _csv_tables(file, piece, header, fields, faults)


def _csv_tables(
    file: ReadingsFile, piece: bytes, header: list[str], fields: dict[str, str], faults: Faults
) -> Iterator[Any]:
    table = _whole_csv(piece, header, fields)
    if table is not None:
        yield table
    elif smaller := _cut(piece):
        for each in smaller:
            yield from _csv_tables(file, each, header, fields, faults)
    else:
        yield _rows_of_csv(file, piece, header, fields, faults)


def _rows_of_csv(
    file: ReadingsFile, piece: bytes, header: list[str], fields: dict[str, str], faults: Faults
) -> Any:
    rows: list[tuple[str, object, dict[str, Any]]] = []
    for content in piece.split(b"\n"):
        line = content.decode(errors="replace").rstrip("\r")
        if not line.strip():
            continue
        values = _split(line)
        if not _is_utf8(content):
            faults.add(file.name, line, "the line is not UTF-8")
        elif len(values) != len(header):
            faults.add(file.name, line, f"the line has not {len(header)} fields")
        else:
            rows.append((file.name, line, _typed(dict(zip(header, values, strict=True)), fields)))
    return table_of_rows(rows, faults)


def _split(line: str) -> list[str]:
    """The fields of a line; none of one that is no CSV."""
    try:
        return next(csv.reader([line]))
    except csv.Error:
        return []


def _whole_csv(piece: bytes, header: list[str], fields: dict[str, str]) -> Any | None:
    kinds = {
        name: pa.float64()
        if known == "value"
        else pa.int64()
        if known in ("sequence", "index")
        else pa.string()
        for known, name in fields.items()
    }
    try:
        table = pyarrow.csv.read_csv(
            io.BytesIO(piece),
            read_options=pyarrow.csv.ReadOptions(column_names=header),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=kinds, include_columns=list(kinds), null_values=[]
            ),
        )
    except pa.ArrowInvalid:
        return None
    columns = {known: table[name].combine_chunks() for known, name in fields.items()}
    for name in {"id", "partition", "enqueued"} & columns.keys():
        if pc.any(pc.equal(columns[name], "")).as_py():
            return None  # an empty field is none, which is for the reader of single rows
    return whole_table(columns)


def _typed(values: dict[str, Any], fields: dict[str, str]) -> dict[str, Any]:
    """A row of text with numbers where they must be; what is no number stays text, and empty fields are none."""
    typed: dict[str, Any] = {}
    for known, name in fields.items():
        text = values[name]
        typed[name] = text if text != "" else None
        try:
            if known == "value" and text and "_" not in text:
                typed[name] = float(text)
            elif known in ("sequence", "index") and text:
                typed[name] = int(text)
        except ValueError:
            pass
    return typed
