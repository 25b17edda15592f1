"""AMQP messages as Event Hubs keeps them: cut into sections, stamped, unpacked from a batch (AMQP 1.0, part 3).

A message is kept as the bytes that its producer encoded, with the service's annotations spliced in, so that every type
in it reaches the consumer as it was.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from batchscore.devhost.eventhubs import amqp
from batchscore.devhost.eventhubs.amqp import AmqpError, Described

BATCH_FORMAT = 0x80013700
(
    HEADER,
    DELIVERY_ANNOTATIONS,
    ANNOTATIONS,
    PROPERTIES,
    APPLICATION_PROPERTIES,
    DATA,
    SEQUENCE,
    VALUE,
    FOOTER,
) = range(0x70, 0x79)

_KEY = "x-opt-partition-key"
_OWN = frozenset({_KEY, "x-opt-sequence-number", "x-opt-offset", "x-opt-enqueued-time", "x-opt-publisher"})
_SYMBOL_KEY = amqp.symbol(_KEY)
_SYMBOL_SEQUENCE = amqp.symbol("x-opt-sequence-number") + b"\x81"
_SYMBOL_OFFSET = amqp.symbol("x-opt-offset")
_SYMBOL_TIME = amqp.symbol("x-opt-enqueued-time") + b"\x83"
_LONG = struct.Struct(">q")


@dataclass(frozen=True)
class Incoming:
    """A message as a producer sent it, without what only the service may say."""

    header: bytes
    annotations: tuple[bytes, ...]
    """Keys and values in turn, each as encoded."""
    rest: bytes
    key: str | None

    def stamped(self, sequence: int, offset: int, enqueued_ms: int) -> bytes:
        """The message as consumers receive it."""
        parts = [
            *self.annotations,
            _SYMBOL_SEQUENCE + _LONG.pack(sequence),
            _SYMBOL_OFFSET + amqp.string(str(offset)),
            _SYMBOL_TIME + _LONG.pack(enqueued_ms),
        ]
        count = len(self.annotations) + 6
        if self.key is not None:
            parts.append(_SYMBOL_KEY + amqp.string(self.key))
            count += 2
        body = b"".join(parts)
        head = struct.pack(">3sBII", b"\x00\x53\x72", 0xD1, len(body) + 4, count)
        return b"".join((self.header, head, body, self.rest))


def sections(message: bytes) -> Iterator[tuple[int, int, int, int]]:
    """The sections of a message in turn: code, where it begins, where its value begins, where it ends."""
    at = 0
    while at < len(message):
        if message[at : at + 2] == b"\x00\x53" and at + 2 < len(message):
            code, value_at = message[at + 2], at + 3
        else:
            descriptor, value_at = amqp.decode(message, at + 1) if message[at] == 0 else (None, at)
            if not isinstance(descriptor, int):
                raise AmqpError("amqp:decode-error", "A message is a row of described sections.")
            code = descriptor
        end = amqp.skip(message, value_at)
        yield code, at, value_at, end
        at = end


def read(message: bytes, envelope_key: str | None = None) -> Incoming:
    """A message of a producer; `envelope_key` is the partition key of the batch around it."""
    header, key, rest_at = b"", envelope_key, None
    annotations: tuple[bytes, ...] = ()
    for code, start, value_at, end in sections(message):
        if code == HEADER:
            header = message[start:end]
        elif code == ANNOTATIONS:
            annotations, own_key = _annotations(message, value_at)
            key = own_key or key
        elif code != DELIVERY_ANNOTATIONS and rest_at is None:
            rest_at = start
    if rest_at is None:
        raise AmqpError("amqp:decode-error", "A message without a body.")
    return Incoming(header, annotations, message[rest_at:], key)


def unpacked(payload: bytes, message_format: int) -> list[Incoming]:
    """What one transfer brings: a message, or the messages of a batch."""
    if message_format != BATCH_FORMAT:
        return [read(payload)]
    key = None
    found = []
    for code, _, value_at, _ in sections(payload):
        if code == ANNOTATIONS:
            _, key = _annotations(payload, value_at)
        elif code == DATA:
            inner, _ = amqp.decode(payload, value_at)
            if not isinstance(inner, bytes):
                raise AmqpError("amqp:decode-error", "A data section of a batch holds no bytes.")
            found.append(read(inner, key))
    return found


def _annotations(message: bytes, at: int) -> tuple[tuple[bytes, ...], str | None]:
    """The producer's own annotations as encoded, and its partition key."""
    places = amqp.items(message, at)
    kept: list[bytes] = []
    partition_key = None
    for (start, value_at), (_, end) in zip(places[::2], places[1::2], strict=False):
        name, _ = amqp.decode(message, start)
        if name == _KEY:
            value, _ = amqp.decode(message, value_at)
            partition_key = value if isinstance(value, str) else None
        elif name not in _OWN:
            kept += (message[start:value_at], message[value_at:end])
    return tuple(kept), partition_key


def with_metrics(message: bytes, sequence: int, offset: str, enqueued_ms: int, now_ms: int) -> bytes:
    """A stamped message with what a consumer gets who tracks the end of the partition."""
    annotations = (
        (amqp.symbol("last_enqueued_sequence_number"), amqp.long(sequence)),
        (amqp.symbol("last_enqueued_offset"), amqp.string(offset)),
        (amqp.symbol("last_enqueued_time_utc"), amqp.timestamp(enqueued_ms)),
        (amqp.symbol("runtime_info_retrieval_time_utc"), amqp.timestamp(now_ms)),
    )
    header_end = next((end for code, _, _, end in sections(message) if code == HEADER), 0)
    section = amqp.described(DELIVERY_ANNOTATIONS, amqp.mapped(annotations))
    return message[:header_end] + section + message[header_end:]


@dataclass(frozen=True)
class Request:
    """A request to `$cbs` or `$management`."""

    message_id: bytes
    """As encoded: the answer's correlation id."""
    reply_to: str | None
    properties: dict[str, object]
    value: object


def read_request(message: bytes) -> Request:
    message_id, reply_to, value = amqp.NULL, None, None
    properties: dict[str, object] = {}
    for code, _, value_at, _ in sections(message):
        if code == PROPERTIES:
            places = amqp.items(message, value_at)
            if places:
                message_id = message[slice(*places[0])]
            if len(places) > 4:
                told, _ = amqp.decode(message, places[4][0])
                reply_to = told if isinstance(told, str) else None
        elif code == APPLICATION_PROPERTIES:
            found, _ = amqp.decode(message, value_at)
            if isinstance(found, dict):
                properties = {str(name): given for name, given in found.items()}
        elif code == VALUE:
            value, _ = amqp.decode(message, value_at)
    return Request(message_id, reply_to, properties, value.value if isinstance(value, Described) else value)


def response(request: Request, status: int, description: str, value: bytes = amqp.NULL) -> bytes:
    """The answer to a request."""
    properties = [amqp.NULL] * 5 + [request.message_id] + [amqp.NULL] * 7
    told = (
        (amqp.string("status-code"), amqp.int32(status)),
        (amqp.string("status-description"), amqp.string(description)),
    )
    return b"".join(
        (
            amqp.described(PROPERTIES, amqp.listed(properties)),
            amqp.described(APPLICATION_PROPERTIES, amqp.mapped(told)),
            amqp.described(VALUE, value),
        )
    )
