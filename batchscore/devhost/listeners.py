"""Everything that waits for work on behalf of the functions, started, told of events and ended together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable

from azure.core.exceptions import AzureError

from batchscore.devhost.accesslog import BlobWritten, MessageSent
from batchscore.devhost.blobs import BlobListener
from batchscore.devhost.configuration import HostJson
from batchscore.devhost.console import Console
from batchscore.devhost.events import EventHubListener
from batchscore.devhost.functions import (
    BlobTrigger,
    EventHubTrigger,
    Function,
    QueueTrigger,
    TimerTrigger,
)
from batchscore.devhost.invocations import Invoker
from batchscore.devhost.queues import QueueListener, QueuePump
from batchscore.devhost.storage import HostStorage, reason
from batchscore.devhost.timers import TimerListener

_STORAGE_PATIENCE_S = 1.0


class Listeners:
    """The listeners of all triggers but HTTP. `on_fault` is told when one breaks, which none ever should."""

    def __init__(
        self,
        functions: Iterable[Function],
        host_json: HostJson,
        host_id: str,
        storage: HostStorage,
        invoker: Invoker,
        console: Console,
        on_fault: Callable[[BaseException], None],
    ) -> None:
        self._on_fault = on_fault
        self._console = console
        self._timers: dict[str, TimerListener] = {}
        self._queues: dict[str, QueueListener] = {}
        self._event_hubs: dict[str, EventHubListener] = {}
        self._pumps: list[tuple[str, QueuePump]] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._by_hand: set[asyncio.Task[bool]] = set()
        by_blob = []
        for function in functions:
            trigger = function.trigger
            if isinstance(trigger, BlobTrigger):
                by_blob.append((function, trigger))
            elif isinstance(trigger, QueueTrigger):
                queue = QueueListener(function, trigger, host_json.queues, storage, invoker, console)
                self._queues[function.name] = queue
                self._pumps.append((trigger.queue, queue.pump))
            elif isinstance(trigger, TimerTrigger):
                timer = TimerListener(function, trigger, host_id, storage, invoker, console)
                self._timers[function.name] = timer
            elif isinstance(trigger, EventHubTrigger):
                self._event_hubs[function.name] = EventHubListener(
                    function, trigger, host_json.event_hubs, storage, invoker, console
                )
        self._blobs = (
            BlobListener(by_blob, host_json.blobs, host_id, storage, invoker, console) if by_blob else None
        )
        if self._blobs is not None:
            self._pumps.append((self._blobs.queue_name, self._blobs.pump))

    def start(self) -> None:
        if self._blobs is not None:
            self._start(self._blobs.run)
        for queue in self._queues.values():
            self._start(queue.pump.run)
        for timer in self._timers.values():
            self._start(timer.run)
        for event_hub in self._event_hubs.values():
            self._start(event_hub.run)

    def notice(self, event: BlobWritten | MessageSent) -> None:
        """The access log reported this."""
        if isinstance(event, BlobWritten):
            if self._blobs is not None:
                self._blobs.written(event)
            return
        for queue, pump in self._pumps:
            if queue == event.queue:
                pump.kick()

    async def start_by_hand(self, function: Function, text: str) -> None:
        """Begin one invocation: `text` is a blob's `container/name`, a queue message or an event; a timer needs
        none."""
        if function.name in self._timers:
            work = self._timers[function.name].invoke(what="by hand")
        elif function.name in self._queues:
            work = self._queues[function.name].invoke(text)
        elif function.name in self._event_hubs:
            work = self._event_hubs[function.name].invoke(text)
        else:
            assert self._blobs is not None
            work = self._blobs.invoke(function, text)
        task = asyncio.create_task(work)
        self._by_hand.add(task)
        task.add_done_callback(self._by_hand.discard)

    async def finish(self) -> None:
        """Take no more work and wait for what was taken."""
        for task in self._tasks:
            task.cancel()
        drains = (pump.drain() for _, pump in self._pumps)
        await asyncio.gather(*self._tasks, *self._by_hand, *drains, return_exceptions=True)

    async def release(self) -> None:
        """Give back what is not finished, for whoever comes next."""
        for _, pump in self._pumps:
            await pump.release()

    def _start(self, run: Callable[[], Coroutine[None, None, None]]) -> None:
        task = asyncio.create_task(self._keep(run))
        task.add_done_callback(self._ended)
        self._tasks.append(task)

    async def _keep(self, run: Callable[[], Coroutine[None, None, None]]) -> None:
        """Run a listener; when storage was gone, run it again."""
        while True:
            try:
                await run()
            except* AzureError as errors:
                self._console.host(f"storage trouble: {reason(errors.exceptions[0])}", "warning")
            await asyncio.sleep(_STORAGE_PATIENCE_S)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            error = task.exception()
            if error is not None:
                self._on_fault(error)
