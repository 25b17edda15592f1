"""Events to an event hub through the client library, each device to one partition, tried again while it is busy."""

from __future__ import annotations

import asyncio
import logging
import time
import zlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from batchscore.cli.simulated import Event
from batchscore.errors import RequestError, SettingsError, StorageUnavailableError

if TYPE_CHECKING:
    from azure.eventhub import EventData, EventDataBatch
    from azure.eventhub.aio import EventHubProducerClient
    from azure.eventhub.exceptions import EventHubError

    from batchscore.settings import EventHub

PATIENCE_S = 300.0
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 15.0

_Answer = TypeVar("_Answer")


class HubProducer:
    """`async with HubProducer(hub) as producer:` opens a client; `send` returns when the hub has accepted all."""

    def __init__(self, hub: EventHub) -> None:
        self.name = hub.name
        self.tries_again = 0
        """Sends that were repeated: the hub may have had accepted them before."""
        self._hub = hub
        self._client: EventHubProducerClient | None = None
        self._partitions: list[str] = []

    async def __aenter__(self) -> HubProducer:
        from azure.eventhub.exceptions import AuthenticationError, EventHubError

        logging.getLogger("azure").setLevel(logging.CRITICAL)  # what goes wrong is told here, once
        self._client = _client(self._hub)
        try:
            self._partitions = await self._client.get_partition_ids()
        except AuthenticationError as error:
            await self._client.close()
            raise SettingsError(f"Event hub {self.name} does not let us in: {_first_line(error)}") from error
        except EventHubError as error:
            await self._client.close()
            raise StorageUnavailableError(
                f"Event hub {self.name} does not answer: {_first_line(error)} On this machine, 'make start' starts one."
            ) from error
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._client is not None:
            await self._client.close()

    async def send(self, events: Iterable[Event]) -> None:
        """Send events; those of a device stay in their order. StorageUnavailableError when they are not accepted."""
        from azure.eventhub import EventData

        by_partition: dict[str, list[EventData]] = {}
        for event in events:
            number = zlib.crc32(event.device.encode()) % len(self._partitions)
            by_partition.setdefault(self._partitions[number], []).append(EventData(event.body))
        await asyncio.gather(*(self._send(*pair) for pair in by_partition.items()))

    async def _send(self, partition: str, events: Sequence[EventData]) -> None:
        batch = await self._batch(partition)
        for event in events:
            if not _added(batch, event):
                if len(batch):  # it is full
                    await self._persist(batch)
                batch = await self._batch(partition)
                if not _added(batch, event):
                    raise RequestError(
                        "an event is larger than the event hub takes; ask for fewer readings in one (--per-event)."
                    )
        await self._persist(batch)

    async def _batch(self, partition: str) -> EventDataBatch:
        """An empty batch; how large it may be is asked of the hub."""
        assert self._client is not None
        client = self._client
        return await self._patiently(lambda: client.create_batch(partition_id=partition))

    async def _persist(self, batch: EventDataBatch) -> None:
        assert self._client is not None
        client, tries = self._client, 0

        async def send() -> None:
            nonlocal tries
            self.tries_again += tries > 0
            tries += 1
            await client.send_batch(batch)

        await self._patiently(send)

    async def _patiently(self, ask: Callable[[], Awaitable[_Answer]]) -> _Answer:
        """Ask the hub, again and again while it is busy or away."""
        from azure.eventhub.exceptions import AuthenticationError, EventHubError

        deadline, pause_s = time.monotonic() + PATIENCE_S, _FIRST_PAUSE_S
        while True:
            try:
                return await ask()
            except AuthenticationError as error:
                raise SettingsError(
                    f"Event hub {self.name} does not let us in: {_first_line(error)}"
                ) from error
            except EventHubError as error:
                if time.monotonic() > deadline:
                    raise StorageUnavailableError(
                        f"Event hub {self.name} has accepted nothing for {PATIENCE_S:.0f} s: {_first_line(error)}"
                    ) from error
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


def _added(batch: EventDataBatch, event: EventData) -> bool:
    """Whether the event found room in the batch."""
    try:
        batch.add(event)
    except ValueError:
        return False
    return True


def _first_line(error: EventHubError) -> str:
    """What the client library says, without what it repeats below."""
    return str(error.message).partition("\n")[0].strip().rstrip(".") + "."


def _client(hub: EventHub) -> EventHubProducerClient:
    from azure.eventhub.aio import EventHubProducerClient

    patience: dict[str, Any] = {"retry_total": 2, "retry_backoff_factor": 0.2}
    client: EventHubProducerClient
    if hub.connection_string is not None:
        try:
            client = EventHubProducerClient.from_connection_string(
                hub.connection_string, eventhub_name=hub.name, **patience
            )
            return client
        except ValueError as error:
            raise SettingsError(f"EVENT_HUB is no connection string of Event Hubs: {error}") from error
    from azure.identity.aio import DefaultAzureCredential

    assert hub.namespace is not None
    credential = DefaultAzureCredential(managed_identity_client_id=hub.client_id)
    client = EventHubProducerClient(hub.namespace, hub.name, credential, **patience)
    return client
