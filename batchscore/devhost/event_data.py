"""Events as the worker takes them: bodies and metadata in the shapes that the real host gives them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from batchscore.devhost.worker import TypedData

if TYPE_CHECKING:
    from azure.eventhub import EventData

Given = tuple[TypedData, dict[str, TypedData]]
"""What a function is sent: its input, and the trigger's metadata."""


@dataclass(frozen=True)
class ReceivedEvent:
    """What a function may see of an event."""

    body: bytes
    sequence: int
    offset: str
    enqueued: datetime
    partition_key: str | None = None
    properties: Mapping[str, Any] = field(default_factory=dict)

    @property
    def enqueued_text(self) -> str:
        return self.enqueued.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    @property
    def system_properties(self) -> dict[str, Any]:
        return {
            "SequenceNumber": self.sequence,
            "Offset": self.offset,
            "PartitionKey": self.partition_key,
            "EnqueuedTimeUtc": self.enqueued_text,
        }


@dataclass(frozen=True)
class Origin:
    """Where a batch comes from."""

    namespace: str
    event_hub: str
    consumer_group: str
    partition: str

    def metadata(self) -> TypedData:
        context = {
            "FullyQualifiedNamespace": self.namespace,
            "EventHubName": self.event_hub,
            "ConsumerGroup": self.consumer_group,
            "PartitionId": self.partition,
            "IsCheckpointingAfterInvocation": True,
        }
        return TypedData(json=json.dumps(context))


def received(event: EventData) -> ReceivedEvent:
    """An event of the client library; a body of another kind than bytes becomes text."""
    from azure.eventhub.amqp import AmqpMessageBodyType

    data = event.body_type == AmqpMessageBodyType.DATA
    key = event.partition_key
    return ReceivedEvent(
        body=b"".join(event.body) if data else event.body_as_str().encode(),  # type: ignore[arg-type]
        sequence=event.sequence_number or 0,
        offset=event.offset or "0",
        enqueued=event.enqueued_time or datetime.now(UTC),
        partition_key=_text(key) if key is not None else None,
        properties={str(_text(name)): _text(value) for name, value in event.properties.items()},
    )


def for_many(events: Sequence[ReceivedEvent], origin: Origin, *, binary: bool) -> Given:
    """Of a function whose cardinality is many."""
    bodies = [event.body for event in events]
    data = (
        TypedData(collection_bytes=SimpleNamespace(bytes=bodies))
        if binary
        else TypedData(collection_string=SimpleNamespace(string=[_decoded(body) for body in bodies]))
    )
    return data, {
        "PartitionContext": origin.metadata(),
        "PartitionKeyArray": _strings(event.partition_key or "" for event in events),
        "OffsetArray": _strings(event.offset for event in events),
        "SequenceNumberArray": TypedData(
            collection_sint64=SimpleNamespace(sint64=[event.sequence for event in events])
        ),
        "EnqueuedTimeUtcArray": _json([event.enqueued_text for event in events]),
        "PropertiesArray": _json([dict(event.properties) for event in events]),
        "SystemPropertiesArray": _json([event.system_properties for event in events]),
    }


def for_one(event: ReceivedEvent, origin: Origin, *, binary: bool) -> Given:
    """Of a function whose cardinality is one."""
    data = TypedData(bytes=event.body) if binary else TypedData(string=_decoded(event.body))
    return data, {
        "PartitionContext": origin.metadata(),
        "PartitionKey": TypedData(string=event.partition_key or ""),
        "Offset": TypedData(string=event.offset),
        "SequenceNumber": _json(event.sequence),
        "EnqueuedTimeUtc": _json(event.enqueued_text),
        "Properties": _json(dict(event.properties)),
        "SystemProperties": _json(event.system_properties),
    }


def _strings(values: Any) -> TypedData:
    return TypedData(collection_string=SimpleNamespace(string=list(values)))


def _json(value: Any) -> TypedData:
    return TypedData(json=json.dumps(value, default=str))


def _decoded(body: bytes) -> str:
    return body.decode("utf-8", "replace")  # as the real host does


def _text(value: Any) -> Any:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
