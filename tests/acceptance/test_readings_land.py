"""From the producer to Blob on the dev host, Azurite and the Event Hubs stand-in: no reading is lost, none counted twice."""

from __future__ import annotations

import json
import random
import re
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from azure.eventhub import EventData, EventHubProducerClient
from azure.storage.blob import BlobServiceClient

from batchscore.devhost.eventhubs import EventHubs, HubOptions
from batchscore.devhost.launch import DevHostProcess
from batchscore.storage import BLOB_API_VERSION
from tests.faults.proxy import Cut, Proxy

ROOT = Path(__file__).parents[2]
PARTITIONS = 4
PATIENCE_S = 60.0
YEARLY = "0 0 0 1 1 *"


class Devices:
    """Sends readings, good and bad, and knows what should become of them."""

    def __init__(self, hubs: EventHubs, mark: str) -> None:
        self.good: set[str] = set()
        self.bad = 0
        self._mark = mark
        self._random = random.Random(7)
        self._client = EventHubProducerClient.from_connection_string(
            hubs.connection_string, eventhub_name="readings"
        )

    def send(self, events: int) -> None:
        """Single readings, arrays, bad events and bad readings in arrays, readings of two hours ago, and some twice."""
        for partition in range(PARTITIONS):
            batch = self._client.create_batch(partition_id=str(partition))
            for _ in range(events // PARTITIONS):
                match self._random.randrange(20):
                    case 0:
                        bodies = [self._random.choice([b"\xff", b"{", b"[]", b'{"ts": 5}'])]
                        self.bad += 1
                    case 1:
                        bodies = [
                            json.dumps([self._reading(), {"value": float("nan")}, self._reading()]).encode()
                        ]
                        self.bad += 1
                    case 2:
                        bodies = [json.dumps(self._reading(hours=2)).encode()]
                    case 3:
                        bodies = [json.dumps(self._reading()).encode()] * 2
                    case _:
                        bodies = [json.dumps(self._reading()).encode()]
                for body in bodies:
                    batch.add(EventData(body))
            self._client.send_batch(batch)

    def _reading(self, hours: int = 0) -> dict[str, Any]:
        identity = f"{self._mark}-{len(self.good)}"
        self.good.add(identity)
        ts = datetime.now(UTC) - timedelta(hours=hours)
        return {"ts": ts.isoformat(), "device": self._mark, "tag": 1, "value": len(self.good), "id": identity}

    def close(self) -> None:
        self._client.close()


class Place:
    """Where the readings of one test land: containers of its own behind a network that can be cut."""

    def __init__(self, hubs: EventHubs, azurite: str, folder: Path) -> None:
        self.mark = uuid.uuid4().hex[:8]
        self.devices = Devices(hubs, self.mark)
        ports = [int(port) for port in re.findall(r"Endpoint=http://127\.0\.0\.1:(\d+)", azurite)]
        self.network = Proxy(ports, seed=1)
        self.network.start()
        behind = azurite
        for port, ours in zip(ports, self.network.ports, strict=True):
            behind = behind.replace(f":{port}/", f":{ours}/")
        self._folder = folder
        self._environment = {
            "EVENT_HUB": hubs.connection_string,
            "AzureWebJobsStorage": behind,
            "DATA_STORAGE": behind,
            "DATA_CONTAINER": f"data-{self.mark}",
            "TRIGGER_CONTAINER": f"triggers-{self.mark}",
            "AzureFunctionsWebHost__hostid": f"test-{self.mark}",
            "AzureFunctionsJobHost__extensions__eventHubs__maxWaitTime": "00:00:01",
            "LOCAL_WORK_FOLDER": str(folder / "work"),
            "RECONCILE_SCHEDULE": YEARLY,
            "SCORING_SCHEDULE": YEARLY,
        }
        self._service = BlobServiceClient.from_connection_string(azurite, api_version=BLOB_API_VERSION)
        self._data = self._service.get_container_client(f"data-{self.mark}")

    def host(self) -> DevHostProcess:
        return DevHostProcess(ROOT, folder=self._folder / "host", environment=self._environment)

    def lines(self, prefix: str) -> list[tuple[str, dict[str, Any]]]:
        """Each line below a prefix with the name of its blob; those of this test's devices."""
        if not self._data.exists():
            return []
        names = list(self._data.list_blob_names(name_starts_with=prefix))
        return [
            (name, json.loads(line))
            for name in names
            for line in self._data.download_blob(name).readall().splitlines()
        ]

    def landed(self) -> set[str]:
        return {line["id"] for _, line in self.lines("readings/") if line["device"] == self.mark}

    def dead(self) -> set[tuple[object, ...]]:
        return {
            (line["partition"], line["sequence"], line.get("index"), line["enqueued"])
            for _, line in self.lines("dead-letter/")
        }

    def wait_until_all_landed(self) -> None:
        eventually(
            lambda: len(self.landed()) == len(self.devices.good) and len(self.dead()) == self.devices.bad
        )

    def check(self) -> None:
        """Every good reading is there once by its key, in the hour of its time; every bad one once among the dead."""
        assert self.landed() == self.devices.good
        for name, line in self.lines("readings/"):
            start = datetime.strptime(name[:22], "readings/%Y/%m/%d/%H").replace(tzinfo=UTC)
            assert start < datetime.fromisoformat(line["ts"]) <= start + timedelta(hours=1)
        assert len(self.dead()) == self.devices.bad

    def close(self) -> None:
        self.devices.close()
        self._service.close()
        self.network.stop()


@pytest.fixture
def place(azurite: str, tmp_path: Path) -> Iterator[Place]:
    with EventHubs([HubOptions("readings", PARTITIONS)]) as hubs:
        place = Place(hubs, azurite, tmp_path)
        yield place
        place.close()


def eventually(true: Callable[[], object], patience_s: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + patience_s
    while not true():
        assert time.monotonic() < deadline, f"not within {patience_s} s"
        time.sleep(0.1)


def test_what_is_sent_lands_and_what_is_bad_is_a_dead_letter(place: Place) -> None:
    place.devices.send(400)
    with place.host():
        place.wait_until_all_landed()
        place.devices.send(200)
        place.wait_until_all_landed()
    place.check()


@pytest.mark.slow
def test_a_batch_waits_for_storage_whose_answers_are_lost(place: Place) -> None:
    with place.host() as host:
        place.devices.send(100)
        place.wait_until_all_landed()
        place.network.cut(Cut.UNANSWERED)
        place.devices.send(200)
        eventually(lambda: re.search(r"land_readings .* failed", host.log), 100)
        place.network.open()
        place.wait_until_all_landed()
    place.check()


@pytest.mark.slow
def test_a_host_that_is_killed_again_and_again_loses_nothing(place: Place) -> None:
    moments = random.Random(11)
    for _ in range(4):
        host = place.host()
        host.start()
        place.devices.send(400)
        deadline = time.monotonic() + moments.uniform(0.0, 2.5)
        while time.monotonic() < deadline and len(place.landed()) < len(place.devices.good):
            time.sleep(0.05)
        host.kill()
    with place.host():
        place.wait_until_all_landed()
    place.check()
