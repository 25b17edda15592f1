"""CPU time of an event in the ingest function, against what the Event Hubs client needs to receive it."""

from __future__ import annotations

import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from azure.eventhub import EventData, EventHubProducerClient
from azure.eventhub.aio import EventHubConsumerClient
from azure.functions import EventHubEvent
from azure.functions.eventhub import EventHubTriggerConverter
from azure.functions.meta import Datum

from batchscore.devhost.azurite import Azurite
from batchscore.devhost.event_data import Origin, ReceivedEvent, for_many, received
from batchscore.devhost.eventhubs import EventHubs, HubOptions
from batchscore.ingest import Ingest, partition_of, sort_out
from batchscore.settings import Settings
from batchscore.storage import Storage

EVENTS = 20_000
BATCH = 5_000  # minEventBatchSize of host.json
ROUNDS = 5
ORIGIN = Origin("127.0.0.1", "readings", "$Default", "0")


def bodies(readings: int) -> list[bytes]:
    """Events of so many readings each, of the last minutes."""
    start = datetime.now(UTC) - timedelta(minutes=10)
    found = []
    for number in range(EVENTS):
        several = [
            {
                "ts": (start + timedelta(milliseconds=25 * number + index)).isoformat(
                    timespec="milliseconds"
                ),
                "device": f"pump-{number % 500:04d}",
                "tag": str(index % 5),
                "value": round(20 + (number * 7919 % 10_007) / 331, 3),
            }
            for index in range(readings)
        ]
        found.append(json.dumps(several[0] if readings == 1 else several).encode())
    return found


def send(connection: str, hub: str, all_bodies: list[bytes]) -> None:
    with EventHubProducerClient.from_connection_string(connection, eventhub_name=hub) as client:
        batch = client.create_batch()
        for body in all_bodies:
            try:
                batch.add(EventData(body))
            except ValueError:
                client.send_batch(batch)
                batch = client.create_batch()
                batch.add(EventData(body))
        client.send_batch(batch)


async def receive(connection: str, hub: str) -> tuple[float, list[EventData]]:
    """CPU seconds from the first event to the last, and the events."""
    events: list[EventData] = []
    ended = asyncio.Event()
    times: list[float] = []

    async def on_batch(_: Any, batch: list[EventData]) -> None:
        times.append(time.process_time())
        events.extend(batch)
        if len(events) >= EVENTS:
            ended.set()

    client = EventHubConsumerClient.from_connection_string(connection, "$Default", eventhub_name=hub)
    began = time.process_time()
    async with client:
        task = asyncio.create_task(
            client.receive_batch(on_batch, max_batch_size=BATCH, prefetch=BATCH, starting_position="-1")
        )
        await ended.wait()
        spent = time.process_time() - began
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    return spent, events


def seconds(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def converted(batch: list[ReceivedEvent]) -> list[EventHubEvent]:
    """As the worker hands them to a function."""
    data, metadata = for_many(batch, ORIGIN, binary=True)
    events: list[EventHubEvent] = EventHubTriggerConverter.decode(
        Datum(data.value, data.kind),
        trigger_metadata={name: Datum(value.value, value.kind) for name, value in metadata.items()},
    )
    return events


def measure(readings: int, connection: str, hub: str, settings: Settings, storage: Storage) -> None:
    send(connection, hub, bodies(readings))
    receiving = []
    for _ in range(ROUNDS):
        spent, events = asyncio.run(receive(connection, hub))
        receiving.append(spent)
    seen = [received(event) for event in events]
    batches = [seen[start : start + BATCH] for start in range(0, EVENTS, BATCH)]
    ingest = Ingest(settings, storage)
    converting, sorting, taking = [], [], []
    for _ in range(ROUNDS):
        given: list[list[EventHubEvent]] = []
        converting.append(seconds(lambda given=given: given.extend(map(converted, batches))))
        sorting.append(
            seconds(
                lambda given=given: [
                    sort_out(partition_of(batch[0]), batch, settings.event_limits) for batch in given
                ]
            )
        )
        again = [converted(batch) for batch in batches]  # an event keeps metadata that it has parsed once
        taking.append(seconds(lambda again=again: [ingest.take(batch) for batch in again]))
    assert not any(sort_out("0", batch, settings.event_limits).bad for batch in given)
    client, runtime, pure, whole = (
        statistics.median(spent) / EVENTS * 1e6 for spent in (receiving, converting, sorting, taking)
    )
    print(
        f"{EVENTS:,} events of {readings} reading{'s' * (readings > 1)}, µs of CPU an event, medians of {ROUNDS}"
    )
    print(f"  the client library receives it       {client:6.2f}")
    print(f"  azure-functions makes an object of it {runtime:5.2f}")
    print(
        f"  the function reads and sorts it      {pure:6.2f}   {client / pure:5.1f} times less than receiving"
    )
    print(f"  … and uploads and hashes             {whole:6.2f}   {client / whole:5.1f} times less")
    print(f"  a reading in the function            {whole / readings:6.2f}")


def main() -> None:
    hubs = [HubOptions("single", 1), HubOptions("ten", 1)]
    with (
        tempfile.TemporaryDirectory() as folder,
        Azurite(Path(folder)) as azurite,
        EventHubs(hubs) as stand_in,
    ):
        connection = azurite.connection_string
        settings = Settings.from_environment({"AzureWebJobsStorage": connection, "DATA_STORAGE": connection})
        storage = Storage(settings)
        for readings, hub in ((1, "single"), (10, "ten")):
            measure(readings, stand_in.connection_string, hub, settings, storage)
        storage.close()


if __name__ == "__main__":
    main()
