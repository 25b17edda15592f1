"""The whole control plane, put together once: what the doors, the command line and the page call."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import batched

from azure.core.exceptions import AzureError, ResourceNotFoundError

from batchscore import paths, runs, signals
from batchscore.catalog import StorageCatalog
from batchscore.compute.base import Compute, Location
from batchscore.errors import RunNotFoundError, StorageUnavailableError
from batchscore.hour_accounts import HourAccounts
from batchscore.hour_runs import StoredHourRuns
from batchscore.hour_store import HourStore
from batchscore.hourly import Hourly, Look, bounds_of
from batchscore.hours import HOUR, hour_named
from batchscore.ingest import Ingest
from batchscore.intake import Intake, Swept
from batchscore.lease import BlobLease
from batchscore.leftovers import BlobLeftovers
from batchscore.models import ModelStore
from batchscore.passes import Tick
from batchscore.planning import obstacle
from batchscore.printable import quoted
from batchscore.receipts import FailedItem, failed_items
from batchscore.reconciler import Reconciler
from batchscore.run_store import BlobRunStore
from batchscore.runs import Run
from batchscore.settings import Settings
from batchscore.signals import Signal
from batchscore.storage import LIST_PAGE, Storage, translated
from batchscore.workloads import Workloads

log = logging.getLogger("batchscore")

KICK_WAIT_S = 20
KICKS_APART_S = 1
STOPPING_POLL_S = 1
RESTS = 0.8
"""The part of the poll interval in which kicks for other runs let a running one be."""
READERS = 8


class Application:
    """One per process; thread-safe. Nothing is contacted before it is needed."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.storage = Storage(settings)
        self.workloads = Workloads(settings.workloads_folder, settings.local_map)
        self._lock = threading.Lock()
        self._compute: Compute | None = None
        self._kicked_at = float("-inf")
        self._next_poll = self._tick_started = datetime.min.replace(tzinfo=UTC)

    @cached_property
    def store(self) -> BlobRunStore:
        return BlobRunStore(self.storage)

    @cached_property
    def intake(self) -> Intake:
        return Intake(self.settings, self.storage, self.store, self.workloads)

    @cached_property
    def ingest(self) -> Ingest:
        return Ingest(self.settings, self.storage)

    @cached_property
    def reconciler(self) -> Reconciler:
        return Reconciler(
            self.settings,
            self.store,
            BlobLease(self.storage),
            self.workloads,
            StorageCatalog(self.storage, self.workloads.models),
            self.compute,
            self.receipt_lines,
            self.publish,
            BlobLeftovers(self.storage, lambda: self.store),
            self.hour_runs,
        )

    @cached_property
    def hour_store(self) -> HourStore:
        return HourStore(self.storage, self.settings)

    @cached_property
    def hour_runs(self) -> StoredHourRuns:
        return StoredHourRuns(self.hour_store, self.store)

    @cached_property
    def hour_accounts(self) -> HourAccounts:
        return HourAccounts(self.hour_store, self.hour_runs, bounds_of(self.settings))

    @cached_property
    def hours(self) -> Hourly:
        catalog = StorageCatalog(self.storage, self.workloads.models)
        return Hourly(
            self.settings,
            self.hour_store,
            self.store,
            self.hour_runs,
            lambda request: obstacle(request, self.workloads, catalog),
        )

    def compute(self) -> Compute:
        with self._lock:
            if self._compute is None:
                from batchscore.compute.registry import open_compute

                self._compute = open_compute(self.settings, self.storage)
            return self._compute

    def publish(self, name: str, output: Location, job: str) -> str:
        """Make an output of a run's attempt the next version of a model; `name:version`."""
        return ModelStore(self.storage, self.workloads.models).publish_output(name, output, job)

    def kick(self, delay_s: int = 0) -> None:
        """Ask the reconciler to look now (or in a while). A kick that fails is only a delay: the timer comes."""
        if delay_s == 0:
            wait_s = self._next_kick()
            if wait_s is None:
                return
            delay_s = wait_s
        due = datetime.now(UTC) + timedelta(seconds=delay_s)
        try:
            with translated("a kick"):
                try:
                    self._send_kick(due, delay_s)
                except ResourceNotFoundError:  # somebody deleted the queue
                    self.storage.forget_queue("system", paths.RECONCILE_QUEUE)
                    self._send_kick(due, delay_s)
        except (AzureError, StorageUnavailableError) as error:
            self._kicked_at = float("-inf")
            log.warning("%s; the timer will look", error)

    def _send_kick(self, due: datetime, delay_s: int) -> None:
        queue = self.storage.queue("system", paths.RECONCILE_QUEUE)
        queue.send_message(due.isoformat(), visibility_timeout=delay_s)

    def _next_kick(self) -> int | None:
        """When to kick, in seconds from now; None when a kick that is on its way will come late enough. A flood of
        trigger files takes two kicks a second, not one each."""
        now = time.monotonic()
        with self._lock:
            if self._kicked_at > now:
                return None
            apart = now - self._kicked_at >= KICKS_APART_S
            self._kicked_at = now if apart else now + KICKS_APART_S
        return 0 if apart else KICKS_APART_S

    def kicked(self, message: bytes) -> Tick:
        """Look because of a kick, unless a pass that began after the kick was due has looked already. When storage
        is away the kick is lost, which is only a delay: the timer comes."""
        try:
            due = datetime.fromisoformat(message.decode())
            due = due if due.tzinfo else due.replace(tzinfo=UTC)
        except (ValueError, OverflowError):  # somebody else's message: look
            due = datetime.now(UTC)
        if due < self._tick_started:
            return Tick(ran=False)
        try:
            return self._reconcile(KICK_WAIT_S, RESTS * self.settings.poll_interval_s)
        except (
            StorageUnavailableError
        ) as error:  # tried again at once, it would end as poison that nobody reads
            log.warning("%s; the timer will look", error)
            return Tick(ran=False)

    def timer(self) -> Tick:
        """Look because it is time: first for trigger files whose event was lost, then at the runs. Says what it saw."""
        swept, tick = None, Tick(ran=False)
        try:
            swept = self.intake.sweep()
            if swept.found:
                log.info("the sweep found %d trigger files without a run", swept.found)
        except Exception:  # whatever keeps it from sweeping, the runs that are there go on
            log.exception("the sweep of trigger files failed; the next one tries again")
        try:
            tick = self._reconcile(0)
        finally:
            self._say_vitals(swept, tick)
        return tick

    def _say_vitals(self, swept: Swept | None, tick: Tick) -> None:
        now = datetime.now(UTC)
        signals.say(
            Signal.VITALS,
            swept=swept is not None,
            unrecorded_s=signals.age_s(swept.unrecorded_since, now) if swept else None,
            reconciled=tick.ran,
            running=tick.running if tick.ran else None,
            unstarted_s=signals.age_s(tick.unstarted_since, now) if tick.ran else None,
        )

    def score_hours(self) -> Look:
        """Score the hours that are due. When storage is away that is only a delay: the timer comes again."""
        try:
            look = self.hours.look()
        except StorageUnavailableError as error:
            log.warning("%s; the hours are looked at when the timer comes again", error)
            return Look(faults=1)
        if look.started:
            self.kick()
        return look

    def rescore(self, hour: str) -> Run:
        """Score an hour anew; RequestError or RunConflictError when that cannot be."""
        run = self.hours.rescore(hour_named(hour))
        self.kick()
        return run

    def cancel(self, run_id: str) -> Run:
        """RunConflictError when the run has ended."""
        return self._change(run_id, runs.cancel)

    def retry(self, run_id: str) -> Run:
        """RunConflictError unless the run failed, was canceled, or succeeded with errors; also when it is that of an
        hour that has a newer version."""
        run = self.store.get(run_id)
        if run.cause.kind == HOUR:
            self.hour_runs.check_retry(run)
        return self._change(run_id, runs.retry)

    def replay(self, run_id: str) -> Run:
        run = self.intake.replay(run_id)
        self.kick()
        return run

    def run(self, run_id: str) -> Run:
        """The run of this id, or of the only one that begins so; RunNotFoundError."""
        if paths.is_run_id(run_id):
            return self.store.get(run_id)
        found = self.store.find(run_id) if paths.begins_run_id(run_id) else []
        if len(found) != 1:
            many = (
                f"{len(found)} runs begin so; give more of the id."
                if found
                else "'batchscore runs' lists them."
            )
            raise RunNotFoundError(f"there is no single run {quoted(run_id, 40)}. {many}")
        return found[0]

    def failed_items(self, run: Run) -> tuple[FailedItem, ...]:
        """Every failed item of a run with its reason, as far as it is known by now."""
        if run.job is None:
            return ()
        receipts = run.job.outputs.get(paths.RECEIPTS_OUTPUT)
        return failed_items(
            self.receipt_lines(receipts) if receipts else (),
            self.receipt_lines(run.job.logs) if run.items[2] else (),
        )

    def receipt_lines(self, location: Location) -> Iterator[bytes]:
        """The lines of all receipts below a location, a few files read at a time."""
        container = self.storage.container(location.account, location.container)

        def read(name: str) -> bytes:
            try:
                return container.download_blob(name).readall()
            except ResourceNotFoundError:
                return b""

        names = (
            name
            for name in container.list_blob_names(
                name_starts_with=f"{location.path}/", results_per_page=LIST_PAGE
            )
            if name.endswith(".jsonl")
        )
        with (
            translated(str(location)),
            suppress(ResourceNotFoundError),
            ThreadPoolExecutor(READERS) as pool,
        ):
            for group in batched(names, READERS, strict=False):
                for data in pool.map(read, group):
                    yield from data.splitlines()

    def close(self) -> None:
        if self._compute is not None:
            self._compute.close()
        self.storage.close()

    def _change(self, run_id: str, change: Callable[[Run, datetime], Run]) -> Run:
        now = datetime.now(UTC)
        run = self.store.update(run_id, lambda current: change(current, now))
        self.kick()
        return run

    def _reconcile(self, wait_s: float, rest_s: float = 0) -> Tick:
        started = datetime.now(UTC)
        tick = self.reconciler.tick(wait_s, rest_s)
        if tick.ran:
            self._tick_started = started
        if tick.ran and (tick.running or tick.started or tick.cleaning or tick.lost):
            self._poll_again(STOPPING_POLL_S if tick.stopping else self.settings.poll_interval_s)
        return tick

    def _poll_again(self, after_s: int) -> None:
        """Ask for the next look, unless one that is as soon is on its way already."""
        now = datetime.now(UTC)
        due = now + timedelta(seconds=after_s)
        with self._lock:
            if now < self._next_poll <= due:
                return
            self._next_poll = due
        self.kick(after_s)
