"""A batch of Event Hub events becomes landed readings and dead letters. Only storage faults raise, never content.

What is written is a function of the events alone: the same batch gives the same blobs when it is delivered again, and
one that is cut elsewhere gives lines with the same keys, by which readers count each reading once.
"""

from __future__ import annotations

import hashlib
import logging
from base64 import b64encode
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import msgspec
from azure.core.exceptions import ResourceExistsError, ResourceNotFoundError
from azure.storage.blob import ContentSettings

from batchscore import paths
from batchscore.printable import printable
from batchscore.readings import Reading, element_texts, read_event
from batchscore.settings import EventLimits, Settings
from batchscore.storage import Storage, translated

log = logging.getLogger("batchscore.ingest")

OLDEST = datetime(2000, 1, 1, tzinfo=UTC)
MOST_KEPT_BYTES = 16_384
"""How much of a bad event its dead letter keeps."""
MOST_LETTERS = 100
"""An event with more bad readings than this is one dead letter as a whole: an array of 10,000 numbers, which some
producer will send one day, would become a hundred times as large."""
WRITERS = 8
MOST_OBJECTS = 20_000
"""So many readings are objects at a time; as text they take a third of the memory."""
MEDIA_TYPE = "application/x-ndjson"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_INSTANT = timedelta(microseconds=1)
_HOUR = timedelta(hours=1)


class Event(Protocol):
    """What is used of an azure.functions.EventHubEvent."""

    @property
    def sequence_number(self) -> int | None: ...
    @property
    def enqueued_time(self) -> datetime | None: ...
    @property
    def metadata(self) -> Mapping[str, Any] | None:
        """Of the whole batch, and parsed anew for each event that is asked: ask one."""

    def get_body(self) -> bytes: ...


class LandedReading(msgspec.Struct, gc=False, omit_defaults=True):
    """One line of a blob of readings."""

    ts: datetime
    device: str
    tag: str
    value: float
    partition: str
    sequence: int
    index: int
    enqueued: datetime
    id: str | None = None


class DeadLetter(msgspec.Struct, gc=False, omit_defaults=True):
    """One line of a blob of dead letters: a bad event, or the bad reading `index` of an event's array."""

    partition: str
    sequence: int
    enqueued: datetime
    reason: str
    body: str
    index: int | None = None
    encoding: str | None = None
    truncated: bool = False


_encode_lines = msgspec.json.Encoder().encode_lines


@dataclass(frozen=True)
class Sorted:
    """What becomes of one batch of events."""

    readings: Mapping[str, bytes]
    """Blobs of the data container by name; so below."""
    dead_letters: Mapping[str, bytes]
    bad: int
    first_reason: str


class Ingest:
    """Writes what batches hold; thread-safe, as the partitions' batches come side by side."""

    def __init__(self, settings: Settings, storage: Storage) -> None:
        self._settings = settings
        self._storage = storage

    def take(self, events: Sequence[Event]) -> Sorted:
        """Land a batch of one partition. When this returns, everything is in storage. StorageUnavailableError when
        storage does not answer: the batch must come again."""
        batch = sort_out(partition_of(events[0]), events, self._settings.event_limits)
        blobs = [*batch.readings.items(), *batch.dead_letters.items()]
        with ThreadPoolExecutor(min(WRITERS, len(blobs))) as pool:
            for written in [pool.submit(self._write, *blob) for blob in blobs]:
                written.result()
        if batch.bad:
            first = min(batch.dead_letters)
            reason = printable(batch.first_reason, 200)
            log.warning(
                "%d bad in a batch of %d events, the first: %s; see %s", batch.bad, len(events), reason, first
            )
        return batch

    def _write(self, name: str, content: bytes) -> None:
        container = self._storage.container("data", self._settings.data_container, create=True)
        digest = hashlib.md5(content, usedforsecurity=False).digest()
        described = ContentSettings(content_type=MEDIA_TYPE, content_md5=bytearray(digest))
        with translated(f"blob {name!r}"):
            try:
                container.upload_blob(name, content, overwrite=True, content_settings=described)
            except ResourceNotFoundError:  # somebody deleted the container
                with suppress(ResourceExistsError):
                    container.create_container()
                container.upload_blob(name, content, overwrite=True, content_settings=described)


def partition_of(event: Event) -> str:
    """The partition from which an event's batch came."""
    context = (event.metadata or {}).get("PartitionContext") or {}
    return str(context.get("PartitionId") or "none")  # none: by hand, in the portal


def sort_out(partition: str, events: Sequence[Event], limits: EventLimits) -> Sorted:
    """Read a batch, each event on its own; nothing is written here."""
    sorter = _Sorter(partition, limits)
    for event in events:
        sorter.add(event)
    first, last = events[0], events[-1]
    milliseconds = paths.milliseconds(_enqueued(first))
    file = f"{partition}-{_sequence(first)}-{_sequence(last)}-{milliseconds}.jsonl"
    return Sorted(
        {paths.readings_blob(hour, file): sorter.text(hour) for hour in sorter.readings},
        {paths.dead_letter_blob(hour, file): _encode_lines(lines) for hour, lines in sorter.dead.items()},
        sum(map(len, sorter.dead.values())),
        sorter.first_reason,
    )


