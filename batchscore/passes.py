"""One pass of the reconciler over the runs: what it has done so far, and what it says of itself at its end."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from batchscore.runs import Run, RunState


@dataclass(frozen=True)
class Tick:
    """What one pass did."""

    ran: bool
    started: int = 0
    ended: int = 0
    running: int = 0
    waiting: bool = False
    stopping: bool = False
    """Whether a running run was asked to stop: its end is near."""
    cleaning: bool = False
    """Whether there is more to remove of what succeeded runs left over."""
    lost: int = 0
    """How many lost an attempt and wait for the next one."""
    unstarted_since: datetime | None = None
    """Since when the oldest run waits whose turn has come and that could not be started."""


@dataclass
class Pass:
    """What one pass has done so far."""

    until: datetime
    """When it ends, whatever is left: the next one goes on."""
    under_way: list[Run] = field(default_factory=list)
    started: int = 0
    ended: int = 0
    running: int = 0
    unplanned: int = 0
    lost: int = 0
    waiting: bool = False
    stopping: bool = False
    unstarted_since: datetime | None = None

    def note_unstarted(self, run: Run) -> None:
        """A run that is still not started though its turn has come. When it was queued says nothing: each pass that puts
        it off moves that."""
        since = run.created_at
        if run.attempts:
            last = run.attempts[-1]
            since = last.started_at if run.state is RunState.SUBMITTING else last.ended_at or last.started_at
        self.unstarted_since = min(since, self.unstarted_since or since)

    def note(self, before: Run, after: Run) -> None:
        """Count a run that was moved on. `running` holds `before` already when that was under way."""
        was, is_now = (
            before.state is not RunState.ACCEPTED,
            not after.state.ended and after.state is not RunState.ACCEPTED,
        )
        self.running += is_now - was
        self.started += is_now and not was
        self.lost += was and after.state is RunState.ACCEPTED
        self.ended += after.state.ended
        self.stopping |= after.cancel_requested and not after.state.ended

    def tick(self, cleaning: bool) -> Tick:
        return Tick(
            True,
            self.started,
            self.ended,
            self.running,
            self.waiting,
            self.stopping,
            cleaning,
            self.lost,
            self.unstarted_since,
        )
