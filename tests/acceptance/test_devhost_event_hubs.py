"""The Event Hubs stand-in beside a dev host: started, shown, brought back, ended."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from azure.eventhub import EventData, EventHubProducerClient
from azure.eventhub.aio import EventHubConsumerClient

from batchscore.devhost.launch import DevHostProcess
from batchscore.process_mark import lives

APP = """
import azure.functions as func

app = func.FunctionApp()


@app.route("hello")
def hello(req: func.HttpRequest) -> str:
    return "hello"
"""
SETTINGS = {
    "EVENT_HUB": "UseDevelopmentEventHub=true",
    "EVENT_HUB_NAME": "meters",
    "EVENT_HUB_CONSUMER_GROUP": "own",
}


def eventually(look: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + 40
    while not look():
        assert time.monotonic() < deadline, f"{what} did not happen"
        time.sleep(0.03)


def host_in(folder: Path, environment: dict[str, str]) -> DevHostProcess:
    app = folder / "app"
    app.mkdir(exist_ok=True)
    (app / "host.json").write_text('{"version": "2.0"}')
    (app / "function_app.py").write_text(APP)
    arguments = ("--event-hub-partitions", "2")
    return DevHostProcess(app, folder=folder / "data", environment=environment, arguments=arguments)


def send(host: DevHostProcess, text: str) -> None:
    with EventHubProducerClient.from_connection_string(
        host.environment["EVENT_HUB"], eventhub_name="meters", retry_backoff_factor=0.1
    ) as producer:
        assert producer.get_partition_ids() == ["0", "1"]
        producer.send_batch([EventData(text)], partition_id="1")


def read(host: DevHostProcess, count: int) -> list[str]:
    async def consume() -> list[str]:
        found: list[str] = []

        async def on_event(context: object, event: EventData) -> None:
            found.append(event.body_as_str())

        consumer = EventHubConsumerClient.from_connection_string(
            host.environment["EVENT_HUB"], "own", eventhub_name="meters", load_balancing_interval=0.5
        )
        async with consumer:
            task = asyncio.create_task(consumer.receive(on_event, starting_position="-1"))
            deadline = time.monotonic() + 40
            while len(found) < count:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.05)
            await consumer.close()
            await task
        return found

    return asyncio.run(consume())


def stand_in(pid: int) -> int:
    """The process below the host that is the stand-in; 0 where there is none."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            if b"batchscore.devhost.eventhubs" in Path(f"/proc/{child}/cmdline").read_bytes():
                return int(child)
    return 0


def test_events_outlive_the_stand_in_and_the_host(tmp_path: Path) -> None:
    host = host_in(tmp_path, SETTINGS)
    with host:
        address = host.environment["EVENT_HUB"]
        assert "Event Hubs: meters (2 partitions)  amqp://127.0.0.1:" in host.log
        send(host, "first")

        os.kill(stand_in(host.pid), signal.SIGKILL)
        eventually(lambda: "Event Hubs runs again" in host.log, "a new stand-in")
        send(host, "second")

        second = stand_in(host.pid)
        host.kill()
    eventually(lambda: not lives(second, ""), "the end of the stand-in, for its host is gone")
    with host:
        assert host.environment["EVENT_HUB"] == address
        send(host, "third")
        assert read(host, 3) == ["first", "second", "third"]
        third = stand_in(host.pid)
    assert third
    assert not lives(third, "")


def test_without_a_setting_that_asks_for_it_none_is_started(tmp_path: Path) -> None:
    with host_in(tmp_path, {"EVENT_HUB": ""}) as host:
        assert stand_in(host.pid) == 0
        assert "Event Hubs" not in host.log
