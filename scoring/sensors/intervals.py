"""Tumbling intervals: (start, end], named by their end, as a Stream Analytics TumblingWindow."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from sensors.errors import ReadingsError
from sensors.packed_models import Floats, Integers

NS_PER_S = 1_000_000_000
NS_PER_HOUR = 3600 * NS_PER_S
_LENGTH = re.compile(r"([0-9]{1,6})(ms|s|m|h)")
_UNITS_NS = {"ms": NS_PER_S // 1000, "s": NS_PER_S, "m": 60 * NS_PER_S, "h": NS_PER_HOUR}
_HOUR = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}")


@dataclass(frozen=True)
class Hour:
    """A scoring hour: event times in (start, end]."""

    name: str
    start_ns: int

    @classmethod
    def named(cls, name: str) -> Hour:
        """The hour that starts at `2026-11-21T17`; ReadingsError when the name is none."""
        try:
            if not _HOUR.fullmatch(name):
                raise ValueError(name)  # noqa: TRY301
            start = datetime.strptime(name, "%Y-%m-%dT%H").replace(tzinfo=UTC)
        except ValueError:
            raise ReadingsError(
                f"hour {name[:100]!r} is none; write the UTC hour's start, as 2026-11-21T17."
            ) from None
        return cls(name, int(start.timestamp()) * NS_PER_S)

    @property
    def end_ns(self) -> int:
        return self.start_ns + NS_PER_HOUR


def interval_ns(text: str) -> int:
    """The length of `30s`, `5m` …; ReadingsError when it is no length that divides an hour."""
    match = _LENGTH.fullmatch(text)
    length = int(match[1]) * _UNITS_NS[match[2]] if match else 0
    if length <= 0 or NS_PER_HOUR % length:
        raise ReadingsError(
            f"interval {text[:100]!r} is no length that divides an hour; right are 500ms, 30s, 1m, 5m, 1h."
        )
    return length


def interval_ends(times_ns: Integers, length_ns: int) -> Integers:
    """The end of the interval that holds each time: a time on a boundary belongs to the interval that ends there."""
    return -(-times_ns // length_ns) * length_ns


def _mean(values: Floats, first: Integers, _: Integers) -> Floats:
    counts = np.diff(first, append=len(values))
    with np.errstate(over="ignore"):
        means = np.add.reduceat(values, first) / counts
    if np.isfinite(means).all():
        return means
    # Sums beyond the largest number; a mean never is.
    parts: Floats = np.add.reduceat(values / np.repeat(counts, counts), first)
    return np.where(np.isfinite(means), means, parts)


NONE = "none"
AGGREGATIONS: dict[str, Callable[[Floats, Integers, Integers], Floats]] = {
    "mean": _mean,
    "min": lambda values, first, _: np.minimum.reduceat(values, first),
    "max": lambda values, first, _: np.maximum.reduceat(values, first),
    "last": lambda values, _, last: values[last],
}
"""How the values of each interval become one: of all values, where each interval begins, and where its last one is."""
