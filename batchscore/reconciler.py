"""The lease-holder: plans, freezes, submits, polls, retries and finishes runs; nothing else moves them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import chain

from batchscore import paths, runs, signals, silence
from batchscore.catalog import Catalog
from batchscore.compute.base import Compute, JobState, JobStatus, Location
from batchscore.definitions.placement import gpu_environments
from batchscore.errors import (
    BatchscoreError,
    DefinitionError,
    HourUnreadableError,
    JobRefusedError,
    NotDeployedError,
    RequestError,
    StorageUnavailableError,
)
from batchscore.hour_runs import HourRuns
from batchscore.hours import HOUR
from batchscore.learning import sample
from batchscore.lease import SURE_FOR_S, Lease, LeaseLostError
from batchscore.leftovers import Leftovers, intermediates
from batchscore.passes import Pass, Tick
from batchscore.planning import plan
from batchscore.receipts import ItemSummary, summarise
from batchscore.run_store import RunStore
from batchscore.runs import Run, RunState
from batchscore.settings import Settings
from batchscore.signals import Signal
from batchscore.workloads import Workloads

log = logging.getLogger("batchscore.reconciler")

LONGEST_PASS = timedelta(minutes=5)
"""Within what the host allows a function."""
LONGEST_BREAK = timedelta(minutes=10)
"""After more than this between two passes, the silence of a run is counted anew."""
MOST_UNPLANNED = 5
"""How many runs that cannot be planned for now one pass puts up with: when storage is down, each costs minutes."""


class Reconciler:
    """Moves runs. `receipts` gives the lines of all receipts (JSON lines files) below a location; `publish` makes an
    output that is a model the next version of its name, once per job."""

    def __init__(
        self,
        settings: Settings,
        store: RunStore,
        lease: Lease,
        workloads: Workloads,
        catalog: Catalog,
        compute: Callable[[], Compute],
        receipts: Callable[[Location], Iterator[bytes]],
        publish: Callable[[str, Location, str], str],
        leftovers: Leftovers,
        hours: HourRuns,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._settings = settings
        self._store = store
        self._lease = lease
        self._workloads = workloads
        self._catalog = catalog
        self._compute = compute
        self._receipts = receipts
        self._publish = publish
        self._leftovers = leftovers
        self._hours = hours
        self._clock = clock
        self._last_pass = self._watching_since = datetime.min.replace(tzinfo=UTC)
        self._looked: dict[str, datetime] = {}
        """When a running run was last looked at; who is not there was not, or has ended."""

    def tick(self, wait_s: float = 0, rest_s: float = 0) -> Tick:
        """One pass over the runs that are not over, in the order in which they were queued: what has room is started,
        then what runs is looked at, then what has room now is started. Without the lease it does nothing, and where it
        loses it, no more. A run that something goes wrong with is left for the next pass and holds up no other; one that
        could not even be planned goes behind the others. A running one that was looked at within the last `rest_s` is
        let be: each look costs the compute several requests, of which it allows so many."""
        if not self._lease.acquire(wait_s):
            return Tick(ran=False)
        self._note_pass()
        this = Pass(self._clock() + LONGEST_PASS)
        try:
            waiting = self._start(self._store.active(), this)
            longest_ago = datetime.min.replace(tzinfo=UTC)
            for run in sorted(this.under_way, key=lambda run: self._looked.get(run.id, longest_ago)):
                if self._clock() < this.until and not self._rests(run, rest_s):
                    self._lease.keep()
                    this.note(run, self._advance(run))
            if this.ended:
                waiting = self._start(waiting, this)
            this.waiting = next(waiting, None) is not None
            cleaning = self._clean()
        except LeaseLostError as error:
            log.warning("%s", error)
            return Tick(ran=False)
        finally:
            self._lease.release()
        return this.tick(cleaning)

    def _start(self, queue: Iterator[Run], this: Pass) -> Iterator[Run]:
        """Move on what is not running yet, in order, as long as there is room; what is left of the queue. Those that run
        are only counted: a look at each of them keeps nobody from starting."""
        for run in queue:
            if run.state is RunState.RUNNING:
                this.running += 1
                this.under_way.append(run)
                continue
            self._lease.keep()
            # one whose attempt was just lost keeps its place in the order, and with it its place among the active ones
            active = this.running + this.lost
            full = active >= self._settings.max_active_runs or this.unplanned >= MOST_UNPLANNED
            now = self._clock()
            if run.state is RunState.ACCEPTED and (full or run.queued_at > now or now >= this.until):
                return chain([run], queue)  # the ones behind it wait too
            after = self._advance(run)
            this.running += run.state is RunState.SUBMITTING
            this.note(run, after)
            if after.state is RunState.SUBMITTING or run.state is after.state is RunState.ACCEPTED:
                this.note_unstarted(after)
            if run.state is after.state is RunState.ACCEPTED:
                this.unplanned += 1
                self._put_off(after)
        return iter(())

    def _rests(self, run: Run, rest_s: float) -> bool:
        """Whether a running run was looked at just now; one that is to stop is always looked at."""
        if run.state is not RunState.RUNNING or run.cancel_requested:
            return False
        return run.id in self._looked and (self._clock() - self._looked[run.id]).total_seconds() < rest_s

    def _clean(self) -> bool:
        """Last in a pass, and never what keeps runs from moving."""
        if self._settings.keep_intermediates:
            return False
        try:
            return self._leftovers.remove(self._clock(), self._lease.keep)
        except LeaseLostError:
            raise
        except Exception as error:
            log.warning("leftovers stay for the next pass: %s", error)
            return False

    def _note_pass(self) -> None:
        """Since when passes have followed each other. A machine that slept saw no silence: nobody looked."""
        now = self._clock()
        if now - self._last_pass > LONGEST_BREAK:
            self._watching_since = now
        self._last_pass = now
        self._looked = {run: at for run, at in self._looked.items() if now - at < LONGEST_BREAK}

    def _put_off(self, run: Run) -> None:
        """Behind the others, so that those who run come first in the order and are counted before any is started."""
        now = self._clock()
        with suppress(StorageUnavailableError):
            self._change(run, lambda current: runs.put_off(current, now))

    def _advance(self, run: Run) -> Run:
        try:
            if run.state is RunState.ACCEPTED:
                run = self._plan(run)
            if run.state is RunState.SUBMITTING:
                run = self._submit(run)
            if run.state is RunState.RUNNING:
                run = self._poll(run)
        except LeaseLostError:
            raise
        except BatchscoreError as error:
            told = not isinstance(error, StorageUnavailableError) and not self._tell(run, str(error))
            log.log(logging.DEBUG if told else logging.WARNING, "run %s waits: %s", run.id, error)
        except Exception as error:  # the fault of one run must not keep the others from moving
            log.exception("run %s waits: something is wrong with it", run.id)
            self._tell(
                run, f"something is wrong with it, see the host's log: {type(error).__name__}: {error}"
            )
        if runs.went_wrong(run):
            facts = {"workload": run.workload, "state": run.state.value, "reason": run.reason}
            signals.say(Signal.RUN_FAILED, run=run.id, **facts)
        return run

    def _tell(self, run: Run, why: str) -> bool:
        """Say in the record what a run waits for; whether that is news."""
        now = self._clock()
        try:
            return self._change(run, lambda current: runs.held_up(current, why, now)).updated_at == now
        except LeaseLostError:
            raise
        except BatchscoreError as error:
            log.warning("run %s: its reason was not written: %s", run.id, error)
            return True

    def _plan(self, run: Run) -> Run:
        now = self._clock()
        try:
            if run.cause.kind == HOUR:
                self._hours.check(run)
            found = plan(run, self._workloads, self._settings, self._catalog)
        except (RequestError, DefinitionError) as error:
            reason = str(error)
            log.warning("run %s rejected: %s", run.id, reason)
            return self._change(run, lambda current: runs.unplannable(current, reason, now))
        except NotDeployedError as error:
            reason = str(error)
            log.warning("run %s waits: %s", run.id, reason)
            return self._change(run, lambda current: runs.waiting(current, reason, now))
        return self._change(
            run, lambda current: runs.planned(current, found.job, found.results, now, found.estimate)
        )

    def _submit(self, run: Run) -> Run:
        assert run.job is not None
        now = self._clock()
        self._lease.keep(SURE_FOR_S)
        try:
            self._compute().submit(run.job)
        except JobRefusedError as error:
            reason = str(error)
            log.warning("run %s refused: %s", run.id, reason)
            return self._change(run, lambda current: runs.refused(current, reason, now))
        log.info("run %s started: %s, attempt %d", run.id, run.workload, run.job.attempt)
        return self._change(run, lambda current: runs.submitted(current, now))

    def _poll(self, run: Run) -> Run:
        now = self._clock()
        limit = self._settings.stalled_after_s
        patience = silence.Patience(limit, self._settings.queued_after_s)
        assert run.job is not None
        self._looked[run.id] = now
        status = self._compute().status(run.job.name)
        summary = self._summary(run, status) if status.state.ended else None
        status, published = self._models_made(run, status)
        status = self._hour_scored(run, status, summary)
        handed_over = intermediates(run) and not self._settings.keep_intermediates
        if status.state is JobState.SUCCEEDED and handed_over:
            self._leftovers.note(run.id)

        def change(current: Run) -> Run:
            after = runs.after_status(
                current, status, now, self._settings.max_attempts, summary, limit, self._watching_since
            )
            after = runs.with_models(after, published)
            if silence.stalled(after, now, patience, self._watching_since):
                after = silence.give_up(after, now, patience)
            elif silence.abandoned(after, now, patience, self._watching_since):
                after = runs.leave(after, now)
            return after

        after = self._change(run, change)
        if after.state is RunState.RUNNING and after.cancel_requested:
            self._lease.keep(SURE_FOR_S)
            self._compute().cancel(run.job.name)
        if after.state.ended:
            log.info("run %s %s%s", run.id, after.state, f": {after.reason}" if after.reason else "")
            self._learn(after)
        return after

    def _learn(self, run: Run) -> None:
        """Remember what the run took, for the estimates of later ones; that never keeps a run from being over."""
        self._lease.keep()
        try:
            environments = gpu_environments(self._settings.workloads_folder)
            taught = sample(run, self._workloads.pipeline(run.workload), self._catalog, environments)
            if taught is not None:
                self._catalog.remember(run.workload, taught)
        except Exception as error:
            log.warning("what run %s took is not remembered: %s", run.id, error)

    def _models_made(self, run: Run, status: JobStatus) -> tuple[JobStatus, dict[str, str]]:
        """Publish the models that a run has made, before the run is over; what is no model fails the run."""
        if run.job is None or not run.job.models or status.state is not JobState.SUCCEEDED:
            return status, {}
        try:
            published = {
                output: self._publish(name, run.job.outputs[output], run.job.name)
                for output, name in run.job.models.items()
            }
        except RequestError as error:
            return replace(status, state=JobState.FAILED, message=f"no model was published: {error}"), {}
        log.info("run %s published %s", run.id, ", ".join(published.values()))
        return status, published

    def _hour_scored(self, run: Run, status: JobStatus, summary: ItemSummary | None) -> JobStatus:
        """Publish the predictions of an hour's run, before it is over; also when items failed, as few as its workload
        allows."""
        if run.cause.kind != HOUR or status.state is not JobState.SUCCEEDED:
            return status
        by_steps = sum(step.items_failed for step in status.steps)
        self._lease.keep(SURE_FOR_S)
        try:
            self._hours.publish(run, max(summary.failed if summary else 0, by_steps))
        except (RequestError, HourUnreadableError) as error:
            return replace(status, state=JobState.FAILED, message=f"nothing was published: {error}")
        return status

    def _summary(self, run: Run, status: JobStatus) -> ItemSummary | None:
        assert run.job is not None
        location = run.job.outputs.get(paths.RECEIPTS_OUTPUT)
        failed = any(step.items_failed for step in status.steps)
        mini_batches = self._receipts(run.job.logs) if failed else ()
        if location is not None:
            return summarise(self._receipts(location), mini_batches)
        done = sum(step.items_done for step in status.steps)
        return replace(summarise((), mini_batches), ok=done) if failed else None

    def _change(self, run: Run, change: Callable[[Run], Run]) -> Run:
        """Change the record unless somebody moved the run to another state or attempt meanwhile; then theirs
        stands. LeaseLostError when the right to change it went to another while this process was held up."""

        def if_unmoved(current: Run) -> Run:
            unmoved = current.state is run.state and len(current.attempts) == len(run.attempts)
            after = change(current) if unmoved else current
            if after is not current:
                self._lease.keep(SURE_FOR_S)
            return after

        return self._store.update(run.id, if_unmoved)
