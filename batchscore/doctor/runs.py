"""Runs that nobody takes up, and messages that went wrong: the host is gone, or something stops it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from batchscore.doctor.findings import Finding
from batchscore.settings import Settings

WAITS_TOO_LONG_S = 300


def waiting(settings: Settings) -> Iterator[Finding]:
    """Active runs, and how long the first of them has waited for its turn."""
    from batchscore.run_store import BlobRunStore
    from batchscore.runs import RunState
    from batchscore.storage import Storage

    storage = Storage(settings)
    try:
        active = list(BlobRunStore(storage).active())
    finally:
        storage.close()
    under_way = [run for run in active if run.state is not RunState.ACCEPTED]
    queued = [run for run in active if run.state is RunState.ACCEPTED]
    words = f"{len(under_way)} under way, {len(queued)} waiting"
    now = datetime.now(UTC)
    oldest_s = max(((now - run.queued_at).total_seconds() for run in queued), default=0.0)
    if oldest_s > WAITS_TOO_LONG_S and not under_way:
        yield Finding.warn(
            "runs",
            f"{words}, the first for {oldest_s / 60:,.0f} min, and none is under way",
            "start a host ('make start'), or read its log: it says why it does not take them up",
        )
    else:
        yield Finding.ok("runs", words)
