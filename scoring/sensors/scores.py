"""The scores of a shard: an Arrow file of values by time and sensor, which many of are merged into one order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from common.output_files import whole_file
from sensors.errors import ResultError
from sensors.ordering import order_by
from sensors.packed_models import Floats, Integers

BATCH_ROWS = 1 << 13
SCHEMA: Any = pa.schema(
    [
        pa.field("time", pa.int64()),
        pa.field("sensor", pa.int64()),
        pa.field("value", pa.float64()),
        pa.field("score", pa.float64()),
    ]
)


@dataclass(frozen=True)
class Scores:
    """Values with their decisions: nanoseconds since 1970, the place of the sensor in the model set, value, decision."""

    times_ns: Integers
    sensors: Integers
    values: Floats
    scores: Floats

    def __len__(self) -> int:
        return len(self.times_ns)

    def __getitem__(self, rows: slice | Integers) -> Scores:
        return Scores(self.times_ns[rows], self.sensors[rows], self.values[rows], self.scores[rows])

    def count_to(self, time_ns: int, sensor: int) -> int:
        """How many rows, of rows in order, are not after this time and sensor."""
        first, last = (int(np.searchsorted(self.times_ns, time_ns, side)) for side in ("left", "right"))
        return first + int(np.searchsorted(self.sensors[first:last], sensor, "right"))


def together(parts: Sequence[Scores]) -> Scores:
    """Rows of several parts, in order: by time, then sensor, then as they came."""
    joined = Scores(
        np.concatenate([part.times_ns for part in parts]),
        np.concatenate([part.sensors for part in parts]),
        np.concatenate([part.values for part in parts]),
        np.concatenate([part.scores for part in parts]),
    )
    if len(parts) == 1:
        return joined
    return joined[order_by(joined.times_ns, joined.sensors)]


def write_scores(path: Path, scores: Scores) -> None:
    """Write rows that are in order, wholly or not at all."""
    table = pa.table([scores.times_ns, scores.sensors, scores.values, scores.scores], schema=SCHEMA)
    with whole_file(path) as temporary, pa.ipc.new_file(temporary, SCHEMA) as writer:
        writer.write_table(table, max_chunksize=BATCH_ROWS)


def merged(paths: Sequence[Path]) -> Iterator[Scores]:
    """The rows of all these files in order, in pieces. Memory holds one record batch of each file."""
    sources = [source for source in map(_Source, paths) if source.fill()]
    while sources:
        # The batch that ends first of those with another behind it: up to there, every file's rows are in memory.
        limits = [
            (int(each.rows.times_ns[-1]), int(each.rows.sensors[-1])) for each in sources if each.has_more
        ]
        if not limits:
            yield together([each.rows for each in sources])
            return
        limit = min(limits)
        yield together([each.take(*limit) for each in sources])
        sources = [each for each in sources if each.fill()]


@dataclass
class _Source:
    path: Path
    next_batch: int = 0
    has_more: bool = True
    rows: Scores = field(default_factory=lambda: Scores(*(np.zeros(0, np.int64),) * 2, *(np.zeros(0),) * 2))

    def fill(self) -> bool:
        """Read the next batch when all rows are taken; whether there are any."""
        while not len(self.rows):
            try:
                with pa.OSFile(str(self.path)) as file, pa.ipc.open_file(file) as reader:
                    if self.next_batch >= reader.num_record_batches:
                        return False
                    batch = reader.get_batch(self.next_batch)
                    self.has_more = self.next_batch + 1 < reader.num_record_batches
            except (pa.ArrowInvalid, OSError) as error:
                raise ResultError(f"{self.path.name} is no whole file of scores: {error}.") from None
            self.next_batch += 1
            self.rows = Scores(*(batch[name].to_numpy() for name in SCHEMA.names))
        return True

    def take(self, time_ns: int, sensor: int) -> Scores:
        count = self.rows.count_to(time_ns, sensor)
        taken, self.rows = self.rows[:count], self.rows[count:]
        return taken
