"""Sensors that do not exist: readings made from a seed, put into events, with the faults that real ones have."""

from __future__ import annotations

import json
import math
import random
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from batchscore.hours import hour_of

MOST_HOURS_LATE = 3
"""A late event is one, two or three hours late."""
_MOST_BETWEEN = 50
"""A duplicate follows its original within so many events."""
_DAY_S = 86_400.0


@dataclass(frozen=True)
class Shares:
    """How many of a hundred are wrong, each 0 to 1."""

    anomalies: float = 0.0
    """Of the readings."""
    malformed: float = 0.0
    """Of the events that are sent once."""
    duplicates: float = 0.0
    """Of the good events: these are sent twice."""
    late: float = 0.0
    """Of the good events."""


@dataclass(frozen=True)
class Reading:
    """What a sensor tells at a moment."""

    time: datetime
    device: str
    tag: str
    value: float
    anomaly: bool = False
    id: str = ""

    def document(self) -> dict[str, str | float]:
        """As it is sent."""
        return {
            "ts": told(self.time),
            "device": self.device,
            "tag": self.tag,
            "value": self.value,
            "id": self.id,
        }


@dataclass(frozen=True)
class Event:
    """One event to send: good readings of one device, or something malformed."""

    device: str
    body: bytes
    due_s: float
    """When to send it, in seconds from the first one on."""
    readings: tuple[Reading, ...] = ()
    malformed: str = ""
    duplicate: bool = False
    late: bool = False


@dataclass
class Tally:
    """What was sent, so that what arrives can be compared with it. Readings are counted once, duplicates apart."""

    events: int = 0
    readings: int = 0
    anomalies: int = 0
    malformed: Counter[str] = field(default_factory=Counter)
    duplicated_events: int = 0
    duplicated_readings: int = 0
    late_events: int = 0
    late_readings: int = 0
    by_hour: Counter[str] = field(default_factory=Counter)
    by_sensor: Counter[str] = field(default_factory=Counter)

    def add(self, event: Event) -> None:
        self.events += 1
        if event.malformed:
            self.malformed[event.malformed] += 1
        elif event.duplicate:
            self.duplicated_events += 1
            self.duplicated_readings += len(event.readings)
        else:
            self.readings += len(event.readings)
            self.late_events += event.late
            self.late_readings += len(event.readings) if event.late else 0
            for reading in event.readings:
                self.anomalies += reading.anomaly
                self.by_hour[hour_of(reading.time).name] += 1
                self.by_sensor[f"{reading.device},{reading.tag}"] += 1


def readings(
    seed: int, start: datetime, rate: float, devices: int, tags: int, anomalies: float
) -> Iterator[Reading]:
    """Readings without end: each device in turn tells all its tags at one moment, `rate` readings a second in all.

    A sensor swings around a level of its own in the course of a day, with noise; an anomaly is far beyond both.
    """
    sensors = [
        [_Sensor(seed, str(device), str(tag)) for tag in range(1, tags + 1)]
        for device in range(1, devices + 1)
    ]
    abnormal = random.Random(f"{seed}/anomalies")  # noqa: S311
    told_so_far = 0
    while True:
        for device in sensors:
            time = start + timedelta(milliseconds=round(told_so_far / rate * 1000))
            for sensor in device:
                yield sensor.reading(time, anomaly=abnormal.random() < anomalies)
            told_so_far += tags


class _Sensor:
    def __init__(self, seed: int, device: str, tag: str) -> None:
        self._random = random.Random(f"{seed}/{device}/{tag}")  # noqa: S311
        self._device, self._tag = device, tag
        self._level = self._random.uniform(10, 100)
        self._noise = self._level * self._random.uniform(0.005, 0.02)
        self._swing = self._noise * self._random.uniform(1, 3)
        self._phase = self._random.uniform(0, math.tau)

    def reading(self, time: datetime, *, anomaly: bool) -> Reading:
        value = self._level + self._random.gauss(0, self._noise)
        value += self._swing * math.sin(math.tau * time.timestamp() / _DAY_S + self._phase)
        far = self._random.choice((-1, 1)) * self._random.uniform(3, 5)
        if anomaly:
            value += far * (self._swing + 3 * self._noise)
        return Reading(time, self._device, self._tag, round(value, 4), anomaly)


