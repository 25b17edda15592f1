"""A partition's log: segments of stamped messages, bounded in size and age, kept in files where a folder is given.

A record is written before its sender hears that it was accepted, with one `write` and no `fsync`: it survives the death
of the process, not that of the machine. A record that a killed process left torn is cut off at the next start. Segments
that are full live in their file alone and are read again when a slow consumer comes by, so memory stays small.
"""

from __future__ import annotations

import os
import struct
import time
import zlib
from array import array
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from batchscore.devhost.eventhubs.messages import Incoming

_RECORD = struct.Struct(">IIqqq")
"""Length of the message, checksum of all that follows, sequence number, offset, enqueued time."""
_LOADED_SEGMENTS = 2


@dataclass(frozen=True)
class Retention:
    """How much of a partition is kept; the oldest segment goes first, the newest never."""

    partition_bytes: int = 1 << 30
    hours: float = 24.0
    segment_bytes: int = 4 << 20


@dataclass
class Columns:
    """The events of a segment, one after the other."""

    times: array[int] = field(default_factory=lambda: array("q"))
    offsets: array[int] = field(default_factory=lambda: array("q"))
    messages: list[bytes] = field(default_factory=list)

    def add(self, offset: int, enqueued_ms: int, message: bytes) -> None:
        self.times.append(enqueued_ms)
        self.offsets.append(offset)
        self.messages.append(message)


@dataclass
class Segment:
    """A stretch of a log, and what is known of it without reading it."""

    first_sequence: int
    first_offset: int
    first_time: int
    size_bytes: int = 0
    path: Path | None = None
    columns: Columns | None = None


