"""A CSV of readings, with the columns TS, Device, Tag and Value, told again."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from batchscore.cli.simulated import Reading
from batchscore.errors import RequestError

COLUMNS = ("ts", "device", "tag", "value")


def read(file: Path) -> Iterator[Reading]:
    """The file's readings in its order; RequestError names the line that cannot be read. Times without a zone are UTC."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            rows = csv.reader(stream)
            header = [name.strip().lower() for name in next(rows, [])]
            missing = [name for name in COLUMNS if name not in header]
            if missing:
                raise RequestError(
                    f"{file} has no column {', '.join(missing)}. Its first line must name TS, Device, Tag and Value."
                )
            places = [header.index(name) for name in COLUMNS]
            for row in rows:
                if row:
                    yield _reading(file, rows.line_num, row, places)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RequestError(f"{file} cannot be read: {error}.") from error


def _reading(file: Path, line: int, row: list[str], places: list[int]) -> Reading:
    try:
        time, device, tag, value = (row[place].strip() for place in places)
        moment = datetime.fromisoformat(time)
        number = float(value)
    except IndexError:
        raise RequestError(
            f"{file}, line {line}: it has {len(row)} columns, fewer than the first line."
        ) from None
    except ValueError as error:
        raise RequestError(f"{file}, line {line}: {error}.") from None
    if not math.isfinite(number):
        raise RequestError(f"{file}, line {line}: the value {value!r} is not finite.")
    return Reading(moment if moment.tzinfo else moment.replace(tzinfo=UTC), device, tag, number)


def moved(file: Path, last: datetime | None) -> Iterator[Reading]:
    """The readings with all times moved by one span, so that the latest is at `last`; None leaves them."""
    by = timedelta(0)
    if last is not None:
        latest = max((reading.time for reading in read(file)), default=last)
        by = last - latest
    for reading in read(file):
        yield replace(reading, time=reading.time + by) if by else reading


def count(file: Path) -> int:
    """How many readings the file has; RequestError where one of them cannot be read, or there is none."""
    found = sum(1 for _ in read(file))
    if not found:
        raise RequestError(f"{file} has no readings.")
    return found
