"""Reading one mini-batch of a table: parts of files -> rows, transformed -> the DataFrame that `run()` is handed.

A *table* is what all mini-batches of a step share, a *part* where some rows of one of them lie; both are plain
JSON, for they travel to the worker. A table: `format` (delimited, json_lines, parquet), `encoding`, `delimiter`,
`empty_as_string`, `multi_line`, `drop_invalid`, `path_column`, `path_columns_last`, `times` (columns from paths
that are times), `kinds` (column -> Kind) and `steps`, a list of transformations. A part: `file`, `name` (its name
in the input), `start` and `end` or `group`, `skip`, `take`, `header`, `header_rows`, and `path_columns`, the values
of columns that come from its path.
"""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any, NamedTuple

from . import conditions, delimited, frames, json_lines, kinds
from .encodings import BYTE_ORDER_MARK, decoded
from .frames import Column, frame
from .kinds import Kind

PATH_COLUMN = "Path"


class Rows(NamedTuple):
    """What a mini-batch is: its DataFrame, how many rows, and remarks for the log."""

    frame: Any
    length: int
    remarks: tuple[str, ...]


def read(table: dict[str, Any], parts: list[dict[str, Any]]) -> Rows:
    """The rows of a mini-batch. A ValueError names the file that cannot be read and why."""
    if table["format"] == "parquet":
        return _parquet(table, parts)
    raw: list[dict[str, Any]] = []
    for part in parts:
        try:
            raw += _records(table, part)
        except (OSError, ValueError) as error:
            raise ValueError(f"{part['name']}: {error}") from None
    remarks: tuple[str, ...] = ()
    if table["format"] == "delimited":
        columns = _typed(raw, table)
    else:
        values, shapes, lost = json_lines.columns(raw)
        columns = {name: Column(_kind_of(shapes[name].name), values[name]) for name in values}
        remarks = tuple(
            f"column {name!r}: {count} values of another type than the first became null, as on Azure ML"
            for name, count in lost.items()
        )
    for name in table["times"]:
        if name in columns:
            columns[name] = Column(kinds.DATETIME, [row.get(name) for row in raw])
    length = len(raw)
    for step in table["steps"]:
        columns, length = _transformed(columns, length, step, parts)
    return Rows(frame(columns, length), length, remarks)


def _typed(raw: list[dict[str, Any]], table: dict[str, Any]) -> dict[str, Column]:
    told = {name: Kind(*kind) for name, kind in table["kinds"].items()}
    columns = {}
    for name in dict.fromkeys(name for row in raw for name in row):
        kind = told.get(name, Kind())
        columns[name] = Column(kind.name, kinds.converted([row.get(name) for row in raw], kind))
    return columns


def _records(table: dict[str, Any], part: dict[str, Any]) -> list[dict[str, Any]]:
    with Path(part["file"]).open("rb") as stream:
        stream.seek(part["start"])
        data = stream.read(part["end"] - part["start"])
    if part["start"] == 0:
        data = data.removeprefix(BYTE_ORDER_MARK)
    text = decoded(data, table["encoding"])
    before, after = path_values(table, part)
    result: list[dict[str, Any]] = []
    if table["format"] == "json_lines":
        result = [
            {**before, **row, **after}
            for row in json_lines.records(delimited.lines(text), table["drop_invalid"])
        ]
    else:
        split = delimited.records if table["multi_line"] else None
        header: list[str] = part["header"]
        empty: str | None = "" if table["empty_as_string"] else None
        found = (
            split(text, table["delimiter"], empty)
            if split
            else (delimited.fields(line, table["delimiter"], empty) for line in delimited.lines(text))
        )
        known = len(header)
        for fields in found:
            names = (
                header if len(fields) <= known else [delimited.column(header, i) for i in range(len(fields))]
            )
            result.append({**before, **dict(zip(names, fields, strict=False)), **after})
        result = result[part["header_rows"] :]
    first = part.get("skip", 0)
    last = part.get("take")
    return result[first : None if last is None else first + last]


