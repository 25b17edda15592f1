"""What the hourly timer does: looks at the hours in reach, and starts the runs that score them.

Every step is found done or done again by the next look, by any host: the manifest is kept under its hash, the record is
swapped (which decides), the manifest is handed over, the run is created under an id made of hour and version, its end
swaps the record, and the pointer is made to say what the record says.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache

from batchscore import hours, paths, runs, signals
from batchscore.errors import (
    BatchscoreError,
    HourUnreadableError,
    RequestError,
    RunConflictError,
    StorageUnavailableError,
)
from batchscore.hour_runs import StoredHourRuns
from batchscore.hour_store import HourStore
from batchscore.hours import Action, Blob, Bounds, Hour, HourRecord, Version
from batchscore.run_store import RunStore
from batchscore.runs import Run
from batchscore.settings import Settings
from batchscore.signals import Signal
from batchscore.triggers import RunRequest

log = logging.getLogger("batchscore.hourly")

MOST_TRIES = 20
MOST_FAULTS = 3
"""How many hours that cannot be looked at one look puts up with: when storage is down, each costs minutes."""

Obstacle = Callable[[RunRequest], str | None]
"""What keeps a scoring request from being planned for now, such as that there is no model yet; None when nothing."""


@dataclass(frozen=True)
class Look:
    """What one look at the hours did."""

    started: tuple[Run, ...] = ()
    empty: tuple[Hour, ...] = ()
    waiting: tuple[Hour, ...] = ()
    held_up: tuple[tuple[Hour, str], ...] = ()
    """Those of the waiting ones that wait for something new, and what for."""
    faults: int = 0
    unpublished: tuple[Hour, ...] = ()
    """Those that have readings and of which readers see no version yet."""

    def plus(self, other: Look) -> Look:
        return Look(
            self.started + other.started,
            self.empty + other.empty,
            self.waiting + other.waiting,
            self.held_up + other.held_up,
            self.faults + other.faults,
            self.unpublished + other.unpublished,
        )


@dataclass(frozen=True)
class _Unpublished:
    run: Run | None = None
    started: bool = False

    @property
    def under_way(self) -> Run | None:
        """Its run, unless that is over."""
        return None if self.run is None or self.run.state.ended else self.run


class Hourly:
    """One per process; thread-safe."""

    def __init__(
        self,
        settings: Settings,
        store: HourStore,
        run_store: RunStore,
        hour_runs: StoredHourRuns,
        obstacle: Obstacle,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._settings = settings
        self._store = store
        self._runs = run_store
        self._hour_runs = hour_runs
        self._obstacle = obstacle
        self._clock = clock
        self._bounds = bounds_of(settings)

    def look(self) -> Look:
        """Look at every hour in reach, the newest first, and at those that a crash left half begun. An hour with which
        something is wrong holds up no other."""
        now, found = self._clock(), Look()
        obstacle = cache(lambda: self._obstacle(self._request(hours.last_ended(now), 1)))
        begun = self._store.begun()
        for hour in sorted({*hours.in_reach(now, self._bounds), *begun}, reverse=True):
            try:
                found = found.plus(self._settle(hour, begun.get(hour), obstacle))
            except StorageUnavailableError as error:
                log.warning("hour %s waits: %s", hour, error)
                found = found.plus(Look(faults=1))
                if found.faults == MOST_FAULTS:
                    break
            except BatchscoreError as error:
                log.warning("hour %s: %s", hour, error)
                found = found.plus(Look(unpublished=(hour,)))
            except Exception:
                log.exception("hour %s: something is wrong with it", hour)
                found = found.plus(Look(unpublished=(hour,)))
        for reason in dict.fromkeys(reason for _, reason in found.held_up):
            log.warning("%s waits: %s", _named(h for h, why in found.held_up if why == reason), reason)
        if found.empty:
            log.info("%s is empty: no reading has landed", _named(found.empty))
        _say_looked(found)
        return found

    def rescore(self, hour: Hour) -> Run:
        """Make a new version of an hour, whatever its bounds and its last version. RequestError when there is nothing
        to score, or nothing to score it with; RunConflictError while a run of it is under way."""
        if hour.end > self._clock():
            raise RequestError(f"hour {hour} is not over. It ends at {hour.end:%H:%M} UTC.")
        obstacle = self._obstacle(self._request(hour, 1))
        if obstacle:
            raise RequestError(f"hour {hour} cannot be scored: {obstacle}")
        for _ in range(MOST_TRIES):
            record, etag = self._store.record(hour)
            with suppress(HourUnreadableError):  # a version whose manifest is lost: this one takes its place
                self._unpublished(hour, record)
            active = self._hour_runs.active(record)
            if active:
                raise RunConflictError(
                    f"run {active.id} of hour {hour} is under way. Wait for it, or cancel it."
                )
            blobs = self._store.readings(hour)
            if not blobs:
                raise RequestError(
                    f"hour {hour} has no readings: nothing lies below {paths.readings_prefix(hour.start)}/."
                )
            run = self._begin(hour, record, etag, blobs)
            if run is not None:
                return run
        raise _always_changed(hour)

    def _settle(self, hour: Hour, note: str | None, obstacle: Callable[[], str | None]) -> Look:
        """Do what is to be done about one hour, anew when somebody else changed its record meanwhile."""
        for _ in range(MOST_TRIES):
            done = self._try(hour, obstacle)
            if done is not None:
                if note and not done.waiting:
                    self._store.done(hour, note)
                return done
        raise _always_changed(hour)

    def _try(self, hour: Hour, obstacle: Callable[[], str | None]) -> Look | None:
        """The same once; None when somebody else was quicker."""
        # The record before the readings: what is listed is then never older than it.
        record, etag = self._store.record(hour)
        unseen = () if record and record.published else (hour,)
        unpublished = self._unpublished(hour, record)
        if unpublished.under_way:
            started = (unpublished.under_way,) if unpublished.started else ()
            return Look(started=started, unpublished=unseen)
        blobs = self._store.readings(hour)
        frozen = self._frozen(hour, record, blobs)
        action = hours.decide(hour, record, blobs, frozen, self._clock(), self._bounds)
        if action is Action.EMPTY:
            if not self._store.replace(hour, hours.empty(hour, self._clock()), etag):
                return None
            return Look(empty=(hour,))
        if action is Action.NOTHING or self._hour_runs.active(record):
            has_readings = record is not None and (record.newest or record.waits)
            return Look(unpublished=unseen if has_readings else ())
        reason = obstacle()
        if not reason:
            run = self._begin(hour, record, etag, blobs)
            return Look(started=(run,), unpublished=unseen) if run else None
        after = hours.waiting(hour, record, reason, self._clock())
        if after is record:
            return Look(waiting=(hour,), unpublished=unseen)
        if not self._store.replace(hour, after, etag):
            return None
        return Look(waiting=(hour,), held_up=((hour, reason),), unpublished=unseen)

    def _begin(
        self, hour: Hour, record: HourRecord | None, etag: str | None, blobs: tuple[Blob, ...]
    ) -> Run | None:
        """Record the next version and start its run. None when somebody else was quicker."""
        first = 1
        if (
            record is None or record.newest is None
        ):  # if its record was removed, there are runs of earlier versions
            while self._hour_runs.is_there(hour, first):
                first += 1
        manifest = hours.next_manifest(hour, record, blobs, first)
        data = manifest.encode()
        self._store.freeze(hour, data)
        note = self._store.begin(hour)
        after = hours.with_version(hour, record, manifest, self._clock())
        if not self._store.replace(hour, after, etag):
            return None  # the note stays: the next try, or the next look, removes it
        run = self._start(hour, after.versions[-1], data)
        self._store.done(hour, note)
        return run

    def _start(self, hour: Hour, version: Version, manifest: bytes) -> Run:
        self._store.hand_over(hour, version.number, manifest)
        cause = hours.cause_of(hour, version.number)
        request = self._request(hour, version.number)
        run, created = self._runs.create(runs.accepted(cause, request, self._clock()))
        if created:
            log.info("hour %s: %s with %d blobs -> run %s", hour, version.name, version.blobs, run.id)
        return run

    def _request(self, hour: Hour, version: int) -> RunRequest:
        return RunRequest(
            self._settings.scoring_workload,
            {
                **self._settings.scoring_inputs,
                hours.READINGS_INPUT: paths.readings_prefix(hour.start),
                hours.MANIFEST_INPUT: paths.manifest_path(hour.name, version),
                hours.HOUR_INPUT: hour.name,
            },
        )

    def _unpublished(self, hour: Hour, record: HourRecord | None) -> _Unpublished:
        """The run of the newest version while that is not published; started now if a crash had left it without one."""
        newest = record.newest if record else None
        if record is None or newest is None or record.published == newest.number:
            return _Unpublished()
        run = self._hour_runs.run_of(newest)
        if run is not None:
            return _Unpublished(run)
        run = self._start(hour, newest, self._store.frozen(hour, newest.manifest))
        return _Unpublished(run, started=True)

    def _frozen(self, hour: Hour, record: HourRecord | None, blobs: tuple[Blob, ...]) -> tuple[Blob, ...]:
        """What the newest version is made of; its manifest is read only when that is not what is there now."""
        newest = record.newest if record else None
        if newest is None:
            return ()
        same = hours.Manifest(hour.name, newest.number, blobs).encode()
        if hours.digest_of(same) == newest.manifest:
            return blobs
        return self._store.blobs(hour, newest.manifest)


def _say_looked(found: Look) -> None:
    signals.say(
        Signal.HOURS_LOOKED,
        started=len(found.started),
        empty=len(found.empty),
        waiting=len(found.waiting),
        faults=found.faults,
        oldest_unpublished=min(found.unpublished).end if found.unpublished else None,
    )


def _named(found: Iterable[Hour]) -> str:
    """Hours of which the same is true, in one line: after a day without a host there are many."""
    newest, *others = sorted(found, reverse=True)
    return f"hour {newest} (and {len(others)} before it)" if others else f"hour {newest}"


def bounds_of(settings: Settings) -> Bounds:
    return Bounds(settings.catch_up_hours, settings.late_hours)


def _always_changed(hour: Hour) -> StorageUnavailableError:
    return StorageUnavailableError(
        f"hour {hour} was changed by others {MOST_TRIES} times in a row. Try again."
    )
