"""How hours are, as people and programs are told of it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from batchscore import hours
from batchscore.errors import HourUnreadableError, RequestError
from batchscore.hour_runs import StoredHourRuns
from batchscore.hour_store import HourStore
from batchscore.hours import Bounds, Hour, HourRecord, Version
from batchscore.runs import Run, RunState

READERS = 8


class HourState(StrEnum):
    """How an hour is, as people see it."""

    DUE = "due"
    """It is over, and the timer has not looked yet."""
    MISSED = "missed"
    """Longer over than CATCH_UP_HOURS, and the timer never looked."""
    EMPTY = "empty"
    WAITING = "waiting"
    SCORING = "scoring"
    SCORED = "scored"
    WITH_ERRORS = "scored_with_errors"
    FAILED = "failed"
    """The run of its newest version failed, was canceled or rejected; an older version may be published."""
    UNREADABLE = "unreadable"
    """Its record is torn."""


def state_of(
    hour: Hour, record: HourRecord | None, run: Run | None, now: datetime, bounds: Bounds
) -> HourState:
    """The state of an hour that is over; `run` is that of its newest version, None while there is none."""
    if record is None:
        return HourState.DUE if hour >= hours.last_ended(now).before(bounds.catch_up) else HourState.MISSED
    newest = record.newest
    if newest is None:
        return HourState.WAITING if record.waits else HourState.EMPTY
    if run is not None and not run.state.ended:
        return HourState.SCORING
    if record.published == newest.number:
        return HourState.WITH_ERRORS if newest.failed_items else HourState.SCORED
    succeeded = run is None or run.state in (RunState.SUCCEEDED, RunState.SUCCEEDED_WITH_ERRORS)
    return HourState.SCORING if succeeded else HourState.FAILED


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
    versions: tuple[Version, ...] = ()


class HourAccounts:
    """Reads records and runs; changes nothing."""

    def __init__(
        self,
        store: HourStore,
        hour_runs: StoredHourRuns,
        bounds: Bounds,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self._runs = hour_runs
        self._bounds = bounds
        self._clock = clock

    def last(self, count: int) -> list[HourAccount]:
        """The last hours that are over, the newest first."""
        now = self._clock()
        newest = hours.last_ended(now)
        with ThreadPoolExecutor(READERS) as pool:
            return list(pool.map(lambda hour: self._account(hour, now), map(newest.before, range(count))))

    def of(self, hour: Hour) -> HourAccount:
        """One hour; RequestError while it is not over."""
        now = self._clock()
        if hour.end > now:
            raise RequestError(f"hour {hour} is not over. It ends at {hour.end:%H:%M} UTC.")
        return self._account(hour, now)

    def _account(self, hour: Hour, now: datetime) -> HourAccount:
        try:
            record, _ = self._store.record(hour)
            newest = record.newest if record else None
            run = self._runs.run_of(newest) if newest else None
        except HourUnreadableError as error:
            return HourAccount(hour.name, HourState.UNREADABLE, reason=str(error))
        state = state_of(hour, record, run, now, self._bounds)
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
