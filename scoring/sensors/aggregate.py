"""Readings of a bucket, taken once each, in order, and together by intervals of event time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from sensors.intervals import AGGREGATIONS, NONE, interval_ends
from sensors.ordering import order_by
from sensors.packed_models import Floats, Integers, Sensor

_NO_DATE = np.iinfo(np.int64).min


@dataclass(frozen=True)
class SensorBlock:
    """Some sensors, sorted, and their values: those of sensor i are from offsets[i] to offsets[i + 1], by time."""

    sensors: list[Sensor]
    readings: Integers
    """How many readings of each sensor there are, each counted once."""
    offsets: Integers
    times_ns: Integers
    values: Floats


def aggregate(readings: Any, length_ns: int, aggregation: str) -> tuple[SensorBlock, int]:
    """What the readings (a table, `fields.SCHEMA`) come to, and how many of them were there already.

    A reading with an id is known by device, tag, time and id; one without by partition, sequence, index and enqueued
    time; one with neither is one of its own. Of the same one the copy counts that was enqueued first. Readings of
    one time stand in the order of their sequence. With `none` every reading is a value of its own at its own time.
    """
    sensors, code = _sensors(readings)
    time = readings["time"].to_numpy()
    order, repeated = _in_order(readings, code, time)
    order = order[~repeated]
    code, time, values = code[order], time[order], readings["value"].to_numpy()[order]
    counts = np.bincount(code, minlength=len(sensors))
    if aggregation != NONE and len(code):
        time = interval_ends(time, length_ns)
        first = np.flatnonzero(np.r_[True, (code[1:] != code[:-1]) | (time[1:] != time[:-1])])
        last = np.r_[first[1:], len(code)] - 1
        values = AGGREGATIONS[aggregation](values, first, last)
        code, time = code[first], time[first]
    offsets = np.searchsorted(code, np.arange(len(sensors) + 1))
    return SensorBlock(sensors, counts, offsets, time, values), int(repeated.sum())


def _sensors(readings: Any) -> tuple[list[Sensor], Integers]:
    """The sensors, sorted, and which one each row is of."""
    devices, tags = (readings[name].combine_chunks().dictionary_encode() for name in ("device", "tag"))
    tag_count = max(1, len(tags.dictionary))
    pair = devices.indices.to_numpy().astype(np.int64) * tag_count + tags.indices.to_numpy()
    pairs, code = np.unique(pair, return_inverse=True)
    device_names, tag_names = devices.dictionary.to_pylist(), tags.dictionary.to_pylist()
    found = [(device_names[each // tag_count], tag_names[each % tag_count]) for each in pairs.tolist()]
    ranked = sorted(range(len(found)), key=found.__getitem__)
    rank = np.empty(len(found), np.int64)
    rank[ranked] = np.arange(len(found))
    return [found[place] for place in ranked], rank[code]


def _in_order(readings: Any, code: Integers, time: Integers) -> tuple[Integers, NDArray[np.bool_]]:
    """Rows by sensor, time and sequence, and which of these, in this order, are repetitions."""
    order = order_by(code, time)
    repeated = np.zeros(len(order), bool)
    same = (np.diff(code[order]) == 0) & (np.diff(time[order]) == 0)
    if not same.any():
        return order, repeated
    # Only rows that share sensor and time can be the same one, or need their sequence. They lie side by side.
    places = np.flatnonzero(np.r_[False, same] | np.r_[same, False])
    rows = order[places]
    run = np.cumsum(np.r_[True, ~same])[places]
    ties = _Ties.of(readings, rows, run)
    duplicate = ties.duplicates()
    settled = ties.sequence_order(duplicate)
    order[places] = rows[settled]
    repeated[places] = duplicate[settled]
    return order, repeated


@dataclass(frozen=True)
class _Ties:
    """Rows that share sensor and time with others, in runs; what tells them apart."""

    run: Integers
    arrival: Integers
    key: tuple[Integers, ...]
    """Rows of a run with equal keys are the same reading."""
    sequence: Integers
    index: Integers
    enqueued: Integers
    partition: Integers

    @classmethod
    def of(cls, readings: Any, rows: Integers, run: Integers) -> _Ties:
        table = readings.take(rows)
        ids, partitions = _codes(table["id"]), _codes(table["partition"])
        sequence, index = (_numbers(table[name], -1) for name in ("sequence", "index"))
        enqueued = _numbers(table["enqueued"], _NO_DATE)
        by_id = ids >= 0
        by_place = ~by_id & (partitions >= 0) & (sequence >= 0)
        key = (
            np.where(by_id, ids, -1),
            np.where(by_place, partitions, -1),
            np.where(
                by_place, sequence, np.where(by_id, -1, -2 - np.arange(len(rows)))
            ),  # neither: unlike any
            np.where(by_place, index, -1),
            np.where(by_place, enqueued, -1),
        )
        return cls(run, rows, key, sequence, index, enqueued, partitions)

    def duplicates(self) -> NDArray[np.bool_]:
        """All of the same reading but the one that was enqueued first."""
        order = np.lexsort(
            (self.arrival, self.index, self.sequence, self.partition, self.enqueued, *self.key, self.run)
        )
        same = np.ones(len(order) - 1, bool)
        for column in (self.run, *self.key):
            same &= np.diff(column[order]) == 0
        duplicate = np.zeros(len(order), bool)
        duplicate[order[1:]] = same
        return duplicate

    def sequence_order(self, duplicate: NDArray[np.bool_]) -> Integers:
        """Run by run, by sequence; repetitions at the end of their run."""
        return np.lexsort(
            (self.arrival, self.partition, self.enqueued, self.index, self.sequence, duplicate, self.run)
        )


def _codes(texts: Any) -> Integers:
    """A number for each text, in the order of texts; -1 for none."""
    if texts.null_count == len(texts):
        return np.full(len(texts), -1, np.int64)
    ranks: Integers = pc.rank(texts.combine_chunks(), tiebreaker="dense").to_numpy().astype(np.int64)
    return np.where(texts.is_valid().to_numpy(), ranks, -1)


def _numbers(values: Any, absent: int) -> Integers:
    numbers: Integers = values.fill_null(absent).to_numpy().astype(np.int64)
    return numbers
