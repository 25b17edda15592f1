"""Readings in CSV: lines of text under a header, as many at a time as Arrow reads without a fault."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from itertools import chain
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from sensors.errors import ReadingsError
from sensors.fields import REQUIRED, Faults, fields_of, table_of_rows, whole_table
from sensors.readings_file import ReadingsFile, cut, is_utf8


def read_csv(file: ReadingsFile, pieces: Iterator[bytes], faults: Faults) -> Iterator[Any]:
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
    for piece in chain([rest], pieces):
        if not piece.strip():
            continue
        yield from _csv_tables(file, piece, header, fields, faults)


def _csv_tables(
    file: ReadingsFile, piece: bytes, header: list[str], fields: dict[str, str], faults: Faults
) -> Iterator[Any]:
    table = _whole_csv(piece, header, fields)
    if table is not None:
        yield table
    elif smaller := cut(piece):
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
        if not is_utf8(content):
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