def path_values(table: dict[str, Any], part: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The columns that come from a part's path, those before the file's own and those after them."""
    path = {PATH_COLUMN: part["file"]} if table["path_column"] else {}
    if table["path_columns_last"]:
        return path, part["path_columns"]
    return {**path, **part["path_columns"]}, {}


def _kind_of(name: str) -> str:
    return {
        "int": kinds.INTEGER,
        "float": kinds.FLOAT,
        "bool": kinds.BOOLEAN,
        "str": kinds.STRING,
        "": "",
    }.get(name, frames.NESTED)


def _transformed(
    columns: dict[str, Column], length: int, step: dict[str, Any], parts: list[dict[str, Any]]
) -> tuple[dict[str, Column], int]:
    name, value = next(iter(step.items()))
    if name in ("keep_columns", "drop_columns"):
        chosen = set(selected(list(columns), value))
        keep = name == "keep_columns"
        return {each: column for each, column in columns.items() if (each in chosen) == keep}, length
    if name == "convert_column_types":
        for selection, told in value:
            kind = Kind(*told)
            for each in selected(list(columns), selection):
                old = columns[each]
                columns[each] = Column(kind.name, kinds.converted(old.values, kind, old.kind))
        return columns, length
    mask = kept_rows(columns, length, step, parts)
    rest = {each: Column(column.kind, _chosen(column.values, mask)) for each, column in columns.items()}
    return rest, sum(mask)


def _chosen(values: list[Any], mask: list[bool]) -> list[Any]:
    return [value for value, keep in zip(values, mask, strict=True) if keep]


def kept_rows(
    columns: dict[str, Column], length: int, step: dict[str, Any], parts: list[dict[str, Any]]
) -> list[bool]:
    """Which rows a `filter` or a `take_random_sample` keeps."""
    name, value = next(iter(step.items()))
    if name == "filter":
        test = conditions.parsed(value)
        names = list(columns)
        values = [columns[each].values for each in names]
        rows = zip(*values, strict=True) if names else iter([()] * length)
        return [test(dict(zip(names, row, strict=False))) is True for row in rows]
    place = f"{value['seed']}:{parts[0]['name']}:{parts[0].get('start', parts[0].get('group'))}"
    dice = random.Random(place)  # noqa: S311  # the same rows at every try
    return [dice.random() < value["probability"] for _ in range(length)]


def selected(names: list[str], selection: Any) -> list[str]:
    """The columns that a selection means: a name, names, or a pattern."""
    if isinstance(selection, dict):
        pattern = re.compile(selection["pattern"], re.IGNORECASE if selection.get("ignore_case") else 0)
        invert = bool(selection.get("invert"))
        return [name for name in names if bool(pattern.search(name)) != invert]
    wanted = [selection] if isinstance(selection, str) else selection
    return [name for name in names if name in wanted]


def _parquet(table: dict[str, Any], parts: list[dict[str, Any]]) -> Rows:
    package, module = frames.pandas(), frames.pyarrow("pyarrow.parquet")
    found = []
    for part in parts:
        try:
            with module.ParquetFile(part["file"]) as file:
                rows = file.read_row_group(part["group"]).replace_schema_metadata(None)
        except (OSError, ValueError) as error:
            raise ValueError(f"{part['name']}: {error}") from None
        first, last = part.get("skip", 0), part.get("take")
        data = rows.slice(first, last).to_pandas()
        before, after = path_values(table, part)
        for position, (name, value) in enumerate(before.items()):
            data.insert(position, name, package.Timestamp(value) if name in table["times"] else value)
        for name, value in after.items():
            data[name] = package.Timestamp(value) if name in table["times"] else value
        found.append(data)
    data = found[0] if len(found) == 1 else package.concat(found, ignore_index=True)
    for step in table["steps"]:
        name, value = next(iter(step.items()))
        if name in ("keep_columns", "drop_columns"):
            chosen = set(selected(list(data.columns), value))
            data = data[[each for each in data.columns if (each in chosen) == (name == "keep_columns")]]
        else:
            columns = {each: Column("", data[each].tolist()) for each in data.columns}
            data = data[kept_rows(columns, len(data), step, parts)]
    return Rows(data.reset_index(drop=True), len(data), ())
