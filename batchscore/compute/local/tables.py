"""A table as the items of a parallel step: its files found, their rows typed and cut into mini-batches.

Lines of text are cut where Azure ML's reader cuts them (batchscore.rows.blocks), Parquet files into their row
groups; a mini-batch lies in one file, unless `partition_keys` gathers the files whose paths have the same values.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from batchscore.compute.local.minibatches import MiniBatch, items_in, split
from batchscore.definitions.mltable import FILE_NAME, Source, Table
from batchscore.errors import BatchscoreError
from batchscore.rows import blocks, delimited, encodings, kinds, partition_format, reader

FILES_OF_A_MINI_BATCH = 10
TABLE_BYTES = 1 << 20
"""How large a mini-batch is when nothing is said."""


class TableError(BatchscoreError):
    """A table's files are not what its MLTable file says; the text begins with the file."""


@dataclass(frozen=True)
class Items:
    """What a table gives a parallel step. `table` is what its workers are told, None when items are files."""

    batches: list[MiniBatch]
    table: dict[str, Any] | None


@dataclass(frozen=True)
class _File:
    name: str
    path: Path
    path_columns: Mapping[str, Any]


@dataclass(frozen=True)
class _Opened:
    """A delimited file with its header read: rows begin at byte `first`, or after `header_rows` records."""

    file: _File
    header: list[str]
    first: int = 0
    header_rows: int = 0


def plan(table: Table, size: int | None, keys: tuple[str, ...]) -> Items:
    """The mini-batches of a table. TableError says what is wrong with its files."""
    form = None if table.partition_format is None else partition_format.parsed(table.partition_format)
    names = () if form is None else form.names
    for key in keys:
        if key not in names:
            raise TableError(
                f"{table.file}: partition_keys names {key!r}, and Azure ML finds keys in paths only: "
                f"{'its partition_format has ' + ', '.join(names) if names else 'it has no partition_format'}."
            )
    files = [_with_path_columns(name, table, form, keys) for name in _names(table)]
    if table.format is None:
        return Items(_files_in_groups(files, size or FILES_OF_A_MINI_BATCH, keys), None)
    told: dict[str, Any] = {
        "format": table.format,
        "encoding": table.encoding,
        "delimiter": table.delimiter,
        "empty_as_string": table.empty_as_string,
        "multi_line": table.multi_line,
        "drop_invalid": table.drop_invalid,
        "path_column": table.path_column,
        "path_columns_last": table.partition_columns_last,
        "times": [name for name, _ in form.times] if form else [],
        "kinds": {},
        "steps": list(table.steps),
    }
    if table.format == "parquet":
        parts = _row_groups(files)
    elif table.format == "json_lines":
        parts = _line_blocks((_Opened(file, []) for file in files), table, sys.maxsize if keys else size)
    else:
        opened = list(_opened(files, table))
        told["kinds"] = _kinds(opened, table, told)
        parts = _line_blocks(opened, table, sys.maxsize if keys else size)
    return Items(_grouped(_windowed(parts, table.take), keys), told)


def _names(table: Table) -> list[str]:
    names = [name for source in table.sources for name in _found(table, source)]
    if not names:
        raise TableError(f"{table.file}: it names no files that are there.")
    return names


def _found(table: Table, source: Source) -> list[str]:
    folder = table.folder
    if source.kind == "file":
        if not (folder / source.text).is_file():
            raise TableError(f"{table.file}:{source.line}: there is no file {source.text!r} in {folder}.")
        return [Path(source.text).as_posix()]
    if source.kind == "folder":
        if not (folder / source.text).is_dir():
            raise TableError(f"{table.file}:{source.line}: there is no folder {source.text!r} in {folder}.")
        below = Path(source.text)
        found = [(below / name).as_posix() for name in items_in(folder / below)]
    else:
        found = sorted(
            path.relative_to(folder).as_posix() for path in folder.glob(source.text) if path.is_file()
        )
    found = [name for name in found if name != FILE_NAME]
    if not found:
        raise TableError(
            f"{table.file}:{source.line}: no file matches {source.kind} {source.text!r} in {folder}."
        )
    return found


