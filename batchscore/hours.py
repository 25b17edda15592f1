"""Hours: which UTC hours are to be scored now, and what the record of an hour becomes. Decisions only, no storage.

no record ──▶ empty ───────────────┐ (readings that come late)
   │                               ▼
   ├──▶ waiting ──▶ version 1 ──▶ its run ends ──▶ published
   │   (no model)      ▲           └─ failed: people retry it
   └───────────────────┴── version n + 1: readings that the newest version does not have
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated

import msgspec

from batchscore import paths
from batchscore.errors import RequestError
from batchscore.runs import Cause

HOUR = "hour"
"""The kind of cause of an hour's runs; its name is the hour, its version such as `v3`."""
MANIFEST_INPUT, READINGS_INPUT, HOUR_INPUT = "manifest", "readings", "hour"
_LENGTH = timedelta(hours=1)
_NAME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}")
Moment = Annotated[datetime, msgspec.Meta(tz=True)]


@dataclass(frozen=True, order=True)
class Hour:
    """One UTC hour of event times: after `start`, up to and including `end`, as a tumbling window that is stamped with
    its end. It is named by its start: `2026-11-21T17`."""

    start: datetime

    @property
    def end(self) -> datetime:
        return self.start + _LENGTH

    @property
    def name(self) -> str:
        return self.start.isoformat()[:13]  # strftime does not pad every year

    def before(self, count: int) -> Hour:
        """The hour so many hours earlier."""
        return Hour(self.start - count * _LENGTH)

    def __str__(self) -> str:
        return self.name


def hour_of(time: datetime) -> Hour:
    """The hour that a reading of this time belongs to: 18:00:00 belongs to T17, a microsecond later to T18."""
    if time.tzinfo is None:
        raise ValueError(f"{time} has no time zone")
    inside = time.astimezone(UTC) - timedelta(microseconds=1)
    return Hour(inside.replace(minute=0, second=0, microsecond=0))


def last_ended(now: datetime) -> Hour:
    """The newest hour that is over."""
    return Hour(now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)).before(1)


def hour_named(text: str) -> Hour:
    """The hour of this name; RequestError for what is none."""
    try:
        if _NAME.fullmatch(text):
            hour = Hour(datetime.strptime(text, "%Y-%m-%dT%H").replace(tzinfo=UTC))
            hour.end  # noqa: B018 - the last hour that a datetime knows has none
            return hour
    except (ValueError, OverflowError):
        pass
    raise RequestError(f"{text[:100]!r} is no hour. Write its start in UTC, such as '2026-11-21T17'.")


@dataclass(frozen=True, order=True)
class Blob:
    """Landed readings: the blob's name below its hour's folder, and what is in it."""

    name: str
    size: int
    md5: str | None = None
    """Base64; None where whoever wrote the blob left it out, so that its size alone tells a change."""


@dataclass(frozen=True)
class Manifest:
    """What one version of an hour is made of."""

    hour: str
    version: int
    blobs: tuple[Blob, ...]

    def encode(self) -> bytes:
        """The same bytes for the same content."""
        return msgspec.json.encode(self)


def digest_of(manifest: bytes) -> str:
    return hashlib.sha256(manifest).hexdigest()


@dataclass(frozen=True)
class Version:
    """One scoring of an hour. How it went is said by its run."""

    number: int
    manifest: str
    """The SHA-256 of its manifest's bytes."""
    run: str
    recorded_at: Moment
    blobs: int = 0
    size_bytes: int = 0
    failed_items: int = 0
    """How many items its run could not score, once it is published."""

    @property
    def name(self) -> str:
        return f"v{self.number}"


@dataclass(frozen=True)
class HourRecord:
    """What is known of an hour. Without versions it is empty, or waits for what `waits` says."""

    hour: str
    recorded_at: Moment
    versions: tuple[Version, ...] = ()
    published: int = 0
    """The version that readers see; 0 while there is none. It never goes back."""
    published_at: Moment | None = None
    waits: str = ""

    @property
    def newest(self) -> Version | None:
        return self.versions[-1] if self.versions else None

    def version(self, number: int) -> Version | None:
        return next((each for each in self.versions if each.number == number), None)


@dataclass(frozen=True)
class Bounds:
    """How many hours before the one that just ended are looked at."""

    catch_up: int
    """For an hour that was missed, or could not be scored yet."""
    late: int
    """For readings that come after their hour was recorded."""


