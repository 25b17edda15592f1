"""What doctor says of an event hub: whether it answers, and whether its events are being landed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from azure.eventhub import EventData, EventHubProducerClient
from azure.storage.blob import BlobServiceClient

from batchscore.devhost.configuration import CHECKPOINTS_CONTAINER
from batchscore.devhost.eventhubs import EventHubs, HubOptions
from batchscore.doctor import event_hub
from batchscore.doctor.event_hub import Partition
from batchscore.settings import EventHub, Settings

NOW = datetime(2026, 11, 21, 18, 0, tzinfo=UTC)
LONG_AGO = NOW - timedelta(hours=1)
JUST_NOW = NOW - timedelta(seconds=20)


@pytest.mark.parametrize(
    ("partition", "verdict", "words"),
    [
        (Partition("0", 0, -1, LONG_AGO), "ok", "0 events not landed"),
        (Partition("0", 0, 9, LONG_AGO, 9, LONG_AGO), "ok", "0 events not landed"),
        (Partition("0", 0, 9, JUST_NOW, 7, JUST_NOW), "ok", "2 events not landed"),
        (Partition("0", 0, 9, JUST_NOW, 7, LONG_AGO), "ok", "2 events"),  # the first in an hour
        (Partition("0", 0, 9, LONG_AGO, 7, JUST_NOW), "ok", "2 events"),  # the host catches up
        (
            Partition("0", 0, 9, LONG_AGO, 7, LONG_AGO),
            "warn",
            "in partition 0 the last checkpoint is 1 h 00 min old",
        ),
        (
            Partition("0", 0, 9, LONG_AGO),
            "warn",
            "10 events not landed yet; in partition 0 there is no checkpoint",
        ),
        (Partition("0", 0, 200_000, JUST_NOW, 7, LONG_AGO), "warn", "the last checkpoint is 1 h 00 min old"),
        (Partition("0", 0, 200_000, JUST_NOW, 7, JUST_NOW), "warn", "199,993 events not landed"),
        (
            Partition("0", 50, 99, JUST_NOW, 39, JUST_NOW),
            "warn",
            "10 events of partition 0 were removed before",
        ),
        (
            Partition("0", 0, 3, JUST_NOW, 99, JUST_NOW),
            "fail",
            "ends at 3, but is landed up to 99: the hub was made anew",
        ),
    ],
)
def test_what_a_partition_means(partition: Partition, verdict: str, words: str) -> None:
    found = list(event_hub.judged("readings", [partition], NOW))
    assert words in found[-1].found
    assert found[-1].verdict == verdict
    assert bool(found[-1].remedy) is (verdict != "ok")


def test_partitions_are_counted_together() -> None:
    fine = Partition("0", 0, 9, LONG_AGO, 9, LONG_AGO)
    late = Partition("1", 0, 9, LONG_AGO, 4, LONG_AGO)
    (found,) = event_hub.judged("readings", [fine, late, replace(late, id="2")], NOW)
    assert found.found == (
        "readings answers; 3 partitions, 10 events not landed yet; "
        "in partitions 1, 2 the last checkpoint is 1 h 00 min old"
    )


@pytest.fixture(scope="module")
def hubs() -> Iterator[EventHubs]:
    with EventHubs([HubOptions("Readings", 2)]) as hubs:
        yield hubs


def test_a_hub_is_read_with_the_checkpoints_of_its_host(
    hubs: EventHubs, settings: Settings, azurite: str
) -> None:
    with EventHubProducerClient.from_connection_string(
        hubs.connection_string, eventhub_name="readings"
    ) as producer:
        producer.send_batch([EventData("x")] * 10, partition_id="1")
    with BlobServiceClient.from_connection_string(azurite) as blobs:
        container = blobs.get_container_client(CHECKPOINTS_CONTAINER)
        if not container.exists():
            container.create_container()
        name = f"{hubs.address}/readings/$default/checkpoint/1"
        container.upload_blob(name, b"", metadata={"offset": "0", "sequencenumber": "6"})
    hub = EventHub("readings", "$Default", connection_string=hubs.connection_string)
    (found,) = event_hub.read(replace(settings, event_hub=hub))
    assert (found.verdict, found.found) == ("ok", "readings answers; 2 partitions, 3 events not landed yet")


def test_how_far_stream_analytics_is_nobody_here_knows(hubs: EventHubs, settings: Settings) -> None:
    """It leaves no checkpoints in our accounts: that none are there is no fault."""
    with EventHubProducerClient.from_connection_string(
        hubs.connection_string, eventhub_name="readings"
    ) as producer:
        producer.send_batch([EventData("x")], partition_id="0")
    hub = EventHub("readings", event_hub.STREAM_ANALYTICS, connection_string=hubs.connection_string)
    (found,) = event_hub.read(replace(settings, event_hub=hub))
    assert found.verdict == "ok"
    assert found.found.startswith("readings answers; 2 partitions, read by Stream Analytics")
    main = (Path(__file__).parents[2] / "infra/main.bicep").read_text("utf-8")
    assert f"var streamAnalyticsConsumerGroup = '{event_hub.STREAM_ANALYTICS}'" in main


def test_a_hub_that_refuses_or_does_not_answer_is_told_apart(hubs: EventHubs, settings: Settings) -> None:
    def found(connection: str, name: str = "readings") -> tuple[str, str]:
        hub = EventHub(name, "$Default", connection_string=connection)
        (finding,) = event_hub.read(replace(settings, event_hub=hub))
        assert "SharedAccessKey" not in finding.found
        return finding.verdict, f"{finding.found} {finding.remedy}"

    good = hubs.connection_string
    verdict, words = found(good.replace("SharedAccessKey=", "SharedAccessKey=AAAA"))
    assert verdict == "fail"
    assert "refuses" in words
    assert "correct the key" in words
    verdict, words = found(good.replace(str(hubs.port), "9"))
    assert verdict == "fail"
    assert "does not answer" in words
    assert "make start" in words
    verdict, words = found(good, "elsewhere")
    assert verdict == "fail"
    assert f"no event hub 'elsewhere' at {hubs.address}" in words
    assert found("UseDevelopmentEventHub=true")[0] == "warn"


def test_without_a_hub_nothing_is_said(settings: Settings) -> None:
    assert list(event_hub.read(replace(settings, event_hub=None))) == []
