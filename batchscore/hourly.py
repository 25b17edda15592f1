"""What the hourly timer does: looks at the hours in reach, starts the runs that score them, publishes their results.

Every step is found done or done again by the next look, by any host: the manifest is kept under its hash, the record is
swapped (which decides), the manifest is handed over, the run is created under an id made of hour and version, its end
swaps the record, and the pointer is made to say what the record says.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from typing import Protocol

from batchscore import hours, paths, runs
from batchscore.errors import (
    BatchscoreError,
    HourUnreadableError,
    RequestError,
    RunConflictError,
    RunNotFoundError,
    RunUnreadableError,
    StorageUnavailableError,
)
from batchscore.hour_store import HourStore
from batchscore.hours import Action, Blob, Bounds, Hour, HourRecord, HourState, Version
from batchscore.run_store import RunStore
from batchscore.runs import Run
from batchscore.settings import Settings
from batchscore.triggers import RunRequest

log = logging.getLogger("batchscore.hourly")

MOST_TRIES = 20
MOST_FAULTS = 3
"""How many hours that cannot be looked at one look puts up with: when storage is down, each costs minutes."""
READERS = 8

Obstacle = Callable[[RunRequest], str | None]
"""What keeps a scoring request from being planned for now, such as that there is no model yet; None when nothing."""


class HourRuns(Protocol):
    """What the reconciler asks about runs of kind `hour`."""

    def check(self, run: Run) -> None:
        """Whether the run may start: RequestError when it never may, RunConflictError when it has to wait."""

    def publish(self, run: Run, failed_items: int) -> None:
        """Make what the run has scored its hour's published version, unless a newer one is. RequestError when there
        is nothing to publish."""


@dataclass(frozen=True)
class Look:
    """What one look at the hours did."""

    started: tuple[Run, ...] = ()
    empty: tuple[Hour, ...] = ()
    waiting: tuple[Hour, ...] = ()
    faults: int = 0


@dataclass(frozen=True)
class HourAccount:
    """An hour as people and programs are told of it."""

    hour: str
    state: HourState
    published: str = ""
    published_at: datetime | None = None
    path: str = ""
    """Where the published predictions are, in the data container."""
    run: str = ""
    """The run of the newest version."""
    blobs: int = 0
    size_bytes: int = 0
    reason: str = ""
    versions: tuple[Version, ...] = field(default=())


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
        obstacle: Obstacle,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._settings = settings
        self._store = store
        self._runs = run_store
        self._obstacle = obstacle
        self._clock = clock
        self._bounds = Bounds(settings.catch_up_hours, settings.late_hours)

    def look(self) -> Look:
        """Look at every hour in reach, the newest first, and at those that a crash left half begun. An hour with which
        something is wrong holds up no other."""
        now, found = self._clock(), Look()
        obstacle = cache(lambda: self._obstacle(self._request(hours.last_ended(now), 1)))
        begun = self._store.begun()
        for hour in sorted({*hours.in_reach(now, self._bounds), *begun}, reverse=True):
            try:
                did = self._settle(hour, begun.get(hour), obstacle)
            except StorageUnavailableError as error:
                log.warning("hour %s waits: %s", hour, error)
                found = replace(found, faults=found.faults + 1)
                if found.faults == MOST_FAULTS:
                    break
                continue
            except BatchscoreError as error:
                log.warning("hour %s: %s", hour, error)
                continue
            except Exception:
                log.exception("hour %s: something is wrong with it", hour)
                continue
            if isinstance(did, Run):
                found = replace(found, started=(*found.started, did))
            elif did is HourState.EMPTY:
                found = replace(found, empty=(*found.empty, hour))
            elif did is HourState.WAITING:
                found = replace(found, waiting=(*found.waiting, hour))
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
            active = self._unpublished(hour, record).under_way or self._active(record)
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

    def check(self, run: Run) -> None:
        """As HourRuns says. The lease-holder alone starts runs, so what it checks here stays true: at most one run of
        an hour is under way, and it is that of the newest version."""
        hour, number = hours.version_of(run.cause)
        record, _ = self._store.record(hour)
        version = record.version(number) if record else None
        if record is None or version is None or version.run != run.id:
            raise RequestError(f"the record of hour {hour} knows no such v{number}.")
        if version is not record.newest:
            raise RequestError(_superseded(hour, record))
        older = self._active(record, number)
        if older:
            raise RunConflictError(f"it waits for run {older.id} of the same hour.")

    def check_retry(self, run: Run) -> None:
        """RunConflictError when another attempt of this run of an hour could never be published."""
        hour, number = hours.version_of(run.cause)
        record, _ = self._store.record(hour)
        if record is not None and record.newest is not record.version(number):
            raise RunConflictError(_superseded(hour, record))

    def publish(self, run: Run, failed_items: int) -> None:
        """As HourRuns says; once more changes nothing. What comes first is the record."""
        hour, number = hours.version_of(run.cause)
        place = run.job.outputs.get(paths.PREDICTIONS) if run.job else None
        if place is None or not self._store.holds(place):
            raise RequestError(f"the run made no {paths.PREDICTIONS}.")
        now = self._clock()
        record = self._store.update(
            hour, lambda current: hours.with_published(current, number, failed_items, now)
        )
        self._store.point(hour)
        if record.published > number:
            log.warning("hour %s: v%d came late; v%d stays published", hour, number, record.published)
        else:
            log.info("hour %s: v%d is published", hour, number)

    def accounts(self, last: int) -> list[HourAccount]:
        """The last hours that are over, the newest first."""
        now = self._clock()
        newest = hours.last_ended(now)
        with ThreadPoolExecutor(READERS) as pool:
            return list(pool.map(lambda hour: self._account(hour, now), map(newest.before, range(last))))

    def _account(self, hour: Hour, now: datetime) -> HourAccount:
        try:
            record, _ = self._store.record(hour)
        except HourUnreadableError as error:
            return HourAccount(hour.name, HourState.UNREADABLE, reason=str(error))
        newest = record.newest if record else None
        run = self._run(newest) if newest else None
        state = hours.state_of(hour, record, run, now, self._bounds)
        if record is None:
            return HourAccount(hour.name, state)
        pointer = hours.pointer_of(record)
        ended_badly = state in (HourState.FAILED, HourState.WITH_ERRORS)
        reasons = (run.reason if run and ended_badly else "", record.waits)
        return HourAccount(
            hour.name,
            state,
            f"v{pointer.version}" if pointer else "",
            pointer.published_at if pointer else None,
            pointer.path if pointer else "",
            newest.run if newest else "",
            newest.blobs if newest else 0,
            newest.size_bytes if newest else 0,
            " ".join(filter(None, reasons)),
            record.versions,
        )

    def _settle(
        self, hour: Hour, note: str | None, obstacle: Callable[[], str | None]
    ) -> Run | HourState | None:
        """Do what is to be done about one hour, anew when somebody else changed its record meanwhile. Gives the run
        that it started, EMPTY or WAITING when it recorded that, or None."""
        for _ in range(MOST_TRIES):
            # The record before the readings: what is listed is then never older than it.
            record, etag = self._store.record(hour)
            unpublished = self._unpublished(hour, record)
            run = unpublished.run if unpublished.started else None
            if not unpublished.under_way:
                blobs = self._store.readings(hour)
                frozen = self._frozen(hour, record, blobs)
                action = hours.decide(hour, record, blobs, frozen, self._clock(), self._bounds)
                if action is Action.EMPTY:
                    if self._store.replace(hour, hours.empty(hour, self._clock()), etag):
                        log.info("hour %s is empty: no reading has landed", hour)
                        return HourState.EMPTY
                    continue
                if action is Action.SCORE and not self._active(record):
                    reason = obstacle()
                    if reason:
                        after = hours.waiting(hour, record, reason, self._clock())
                        if after is record:
                            return HourState.WAITING
                        if self._store.replace(hour, after, etag):
                            log.warning("hour %s waits: %s", hour, reason)
                            return HourState.WAITING
                        continue
                    run = self._begin(hour, record, etag, blobs)
                    if run is None:
                        continue
            if note:
                self._store.done(hour, note)
            return run
        raise _always_changed(hour)

    def _begin(
        self, hour: Hour, record: HourRecord | None, etag: str | None, blobs: tuple[Blob, ...]
    ) -> Run | None:
        """Record the next version and start its run. None when somebody else was quicker."""
        manifest = hours.next_manifest(hour, record, blobs)
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
        run = self._run(newest)
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

    def _active(self, record: HourRecord | None, before: int | None = None) -> Run | None:
        """A run of the hour that is under way; with `before`, one of an older version than that."""
        versions = record.versions[: None if before is None else before - 1] if record else ()
        runs_of_it = (self._run(version) for version in reversed(versions))
        return next((run for run in runs_of_it if run and not run.state.ended), None)

    def _run(self, version: Version) -> Run | None:
        try:
            return self._runs.get(version.run)
        except RunNotFoundError:
            return None
        except RunUnreadableError as error:
            raise HourUnreadableError(str(error)) from error


def _superseded(hour: Hour, record: HourRecord) -> str:
    assert record.newest is not None
    return (
        f"hour {hour} has a newer version, {record.newest.name} (run {record.newest.run}). Retry that one, or "
        f"'batchscore hours rescore {hour}' makes another."
    )


def _always_changed(hour: Hour) -> StorageUnavailableError:
    return StorageUnavailableError(
        f"hour {hour} was changed by others {MOST_TRIES} times in a row. Try again."
    )
