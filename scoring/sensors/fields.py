"""Which field of a row is what: names of several writers, and the table that all of them become."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sensors.times import parse_times

NAMES: dict[str, tuple[str, ...]] = {
    "time": ("ts", "time", "timestamp", "windowend"),
    "device": ("device", "deviceid"),
    "tag": ("tag", "sensor"),
    "value": ("value", "val"),
    "id": ("id",),
    "partition": ("partition",),
    "sequence": ("sequence",),
    "index": ("index",),
    "enqueued": ("enqueued",),
}
"""What a field is called, without regard to case; where a row has several of these, the first counts."""
REQUIRED = ("time", "device", "tag", "value")

SCHEMA: Any = pa.schema(
    [
        pa.field("device", pa.string()),
        pa.field("tag", pa.string()),
        pa.field("time", pa.int64()),
        pa.field("value", pa.float64()),
        pa.field("id", pa.string()),
        pa.field("partition", pa.string()),
        pa.field("sequence", pa.int64()),
        pa.field("index", pa.int64()),
        pa.field("enqueued", pa.int64()),
    ]
)
"""Readings in a table: times in nanoseconds since 1970; the last five are null where the writer gave none."""
EXAMPLES = 20
EXAMPLE_CHARACTERS = 200


@dataclass
class Faults:
    """Rows that are no readings: how many for each reason, and the first of them."""

    reasons: Counter[str] = field(default_factory=Counter)
    examples: list[dict[str, str]] = field(default_factory=list)

    @property
    def rows(self) -> int:
        return self.reasons.total()

    def add(self, file: str, row: object, reason: str) -> None:
        self.reasons[reason] += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append({"file": file, "reason": reason, "row": str(row)[:EXAMPLE_CHARACTERS]})


def fields_of(names: Iterable[str]) -> dict[str, str]:
    """The name of each known field among the names of a row or of a header: {"time": "TS", …}."""
    lowered: dict[str, str] = {}
    for name in names:
        lowered.setdefault(name.lower(), name)
    found = {}
    for known, aliases in NAMES.items():
        match = next((lowered[alias] for alias in aliases if alias in lowered), None)
        if match is not None:
            found[known] = match
    return found


def whole_table(columns: Mapping[str, Any]) -> Any | None:
    """The table of columns that are all as they should be; None when a single row is not, or may not be.

    `columns` are Arrow arrays by known field, times as text; device, tag, id and partition may be integers.
    """
    if any(name not in columns or columns[name].null_count for name in REQUIRED):
        return None
    values = columns["value"].to_numpy()
    times, are_times = parse_times(columns["time"])
    if not (np.isfinite(values).all() and are_times.all()):
        return None
    texts = {
        name: columns[name].cast(pa.string())
        for name in ("device", "tag", "id", "partition")
        if name in columns
    }
    if any(pc.any(pc.equal(texts[name], "")).as_py() for name in ("device", "tag")):
        return None
    arrays: dict[str, Any] = {**texts, "time": pa.array(times), "value": columns["value"]}
    for name in ("sequence", "index"):
        if name in columns:
            arrays[name] = columns[name]
    if "enqueued" in columns:
        enqueued, known = parse_times(columns["enqueued"])
        if not known.all() and columns["enqueued"].null_count != int((~known).sum()):
            return None
        arrays["enqueued"] = pa.array(enqueued, mask=~known)
    return _table(arrays, len(values))


def table_of_rows(rows: Sequence[tuple[str, object, Mapping[str, Any]]], faults: Faults) -> Any:
    """The table of rows one by one, (file, what to show of it, fields); what is no reading goes to `faults`."""
    taken: list[dict[str, Any]] = []
    shown: list[tuple[str, object]] = []
    for file, row, values in rows:
        names = fields_of(values)
        given = {known: values[name] for known, name in names.items() if values[name] is not None}
        reason = _fault(given)
        if reason:
            faults.add(file, row, reason)
        else:
            taken.append(given)
            shown.append((file, row))
    times, good = parse_times(pa.array([row["time"] for row in taken], pa.string()))
    for place in np.flatnonzero(~good).tolist():
        faults.add(*shown[place], "the time is no ISO 8601 time of the years 1678 to 2261")
    taken = [row for row, is_good in zip(taken, good.tolist(), strict=True) if is_good]
    arrays: dict[str, Any] = {
        name: pa.array([_text(row.get(name)) for row in taken], pa.string())
        for name in ("device", "tag", "id", "partition")
    }
    arrays["time"] = pa.array(times[good])
    arrays["value"] = pa.array([float(row["value"]) for row in taken], pa.float64())
    for name in ("sequence", "index"):
        arrays[name] = pa.array([_whole(row.get(name)) for row in taken], pa.int64())
    enqueued, known = parse_times(pa.array([_text(row.get("enqueued")) for row in taken], pa.string()))
    arrays["enqueued"] = pa.array(enqueued, mask=~known)
    return _table(arrays, len(taken))


def _table(arrays: Mapping[str, Any], rows: int) -> Any:
    columns = [
        arrays[column.name] if column.name in arrays else pa.nulls(rows, column.type) for column in SCHEMA
    ]
    return pa.table(
        [column.cast(kind.type) for column, kind in zip(columns, SCHEMA, strict=True)], schema=SCHEMA
    )


def _fault(given: Mapping[str, Any]) -> str | None:
    """Why a row is no reading, as far as its fields tell one by one; None when it may be one."""
    for name in REQUIRED:
        if name not in given:
            return f"{name} is missing"
    for name in ("device", "tag"):
        value = given[name]
        if value == "" or isinstance(value, bool) or not isinstance(value, str | int) or _is_torn(value):
            return f"{name} is no name: text or a whole number"
    if not isinstance(given["time"], str) or _is_torn(given["time"]):
        return "time is no text"
    value = given["value"]
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "value is no number"
    try:
        finite = np.isfinite(float(value))
    except OverflowError:
        finite = False
    return None if finite else "value is not finite"


def _text(value: Any) -> str | None:
    if value is None or _is_torn(value):
        return None
    return value if isinstance(value, str) else str(value)


def _is_torn(value: object) -> bool:
    """Whether it is text with half a character in it, which JSON can write and nothing can store."""
    return isinstance(value, str) and any("\ud800" <= character <= "\udfff" for character in value)


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 63 else None
