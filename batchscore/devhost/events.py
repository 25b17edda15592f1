"""Event Hub triggers: partitions shared with other hosts, batches, retries, and checkpoints after them.

As in the real host, the checkpoint moves when a function is done with a batch, also when it raised in the end; it does
not when the host stops or the partition goes to another host meanwhile: then the batch comes again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from azure.core.exceptions import AzureError

from batchscore.devhost.configuration import EventHubOptions
from batchscore.devhost.console import Console
from batchscore.devhost.event_batches import WaitingEvents
from batchscore.devhost.event_data import Origin, ReceivedEvent, for_many, for_one, received
from batchscore.devhost.functions import EventHubTrigger, Function
from batchscore.devhost.invocations import Invoker
from batchscore.devhost.storage import HostStorage, reason

if TYPE_CHECKING:
    from azure.eventhub import CloseReason, EventData
    from azure.eventhub.aio import CheckpointStore, PartitionContext

BY_HAND = "by-hand"
"""The partition of an event that came from no hub."""
_BALANCE_EVERY_S = 2.0
_OWNED_FOR_S = 6.0
"""So long after its host was killed a partition is read by another, if that is not of the same machine."""
_CHECKPOINT_PATIENCE_S = 1.0
_FROM_THE_START = "-1"
_RELEASED_WITHIN_S = 0.2


class EventHubListener:
    """One function with an Event Hub trigger."""

    def __init__(
        self,
        function: Function,
        trigger: EventHubTrigger,
        options: EventHubOptions,
        storage: HostStorage,
        invoker: Invoker,
        console: Console,
    ) -> None:
        self.function = function
        self.trigger = trigger
        self.options = options
        self._storage = storage
        self._invoker = invoker
        self._console = console
        self._store: CheckpointStore | None = None
        self._receiving: asyncio.Task[None] | None = None
        self._partitions: dict[str, _Partition] = {}
        self._said = ""

    async def run(self) -> None:
        """Receive until cancelled. A function that runs then runs on, and its batch is not checkpointed."""
        self._store = store = await self._storage.checkpoints()
        try:
            client = self._storage.event_hub(
                self.trigger.connection,
                self.trigger.event_hub,
                self.trigger.consumer_group,
                checkpoint_store=store,
                load_balancing_interval=_BALANCE_EVERY_S,
                partition_ownership_expiration_interval=_OWNED_FOR_S,
            )
            async with client:
                self._receiving = asyncio.create_task(
                    client.receive_batch(
                        self._on_events,
                        max_batch_size=self.options.max_event_batch_size,
                        prefetch=self.options.prefetch_count,
                        starting_position=_FROM_THE_START,
                        on_error=self._on_error,
                        on_partition_initialize=self._on_open,
                        on_partition_close=self._on_close,
                    )
                )
                await self._receiving
        finally:
            await store.close()

    async def invoke(self, text: str) -> bool:
        """Run the function once on an event with this text."""
        event = ReceivedEvent(text.encode(), 0, "0", datetime.now(UTC))
        return await self.run_once([event], self._origin(BY_HAND, ""), 0)

    async def handle(self, events: Sequence[ReceivedEvent], origin: Origin) -> None:
        """Run the function on a batch, or on one event after the other, each until it succeeds or is given up."""
        if self.trigger.many:
            await self._persist(events, origin)
        else:
            for event in events:
                await self._persist([event], origin)

    async def _persist(self, events: Sequence[ReceivedEvent], origin: Origin) -> None:
        failures = 0
        # A function on a thread cannot be ended: when this is cancelled it goes on, and the invoker knows of it.
        while not await asyncio.shield(self.run_once(events, origin, failures)):
            failures += 1
            pause_s = self.function.retry.pause_s(failures)
            if pause_s is None:
                return
            await asyncio.sleep(pause_s)

    async def run_once(self, events: Sequence[ReceivedEvent], origin: Origin, failures: int) -> bool:
        trigger, first, last = self.trigger, events[0].sequence, events[-1].sequence
        if trigger.many:
            data, metadata = for_many(events, origin, binary=trigger.binary)
        else:
            data, metadata = for_one(events[0], origin, binary=trigger.binary)
        numbers = f"{first}" if first == last else f"{first}–{last}"
        again = f" (again, {failures})" if failures else ""
        outcome = await self._invoker.run(
            self.function,
            f"{trigger.event_hub}/{origin.partition} {numbers}{again}",
            {trigger.parameter: data},
            metadata,
            retry_count=failures,
        )
        return outcome.failure is None

    async def _on_open(self, context: PartitionContext) -> None:
        assert self._store is not None
        self._partitions[context.partition_id] = _Partition(self, context, self._store)

    async def _on_events(self, context: PartitionContext, events: list[EventData]) -> None:
        self._said = ""
        await self._partitions[context.partition_id].add(events)

    async def _on_close(self, context: PartitionContext, why: CloseReason) -> None:
        from azure.eventhub import CloseReason

        partition = self._partitions.pop(context.partition_id, None)
        if partition is not None:
            partition.close()
        if why is CloseReason.SHUTDOWN and not self._partitions and self._receiving is not None:
            # The library sleeps for a second before it looks whether all is closed. Woken, it looks once more.
            asyncio.get_running_loop().call_later(_RELEASED_WITHIN_S, self._receiving.cancel)

    async def _on_error(self, _: PartitionContext | None, error: Exception) -> None:
        if isinstance(error, asyncio.CancelledError):
            return
        said = f"{self.function.name}: event hub {self.trigger.event_hub}: {reason(error)}"
        if said != self._said:  # it is tried again every other second
            self._console.host(said, "warning")
        self._said = said

    def _origin(self, partition: str, namespace: str) -> Origin:
        return Origin(namespace, self.trigger.event_hub, self.trigger.consumer_group, partition)


class _Partition:
    """One partition while this host owns it: one batch at a time."""

    def __init__(self, listener: EventHubListener, context: PartitionContext, store: CheckpointStore) -> None:
        self._listener = listener
        self._store = store
        self._origin = Origin(
            context.fully_qualified_namespace,
            context.eventhub_name,
            context.consumer_group,
            context.partition_id,
        )
        self._waiting = WaitingEvents(listener.options)
        self._turn = asyncio.Lock()
        self._timer: asyncio.Task[None] | None = None
        self._closed = False

    async def add(self, events: Sequence[EventData]) -> None:
        """Take in events and work off the batches that they make."""
        async with self._turn:
            self._waiting.add(map(received, events), time.monotonic())
            await self._work_off()
        self._set_timer()

    def close(self) -> None:
        """The partition is another host's, or this one stops: what waits comes again."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()

    async def _work_off(self) -> None:
        while batch := self._waiting.take(time.monotonic()):
            await self._listener.handle(batch, self._origin)
            await self._checkpoint(batch[-1])

    async def _checkpoint(self, event: ReceivedEvent) -> None:
        """Note that all up to this event is done, as soon as storage takes it."""
        document: dict[str, Any] = {
            "fully_qualified_namespace": self._origin.namespace,
            "eventhub_name": self._origin.event_hub,
            "consumer_group": self._origin.consumer_group,
            "partition_id": self._origin.partition,
            "offset": event.offset,
            "sequence_number": event.sequence,
        }
        while not self._closed:
            with suppress(AzureError):
                await self._store.update_checkpoint(document)
                return
            await asyncio.sleep(_CHECKPOINT_PATIENCE_S)

    def _set_timer(self) -> None:
        if not self._closed and (self._timer is None or self._timer.done()):
            self._timer = asyncio.create_task(self._when_waited())

    async def _when_waited(self) -> None:
        while (wait_s := self._waiting.wait_s(time.monotonic())) is not None:
            await asyncio.sleep(wait_s)
            async with self._turn:
                await self._work_off()