class PartitionLog:
    """The events of one partition in order of their sequence numbers."""

    def __init__(self, folder: Path | None, retention: Retention) -> None:
        self._folder = folder
        self._retention = retention
        self._segments: list[Segment] = []
        self._loaded: OrderedDict[int, Columns] = OrderedDict()
        self._file = -1
        self.size_bytes = 0
        self.next_sequence = 0
        self.last_offset = -1
        self.last_time = -1
        self._next_offset = 0
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            self._open(folder)

    @property
    def first_sequence(self) -> int:
        """Of the oldest event that is still there; of the next one where there is none."""
        return self._segments[0].first_sequence if self._segments else self.next_sequence

    @property
    def is_empty(self) -> bool:
        return self.first_sequence == self.next_sequence

    def append(self, messages: Sequence[Incoming]) -> None:
        """Keep messages under the next sequence numbers; OSError where they cannot be written, and none is kept."""
        now = max(int(time.time() * 1000), self.last_time)
        if not self._segments or self._segments[-1].size_bytes >= self._retention.segment_bytes:
            self._begin_segment(now)
        segment = self._segments[-1]
        assert segment.columns is not None
        offset, records, added = self._next_offset, [], []
        for sequence, message in enumerate(messages, self.next_sequence):
            stamped = message.stamped(sequence, offset, now)
            added.append((offset, stamped))
            if self._file >= 0:
                rest = struct.pack(">qqq", sequence, offset, now) + stamped
                records.append(struct.pack(">II", len(stamped), zlib.crc32(rest)) + rest)
            offset += _RECORD.size + len(stamped)
        if records:
            self._write(b"".join(records), segment.size_bytes)
        for place, stamped in added:
            segment.columns.add(place, now, stamped)
        segment.size_bytes += offset - self._next_offset
        self.size_bytes += offset - self._next_offset
        self.next_sequence += len(added)
        self.last_offset, self.last_time, self._next_offset = added[-1][0], now, offset
        self._drop_old(now)

    def read(self, sequence: int, most_bytes: int, most_events: int) -> tuple[int, list[bytes]]:
        """The sequence number of the first event at or after `sequence`, and messages from there on."""
        found: list[bytes] = []
        sequence = first = max(sequence, self.first_sequence)
        size = 0
        while sequence < self.next_sequence:
            index = bisect_right(self._segments, sequence, key=lambda segment: segment.first_sequence) - 1
            segment = self._segments[index]
            messages = self._columns(segment).messages
            place = sequence - segment.first_sequence
            if place >= len(messages):  # the rest of this segment was lost with its file
                if found or index + 1 == len(self._segments):
                    break
                sequence = first = self._segments[index + 1].first_sequence
                continue
            for message in messages[place : place + most_events - len(found)]:
                if found and size + len(message) > most_bytes:
                    return first, found
                found.append(message)
                size += len(message)
                sequence += 1
            if len(found) >= most_events:
                break
        return first, found

    def sequence_at_offset(self, offset: int, inclusive: bool) -> int:
        """The first sequence number behind an offset, or at it where `inclusive`."""
        if offset > self.last_offset or not self._segments:
            return self.next_sequence
        index = bisect_right(self._segments, offset, key=lambda segment: segment.first_offset) - 1
        if index < 0:
            return self.first_sequence
        segment = self._segments[index]
        bisect = bisect_left if inclusive else bisect_right
        return segment.first_sequence + bisect(self._columns(segment).offsets, offset)

    def sequence_at_time(self, enqueued_ms: int, inclusive: bool) -> int:
        """The first sequence number of events enqueued after a moment, or at it where `inclusive`."""
        bisect = bisect_left if inclusive else bisect_right
        index = bisect(self._segments, enqueued_ms, key=lambda segment: segment.first_time) - 1
        if index < 0:
            return self.first_sequence
        segment = self._segments[index]
        return segment.first_sequence + bisect(self._columns(segment).times, enqueued_ms)

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _begin_segment(self, now: int) -> None:
        segment = Segment(self.next_sequence, self._next_offset, now, columns=Columns())
        if self._folder is not None:
            segment.path = self._folder / f"{segment.first_sequence:020}-{segment.first_offset:020}.log"
            file = os.open(segment.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            self.close()
            self._file = file
            if self._segments:
                self._segments[-1].columns = None  # its file has it
        self._segments.append(segment)

    def _write(self, records: bytes, whole_bytes: int) -> None:
        """Add records to the file; when that fails, cut it back to what was whole."""
        rest = memoryview(records)
        try:
            while rest:
                rest = rest[os.write(self._file, rest) :]
        except OSError:
            os.ftruncate(self._file, whole_bytes)
            os.lseek(self._file, whole_bytes, os.SEEK_SET)
            raise

    def _drop_old(self, now: int) -> None:
        oldest_time = now - int(self._retention.hours * 3_600_000)
        while len(self._segments) > 1 and (
            self.size_bytes > self._retention.partition_bytes or self._segments[1].first_time < oldest_time
        ):
            segment = self._segments.pop(0)
            self.size_bytes -= segment.size_bytes
            self._loaded.pop(segment.first_sequence, None)
            if segment.path is not None:
                segment.path.unlink(missing_ok=True)

    def _columns(self, segment: Segment) -> Columns:
        if segment.columns is not None:
            return segment.columns
        columns = self._loaded.get(segment.first_sequence)
        if columns is None:
            assert segment.path is not None
            columns = _load(segment)[0]
            self._loaded[segment.first_sequence] = columns
            if len(self._loaded) > _LOADED_SEGMENTS:
                self._loaded.popitem(last=False)
        self._loaded.move_to_end(segment.first_sequence)
        return columns

    def _open(self, folder: Path) -> None:
        """Find the segments of an earlier process and go on behind the last whole record."""
        for path in sorted(folder.glob("*.log")):
            first_sequence, _, first_offset = path.stem.partition("-")
            with path.open("rb") as stream:
                head = stream.read(_RECORD.size)
            if len(head) < _RECORD.size:  # not one record: its process died at once
                self.next_sequence, self._next_offset = int(first_sequence), int(first_offset)
                path.unlink()
                continue
            first_time = _RECORD.unpack(head)[4]
            segment = Segment(int(first_sequence), int(first_offset), first_time, path.stat().st_size, path)
            self._segments.append(segment)
        if not self._segments:
            return
        segment = self._segments[-1]
        assert segment.path is not None
        columns, whole_bytes = _load(segment)
        segment.columns, segment.size_bytes = columns, whole_bytes
        self._file = os.open(segment.path, os.O_WRONLY)
        os.ftruncate(self._file, whole_bytes)
        os.lseek(self._file, 0, os.SEEK_END)
        self.size_bytes = sum(each.size_bytes for each in self._segments)
        self.next_sequence = segment.first_sequence + len(columns.messages)
        self._next_offset = segment.first_offset + whole_bytes
        if columns.messages:
            self.last_offset, self.last_time = columns.offsets[-1], columns.times[-1]
        else:
            self.last_time = segment.first_time


def _load(segment: Segment) -> tuple[Columns, int]:
    """The whole records of a segment's file, and how many bytes they take."""
    assert segment.path is not None
    data = segment.path.read_bytes()
    columns, at = Columns(), 0
    while at + _RECORD.size <= len(data):
        length, checksum, _, offset, enqueued_ms = _RECORD.unpack_from(data, at)
        end = at + _RECORD.size + length
        if end > len(data) or zlib.crc32(data[at + 8 : end]) != checksum:
            break
        columns.add(offset, enqueued_ms, data[at + _RECORD.size : end])
        at = end
    return columns, at