class _Sorter:
    """Readings by the hour of their time, dead letters by the hour in which they were enqueued."""

    def __init__(self, partition: str, limits: EventLimits) -> None:
        self.readings: dict[datetime, list[LandedReading]] = {}
        self.dead: dict[datetime, list[DeadLetter]] = {}
        self.first_reason = ""
        self._partition = partition
        self._limits = limits
        self._ahead = timedelta(seconds=limits.ahead_s)
        self._start = self._end = OLDEST
        self._lines: list[LandedReading] = []
        self._encoded: dict[datetime, bytearray] = {}

    def text(self, hour: datetime) -> bytes:
        """The lines of an hour."""
        return bytes(self._encoded.get(hour, b"")) + _encode_lines(self.readings[hour])

    def add(self, event: Event) -> None:
        sequence, enqueued, body = _sequence(event), _enqueued(event), event.get_body()
        found = read_event(body, self._limits)
        if isinstance(found, str):
            self._bury(sequence, enqueued, found, body)
            return
        latest = enqueued + self._ahead
        bad: list[tuple[int, str]] = []
        for index, item in enumerate((found,) if isinstance(found, Reading) else found):
            placed: datetime | str
            if isinstance(item, str):
                placed = item
            elif item.ts.tzinfo is UTC and self._start < item.ts <= self._end and item.ts <= latest:
                placed = item.ts  # of the hour of the one before it, as nearly all are
            else:
                placed = self._turn_to(item.ts, enqueued)
            if isinstance(placed, datetime) and isinstance(item, Reading):
                device, tag, identity = item.device, item.tag, item.id
                self._lines.append(
                    LandedReading(
                        placed,
                        device if type(device) is str else str(device),
                        tag if type(tag) is str else str(tag),
                        item.value,
                        self._partition,
                        sequence,
                        index,
                        enqueued,
                        identity if identity is None or type(identity) is str else str(identity),
                    )
                )
            else:
                bad.append((index, str(placed)))
        if isinstance(found, Reading):
            for _, reason in bad:
                self._bury(sequence, enqueued, reason, body)
        elif len(bad) > MOST_LETTERS:
            index, reason = bad[0]
            told = (
                f"{len(bad):,} of its {len(found):,} readings are bad, the first at index {index}: {reason}"
            )
            self._bury(sequence, enqueued, told, body)
        elif bad:
            texts = element_texts(body)
            for index, reason in bad:
                self._bury(sequence, enqueued, reason, texts[index].encode(), index)
        if len(self._lines) >= MOST_OBJECTS:
            self._encoded.setdefault(self._start, bytearray()).extend(_encode_lines(self._lines))
            self._lines.clear()

    def _turn_to(self, ts: datetime, enqueued: datetime) -> datetime | str:
        """A reading's time in UTC, with the lines of its hour at hand; or why no reading is of that time."""
        try:
            ts = ts.replace(tzinfo=UTC) if ts.tzinfo is None else ts.astimezone(UTC)
        except OverflowError:
            return f"ts {ts.isoformat()} is out of range"
        if ts > enqueued + self._ahead:
            return (
                f"ts {ts.isoformat()} is more than {self._limits.ahead_s:,} s ahead of {enqueued.isoformat()}, "
                "when the event was enqueued"
            )
        if ts < OLDEST:
            return f"ts {ts.isoformat()} is before {OLDEST.year}"
        self._start = hour_start(ts)
        self._end = self._start + _HOUR
        self._lines = self.readings.setdefault(self._start, [])
        return ts

    def _bury(
        self, sequence: int, enqueued: datetime, reason: str, body: bytes, index: int | None = None
    ) -> None:
        self.first_reason = self.first_reason or reason
        kept, truncated, encoding = body[:MOST_KEPT_BYTES], len(body) > MOST_KEPT_BYTES, None
        try:
            body.decode()
            text = kept.decode(errors="ignore")  # the last character may be cut
        except UnicodeDecodeError:
            text, encoding = b64encode(kept).decode(), "base64"
        hour = enqueued.replace(minute=0, second=0, microsecond=0)
        letter = DeadLetter(self._partition, sequence, enqueued, reason, text, index, encoding, truncated)
        self.dead.setdefault(hour, []).append(letter)


def hour_start(ts: datetime) -> datetime:
    """When the hour starts to which a time belongs: an hour is (start, end]."""
    return (ts - _INSTANT).replace(minute=0, second=0, microsecond=0)


def _sequence(event: Event) -> int:
    number = event.sequence_number
    return -1 if number is None else number


def _enqueued(event: Event) -> datetime:
    time = event.enqueued_time
    if time is None:
        return _EPOCH
    return time if time.tzinfo is UTC else time.replace(tzinfo=UTC)