def events(source: Iterable[Reading], *, seed: int, per_event: int, shares: Shares) -> Iterator[Event]:
    """Readings as events of one device each, with the wrong ones among them; the same for the same seed."""
    chance = random.Random(f"{seed}/faults")  # noqa: S311
    number = 0
    again: deque[tuple[int, Event]] = deque()
    for group, due_s in _grouped(source, seed, per_event):
        late = chance.random() < shares.late
        back = timedelta(hours=chance.randint(1, MOST_HOURS_LATE))
        moved = tuple(replace(reading, time=reading.time - back) if late else reading for reading in group)
        documents = [reading.document() for reading in moved]
        body = json.dumps(documents[0] if len(documents) == 1 else documents).encode()
        event = Event(moved[0].device, body, due_s, moved, late=late)
        yield event
        number += 1
        if chance.random() < shares.duplicates:
            again.append((number + chance.randint(1, _MOST_BETWEEN), replace(event, duplicate=True)))
        while again and again[0][0] <= number:
            yield replace(again.popleft()[1], due_s=due_s)
        while shares.malformed and chance.random() < shares.malformed:
            yield _malformed(chance, f"{seed}-bad-{number}", moved[0], due_s)
            number += 1
    for _, event in again:
        yield event


def _grouped(
    source: Iterable[Reading], seed: int, per_event: int
) -> Iterator[tuple[tuple[Reading, ...], float]]:
    """Readings of one device, so many at a time and the rest at the end, and when the last of them was due."""
    waiting: dict[str, list[Reading]] = {}
    first: datetime | None = None
    due_s = 0.0
    for number, reading in enumerate(source):
        first = first or reading.time
        due_s = max(due_s, (reading.time - first).total_seconds())
        group = waiting.setdefault(reading.device, [])
        group.append(replace(reading, id=f"{seed}-{number}"))
        if len(group) == per_event:
            yield tuple(group), due_s
            group.clear()
    for group in waiting.values():
        if group:
            yield tuple(group), due_s


def _malformed(chance: random.Random, name: str, like: Reading, due_s: float) -> Event:
    """An event that no reader can use, each for one reason."""
    good = {**replace(like, id=name).document()}
    kind = chance.choice(_MALFORMED)
    match kind:
        case "not JSON":
            body = json.dumps(good)[:-8].encode()
        case "not UTF-8":
            body = json.dumps(good).encode() + b"\xff\xfe"
        case "no value":
            body = json.dumps({field: told for field, told in good.items() if field != "value"}).encode()
        case "NaN":
            body = json.dumps(good | {"value": math.nan}).encode()
        case "infinite":
            body = json.dumps(good | {"value": -math.inf}).encode()
        case "a value in words":
            body = json.dumps(good | {"value": "high"}).encode()
        case "a time in words":
            body = json.dumps(good | {"ts": "yesterday"}).encode()
        case _:
            body = json.dumps(good | {"ts": "9999-01-01T00:00:00Z"}).encode()
    return Event(like.device, body, due_s, malformed=kind)


_MALFORMED = (
    "not JSON",
    "not UTF-8",
    "no value",
    "NaN",
    "infinite",
    "a value in words",
    "a time in words",
    "a time that cannot be",
)


def told(time: datetime) -> str:
    """A time as it is sent: UTC, to the millisecond, or to the microsecond where it has any."""
    exact = "microseconds" if time.microsecond % 1000 else "milliseconds"
    return time.astimezone(UTC).isoformat(timespec=exact).replace("+00:00", "Z")
