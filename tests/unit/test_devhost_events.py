"""The Event Hub listener between a client that a test plays and functions that end as a test says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from azure.core.exceptions import AzureError
from azure.eventhub import CloseReason, EventData
from azure.eventhub._pyamqp.message import Message

from batchscore.devhost.configuration import EventHubOptions
from batchscore.devhost.console import Console
from batchscore.devhost.events import EventHubListener
from batchscore.devhost.functions import EventHubTrigger, Function
from batchscore.devhost.retries import NO_RETRY, RetryPolicy
from batchscore.devhost.worker import Failure, Outcome, TypedData

PATIENCE_S = 5.0


def events(first: int, last: int) -> list[EventData]:
    return [
        EventData._from_message(
            Message(
                data=[str(number).encode()],
                message_annotations={
                    b"x-opt-sequence-number": number,
                    b"x-opt-offset": str(number * 10).encode(),
                    b"x-opt-enqueued-time": number,
                },
            )
        )
        for number in range(first, last + 1)
    ]


@dataclass
class Cloud:
    """Checkpoints, a client that gives what a test gives it, and functions."""

    checkpoints: list[tuple[str, int, str]] = field(default_factory=list)
    storage_answers: bool = True
    calls: list[tuple[list[str], int]] = field(default_factory=list)
    fails: Callable[[int], bool] = lambda _: False
    hold: asyncio.Event | None = None
    """Functions end when it is set."""
    running: int = 0
    handlers: dict[str, Any] = field(default_factory=dict)
    ready: asyncio.Event = field(default_factory=asyncio.Event)

    # as HostStorage and its store

    async def checkpoints_store(self) -> Any:
        return SimpleNamespace(update_checkpoint=self.update_checkpoint, close=self.close)

    async def update_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if not self.storage_answers:
            raise AzureError("no answer")
        self.checkpoints.append(
            (checkpoint["partition_id"], checkpoint["sequence_number"], checkpoint["offset"])
        )

    async def close(self) -> None: ...

    def event_hub(self, connection: str, name: str, group: str, **options: Any) -> Cloud:
        return self

    # as the client of an event hub

    async def __aenter__(self) -> Cloud:
        return self

    async def __aexit__(self, *_: object) -> None: ...

    async def receive_batch(self, on_events: Any, **handlers: Any) -> None:
        self.handlers = {"on_events": on_events, **handlers}
        self.ready.set()
        await asyncio.Future()

    # as Invoker

    async def run(
        self, function: Function, what: str, inputs: dict[str, TypedData], metadata: Any, *, retry_count: int
    ) -> Outcome:
        value = inputs["events"].value
        bodies = [value] if isinstance(value, bytes) else value.bytes
        self.calls.append(([body.decode() for body in bodies], retry_count))
        self.running += 1
        if self.hold is not None:
            await self.hold.wait()
        self.running -= 1
        return Outcome(failure=Failure("no", "") if self.fails(len(self.calls)) else None)

    # as the client library

    async def open(self, partition: str = "0") -> SimpleNamespace:
        context = SimpleNamespace(
            fully_qualified_namespace="ns",
            eventhub_name="hub",
            consumer_group="$Default",
            partition_id=partition,
        )
        await self.handlers["on_partition_initialize"](context)
        return context

    async def give(self, context: SimpleNamespace, given: Sequence[EventData]) -> None:
        await self.handlers["on_events"](context, list(given))

    async def take_away(self, context: SimpleNamespace) -> None:
        await self.handlers["on_partition_close"](context, CloseReason.OWNERSHIP_LOST)


@asynccontextmanager
async def listening(
    cloud: Cloud,
    retry: RetryPolicy = NO_RETRY,
    options: EventHubOptions | None = None,
    *,
    many: bool = True,
) -> AsyncIterator[EventHubListener]:
    trigger = EventHubTrigger("events", "hub", "$Default", "HUB", many, binary=True)
    function = Function("f", "id", trigger, retry=retry)
    storage: Any = SimpleNamespace(checkpoints=cloud.checkpoints_store, event_hub=cloud.event_hub)
    invoker: Any = cloud
    listener = EventHubListener(
        function, trigger, options or EventHubOptions(), storage, invoker, Console(Path(), {})
    )
    running = asyncio.create_task(listener.run())
    async with asyncio.timeout(PATIENCE_S):
        await cloud.ready.wait()
    try:
        yield listener
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def eventually(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not true():
            await asyncio.sleep(0.005)


def play(scene: Any) -> None:
    asyncio.run(asyncio.wait_for(scene, 20))


def test_a_batch_is_one_call_and_one_checkpoint_at_its_last_event() -> None:
    async def scene() -> None:
        cloud = Cloud()
        async with listening(cloud, options=EventHubOptions(max_event_batch_size=3)):
            await cloud.give(await cloud.open(), events(1, 5))
        assert cloud.calls == [(["1", "2", "3"], 0), (["4", "5"], 0)]
        assert cloud.checkpoints == [("0", 3, "30"), ("0", 5, "50")]

    play(scene())


def test_few_events_wait_for_more_or_until_the_time_is_over() -> None:
    async def scene() -> None:
        cloud = Cloud()
        async with listening(cloud, options=EventHubOptions(10, 3, 0.2)):
            context = await cloud.open()
            await cloud.give(context, events(1, 2))
            assert cloud.calls == []
            await cloud.give(context, events(3, 3))
            assert cloud.calls == [(["1", "2", "3"], 0)]
            await cloud.give(context, events(4, 4))
            await eventually(lambda: len(cloud.checkpoints) == 2)
            assert cloud.calls[1] == (["4"], 0)

    play(scene())


def test_a_function_of_one_event_gets_one_after_the_other() -> None:
    async def scene() -> None:
        cloud = Cloud()
        async with listening(cloud, many=False):
            await cloud.give(await cloud.open(), events(1, 3))
        assert cloud.calls == [(["1"], 0), (["2"], 0), (["3"], 0)]
        assert cloud.checkpoints == [("0", 3, "30")]

    play(scene())


def test_a_function_that_raises_to_the_end_is_checkpointed_all_the_same() -> None:
    async def scene() -> None:
        cloud = Cloud(fails=lambda call: call <= 3)
        async with listening(cloud, RetryPolicy(2, 0.001, 0.001)):
            await cloud.give(await cloud.open(), events(1, 2))
            assert cloud.calls == [(["1", "2"], count) for count in range(3)]
            assert cloud.checkpoints == [("0", 2, "20")]

    play(scene())


def test_with_retries_for_ever_the_partition_waits_and_others_do_not() -> None:
    async def scene() -> None:
        cloud = Cloud(fails=lambda call: call < 4)
        async with listening(cloud, RetryPolicy(-1, 0.02, 0.02)):
            context, other = await cloud.open("0"), await cloud.open("1")
            stuck = asyncio.create_task(cloud.give(context, events(1, 1)))
            await eventually(lambda: len(cloud.calls) == 1)
            cloud_calls = len(cloud.calls)
            assert cloud.checkpoints == []
            cloud.fails = lambda call: call <= cloud_calls + 2
            await eventually(lambda: len(cloud.calls) >= cloud_calls + 2)
            assert not stuck.done()
            cloud.fails = lambda _: False
            await cloud.give(other, events(7, 7))
            await stuck
            assert sorted(cloud.checkpoints) == [("0", 1, "10"), ("1", 7, "70")]

    play(scene())


def test_partitions_are_worked_off_side_by_side() -> None:
    async def scene() -> None:
        cloud = Cloud(hold=asyncio.Event())
        async with listening(cloud):
            first, second = await cloud.open("0"), await cloud.open("1")
            given = [asyncio.create_task(cloud.give(context, events(1, 1))) for context in (first, second)]
            await eventually(lambda: cloud.running == 2)
            assert cloud.hold is not None
            cloud.hold.set()
            await asyncio.gather(*given)

    play(scene())


def test_a_partition_that_is_taken_away_is_not_checkpointed() -> None:
    async def scene() -> None:
        cloud = Cloud(hold=asyncio.Event())
        async with listening(cloud):
            context = await cloud.open()
            given = asyncio.create_task(cloud.give(context, events(1, 1)))
            await eventually(lambda: cloud.running == 1)
            given.cancel()  # as the library does first
            await cloud.take_away(context)
            assert cloud.hold is not None
            cloud.hold.set()
            await eventually(lambda: cloud.running == 0)  # the function itself ran to its end
            again = await cloud.open()
            await cloud.give(again, events(1, 1))
        assert cloud.calls == [(["1"], 0), (["1"], 0)]
        assert cloud.checkpoints == [("0", 1, "10")]

    play(scene())


def test_a_batch_that_waits_is_forgotten_with_its_partition() -> None:
    async def scene() -> None:
        cloud = Cloud()
        async with listening(cloud, options=EventHubOptions(10, 5, 0.05)):
            context = await cloud.open()
            await cloud.give(context, events(1, 1))
            await cloud.take_away(context)
            second = await cloud.open("1")
            await cloud.give(second, events(2, 2))
            await eventually(lambda: len(cloud.checkpoints) == 1)
        assert cloud.calls == [(["2"], 0)]

    play(scene())


def test_a_host_that_stops_lets_the_function_end_and_does_not_checkpoint() -> None:
    async def scene() -> None:
        cloud = Cloud(hold=asyncio.Event())
        async with listening(cloud, options=EventHubOptions(10, 5, 0.01)):
            context = await cloud.open()
            await cloud.give(context, events(1, 1))
            await eventually(lambda: cloud.running == 1)  # by the timer
            await cloud.take_away(context)
        assert cloud.hold is not None
        cloud.hold.set()
        await eventually(lambda: cloud.running == 0)
        assert cloud.checkpoints == []

    play(scene())


def test_a_checkpoint_waits_for_storage() -> None:
    async def scene() -> None:
        cloud = Cloud(storage_answers=False)
        async with listening(cloud):
            given = asyncio.create_task(cloud.give(await cloud.open(), events(1, 1)))
            await eventually(lambda: len(cloud.calls) == 1)
            cloud.storage_answers = True
            await given
        assert (len(cloud.calls), cloud.checkpoints) == (1, [("0", 1, "10")])

    play(scene())


def test_by_hand_a_text_is_one_event() -> None:
    async def scene() -> None:
        cloud = Cloud()
        async with listening(cloud) as listener:
            assert await listener.invoke("a text")
        assert cloud.calls == [(["a text"], 0)]
        assert cloud.checkpoints == []

    play(scene())