def _with_path_columns(
    name: str, table: Table, form: partition_format.PartitionFormat | None, keys: tuple[str, ...]
) -> _File:
    if form is None:
        return _File(name, table.folder / name, {})
    values = form.values(name)
    if values is None and keys:
        raise TableError(
            f"{table.file}: the path {name!r} does not fit partition_format {table.partition_format!r}."
        )
    return _File(name, table.folder / name, values or dict.fromkeys(form.names))


def _files_in_groups(files: list[_File], size: int, keys: tuple[str, ...]) -> list[MiniBatch]:
    if not keys:
        return split([file.name for file in files], size)
    groups: dict[tuple[Any, ...], list[str]] = {}
    for file in files:
        groups.setdefault(tuple(file.path_columns[key] for key in keys), []).append(file.name)
    return [
        MiniBatch(index, tuple(names), keys=dict(zip(keys, values, strict=True)))
        for index, (values, names) in enumerate(groups.items())
    ]


def _opened(files: Iterable[_File], table: Table) -> Iterator[_Opened]:
    """The files with their headers; empty ones are left out."""
    shared: list[str] | None = None
    for file in files:
        own = table.header != "no_header" and (shared is None or table.header != "from_first_file")
        names, first = _first_record(file, table)
        if names is None:
            continue
        header = delimited.header(names) if own else []
        if table.header != "all_files_different_headers":
            shared = header if shared is None else shared
            header = shared
        whole = _is_whole(table)
        yield _Opened(file, header, first if own and not whole else 0, 1 if own and whole else 0)


def _is_whole(table: Table) -> bool:
    """Whether a file of this table is one mini-batch, as Azure ML's reader does not cut it."""
    return table.multi_line or encodings.CODECS[table.encoding] == encodings.UTF16


def _first_record(file: _File, table: Table) -> tuple[delimited.Fields | None, int]:
    """The fields of a file's first record (None when there is none), and the byte after it."""
    with file.path.open("rb") as stream:
        if _is_whole(table):
            return next(iter(_whole_records(stream.read(), file, table)), None), 0
        position = 0
        for line in stream:
            position += len(line)
            if position == len(line):
                line = line.removeprefix(encodings.BYTE_ORDER_MARK)
            if line != b"\n" and line:
                text = _text(line, file, table).removesuffix("\n").removesuffix("\r")
                return delimited.fields(text, table.delimiter), position
    return None, 0


def _whole_records(data: bytes, file: _File, table: Table) -> Iterator[delimited.Fields]:
    text = _text(data.removeprefix(encodings.BYTE_ORDER_MARK), file, table)
    empty = "" if table.empty_as_string else None
    if table.multi_line:
        return delimited.records(text, table.delimiter, empty)
    return (delimited.fields(line, table.delimiter, empty) for line in delimited.lines(text))


def _text(data: bytes, file: _File, table: Table) -> str:
    try:
        return encodings.decoded(data, table.encoding)
    except encodings.DecodingError as error:
        raise TableError(
            f"{file.path}: {error} (the table's encoding). Correct encoding in {table.file}."
        ) from None


def _kinds(opened: list[_Opened], table: Table, told: dict[str, Any]) -> dict[str, list[Any]]:
    """The type of each column: inferred from the first records of all files, then what the table tells."""
    found: dict[str, kinds.Kind] = {}
    if table.sample_rows is not None:
        columns: dict[str, list[str | None]] = {}
        for record in islice(_all_records(opened, table, told), table.sample_rows):
            for name, value in record.items():
                columns.setdefault(name, []).append(value)
        found = {name: kinds.inferred(values) for name, values in columns.items()}
        found.pop(reader.PATH_COLUMN if table.path_column else "", None)
    for selection, kind in table.told_kinds:
        names = list(dict.fromkeys([*found, *(name for each in opened for name in each.header)]))
        found.update(dict.fromkeys(reader.selected(names, selection), kind))
    return {name: list(kind) for name, kind in found.items() if kind != kinds.Kind()}


