"""What an event costs in the Event Hubs stand-in, beside what it costs in the client library; and its memory."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import tempfile
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path

from azure.eventhub import EventData
from azure.eventhub.aio import EventHubConsumerClient, EventHubProducerClient

from batchscore.devhost.eventhubs import EventHubs, HubOptions

EVENTS = int(os.environ.get("EVENTS", "100000"))
PARTITIONS = 4
BATCH = 500
BODY = json.dumps(
    {"ts": "2026-11-21T17:29:58.250Z", "device": "pump-7", "tag": 4, "value": 12.5, "id": "a81f"}
).encode()
_TICKS = os.sysconf("SC_CLK_TCK")


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="batchscore-bench-") as folder:
        for name, kept in (("in memory", None), ("with its file", Path(folder))):
            with EventHubs([HubOptions("readings", PARTITIONS)], folder=kept) as hubs:
                before = _memory_mb(hubs)
                costs = (_cost(hubs, "in", _send), _cost(hubs, "out", _receive))
                print(
                    f"{EVENTS:,} events of {len(BODY)} bytes, {name}: memory {before:.0f} MB before, "
                    f"{_memory_mb(hubs):.0f} MB with all of them",
                    *costs,
                    sep="\n",
                )
                if kept is not None:
                    _time_restart(hubs)


@dataclass(frozen=True)
class Measured:
    """So many events in so many seconds, and the CPU seconds that this process took for them."""

    events: int
    seconds: float
    cpu_s: float


def _cost(hubs: EventHubs, what: str, work: Callable[[EventHubs], Coroutine[None, None, Measured]]) -> str:
    server = _cpu_s(hubs)
    measured = asyncio.run(work(hubs))
    ours = (_cpu_s(hubs) - server) / EVENTS * 1e6
    return (
        f"  {what:3} {measured.events / measured.seconds:7,.0f} a second; CPU of an event: {ours:.1f} µs in the "
        f"stand-in, {measured.cpu_s / measured.events * 1e6:.1f} µs in the client library"
    )


async def _send(hubs: EventHubs) -> Measured:
    async with EventHubProducerClient.from_connection_string(
        hubs.connection_string, eventhub_name="readings"
    ) as client:
        for partition in range(PARTITIONS):  # the links are there
            await client.send_batch([EventData(BODY)], partition_id=str(partition))
        began, cpu = time.perf_counter(), time.process_time()
        for number in range(EVENTS // BATCH):
            batch = await client.create_batch(partition_id=str(number % PARTITIONS))
            for _ in range(BATCH):
                batch.add(EventData(BODY))
            await client.send_batch(batch)
        return Measured(EVENTS, time.perf_counter() - began, time.process_time() - cpu)


async def _receive(hubs: EventHubs) -> Measured:
    """Every event; the clock begins with the first batch."""
    client = EventHubConsumerClient.from_connection_string(
        hubs.connection_string, "$Default", eventhub_name="readings", load_balancing_interval=1
    )
    count, first, began, cpu, done = 0, 0, 0.0, 0.0, asyncio.Event()

    async def on_batch(_context: object, events: list[EventData]) -> None:
        nonlocal count, first, began, cpu
        count += len(events)
        if not first:
            first, began, cpu = count, time.perf_counter(), time.process_time()
        if count >= EVENTS + PARTITIONS:
            done.set()

    task = asyncio.create_task(
        client.receive_batch(on_batch, starting_position="-1", max_batch_size=BATCH, prefetch=5000)
    )
    await done.wait()
    measured = Measured(count - first, time.perf_counter() - began, time.process_time() - cpu)
    await client.close()
    await task
    return measured


def _time_restart(hubs: EventHubs) -> None:
    hubs.kill()
    began = time.perf_counter()
    hubs.start()
    print(f"  after a kill it listens again in {time.perf_counter() - began:.2f} s")


def _cpu_s(hubs: EventHubs) -> float:
    fields = Path(f"/proc/{hubs.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _memory_mb(hubs: EventHubs) -> float:
    pages = int(Path(f"/proc/{hubs.pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


if __name__ == "__main__":
    main()
