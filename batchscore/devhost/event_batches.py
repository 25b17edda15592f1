"""When the events of a partition are a batch: enough of them, or waited for long enough."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from batchscore.devhost.configuration import EventHubOptions
from batchscore.devhost.event_data import ReceivedEvent


class WaitingEvents:
    """The events of one partition that no function has seen yet. Times are those of one clock, in seconds."""

    def __init__(self, options: EventHubOptions) -> None:
        self._options = options
        self._events: deque[ReceivedEvent] = deque()
        self._since = 0.0
        self._last: ReceivedEvent | None = None

    def add(self, events: Iterable[ReceivedEvent], now: float) -> None:
        """Take in what came; what came before, as the client library gives it after it had to connect anew, is
        dropped. A hub that was made anew starts its numbers again, at a later time."""
        if not self._events:
            self._since = now
        for event in events:
            last = self._last
            if last is None or event.sequence > last.sequence or event.enqueued > last.enqueued:
                self._events.append(event)
                self._last = event

    def take(self, now: float) -> list[ReceivedEvent]:
        """The next batch, if it is time for one; it waits no longer then. What stays begins to wait."""
        options = self._options
        waited = now - self._since >= options.max_wait_time_s
        if not self._events or (len(self._events) < options.min_event_batch_size and not waited):
            return []
        self._since = now
        return [self._events.popleft() for _ in range(min(len(self._events), options.max_event_batch_size))]

    def wait_s(self, now: float) -> float | None:
        """How long until what waits is a batch whether or not more comes; None when nothing waits."""
        return max(self._since + self._options.max_wait_time_s - now, 0.0) if self._events else None