def _all_records(opened: list[_Opened], table: Table, told: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for each in opened:
        before, _ = reader.path_values(told, {"file": "", "path_columns": each.file.path_columns})
        texts = {name: value for name, value in before.items() if name not in told["times"]}
        for fields in _records_of(each, table):
            names = [delimited.column(each.header, index) for index in range(len(fields))]
            yield {**texts, **dict(zip(names, fields, strict=True))}


def _records_of(each: _Opened, table: Table) -> Iterator[delimited.Fields]:
    with each.file.path.open("rb") as stream:
        if _is_whole(table):
            yield from islice(_whole_records(stream.read(), each.file, table), each.header_rows, None)
            return
        stream.seek(each.first)
        for line in stream:
            text = _text(line, each.file, table)
            text = text.removeprefix("\ufeff") if each.first == 0 else text
            for row in delimited.lines(text):
                yield delimited.fields(row, table.delimiter, "" if table.empty_as_string else None)


def _line_blocks(
    opened: Iterable[_Opened], table: Table, size: int | None
) -> Iterator[tuple[dict[str, Any], int, str]]:
    """The parts of files of lines, with their numbers of rows and what people call them."""
    for each in opened:
        file = each.file
        length = file.path.stat().st_size
        if not length:
            continue
        part = _part(file) | {"header": each.header, "header_rows": each.header_rows}
        if _is_whole(table):
            rows = sum(1 for _ in _records_of(each, table)) if table.format == "delimited" else 0
            yield part | {"start": 0, "end": length}, rows, file.name
            continue
        with file.path.open("rb") as stream:
            for block in blocks.cut(stream, length, each.first, min(size or TABLE_BYTES, length)):
                place = {"start": block.start, "end": block.end}
                yield part | place, block.rows, f"{file.name} (bytes {block.start} to {block.end})"


def _row_groups(files: list[_File]) -> Iterator[tuple[dict[str, Any], int, str]]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise TableError(
            f"Parquet files need the package pyarrow, which is not installed for {sys.executable}. "
            f"Install it there: {sys.executable} -m pip install pyarrow"
        ) from None
    for file in files:
        try:
            metadata = parquet.read_metadata(file.path)
        except (ArrowException, OSError) as error:
            raise TableError(f"{file.path}: it is not a Parquet file ({error}).") from None
        for group in range(metadata.num_row_groups):
            rows = metadata.row_group(group).num_rows
            if rows:
                yield _part(file) | {"group": group}, rows, f"{file.name} (row group {group})"


def _part(file: _File) -> dict[str, Any]:
    return {"file": str(file.path), "name": file.name, "path_columns": dict(file.path_columns)}


def _windowed(
    parts: Iterable[tuple[dict[str, Any], int, str]], steps: tuple[tuple[str, int], ...]
) -> Iterator[tuple[dict[str, Any], int, str]]:
    """The parts that `skip` and `take` leave, counted over all files together."""
    first, last = 0, sys.maxsize
    for name, count in steps:
        first, last = (first + count, last) if name == "skip" else (first, min(last, first + count))
    position = 0
    for part, rows, label in parts:
        begin, end = max(first - position, 0), min(last - position, rows)
        position += rows
        if begin < end:
            window = {} if (begin, end) == (0, rows) else {"skip": begin, "take": end - begin}
            yield part | window, end - begin, label
        if position >= last:
            return


def _grouped(parts: Iterable[tuple[dict[str, Any], int, str]], keys: tuple[str, ...]) -> list[MiniBatch]:
    if not keys:
        return [MiniBatch(index, (label,), rows, (part,)) for index, (part, rows, label) in enumerate(parts)]
    groups: dict[tuple[Any, ...], list[tuple[dict[str, Any], int, str]]] = {}
    for part in parts:
        groups.setdefault(tuple(part[0]["path_columns"][key] for key in keys), []).append(part)
    return [
        MiniBatch(
            index,
            items=tuple(label for _, _, label in group),
            rows=sum(rows for _, rows, _ in group),
            parts=tuple(part for part, _, _ in group),
            keys=dict(zip(keys, values, strict=True)),
        )
        for index, (values, group) in enumerate(groups.items())
    ]
