"""Event Hub triggers of the dev host from outside: events sent by the client library, and what functions saw."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from azure.core.exceptions import ResourceNotFoundError
from azure.eventhub import EventData, EventHubProducerClient
from azure.storage.blob import BlobServiceClient

from batchscore.devhost.eventhubs import EventHubs, HubOptions
from batchscore.devhost.launch import DevHostProcess
from batchscore.storage import BLOB_API_VERSION

APP = Path(__file__).parent / "apps" / "event_hub"
PATIENCE_S = 40.0


@pytest.fixture(scope="module")
def hubs() -> Iterator[EventHubs]:
    with EventHubs([HubOptions("many", 4), HubOptions("one", 1)]) as process:
        yield process


class World:
    """A hub of events, an account and the hosts of one test."""

    def __init__(self, hubs: EventHubs, account: str, folder: Path) -> None:
        self.environment = {
            "EVENT_HUB": hubs.connection_string,
            "AzureWebJobsStorage": account,
            "AzureFunctionsWebHost__hostid": f"test-{uuid.uuid4().hex[:8]}",
        }
        self._folder = folder
        self._blobs = BlobServiceClient.from_connection_string(account, api_version=BLOB_API_VERSION)
        self._clients: dict[str, EventHubProducerClient] = {}
        self._connection = hubs.connection_string

    def host(self, name: str = "host", **environment: str) -> DevHostProcess:
        return DevHostProcess(
            APP, folder=self._folder / name, environment={**self.environment, **environment}
        )

    def send(self, hub: str, texts: Sequence[str], partition: str | None = None, **options: Any) -> None:
        if hub not in self._clients:
            client = EventHubProducerClient.from_connection_string(self._connection, eventhub_name=hub)
            self._clients[hub] = client
        events = []
        for text in texts:
            event = EventData(text)
            event.properties = options.pop("properties", {})
            events.append(event)
        self._clients[hub].send_batch(events, partition_id=partition, **options)

    def seen(self, prefix: str) -> list[dict[str, Any]]:
        container = self._blobs.get_container_client("seen")
        try:
            names = list(container.list_blob_names(name_starts_with=prefix))
        except ResourceNotFoundError:
            return []
        return [json.loads(container.download_blob(name).readall()) for name in names]

    def texts(self) -> list[str]:
        return [text for note in self.seen("many/") for text in note["texts"]]

    def checkpoint(self, hub: str, partition: str = "0") -> int:
        """The number of the last event that is done with; -1 where there is none."""
        container = self._blobs.get_container_client("azure-webjobs-eventhub")
        for blob in container.list_blobs(include=["metadata"]):
            if blob.name.endswith(f"/{hub}/$default/checkpoint/{partition}"):
                return int(blob.metadata["sequencenumber"])
        return -1

    def close(self) -> None:
        for client in self._clients.values():
            client.close()
        self._blobs.close()


@pytest.fixture
def world(hubs: EventHubs, azurite: str, tmp_path: Path) -> Iterator[World]:
    world = World(hubs, azurite, tmp_path)
    yield world
    world.close()


def eventually(true: Callable[[], object], patience_s: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + patience_s
    while not true():
        assert time.monotonic() < deadline, f"not within {patience_s} s"
        time.sleep(0.1)


def test_events_reach_the_functions(world: World) -> None:
    """Many and one, with what is said of them; a function that raises to the end is checkpointed; by hand."""
    mark = uuid.uuid4().hex[:6]
    before = datetime.now(UTC) - timedelta(seconds=5)
    many = [f"{mark} {number}" for number in range(30)]
    with world.host() as host:
        for partition in ("1", "2"):
            world.send("many", many, partition)
        world.send("many", [f"{mark} key"], partition_key="pump", properties={"kind": "a"})
        world.send("one", [f"{mark} ü", "bad", f"{mark} last"])

        eventually(lambda: sum(text.startswith(mark) for text in world.texts()) == 61)
        notes = [note for note in world.seen("many/") if note["texts"][0].startswith(mark)]
        for partition in ("1", "2"):
            texts = [text for note in notes if note["partition"] == partition for text in note["texts"]]
            assert set(many) <= set(texts)
        for note in notes:
            assert note["numbers"] == sorted(note["numbers"])
            assert len(note["offsets"]) == len(note["keys"]) == len(note["properties"]) == len(note["texts"])
            assert all(
                before <= datetime.fromisoformat(time) <= datetime.now(UTC) for time in note["enqueued"]
            )
        (keyed,) = [
            (note["keys"][at], note["properties"][at])
            for note in notes
            for at, text in enumerate(note["texts"])
            if text == f"{mark} key"
        ]
        assert keyed == ("pump", {"kind": "a"})

        eventually(lambda: {note["text"] for note in world.seen("one/")} >= {f"{mark} ü", f"{mark} last"})
        assert host.log.count("ValueError: bad for ever") == 3
        (last,) = [note for note in world.seen("one/") if note["text"] == f"{mark} last"]
        eventually(lambda: world.checkpoint("one") == last["number"])

        answer = requests.post(
            f"{host.url}/admin/functions/of_many", json={"input": f"{mark} by hand"}, timeout=10
        )
        assert answer.status_code == 202
        eventually(lambda: f"{mark} by hand" in world.texts())


def test_a_function_that_fails_for_a_while_gets_its_batch_again_and_others_go_on(world: World) -> None:
    mark = uuid.uuid4().hex[:6]
    with world.host():
        world.send("many", [f"{mark} bad side", "twice bad"], "0")
        world.send("many", [f"{mark} good side"], "3")
        eventually(lambda: {f"{mark} bad side", f"{mark} good side"} <= set(world.texts()))
    notes = {note["texts"][0]: note["retry"] for note in world.seen("many/")}
    assert (notes[f"{mark} bad side"], notes[f"{mark} good side"]) == (2, 0)


@pytest.mark.slow
def test_what_a_killed_host_had_not_finished_comes_again_and_what_it_had_does_not(world: World) -> None:
    mark = uuid.uuid4().hex[:6]
    host = world.host()
    host.start()
    world.send("many", [f"{mark} done"], "0")
    eventually(lambda: f"{mark} done" in world.texts())
    (number,) = [
        note["numbers"][note["texts"].index(f"{mark} done")]
        for note in world.seen("many/")
        if f"{mark} done" in note["texts"]
    ]
    eventually(lambda: world.checkpoint("many") == number)
    world.send("many", [f"{mark} cut", "slow"], "0")
    eventually(lambda: f"{mark} cut" in host.log)  # the function has begun
    host.kill()
    assert world.checkpoint("many") == number
    with world.host():
        eventually(lambda: f"{mark} cut" in world.texts())
        eventually(lambda: world.checkpoint("many") == number + 2)
    assert world.texts().count(f"{mark} done") == 1


@pytest.mark.slow
def test_two_hosts_share_the_partitions_and_one_takes_over_when_the_other_ends(world: World) -> None:
    mark = uuid.uuid4().hex[:6]
    sent = 0

    def send() -> None:
        nonlocal sent
        for partition in range(4):
            world.send("many", [f"{mark} {sent}"], str(partition))
            sent += 1

    def by_host() -> dict[str, int]:
        """Which process saw each text."""
        return {text: note["pid"] for note in world.seen("many/") for text in note["texts"] if mark in text}

    def owners_of_the_next() -> list[int]:
        first = sent
        send()
        eventually(lambda: len(by_host()) == sent)
        return [by_host()[f"{mark} {number}"] for number in range(first, sent)]

    with world.host("first") as first:
        assert set(owners_of_the_next()) == {first.pid}
        with world.host("second") as second:
            pids = {first.pid: 2, second.pid: 2}
            eventually(lambda: {pid: owners_of_the_next().count(pid) for pid in pids} == pids)
            second.kill()
        eventually(lambda: set(owners_of_the_next()) == {first.pid})