def in_reach(now: datetime, bounds: Bounds) -> list[Hour]:
    """The hours that may be due, the newest first. None that is not over."""
    newest = last_ended(now)
    return [newest.before(count) for count in range(max(bounds.catch_up, bounds.late) + 1)]


class Action(StrEnum):
    NOTHING = "nothing"
    EMPTY = "empty"
    """Record that there was no reading."""
    SCORE = "score"
    """Make the next version."""


def decide(
    hour: Hour,
    record: HourRecord | None,
    blobs: Collection[Blob],
    frozen: Collection[Blob],
    now: datetime,
    bounds: Bounds,
) -> Action:
    """What is to be done about an hour of which no run is under way. `blobs` are its readings now, `frozen` those of
    its newest version. Readings that went away are no reason to score again: what was published with them stays."""
    if hour.end > now:
        return Action.NOTHING
    age = (last_ended(now).start - hour.start) // _LENGTH
    if record is None:
        if age > bounds.catch_up:
            return Action.NOTHING
        return Action.SCORE if blobs else Action.EMPTY
    if not set(blobs) - set(frozen):
        return Action.NOTHING
    reach = max(bounds.catch_up, bounds.late) if record.waits else bounds.late
    return Action.SCORE if age <= reach else Action.NOTHING


def empty(hour: Hour, now: datetime) -> HourRecord:
    return HourRecord(hour.name, now)


def waiting(hour: Hour, record: HourRecord | None, reason: str, now: datetime) -> HourRecord:
    """The record of an hour that is due and cannot be scored yet; the same object when that is known."""
    before = record or empty(hour, now)
    return before if before.waits == reason else replace(before, waits=reason)


def next_manifest(hour: Hour, record: HourRecord | None, blobs: Collection[Blob], first: int = 1) -> Manifest:
    """Of the version that comes next; `first` is the number of an hour's first one."""
    newest = record.newest if record else None
    return Manifest(hour.name, newest.number + 1 if newest else first, tuple(sorted(blobs, key=_by_name)))


def with_version(hour: Hour, record: HourRecord | None, manifest: Manifest, now: datetime) -> HourRecord:
    """The record with one more version, which is to be scored."""
    before = record or empty(hour, now)
    version = Version(
        manifest.version,
        digest_of(manifest.encode()),
        cause_of(hour, manifest.version).run_id,
        now,
        len(manifest.blobs),
        sum(blob.size for blob in manifest.blobs),
    )
    return replace(before, versions=(*before.versions, version), waits="")


def with_published(record: HourRecord, number: int, failed_items: int, now: datetime) -> HourRecord:
    """The record once this version has its predictions. An older one than the published changes nothing, nor does the
    same once more."""
    version = record.version(number)
    if version is None:
        raise RequestError(
            f"the record of hour {record.hour} knows no v{number}. 'batchscore hours rescore {record.hour}' scores it."
        )
    if record.published > number or (record.published == number and version.failed_items == failed_items):
        return record
    versions = tuple(
        replace(each, failed_items=failed_items) if each.number == number else each
        for each in record.versions
    )
    return replace(record, versions=versions, published=number, published_at=now)


@dataclass(frozen=True)
class Pointer:
    """What tells readers where the predictions of an hour are."""

    hour: str
    version: int
    path: str
    run: str
    published_at: Moment
    failed_items: int = field(default=0)


def pointer_of(record: HourRecord) -> Pointer | None:
    """The pointer that belongs to a record; None while nothing is published."""
    version = record.version(record.published)
    if version is None or record.published_at is None:
        return None
    path = f"{paths.PREDICTIONS}/{record.hour}/{version.name}"
    return Pointer(record.hour, version.number, path, version.run, record.published_at, version.failed_items)


def cause_of(hour: Hour, version: int) -> Cause:
    return Cause(HOUR, hour.name, f"v{version}")


def version_of(cause: Cause) -> tuple[Hour, int]:
    """The hour and the version that a run of kind `hour` scores; RequestError for any other."""
    if cause.kind == HOUR and re.fullmatch(r"v[1-9][0-9]{0,8}", cause.version):
        return hour_named(cause.name), int(cause.version[1:])
    raise RequestError(f"the run of {cause.kind} {cause.name[:100]!r} scores no hour.")


def _by_name(blob: Blob) -> str:
    return blob.name
