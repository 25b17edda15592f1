"""Entry script of the gather step: readings in files become values of sensors in shards."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import pyarrow.compute as pc

from common.output_files import write_whole
from sensors.aggregate import SensorBlock, aggregate
from sensors.buckets import Buckets
from sensors.errors import ReadingsError, SensorsError
from sensors.fields import Faults
from sensors.intervals import AGGREGATIONS, NONE, Hour, interval_ns
from sensors.manifest import files_of_folder, files_of_manifest
from sensors.readings import read_tables
from sensors.readings_file import ReadingsFile
from sensors.shards import SUFFIX, shard_paths, write_shard

COUNTS = "counts.json"
SHARD_INPUT_BYTES = 64 << 20
"""A shard is made of about so much input at most, whatever number was asked for: it has to fit into memory."""
MAXIMUM_SHARDS = 9999
_UNITS = {"ms": 1_000_000, "us": 1000}


@dataclass(frozen=True)
class Window:
    """What of the readings is taken, and how it is taken together."""

    hour: Hour | None
    interval: str
    aggregation: str


@dataclass
class Counts:
    """What became of every row; `read` is the sum of the others."""

    used: int = 0
    duplicates: int = 0
    bad: int = 0
    outside: int = 0
    """Good readings of another hour."""
    late: int = 0
    """Those of the used and repeated ones that were enqueued after the hour's end."""

    @property
    def read(self) -> int:
        return self.used + self.duplicates + self.bad + self.outside


def main() -> None:
    """Gather; one sentence about what was read."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--readings", type=Path, help="folder of files of readings")
    parser.add_argument(
        "--manifest", type=Path, help="the files of it that are read, with their sizes and MD5s"
    )
    parser.add_argument("--csv", type=Path, help="a file of readings instead: TS,Device,Tag,Value")
    parser.add_argument("--hour", help="take readings of this hour alone: 2026-11-21T17")
    parser.add_argument("--interval", default="1m")
    parser.add_argument("--aggregation", choices=(*AGGREGATIONS, NONE), default="mean")
    parser.add_argument("--shards", type=int, default=16, help="the least number of shards")
    parser.add_argument("--output", type=Path, required=True, help="folder for the shards")
    parser.add_argument("--gathered", type=Path, required=True, help="folder for counts.json")
    args, _ = parser.parse_known_args()
    try:
        window = Window(Hour.named(args.hour) if args.hour else None, args.interval, args.aggregation)
        files = chosen_files(args.readings, args.manifest, args.csv, args.hour)
        print(gather(files, window, args.shards, args.output, args.gathered), flush=True)
    except SensorsError as error:
        sys.exit(f"error: {error}")


def chosen_files(
    readings: Path | None, manifest: Path | None, table: Path | None, hour: str | None
) -> list[ReadingsFile]:
    """The files to read; ReadingsError when it is not said which, or said twice."""
    if (readings is None) == (table is None):
        raise ReadingsError("give either a folder of readings or a csv, one of them.")
    if table is not None:
        if manifest is not None:
            raise ReadingsError("a manifest names files of a folder of readings; there is none beside a csv.")
        return [ReadingsFile(table, table.name)]
    assert readings is not None
    return files_of_manifest(manifest, readings, hour) if manifest else files_of_folder(readings)


def gather(files: Sequence[ReadingsFile], window: Window, shards: int, output: Path, gathered: Path) -> str:
    """Write the shards and counts.json; says in a sentence what was read.

    The same files give the same shards, byte by byte, so that what was scored of them stays valid.
    """
    length = interval_ns(window.interval)
    size = sum(file.size_bytes if file.size_bytes is not None else _size(file) for file in files)
    count = min(max(shards, -(-size // SHARD_INPUT_BYTES)), MAXIMUM_SHARDS)
    counts, faults, finest = Counts(), Faults(), "ms"
    sensors = values = 0
    written = set()
    with tempfile.TemporaryDirectory() as scratch:
        buckets = Buckets(Path(scratch), count)
        for table in read_tables(files, faults):
            taken = _inside(table, window.hour, counts)
            buckets.add(taken)
            if window.aggregation == NONE:
                finest = _finest(taken, finest)
        buckets.flush()
        counts.bad = faults.rows
        for number in range(count):
            block, repeated = aggregate(buckets.take(number), length, window.aggregation)
            counts.duplicates += repeated
            counts.used += int(block.readings.sum())
            sensors += len(block.sensors)
            values += len(block.values)
            if block.sensors:
                written.add(_write(output, number, block))
    if counts.bad and not counts.used:
        first = faults.examples[0]
        raise ReadingsError(
            f"none of {counts.bad} rows is a reading; the first: {first['reason']} ({first['file']}: {first['row']})."
        )
    if not written:  # a parallel step needs an item, and an hour without a reading has a result, too
        written.add(_write(output, 0, _NOTHING))
    for path in shard_paths(output):
        if path.name not in written:
            path.unlink()  # of an earlier try with other arguments
    report = {
        "hour": window.hour.name if window.hour else None,
        "interval": window.interval,
        "aggregation": window.aggregation,
        "time_unit": finest,
        "files": len(files),
        "size_bytes": size,
        "shards": len(written),
        "sensors": sensors,
        "values": values,
        "readings": {
            "read": counts.read,
            "used": counts.used,
            "duplicates": counts.duplicates,
            "bad": counts.bad,
            "outside": counts.outside,
            "late": counts.late,
        },
        "bad": dict(faults.reasons),
        "bad_examples": faults.examples,
    }
    write_whole(gathered / COUNTS, json.dumps(report, indent=2, ensure_ascii=False).encode())
    return (
        f"{counts.read} readings in {len(files)} files: {counts.used} used, {counts.duplicates} there already, "
        f"{counts.bad} bad, {counts.outside} of other hours, {counts.late} late; {values} values of {sensors} sensors "
        f"in {len(written)} shards"
    )


_NOTHING = SensorBlock(
    [], np.zeros(0, np.int64), np.zeros(1, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float64)
)


def _write(output: Path, number: int, block: SensorBlock) -> str:
    path = output / f"{number:04}{SUFFIX}"
    write_shard(path, block)
    return path.name


def _size(file: ReadingsFile) -> int:
    try:
        return file.path.stat().st_size
    except FileNotFoundError:
        raise ReadingsError(f"{file.name} is not there.") from None


def _inside(table: Any, hour: Hour | None, counts: Counts) -> Any:
    """The readings of the hour; the others, and the late ones, are counted."""
    if hour is None:
        return table
    time = table["time"]
    inside = pc.and_(pc.greater(time, hour.start_ns), pc.less_equal(time, hour.end_ns))
    taken = table if pc.all(inside).as_py() else table.filter(inside)
    counts.outside += len(table) - len(taken)
    late = pc.greater(taken["enqueued"], hour.end_ns)
    counts.late += pc.sum(late).as_py() or 0
    return taken


def _finest(table: Any, finest: str) -> str:
    """The coarsest unit, from milliseconds on, in which all times so far are whole."""
    times = table["time"].to_numpy()
    while finest != "ns" and (times % _UNITS[finest]).any():
        finest = "us" if finest == "ms" else "ns"
    return finest


if __name__ == "__main__":
    main()
