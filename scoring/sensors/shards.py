"""A shard: sensors and their values in one Arrow file, the item of the parallel steps."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from common.output_files import whole_file
from sensors.aggregate import SensorBlock
from sensors.errors import ResultError
from sensors.packed_models import Sensor

SUFFIX = ".arrow"
BLOCK_VALUES = 1 << 20
SCHEMA: Any = pa.schema(
    [
        pa.field("device", pa.string()),
        pa.field("tag", pa.string()),
        pa.field("readings", pa.int64()),
        pa.field("count", pa.int64()),
        pa.field("times", pa.list_(pa.timestamp("ns", "UTC"))),
        pa.field("values", pa.list_(pa.float64())),
    ]
)
"""A row is a sensor: how many readings it had, how many values these came to, their times and they themselves."""


def write_shard(path: Path, block: SensorBlock) -> None:
    """Write the file, wholly or not at all, in record batches of about a million values."""
    offsets = block.offsets
    with whole_file(path) as temporary, pa.ipc.new_file(temporary, SCHEMA) as writer:
        first = 0
        while first < len(block.sensors):
            last = int(np.searchsorted(offsets, offsets[first] + BLOCK_VALUES, side="right")) - 1
            last = min(max(last, first + 1), len(block.sensors))
            begin, end = int(offsets[first]), int(offsets[last])
            within = pa.array((offsets[first : last + 1] - begin).astype(np.int32))
            times = pa.array(block.times_ns[begin:end]).cast(pa.timestamp("ns", "UTC"))
            columns = [
                pa.array([device for device, _ in block.sensors[first:last]], pa.string()),
                pa.array([tag for _, tag in block.sensors[first:last]], pa.string()),
                pa.array(block.readings[first:last]),
                pa.array(np.diff(offsets[first : last + 1])),
                pa.ListArray.from_arrays(within, times),
                pa.ListArray.from_arrays(within, pa.array(block.values[begin:end])),
            ]
            writer.write_batch(pa.record_batch(columns, schema=SCHEMA))
            first = last


def read_shard(path: Path) -> Iterator[SensorBlock]:
    """The sensors of a shard, sorted, a record batch at a time; ResultError when it is no whole shard."""
    try:
        with pa.memory_map(str(path)) as source, pa.ipc.open_file(source) as reader:
            for number in range(reader.num_record_batches):
                batch = reader.get_batch(number)
                times, values = batch["times"], batch["values"]
                yield SensorBlock(
                    list(zip(batch["device"].to_pylist(), batch["tag"].to_pylist(), strict=True)),
                    batch["readings"].to_numpy(),
                    np.asarray(values.offsets).astype(np.int64),
                    times.values.cast(pa.int64()).to_numpy(),
                    values.values.to_numpy(),
                )
    except (pa.ArrowInvalid, KeyError) as error:
        raise ResultError(f"{path.name} is no whole shard: {error}.") from None


def shard_paths(folder: Path) -> list[Path]:
    """The shards of a folder, in order."""
    return sorted(folder.glob(f"*{SUFFIX}"))


def sensors_of(paths: Sequence[Path]) -> Iterator[tuple[Sensor, int, int]]:
    """Every sensor of these shards, sorted over all of them, with its numbers of readings and of values."""
    return heapq.merge(*map(_sensors_of, paths))


def _sensors_of(path: Path) -> Iterator[tuple[Sensor, int, int]]:
    """A record batch at a time. No file stays open between them: of shards there may be more than a process may open."""
    number = 0
    while columns := _first_columns(path, number):
        for device, tag, readings, count in zip(*columns, strict=True):
            yield (device, tag), readings, count
        number += 1


def _first_columns(path: Path, number: int) -> list[list[Any]]:
    """Who the sensors of a record batch are and what they have, without their values; nothing behind the last batch."""
    only = pa.ipc.IpcReadOptions(included_fields=[0, 1, 2, 3])
    with pa.OSFile(str(path)) as source, pa.ipc.open_file(source, options=only) as reader:
        if number >= reader.num_record_batches:
            return []
        return [column.to_pylist() for column in reader.get_batch(number).columns]
