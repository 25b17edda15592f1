"""Run: the record of one run, and the pure decisions about which state comes next.

accepted ──▶ submitting ──▶ running ──▶ succeeded
   │             │             ├──────▶ succeeded_with_errors ──retry──▶ accepted
   │             │             ├──────▶ failed                ──retry──▶ accepted
   │             │             ├──────▶ canceled              ──retry──▶ accepted
   │             └── lost ◀────┘ (accepted again while attempts are left)
   ├──▶ rejected  (what it asks for cannot be done)
   └──▶ canceled
poisoned ──replay──▶ accepted     (storage failed at every try to read its trigger file)
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from batchscore import paths
from batchscore.accounting import Took, attempt_took, together
from batchscore.compute.base import Job, JobState, JobStatus, Location, StepProgress
from batchscore.errors import RunConflictError
from batchscore.estimates import Estimate
from batchscore.printable import printable_lines, quoted, shortened
from batchscore.receipts import ItemSummary
from batchscore.triggers import RunRequest

FIRST_DELAY_S = 5
LONGEST_DELAY_S = 300
TOLD_AGAIN_AFTER = timedelta(minutes=1)
ASKED_TO_STOP = "canceled on request."
NEVER_STARTED = "canceled before it started."


class RunState(StrEnum):
    ACCEPTED = "accepted"
    SUBMITTING = "submitting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    SUCCEEDED_WITH_ERRORS = "succeeded_with_errors"
    """The results are there, and some items are missing from them: as few as the error_threshold allows."""
    FAILED = "failed"
    CANCELED = "canceled"
    REJECTED = "rejected"
    POISONED = "poisoned"

    @property
    def ended(self) -> bool:
        return self not in (RunState.ACCEPTED, RunState.SUBMITTING, RunState.RUNNING)


@dataclass(frozen=True)
class Cause:
    """What started a run: `kind` is trigger_file or inbox_file (name: the blob, version: its ETag), http (name: the idempotency
    key, version: a hash of the body), cli (name: a random id) or hour (name: the UTC hour, version: that of its
    scoring, such as v3)."""

    kind: str
    name: str
    version: str = ""

    @property
    def run_id(self) -> str:
        if self.kind == "http":
            return paths.run_id(
                self.kind, self.name
            )  # the same key with another body is a conflict, not a new run
        return paths.run_id(self.kind, self.name, self.version)


@dataclass(frozen=True)
class Attempt:
    """One submission of a run to a compute."""

    number: int
    job_name: str
    started_at: datetime
    ended_at: datetime | None = None
    outcome: str = ""
    message: str = ""
    reached: int = 0
    """How many items and steps were done when it ended, those of earlier attempts included."""
    took: Took | None = None
    """What it took, once it has ended."""
    blameless: bool = False
    """Lost because its surroundings failed, which says nothing against the run."""


@dataclass(frozen=True)
class Run:
    """Everything that is known about a run. Times are UTC."""

    id: str
    cause: Cause
    state: RunState
    created_at: datetime
    queued_at: datetime
    updated_at: datetime
    request: RunRequest | None = None
    reason: str = ""
    job: Job | None = None
    results: dict[str, Location] | None = None
    attempts: tuple[Attempt, ...] = ()
    attempts_before_retry: int = 0
    """How many attempts there were when a person last said retry; those do not count against max_attempts."""
    steps: tuple[StepProgress, ...] = ()
    progress_at: datetime | None = None
    cancel_requested: bool = False
    waits: bool = False
    """Whether its compute has not begun yet, or has nothing of it running: it waits for machines."""
    in_vain_s: float = 0
    """How long it had run without progress when it began to wait."""
    ended_at: datetime | None = None
    estimate: Estimate | None = None
    """What its first attempt was expected to take; None where nobody asked, on this machine."""
    took: Took | None = None
    """What its attempts that have ended really took, all together."""
    summary: ItemSummary | None = None
    published: dict[str, str] = field(default_factory=dict)
    """The models that the run made, `name:version` by output."""
    poison_message: str | None = None
    cleaned_at: datetime | None = None
    """When the outputs that only its own steps read were removed (setting KEEP_INTERMEDIATES)."""

    @property
    def workload(self) -> str:
        return self.request.workload if self.request else ""

    @property
    def items(self) -> tuple[int, int, int]:
        """Items in all, done and failed, over the parallel steps that are known so far."""
        return (
            sum(step.items_total for step in self.steps),
            sum(step.items_done for step in self.steps),
            sum(step.items_failed for step in self.steps),
        )

    @property
    def failed_items(self) -> int:
        """Items that failed, by the receipts or by the engine's counts: an item that kills its worker leaves no
        receipt, and what a command step finds damaged is in its receipts alone."""
        return max(self.summary.failed if self.summary else 0, self.items[2])


def accepted(cause: Cause, request: RunRequest, now: datetime) -> Run:
    return Run(cause.run_id, cause, RunState.ACCEPTED, now, now, now, request)


def rejected(cause: Cause, reason: str, now: datetime) -> Run:
    return Run(cause.run_id, cause, RunState.REJECTED, now, now, now, reason=_told(reason), ended_at=now)


def poisoned(cause: Cause, message: str, now: datetime) -> Run:
    reason = (
        f"storage failed at every try to read {quoted(cause.name)}. Nothing is lost: 'batchscore replay {cause.run_id}' "
        "reads it again."
    )
    return Run(
        cause.run_id,
        cause,
        RunState.POISONED,
        now,
        now,
        now,
        reason=reason,
        ended_at=now,
        poison_message=message,
    )


def planned(
    run: Run, job: Job, results: dict[str, Location], now: datetime, estimate: Estimate | None = None
) -> Run:
    """The run with its job frozen, before it is submitted."""
    attempt = Attempt(job.attempt, job.name, now)
    return replace(
        run,
        state=RunState.SUBMITTING,
        job=job,
        results=results,
        estimate=run.estimate or estimate,
        attempts=(*run.attempts, attempt),
        steps=(),
        reason="",
        waits=False,
        in_vain_s=0,
        progress_at=now,
        updated_at=now,
    )


def waiting(run: Run, reason: str, now: datetime) -> Run:
    """An accepted run that cannot be planned yet says why; the same object when it has said so already."""
    told = _told(reason)
    return run if run.reason == told else replace(run, reason=told, updated_at=now)


def unplannable(run: Run, reason: str, now: datetime) -> Run:
    """What it asks for cannot be done; a run that was under way before may be retried once it can."""
    state = RunState.FAILED if run.attempts else RunState.REJECTED
    return replace(run, state=state, reason=_told(reason), ended_at=now, updated_at=now)


def submitted(run: Run, now: datetime) -> Run:
    if run.state is not RunState.SUBMITTING:
        return run
    reason = run.reason if run.cancel_requested else ""
    return replace(run, state=RunState.RUNNING, reason=reason, progress_at=now, updated_at=now)


def refused(run: Run, reason: str, now: datetime) -> Run:
    return _ended(run, RunState.FAILED, "refused", reason, now)


def after_status(
    run: Run,
    status: JobStatus,
    now: datetime,
    max_attempts: int,
    summary: ItemSummary | None = None,
    patience_s: int = 21_600,
    watching_since: datetime | None = None,
) -> Run:
    """What becomes of a running run when its compute says `status`; the same object when nothing is new. `summary`
    is of the receipts, once the job has ended. A run whose surroundings keep failing is given up when it has got no
    further for `patience_s`. Nobody looked before `watching_since`."""
    moved = status.steps != run.steps and bool(status.steps)
    seen = replace(run, steps=status.steps, updated_at=now) if moved else run
    if moved and _reached(status.steps) != _reached(run.steps):
        seen = replace(seen, progress_at=now, in_vain_s=0)
    waits = status.state is JobState.QUEUED
    if waits is not seen.waits:
        seen = _turned(seen, waits, now, watching_since)
    seen = replace(seen, summary=summary) if summary else seen
    match status.state:
        case JobState.SUCCEEDED if seen.failed_items:
            reason = _items_failed_words(seen)
            return _ended(seen, RunState.SUCCEEDED_WITH_ERRORS, "succeeded", reason, now)
        case JobState.SUCCEEDED:
            return _ended(seen, RunState.SUCCEEDED, "succeeded", status.message, now)
        case JobState.FAILED:
            return _ended(seen, RunState.FAILED, "failed", status.message, now)
        case JobState.CANCELED:
            asked = run.reason if run.cancel_requested else ""
            return _ended(seen, RunState.CANCELED, "canceled", asked or status.message, now)
        case JobState.LOST if run.cancel_requested:
            return _ended(seen, RunState.CANCELED, "lost", run.reason or status.message, now)
        case JobState.LOST:
            return _lost(seen, status, now, max_attempts, patience_s)
        case _ if run.cancel_requested or _told(status.message) == seen.reason:
            return seen
        case _:
            return replace(seen, reason=_told(status.message), updated_at=now)


def _reached(steps: tuple[StepProgress, ...]) -> tuple[int, int]:
    """What counts as progress: items, and steps that are over. A step that starts or waits again is none."""
    return sum(step.items_done + step.items_failed for step in steps), sum(step.state.ended for step in steps)


def _turned(run: Run, waits: bool, now: datetime, watching_since: datetime | None) -> Run:
    """A run that begins to wait, or to run. Waiting has a clock of its own; that of running goes on where it stood, so
    that a run is found whose machines are taken away again and again before it has done anything."""
    if not waits:
        return replace(run, waits=False, progress_at=now - timedelta(seconds=run.in_vain_s), updated_at=now)
    since = max(run.progress_at or now, watching_since or datetime.min.replace(tzinfo=UTC))
    ran_s = max(0.0, (now - since).total_seconds())
    return replace(run, waits=True, in_vain_s=ran_s, progress_at=now, updated_at=now)


def leave(run: Run, now: datetime) -> Run:
    """End a run whose compute does not stop it, so that it keeps no other from starting."""
    told = f"{run.reason} The compute never confirmed that job {run.attempts[-1].job_name} has stopped: look there."
    return _ended(run, RunState.CANCELED, "canceled", told, now)


def held_up(run: Run, why: str, now: datetime) -> Run:
    """A run that cannot be moved for now, with what it waits for; told anew no more than once a minute."""
    told_lately = bool(run.reason) and (now - run.updated_at) < TOLD_AGAIN_AFTER
    if told_lately or run.cancel_requested or run.reason == _told(why) or run.state.ended:
        return run
    return replace(run, reason=_told(why), updated_at=now)


def cancel(run: Run, now: datetime) -> Run:
    """A person asks the run to stop. A run that was not started is canceled at once; RunConflictError when ended."""
    if run.state.ended:
        raise RunConflictError(f"run {run.id} has ended already ({run.state}): there is nothing to cancel.")
    if run.state is RunState.ACCEPTED:
        return replace(run, state=RunState.CANCELED, reason=NEVER_STARTED, ended_at=now, updated_at=now)
    if run.cancel_requested:
        return run
    return replace(run, cancel_requested=True, reason=ASKED_TO_STOP, updated_at=now)


def retry(run: Run, now: datetime) -> Run:
    """A person asks for another attempt; what earlier attempts finished is kept."""
    if run.state is RunState.SUCCEEDED:
        raise RunConflictError(f"run {run.id} succeeded with every item: there is nothing to retry.")
    if run.state not in (RunState.FAILED, RunState.CANCELED, RunState.SUCCEEDED_WITH_ERRORS):
        raise RunConflictError(
            f"run {run.id} is {run.state}: only a run that failed, was canceled or succeeded with errors can be retried."
        )
    return _queued_again(replace(run, attempts_before_retry=len(run.attempts)), now)


def replay(run: Run, request: RunRequest, now: datetime) -> Run:
    """The run of a poisoned trigger file, now that the file could be read."""
    if run.state is not RunState.POISONED:
        raise RunConflictError(f"run {run.id} is {run.state}: only a poisoned run can be replayed.")
    return _queued_again(replace(run, request=request), now)


def went_wrong(run: Run) -> bool:
    """Whether a run is over that a person has to look at: it failed, or was canceled by something else than a person
    here. One that is rejected is told to whoever asked for it."""
    asked = run.reason.startswith((ASKED_TO_STOP, NEVER_STARTED))
    return run.state is RunState.FAILED or (run.state is RunState.CANCELED and not asked)


def _told(text: str) -> str:
    """A reason as records hold it and screens show it."""
    return shortened(printable_lines(shortened(text)))


def with_models(run: Run, published: dict[str, str]) -> Run:
    """The run with the models that it has made; the same object when there are none."""
    return replace(run, published=published) if published else run


def _queued_again(run: Run, now: datetime) -> Run:
    return replace(
        run,
        state=RunState.ACCEPTED,
        reason="",
        cancel_requested=False,
        ended_at=None,
        queued_at=now,
        updated_at=now,
    )


def put_off(run: Run, now: datetime) -> Run:
    """An accepted run that cannot be planned for now goes behind those that can, so that it starts no more runs
    than there may be."""
    return replace(run, queued_at=now + timedelta(milliseconds=1), updated_at=now)


def _lost(run: Run, status: JobStatus, now: datetime, max_attempts: int, patience_s: int) -> Run:
    reached = sum(step.items_done + (step.state is JobState.SUCCEEDED) for step in run.steps)
    closed = _close_attempt(run, "lost", status.message, now)
    last = replace(closed.attempts[-1], reached=reached, blameless=status.blameless)
    closed = replace(closed, attempts=(*closed.attempts[:-1], last))
    vain = lost_in_vain(closed.attempts[run.attempts_before_retry :])
    counted = [attempt for attempt in vain if not attempt.blameless]
    if len(counted) >= max_attempts:
        reason = (
            f"{len(counted)} attempts were lost and got no further, as many as MAX_ATTEMPTS allows; the last one: "
            f"{status.message}"
        )
        return replace(closed, state=RunState.FAILED, reason=_told(reason), ended_at=now, updated_at=now)
    if vain and (now - vain[0].started_at).total_seconds() > patience_s:
        reason = f"no attempt got any further for {patience_s} s (setting STALLED_AFTER_S); the last one: {status.message}"
        return replace(closed, state=RunState.FAILED, reason=_told(reason), ended_at=now, updated_at=now)
    delay = _delay(vain)
    when = f" in {delay.total_seconds():.0f} s" if delay else ""
    reason = f"attempt {len(run.attempts)} was lost ({status.message}); another one carries on{when}."
    queued_at = now + delay if delay else run.queued_at
    return replace(closed, state=RunState.ACCEPTED, reason=_told(reason), queued_at=queued_at, updated_at=now)


def lost_in_vain(attempts: tuple[Attempt, ...]) -> tuple[Attempt, ...]:
    """The attempts, all lost, since the last one that got further than every one before it."""
    furthest, vain = 0, 0
    for number, attempt in enumerate(attempts, start=1):
        if attempt.reached > furthest:
            furthest, vain = attempt.reached, number
    return attempts[vain:]


def _delay(vain: tuple[Attempt, ...]) -> timedelta:
    """None for the first two, then longer and longer: what fails at once need not be tried without a pause."""
    if len(vain) < 3:
        return timedelta()
    return timedelta(seconds=min(FIRST_DELAY_S << min(len(vain) - 3, 10), LONGEST_DELAY_S))


def _items_failed_words(run: Run) -> str:
    failed = f"{run.failed_items:,} {'item' if run.failed_items == 1 else 'items'} failed"
    return f"{failed}, no more than is allowed; everything else is done."


def _ended(run: Run, state: RunState, outcome: str, message: str, now: datetime) -> Run:
    closed = _close_attempt(run, outcome, message, now)
    reason = "" if state is RunState.SUCCEEDED else _told(message)
    return replace(closed, state=state, reason=reason, ended_at=now, updated_at=now)


def _close_attempt(run: Run, outcome: str, message: str, now: datetime) -> Run:
    if not run.attempts:
        return run
    last = run.attempts[-1]
    took = attempt_took(run.steps, (now - last.started_at).total_seconds(), run.estimate)
    last = replace(last, ended_at=now, outcome=outcome, message=_told(message), took=took)
    attempts = (*run.attempts[:-1], last)
    return replace(
        run, attempts=attempts, took=together(each.took for each in attempts if each.took is not None)
    )
