"""The runs of hours: which of them may start, and how what they scored is published."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

from batchscore import hours, paths, signals
from batchscore.errors import (
    HourUnreadableError,
    RequestError,
    RunConflictError,
    RunNotFoundError,
    RunUnreadableError,
)
from batchscore.hour_store import HourStore
from batchscore.hours import Hour, HourRecord, Version
from batchscore.run_store import RunStore
from batchscore.runs import Run
from batchscore.signals import Signal

log = logging.getLogger("batchscore.hour_runs")


class HourRuns(Protocol):
    """What the reconciler asks about runs of kind `hour`."""

    def check(self, run: Run) -> None:
        """Whether the run may start: RequestError when it never may, RunConflictError when it has to wait."""

    def publish(self, run: Run, failed_items: int) -> None:
        """Make what the run has scored its hour's published version, unless a newer one is. RequestError when there
        is nothing to publish."""


class StoredHourRuns:
    """Runs of hours by their records in storage."""

    def __init__(
        self,
        store: HourStore,
        run_store: RunStore,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self._runs = run_store
        self._clock = clock

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
        older = self.active(record, number)
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
            facts = {"version": number, "failed_items": failed_items}
            signals.say(Signal.HOUR_PUBLISHED, hour=hour.name, run=run.id, **facts)

    def active(self, record: HourRecord | None, before: int | None = None) -> Run | None:
        """A run of the hour that is under way; with `before`, one of an older version than that."""
        versions = reversed(record.versions if record else ())
        runs_of_it = (self.run_of(each) for each in versions if before is None or each.number < before)
        return next((run for run in runs_of_it if run and not run.state.ended), None)

    def is_there(self, hour: Hour, number: int) -> bool:
        """Whether this version of the hour has a run, whatever the record says."""
        try:
            self._runs.get(hours.cause_of(hour, number).run_id)
        except RunNotFoundError:
            return False
        except RunUnreadableError:
            pass
        return True

    def run_of(self, version: Version) -> Run | None:
        """A version's run; None when it has none, yet or any more. HourUnreadableError when its record is torn."""
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
