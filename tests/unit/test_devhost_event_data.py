"""Events as azure-functions reads them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from azure.eventhub import EventData
from azure.eventhub._pyamqp.message import Message
from azure.functions.eventhub import EventHubTriggerConverter
from azure.functions.meta import Datum

from batchscore.devhost.event_data import Given, Origin, ReceivedEvent, for_many, for_one, received

TIME = datetime(2026, 11, 21, 17, 30, 0, 250_000, tzinfo=UTC)
ORIGIN = Origin("ns.example", "readings", "$Default", "3")
EVENTS = [
    ReceivedEvent("ä".encode(), 41, "1200", TIME, "pump", {"kind": "a", "weight": 1.5}),
    ReceivedEvent(b"\xff", 43, "1300", TIME),
]
CONTEXT = {
    "FullyQualifiedNamespace": "ns.example",
    "EventHubName": "readings",
    "ConsumerGroup": "$Default",
    "PartitionId": "3",
    "IsCheckpointingAfterInvocation": True,
}


def converted(given: Given) -> Any:
    data, metadata = given
    return EventHubTriggerConverter.decode(
        Datum(data.value, data.kind),
        trigger_metadata={name: Datum(value.value, value.kind) for name, value in metadata.items()},
    )


def test_many_events() -> None:
    first, second = converted(for_many(EVENTS, ORIGIN, binary=True))
    assert [first.get_body(), second.get_body()] == ["ä".encode(), b"\xff"]
    assert (first.sequence_number, first.offset, first.partition_key) == (41, 1200, "pump")
    assert first.enqueued_time == TIME
    assert second.metadata == {
        "PartitionContext": CONTEXT,
        "PartitionKeyArray": ["pump", ""],
        "OffsetArray": ["1200", "1300"],
        "SequenceNumberArray": [41, 43],
        "EnqueuedTimeUtcArray": ["2026-11-21T17:30:00.250Z"] * 2,
        "PropertiesArray": [{"kind": "a", "weight": 1.5}, {}],
        "SystemPropertiesArray": [event.system_properties for event in EVENTS],
    }


def test_many_events_as_text_lose_what_is_no_text() -> None:
    assert [event.get_body() for event in converted(for_many(EVENTS, ORIGIN, binary=False))] == [
        "ä".encode(),
        "\ufffd".encode(),
    ]


@pytest.mark.parametrize("binary", [True, False])
def test_one_event(binary: bool) -> None:
    event = converted(for_one(EVENTS[0], ORIGIN, binary=binary))
    assert event.get_body() == "ä".encode()
    assert (event.sequence_number, event.offset, event.partition_key) == (41, "1200", "pump")
    assert event.enqueued_time == TIME
    assert event.metadata["PartitionContext"] == CONTEXT
    assert event.metadata["Properties"] == {"kind": "a", "weight": 1.5}


def test_an_event_of_the_client_library() -> None:
    annotations = {
        b"x-opt-sequence-number": 41,
        b"x-opt-offset": b"1200",
        b"x-opt-enqueued-time": int(TIME.timestamp() * 1000),
        b"x-opt-partition-key": b"pump",
    }
    properties = {b"kind": b"a", b"weight": 1.5}
    event = EventData._from_message(
        Message(data=[b"one ", b"two"], message_annotations=annotations, application_properties=properties)
    )
    assert received(event) == ReceivedEvent(
        b"one two", 41, "1200", TIME, "pump", {"kind": "a", "weight": 1.5}
    )


def test_a_body_that_is_a_value() -> None:
    annotations = {b"x-opt-sequence-number": 1, b"x-opt-offset": b"2", b"x-opt-enqueued-time": 0}
    event = EventData._from_message(Message(value="text", message_annotations=annotations))
    assert received(event).body == b"text"
