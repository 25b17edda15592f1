"""Silence: how long a run may show no progress, and what is done about one that shows none for longer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from batchscore.runs import Run, RunState


@dataclass(frozen=True)
class Patience:
    """How long a run may show no progress before it is canceled: while it runs, and while it waits for machines, which
    is no fault of its own (a quota, a busy cluster) and takes longer."""

    stalled_after_s: int
    queued_after_s: int


def stalled(run: Run, now: datetime, patience: Patience, watching_since: datetime) -> bool:
    """Whether a running run, watched all the time, has shown no progress for longer than it may."""
    return not run.cancel_requested and _silent_s(run, now, watching_since) > _bound(run, patience)


def give_up(run: Run, now: datetime, patience: Patience) -> Run:
    """Cancel a run that went silent, and say so."""
    if run.waits:
        why = run.reason or "its compute did not say why."
        told = f"canceled: it waited {patience.queued_after_s} s for machines (setting QUEUED_AFTER_S): {why}"
    else:
        told = f"canceled: no progress for {patience.stalled_after_s} s (setting STALLED_AFTER_S)."
    return replace(run, cancel_requested=True, reason=told, updated_at=now)


def abandoned(run: Run, now: datetime, patience: Patience, watching_since: datetime) -> bool:
    """Whether the compute was asked to stop the run, and neither did nor showed progress for much too long."""
    bound = _bound(run, patience) + patience.stalled_after_s
    return run.cancel_requested and _silent_s(run, now, watching_since) > bound


def _silent_s(run: Run, now: datetime, watching_since: datetime) -> float:
    if run.state is not RunState.RUNNING or run.progress_at is None:
        return 0
    return (now - max(run.progress_at, watching_since)).total_seconds()


def _bound(run: Run, patience: Patience) -> int:
    return patience.queued_after_s if run.waits else patience.stalled_after_s
