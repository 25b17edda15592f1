"""The contract of Event Hubs, through the client library: what the stand-in and a real namespace both do.

`BATCHSCORE_EVENT_HUB` points the suite at a real event hub: a connection string with `EntityPath`, of a hub with two
partitions or more. What is in the hub already does not matter.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from azure.eventhub import (
    EventData,
    EventHubConsumerClient,
    EventHubProducerClient,
    parse_connection_string,
)
from azure.eventhub.aio import EventHubConsumerClient as AsyncConsumer
from azure.eventhub.aio import EventHubProducerClient as AsyncProducer
from azure.eventhub.exceptions import (
    AuthenticationError,
    ConnectionLostError,
    EventHubError,
)
from azure.eventhub.extensions.checkpointstoreblobaio import BlobCheckpointStore
from azure.storage.blob import BlobServiceClient

from batchscore.devhost.eventhubs import EventHubs, HubOptions

REAL = "BATCHSCORE_EVENT_HUB"
PATIENCE_S = 45.0


@dataclass(frozen=True)
class Endpoint:
    """Where the suite talks to."""

    connection_string: str
    hub: str

    def producer(self, **options: Any) -> EventHubProducerClient:
        return EventHubProducerClient.from_connection_string(
            self.connection_string, eventhub_name=self.hub, **options
        )

    def consumer(self, **options: Any) -> EventHubConsumerClient:
        return EventHubConsumerClient.from_connection_string(
            self.connection_string, "$Default", eventhub_name=self.hub, **options
        )

    def async_producer(self, **options: Any) -> AsyncProducer:
        return AsyncProducer.from_connection_string(self.connection_string, eventhub_name=self.hub, **options)

    def async_consumer(self, **options: Any) -> AsyncConsumer:
        options = {"load_balancing_interval": 0.5, **options}  # it also ends no sooner than that
        return AsyncConsumer.from_connection_string(
            self.connection_string, "$Default", eventhub_name=self.hub, **options
        )


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Endpoint]:
    given = os.environ.get(REAL)
    if given:
        parts = parse_connection_string(given)
        assert parts.eventhub_name, f"{REAL} needs an EntityPath"
        yield Endpoint(given, parts.eventhub_name)
        return
    with EventHubs([HubOptions("Contract", 3), HubOptions("another", 1)]) as hubs:
        yield Endpoint(hubs.connection_string, "contract")


@dataclass(frozen=True)
class Received:
    """An event and where it came from."""

    partition: str
    event: Any

    @property
    def text(self) -> str:
        return str(self.event.body_as_str())


@asynccontextmanager
async def reading(
    consumer: AsyncConsumer, partition: str | None = None, **options: Any
) -> AsyncIterator[list[Received]]:
    """What a consumer receives while the block runs; an error that it meets is raised at the end."""
    received: list[Received] = []
    errors: list[Exception] = []

    async def on_event(context: Any, event: Any) -> None:
        if event is not None:
            received.append(Received(context.partition_id, event))

    async def on_error(context: Any, error: Exception) -> None:
        errors.append(error)

    task = asyncio.create_task(
        consumer.receive(on_event, partition_id=partition, on_error=on_error, **options)
    )
    try:
        yield received
    finally:
        await consumer.close()
        await task
    if errors:
        raise errors[0]


async def until(condition: Callable[[], object], what: str = "it") -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen within {PATIENCE_S:.0f} s"
        await asyncio.sleep(0.02)


async def ends(endpoint: Endpoint) -> dict[str, dict[str, Any]]:
    """What each partition says of itself."""
    async with endpoint.async_producer() as client:
        ids = await client.get_partition_ids()
        told = await asyncio.gather(*map(client.get_partition_properties, ids))
        return dict(zip(ids, told, strict=True))


async def read_from(
    endpoint: Endpoint, before: dict[str, dict[str, Any]], count: int, partition: str | None = None
) -> list[Received]:
    """The `count` events that came after `ends` was asked."""
    position: Any = {name: told["last_enqueued_sequence_number"] for name, told in before.items()}
    if partition is not None:
        position = position[partition]
    async with reading(endpoint.async_consumer(), partition, starting_position=position) as received:
        await until(lambda: len(received) >= count, f"{count} events, {len(received)} so far,")
    return received


def marked(count: int) -> list[str]:
    mark = uuid.uuid4().hex[:8]
    return [f"{mark}-{number}" for number in range(count)]


async def send(endpoint: Endpoint, texts: Sequence[str], **options: Any) -> None:
    async with endpoint.async_producer() as producer:
        await producer.send_batch([EventData(text) for text in texts], **options)


class TestSending:
    async def test_events_of_a_batch_arrive_in_one_partition_in_order(self, endpoint: Endpoint) -> None:
        before, texts = await ends(endpoint), marked(200)
        await send(endpoint, texts)
        received = await read_from(endpoint, before, 200)
        assert [one.text for one in received] == texts
        assert len({one.partition for one in received}) == 1
        numbers = [one.event.sequence_number for one in received]
        assert numbers == list(range(numbers[0], numbers[0] + 200))
        offsets = [int(one.event.offset) for one in received]
        assert offsets == sorted(set(offsets))
        age = datetime.now(UTC) - received[0].event.enqueued_time
        assert timedelta(minutes=-1) < age < timedelta(minutes=5)

    async def test_every_type_in_a_message_arrives_as_it_was(self, endpoint: Endpoint) -> None:
        before = await ends(endpoint)
        event = EventData(b"\x00\xff body")
        event.properties = {
            "int": -5,
            "float": 0.1,
            "true": True,
            "string": "späße",
            "bytes": b"\x01\x02",
            "uuid": uuid.UUID(int=7),
            "none": None,
        }
        event.content_type, event.message_id, event.correlation_id = "application/json", "id-1", "correlation"
        async with endpoint.async_producer() as producer:
            await producer.send_event(event)
        [one] = await read_from(endpoint, before, 1)
        assert b"".join(one.event.body) == b"\x00\xff body"
        properties = {name.decode(): value for name, value in one.event.properties.items()}
        assert properties == {**event.properties, "string": "späße".encode()}
        assert properties["true"] is True
        assert (one.event.content_type, one.event.message_id, one.event.correlation_id) == (
            "application/json",
            "id-1",
            "correlation",
        )

    async def test_a_partition_key_leads_to_one_partition_however_it_is_sent(
        self, endpoint: Endpoint
    ) -> None:
        before, keys = await ends(endpoint), [f"device-{number}" for number in range(12)]
        async with endpoint.async_producer() as producer:
            for key in keys:
                await producer.send_event(EventData(key), partition_key=key)
                batch = await producer.create_batch(partition_key=key)
                batch.add(EventData(key))
                await producer.send_batch(batch)
        received = await read_from(endpoint, before, 24)
        places: dict[str, set[str]] = {}
        for one in received:
            assert one.event.partition_key == one.text.encode()
            places.setdefault(one.text, set()).add(one.partition)
        assert {len(found) for found in places.values()} == {1}
        assert len(places) == 12
        assert len({one.partition for one in received}) > 1

    async def test_a_partition_can_be_named(self, endpoint: Endpoint) -> None:
        before, texts = await ends(endpoint), marked(2)
        for partition, text in enumerate(texts):
            await send(endpoint, [text], partition_id=str(partition))
        received = await read_from(endpoint, before, 2)
        assert sorted((one.partition, one.text) for one in received) == [("0", texts[0]), ("1", texts[1])]

    async def test_without_a_key_all_partitions_are_used(self, endpoint: Endpoint) -> None:
        before = await ends(endpoint)
        async with endpoint.async_producer() as producer:
            for text in marked(24):
                await producer.send_event(EventData(text))
        received = await read_from(endpoint, before, 24)
        assert {one.partition for one in received} == set(before)

    async def test_a_batch_knows_when_it_is_full(self, endpoint: Endpoint) -> None:
        before, count = await ends(endpoint), 0
        async with endpoint.async_producer() as producer:
            batch = await producer.create_batch()
            assert batch.max_size_in_bytes == 1 << 20
            with suppress(ValueError):
                while True:
                    batch.add(EventData(b"x" * 10_000))
                    count += 1
            await producer.send_batch(batch)
        received = await read_from(endpoint, before, count)
        assert count > 100
        assert len(received) == count

    async def test_a_large_event_arrives_whole_and_one_too_large_is_refused(self, endpoint: Endpoint) -> None:
        before, body = await ends(endpoint), os.urandom(900_000)
        async with endpoint.async_producer(retry_total=0) as producer:
            with pytest.raises(EventHubError):
                await producer.send_event(EventData(os.urandom(1_200_000)))
            await producer.send_event(EventData(body))
        [one] = await read_from(endpoint, before, 1)
        assert b"".join(one.event.body) == body

    def test_the_synchronous_clients_do_the_same(self, endpoint: Endpoint) -> None:
        texts, received, arrived = marked(50), [], threading.Event()
        before = asyncio.run(ends(endpoint))
        with endpoint.producer() as producer:
            assert set(producer.get_partition_ids()) == set(before)
            producer.send_batch([EventData(text) for text in texts])

        def on_event_batch(context: Any, events: list[Any]) -> None:
            received.extend(event.body_as_str() for event in events)
            if len(received) >= 50:
                arrived.set()

        positions = {name: told["last_enqueued_sequence_number"] for name, told in before.items()}
        consumer = endpoint.consumer()
        with ThreadPoolExecutor(1) as pool:
            work = pool.submit(consumer.receive_batch, on_event_batch, starting_position=positions)
            assert arrived.wait(PATIENCE_S)
            consumer.close()
            work.result(PATIENCE_S)
        assert received == texts

    def test_a_buffering_producer_loses_nothing(self, endpoint: Endpoint) -> None:
        before, texts, failed = asyncio.run(ends(endpoint)), marked(500), []
        with endpoint.producer(
            buffered_mode=True,
            on_success=lambda events, partition: None,
            on_error=lambda events, partition, error: failed.append(error),
            max_wait_time=1,
        ) as producer:
            for text in texts:
                producer.send_event(EventData(text))
            producer.flush()
        assert failed == []
        received = asyncio.run(read_from(endpoint, before, 500))
        assert sorted(one.text for one in received) == sorted(texts)


class TestReceiving:
    async def test_a_reader_begins_where_it_is_told(self, endpoint: Endpoint) -> None:
        first = marked(10)
        await send(endpoint, first, partition_id="0")
        await asyncio.sleep(0.05)  # the second half must be enqueued in a later millisecond
        before, second = await ends(endpoint), marked(10)
        await send(endpoint, second, partition_id="0")
        received = await read_from(endpoint, before, 10, "0")
        assert [one.text for one in received] == second
        third = received[2].event
        cases: list[tuple[Any, bool, int]] = [
            (third.sequence_number, False, 3),
            (third.sequence_number, True, 2),
            (third.offset, False, 3),
            (third.offset, True, 2),
            (received[0].event.enqueued_time - timedelta(milliseconds=1), False, 0),
        ]

        async def check(position: Any, inclusive: bool, begins: int) -> None:
            start = {"starting_position": position, "starting_position_inclusive": inclusive}
            async with reading(endpoint.async_consumer(), "0", **start) as found:
                await until(lambda: found and found[-1].text == second[-1])
            assert [one.text for one in found] == second[begins:], f"from {position!r}, {inclusive=}"

        await asyncio.gather(*(check(*case) for case in cases))

    async def test_the_beginning_is_the_oldest_event(self, endpoint: Endpoint) -> None:
        texts = marked(1)
        await send(endpoint, texts, partition_id="0")
        told = (await ends(endpoint))["0"]
        async with reading(endpoint.async_consumer(), "0", starting_position="-1") as received:
            await until(lambda: received and received[-1].text == texts[0])
        assert received[0].event.sequence_number == told["beginning_sequence_number"]
        assert received[-1].event.sequence_number == told["last_enqueued_sequence_number"]
        assert received[-1].event.offset == told["last_enqueued_offset"]

    async def test_the_end_is_what_comes_from_now_on(self, endpoint: Endpoint) -> None:
        await send(endpoint, marked(5), partition_id="0")
        texts: list[str] = []
        async with reading(endpoint.async_consumer(), "0", starting_position="@latest") as received:
            deadline = time.monotonic() + PATIENCE_S
            while not received:  # the reader says nothing when it is in place
                assert time.monotonic() < deadline
                texts += marked(1)
                await send(endpoint, texts[-1:], partition_id="0")
                await asyncio.sleep(0.2)
        found = [one.text for one in received]
        assert found == texts[texts.index(found[0]) :][: len(found)]

    async def test_properties_of_hub_and_partitions(self, endpoint: Endpoint) -> None:
        async with endpoint.async_consumer() as client:
            told = await client.get_eventhub_properties()
            assert told["eventhub_name"].lower() == endpoint.hub.lower()
            assert told["created_at"] < datetime.now(UTC) + timedelta(minutes=1)
            assert told["partition_ids"] == [str(number) for number in range(len(told["partition_ids"]))]
        await send(endpoint, marked(3), partition_id="1")
        before = (await ends(endpoint))["1"]
        await send(endpoint, marked(2), partition_id="1")
        after = (await ends(endpoint))["1"]
        assert after["id"] == "1"
        assert after["is_empty"] is False
        assert after["last_enqueued_sequence_number"] == before["last_enqueued_sequence_number"] + 2
        assert int(after["last_enqueued_offset"]) > int(before["last_enqueued_offset"])
        assert after["last_enqueued_time_utc"] >= before["last_enqueued_time_utc"]

    async def test_a_reader_can_follow_how_far_behind_it_is(self, endpoint: Endpoint) -> None:
        before, texts = await ends(endpoint), marked(3)
        await send(endpoint, texts, partition_id="0")
        seen: list[dict[str, Any]] = []

        async def on_event(context: Any, event: Any) -> None:
            seen.append(dict(context.last_enqueued_event_properties))

        consumer = endpoint.async_consumer()
        task = asyncio.create_task(
            consumer.receive(
                on_event,
                partition_id="0",
                starting_position=before["0"]["last_enqueued_sequence_number"],
                track_last_enqueued_event_properties=True,
            )
        )
        await until(lambda: len(seen) == 3)
        await consumer.close()
        await task
        told = (await ends(endpoint))["0"]
        assert seen[-1]["sequence_number"] == told["last_enqueued_sequence_number"]
        assert seen[-1]["offset"] == told["last_enqueued_offset"]
        assert seen[-1]["enqueued_time"] == told["last_enqueued_time_utc"]

    async def test_two_readers_see_the_same(self, endpoint: Endpoint) -> None:
        before, texts = await ends(endpoint), marked(20)
        position = before["0"]["last_enqueued_sequence_number"]
        async with (
            reading(endpoint.async_consumer(), "0", starting_position=position) as one,
            reading(endpoint.async_consumer(), "0", starting_position=position) as two,
        ):
            await send(endpoint, texts, partition_id="0")
            await until(lambda: len(one) == len(two) == 20)
        assert [found.text for found in one] == [found.text for found in two] == texts

    async def test_a_higher_epoch_takes_over_and_a_lower_one_stays_out(self, endpoint: Endpoint) -> None:
        before, texts = await ends(endpoint), marked(4)
        position = before["0"]["last_enqueued_sequence_number"]
        await send(endpoint, texts[:2], partition_id="0")
        errors: dict[int, list[Exception]] = {1: [], 2: []}
        received: dict[int, list[str]] = {1: [], 2: []}
        consumers = {level: endpoint.async_consumer(retry_total=0) for level in (1, 2)}

        def receive(level: int) -> asyncio.Task[None]:
            async def on_event(context: Any, event: Any) -> None:
                received[level].append(event.body_as_str())

            async def on_error(context: Any, error: Exception) -> None:
                errors[level].append(error)

            return asyncio.create_task(
                consumers[level].receive(
                    on_event,
                    on_error=on_error,
                    partition_id="0",
                    owner_level=level,
                    starting_position=position,
                )
            )

        first = receive(1)
        await until(lambda: len(received[1]) == 2, "the first reader's two events")
        second = receive(2)
        await until(lambda: errors[1], "the loss of the first reader")
        assert isinstance(errors[1][0], ConnectionLostError)
        await until(lambda: len(received[2]) == 2, "the second reader's two events")
        await send(endpoint, texts[2:], partition_id="0")
        await until(lambda: len(received[2]) == 4, "what came later")
        for level in (1, 2):
            await consumers[level].close()
        await asyncio.gather(first, second)
        assert received == {1: texts[:2], 2: texts}
        assert errors[2] == []


class TestProcessors:
    async def test_two_processors_share_the_partitions_and_resume_from_their_checkpoints(
        self, endpoint: Endpoint, azurite: str
    ) -> None:
        container = f"checkpoints-{uuid.uuid4().hex[:8]}"
        with BlobServiceClient.from_connection_string(azurite) as blobs:
            blobs.create_container(container)
        before = await ends(endpoint)
        start = {name: told["last_enqueued_sequence_number"] for name, told in before.items()}
        received: list[tuple[str, str]] = []
        noted: set[str] = set()

        async def process(name: str, done: asyncio.Event) -> None:
            async def on_event(context: Any, event: Any) -> None:
                text = event.body_as_str()
                received.append((name, text))
                await context.update_checkpoint(event)
                noted.add(text)

            store = BlobCheckpointStore.from_connection_string(azurite, container)
            consumer = endpoint.async_consumer(
                checkpoint_store=store, load_balancing_interval=0.5, load_balancing_strategy="balanced"
            )
            async with consumer, store:
                task = asyncio.create_task(consumer.receive(on_event, starting_position=start))
                await done.wait()
                await consumer.close()
                await task

        done = asyncio.Event()
        tasks = [asyncio.create_task(process(name, done)) for name in ("one", "two")]
        texts: list[str] = []
        deadline = time.monotonic() + PATIENCE_S
        while {name for name, _ in received[-2 * len(before) :]} != {"one", "two"}:
            assert time.monotonic() < deadline, "one processor has all the partitions"
            for partition in before:
                texts += marked(1)
                await send(endpoint, texts[-1:], partition_id=partition)
        await until(lambda: noted == set(texts), "a checkpoint for every event")
        done.set()
        await asyncio.gather(*tasks)

        seen = len(received)
        later = marked(2)
        for partition, text in enumerate(later):
            await send(endpoint, [text], partition_id=str(partition))
        done = asyncio.Event()
        again = asyncio.create_task(process("again", done))
        await until(lambda: len(received) >= seen + 2, "what came after the checkpoints")
        done.set()
        await again
        assert sorted(text for _, text in received[seen:]) == sorted(later)


class TestRefusals:
    async def test_a_wrong_key_opens_nothing(self, endpoint: Endpoint) -> None:
        parts = parse_connection_string(endpoint.connection_string)
        wrong = endpoint.connection_string.replace(str(parts.shared_access_key), "d3Jvbmc=")
        async with Endpoint(wrong, endpoint.hub).async_producer(retry_total=0) as producer:
            with pytest.raises(AuthenticationError):
                await producer.send_event(EventData("x"))
            with pytest.raises(AuthenticationError):
                await producer.get_partition_ids()

    async def test_an_unknown_hub_is_not_found(self, endpoint: Endpoint) -> None:
        async with Endpoint(endpoint.connection_string, "nowhere-at-all").async_producer(
            retry_total=0
        ) as producer:
            with pytest.raises(EventHubError):
                await producer.get_eventhub_properties()
            with pytest.raises(EventHubError):
                await producer.send_event(EventData("x"))

    async def test_an_unknown_partition_or_group_is_not_found(self, endpoint: Endpoint) -> None:
        async with endpoint.async_producer(retry_total=0) as producer:
            with pytest.raises(EventHubError):
                await producer.send_batch([EventData("x")], partition_id="999")
        consumer = AsyncConsumer.from_connection_string(
            endpoint.connection_string,
            "no-such-group",
            eventhub_name=endpoint.hub,
            retry_total=0,
            load_balancing_interval=0.5,
        )
        errors: list[Exception] = []

        async def on_event(context: Any, event: Any) -> None:
            raise AssertionError("there is nothing to receive")

        async def on_error(context: Any, error: Exception) -> None:
            errors.append(error)

        async with consumer:
            task = asyncio.create_task(consumer.receive(on_event, on_error=on_error, partition_id="0"))
            await until(lambda: errors, "an error")
            await consumer.close()
            await task
        assert isinstance(errors[0], EventHubError)
