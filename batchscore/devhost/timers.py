"""Timer triggers: one host at a time, state in Blob, and what was missed while nothing ran."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from azure.core.exceptions import AzureError, ResourceNotFoundError

from batchscore.devhost.console import Console
from batchscore.devhost.functions import Function, TimerTrigger
from batchscore.devhost.invocations import Invoker
from batchscore.devhost.locks import ListenerLock
from batchscore.devhost.ncrontab import Schedule
from batchscore.devhost.storage import HostStorage, reason
from batchscore.devhost.worker import TypedData

_LONGEST_SLEEP_S = 30.0  # a laptop that slept wakes up to the right time
_MONITOR_FROM = timedelta(minutes=1)
_NEVER = datetime(1, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class TimerState:
    """What the monitor keeps of a timer."""

    last: datetime
    next: datetime
    updated: datetime

    def document(self) -> dict[str, str]:
        return {
            "Last": self.last.isoformat(),
            "Next": self.next.isoformat(),
            "LastUpdated": self.updated.isoformat(),
        }


def is_monitored(schedule: Schedule, now: datetime) -> bool:
    """Whether state is kept: not for schedules that strike more often than every minute."""
    first = schedule.next_after(now)
    return schedule.next_after(first) - first >= _MONITOR_FROM


def first_strike(state: TimerState | None, schedule: Schedule, now: datetime) -> tuple[datetime, bool]:
    """When a timer strikes first after a start, and whether it is past due.

    The time is counted anew from the last strike (or from when the state was written), so that a changed schedule
    counts from there.
    """
    if state is None:
        return schedule.next_after(now), False
    due = schedule.next_after(state.updated if state.last == _NEVER else state.last)
    return (now, True) if due < now else (due, False)


class TimerListener:
    """One function with a timer trigger."""

    def __init__(
        self,
        function: Function,
        trigger: TimerTrigger,
        host_id: str,
        storage: HostStorage,
        invoker: Invoker,
        console: Console,
    ) -> None:
        self.function = function
        self._trigger = trigger
        self._storage = storage
        self._invoker = invoker
        self._console = console
        self._state_path = f"timers/{host_id}/{function.full_name}/status"
        self._lock = ListenerLock(storage, f"locks/{host_id}/{function.full_name}.Listener")

    async def run(self) -> None:
        """Strike on schedule until cancelled, while this host holds the lock."""
        try:
            starting = True
            while True:
                await self._lock.acquire()
                try:
                    await self._run_while_locked(run_now=starting and self._trigger.run_on_startup)
                except AzureError as error:
                    self._console.host(
                        f"{self.function.name}: its state cannot be kept: {reason(error)}", "warning"
                    )
                    await asyncio.sleep(1)
                starting = False
        finally:
            await self._lock.release()

    async def invoke(
        self, *, state: TimerState | None = None, past_due: bool = False, what: str = "timer"
    ) -> bool:
        """Run the function once, now."""
        document = {
            "Schedule": {"AdjustForDST": True},
            "ScheduleStatus": state.document() if state else None,
            "IsPastDue": past_due,
        }
        data = TypedData(json=json.dumps(document))
        outcome = await self._invoker.run(self.function, what, {self._trigger.parameter: data}, {})
        return outcome.failure is None

    async def _run_while_locked(self, *, run_now: bool) -> None:
        schedule = self._trigger.schedule
        now = datetime.now(UTC)
        monitored = self._trigger.use_monitor and is_monitored(schedule, now)
        state = await self._read() if monitored else None
        due, past_due = first_strike(state, schedule, now)
        if monitored and state is None:
            state = TimerState(_NEVER, due, now)
            await self._write(state)
        if run_now and not past_due:
            due = now
        while True:
            await self._sleep_until(due)
            if not self._lock.held:
                return
            what = f"timer {due:%H:%M:%S}{' (past due)' if past_due else ''}"
            stopped = await _to_the_end(self.invoke(state=state, past_due=past_due, what=what))
            now = max(datetime.now(UTC), due)
            struck, due = now, schedule.next_after(now)
            past_due = False
            if monitored:
                state = TimerState(struck, due, now)
                await self._write(state)
            if stopped:
                raise asyncio.CancelledError

    async def _sleep_until(self, due: datetime) -> None:
        while self._lock.held or due <= datetime.now(UTC):
            left = (due - datetime.now(UTC)).total_seconds()
            if left <= 0:
                return
            await asyncio.sleep(min(left, _LONGEST_SLEEP_S))

    async def _read(self) -> TimerState | None:
        blob = self._storage.hosts.get_blob_client(self._state_path)
        try:
            document = json.loads(await (await blob.download_blob()).readall())
            moments = [datetime.fromisoformat(document[key]) for key in ("Last", "Next", "LastUpdated")]
        except (ResourceNotFoundError, ValueError, KeyError, TypeError):
            return None
        return TimerState(*(m if m.tzinfo else m.replace(tzinfo=UTC) for m in moments))

    async def _write(self, state: TimerState) -> None:
        blob = self._storage.hosts.get_blob_client(self._state_path)
        await blob.upload_blob(json.dumps(state.document()).encode(), overwrite=True)


async def _to_the_end(work: Coroutine[None, None, bool]) -> bool:
    """Wait for an invocation even when cancelled meanwhile, so that its state is kept; True when cancelled."""
    task = asyncio.ensure_future(work)
    cancelled = False
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            cancelled = True
    return cancelled
