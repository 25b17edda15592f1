"""Answers of the `$cbs` and `$management` nodes."""

from __future__ import annotations

from batchscore.devhost.eventhubs import amqp, messages, sas
from batchscore.devhost.eventhubs.amqp import AmqpError
from batchscore.devhost.eventhubs.messages import Request
from batchscore.devhost.eventhubs.namespace import Hub, Namespace, Partition

_NEVER_MS = -62_135_596_800_000
"""The first moment of year 1: what the service tells for a partition without events."""


def token_answer(request: Request, grant: sas.Grant | str) -> bytes:
    """The answer to a token: accepted, or the reason why not."""
    if isinstance(grant, str):
        return messages.response(request, 401, grant)
    return messages.response(request, 202, "Accepted")


def description(request: Request, namespace: Namespace) -> bytes:
    """What a hub or a partition is; AmqpError where there is none."""
    hub = namespace.hub(str(request.properties.get("name")))
    kind = request.properties.get("type")
    if request.properties.get("operation") == "READ" and kind == "com.microsoft:eventhub":
        return messages.response(request, 200, "OK", _hub(hub))
    if request.properties.get("operation") == "READ" and kind == "com.microsoft:partition":
        partition = hub.partition(str(request.properties.get("partition")))
        return messages.response(request, 200, "OK", _partition(hub, partition))
    raise AmqpError("amqp:not-implemented", f"There is no operation {request.properties.get('operation')!r}.")


def refusal(request: Request, error: AmqpError) -> bytes:
    status = {"amqp:unauthorized-access": 401, "amqp:not-found": 404}.get(error.condition, 400)
    return messages.response(request, status, error.description)


def _hub(hub: Hub) -> bytes:
    return amqp.mapped(
        (
            (amqp.string("name"), amqp.string(hub.name)),
            (amqp.string("created_at"), amqp.timestamp(hub.created_ms)),
            (amqp.string("partition_count"), amqp.int32(len(hub.partitions))),
            (amqp.string("partition_ids"), amqp.strings([partition.id for partition in hub.partitions])),
        )
    )


def _partition(hub: Hub, partition: Partition) -> bytes:
    log = partition.log
    return amqp.mapped(
        (
            (amqp.string("name"), amqp.string(hub.name)),
            (amqp.string("partition"), amqp.string(partition.id)),
            (amqp.string("begin_sequence_number"), amqp.long(log.first_sequence)),
            (amqp.string("last_enqueued_sequence_number"), amqp.long(log.next_sequence - 1)),
            (amqp.string("last_enqueued_offset"), amqp.string(str(log.last_offset))),
            (
                amqp.string("last_enqueued_time_utc"),
                amqp.timestamp(_NEVER_MS if log.last_time < 0 else log.last_time),
            ),
            (amqp.string("is_partition_empty"), amqp.boolean(log.is_empty)),
        )
    )
