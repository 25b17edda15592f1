"""The sequence of faults: drawn from one seed, so that the same seed gives the same faults at the same times."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

LONGEST_CUT_S = 20.0

WEIGHTS = {
    "worker killed": 12,
    "attempt killed": 10,
    "watchdog killed": 4,
    "watchdog and attempt killed": 3,
    "command killed": 2,
    "host killed": 5,
    "storage killed": 2,
    "storage refused": 5,
    "storage silent": 3,
    "storage stalled": 3,
    "storage truncated": 4,
    "storage unanswered": 5,
    "disk full": 5,
    "storage disk full": 2,
    "event duplicated": 8,
    "event reordered": 6,
    "kick duplicated": 5,
    "kicks lost": 4,
    "kick queue deleted": 3,
    "second host": 4,
    "lease broken": 4,
    "lease stolen": 3,
    "lease holder frozen": 3,
    "host frozen": 3,
    "attempt frozen": 4,
    "worker frozen": 4,
    "input changed": 6,
    "input deleted": 3,
    "trigger overwritten": 4,
    "trigger deleted": 2,
    "retry midway": 5,
    "cancel midway": 4,
}
"""Every kind of fault, and how often it comes relative to the others."""

KINDS = tuple(WEIGHTS)
CUTS = tuple(f"storage {mode}" for mode in ("refused", "silent", "stalled", "truncated", "unanswered"))


@dataclass(frozen=True)
class Fault:
    """One fault: so long after the one before; `target` picks among what is there then, by its part of the way."""

    number: int
    kind: str
    after_s: float
    lasts_s: float
    target: float
    seed: int

    def __str__(self) -> str:
        return f"#{self.number} {self.kind} after {self.after_s:.2f} s, lasts {self.lasts_s:.1f} s, target {self.target:.3f}"


def faults(seed: int, world: int) -> Iterator[Fault]:
    """The faults of one world, without end. Every kind comes once before any comes by its weight."""
    draw = random.Random(f"{seed}/{world}")
    number = 0
    first = list(KINDS)
    draw.shuffle(first)
    first = first[world % 2 :: 2] + first[1 - world % 2 :: 2]
    while True:
        kind = first.pop(0) if first else draw.choices(KINDS, list(WEIGHTS.values()))[0]
        yield Fault(
            number,
            kind,
            draw.uniform(0.1, 1.2),
            _duration(kind, draw),
            draw.random(),
            draw.randrange(1 << 30),
        )
        number += 1


def _duration(kind: str, draw: random.Random) -> float:
    if kind in CUTS:  # one in six has the full length
        return LONGEST_CUT_S if draw.random() < 1 / 6 else draw.uniform(0.5, 6.0)
    if kind.endswith("disk full"):
        return draw.uniform(1.0, 6.0)
    if kind in ("host killed", "second host"):
        return draw.uniform(0.0, 5.0)
    if kind.endswith("frozen") or kind == "lease stolen":
        return draw.uniform(1.0, 8.0)
    return 0.0
