"""AMQP 1.0 frames: cut out of a stream of bytes, and written (OASIS AMQP 1.0, part 2).

Every field of a performative is written, nulls included: clients of Event Hubs count on it.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from batchscore.devhost.eventhubs import amqp
from batchscore.devhost.eventhubs.amqp import AmqpError

AMQP_HEADER = b"AMQP\x00\x01\x00\x00"
SASL_HEADER = b"AMQP\x03\x01\x00\x00"

OPEN, BEGIN, ATTACH, FLOW, TRANSFER, DISPOSITION, DETACH, END, CLOSE = range(0x10, 0x19)
SASL_MECHANISMS, SASL_INIT, SASL_OUTCOME = 0x40, 0x41, 0x44
ERROR, ACCEPTED, REJECTED, SOURCE, TARGET = 0x1D, 0x24, 0x25, 0x28, 0x29

MAX_FRAME_BYTES = 1 << 20
MIN_MAX_FRAME_BYTES = 512

_TRANSFER = struct.Struct(">3sBBB" + "BI" + "BI" + "BBI" + "BB" + "BB" + "5s")
TRANSFER_OVERHEAD = 8 + _TRANSFER.size


@dataclass(frozen=True)
class Performative:
    """A frame's body: what it is, its fields, where each field lies in `data`, and where the payload begins."""

    code: int
    fields: Sequence[object]
    data: bytes
    places: Sequence[tuple[int, int]]
    payload_at: int

    def field(self, index: int) -> object:
        """A field, or None where it is null or left out."""
        return self.fields[index] if index < len(self.fields) else None

    def number(self, index: int, default: int | None = None) -> int:
        """A field that is a uint, as all numbers in performatives are; AmqpError where it is none."""
        value = self.field(index)
        if value is None and default is not None:
            return default
        if not isinstance(value, int) or not 0 <= value < 1 << 32:
            raise AmqpError("amqp:decode-error", f"Field {index} of 0x{self.code:02x} is no uint.")
        return value

    def raw(self, index: int) -> bytes:
        """A field as it was encoded."""
        if index >= len(self.places):
            return amqp.NULL
        start, end = self.places[index]
        return self.data[start:end]


def parse(body: bytes) -> Performative:
    """A frame's body; AmqpError where it is none."""
    descriptor, at = amqp.decode(body, 1) if body[:1] == b"\0" else (None, 0)
    if not isinstance(descriptor, int):
        raise AmqpError("amqp:decode-error", "A frame begins with a described list.")
    places = amqp.items(body, at)
    fields = [amqp.decode(body, start)[0] for start, _ in places]
    return Performative(descriptor, fields, body, places, amqp.skip(body, at))


def cut(buffer: bytearray, at: int) -> tuple[int, int, bytes, int] | None:
    """The frame at `at` as (type, channel, body, where the next begins), or None while it is not whole."""
    if len(buffer) - at < 8:
        return None
    size, data_offset, kind, channel = struct.unpack_from(">IBBH", buffer, at)
    if not 8 <= size <= MAX_FRAME_BYTES or not 8 <= data_offset * 4 <= size:
        raise AmqpError(
            "amqp:connection:framing-error", f"A frame of {size} bytes, its data at {data_offset * 4}."
        )
    if len(buffer) - at < size:
        return None
    return kind, channel, bytes(buffer[at + data_offset * 4 : at + size]), at + size


def frame(channel: int, code: int, *fields: bytes, kind: int = 0) -> bytes:
    """A frame with a performative and no payload."""
    body = amqp.described(code, amqp.listed(fields))
    return struct.pack(">IBBH", 8 + len(body), 2, kind, channel) + body


def empty_frame() -> bytes:
    """What keeps an idle connection open."""
    return b"\0\0\0\x08\x02\0\0\0"


def transfers(
    channel: int, handle: int, delivery_id: int, message: bytes, max_frame_bytes: int
) -> list[bytes]:
    """A settled message as transfer frames, each at most `max_frame_bytes` long."""
    room = max_frame_bytes - TRANSFER_OVERHEAD
    parts: list[bytes] = []
    for start in range(0, len(message) or 1, room):
        payload = message[start : start + room]
        parts += (
            struct.pack(">IBBH", TRANSFER_OVERHEAD + len(payload), 2, 0, channel),
            _TRANSFER.pack(
                *(b"\x00\x53\x14", 0xC0, _TRANSFER.size - 5, 11),
                *(0x70, handle),
                *(0x70, delivery_id),
                *(0xA0, 4, delivery_id),  # the tag
                *(0x52, 0),  # the message format
                *(0x41, 0x41 if start + room < len(message) else 0x42),  # settled; more
                amqp.NULL * 5,
            ),
            payload,
        )
    return parts


def error(condition: str, description: str) -> bytes:
    """The error of a detach, end or close, or of a rejection."""
    fields = (amqp.symbol(condition), amqp.string(description), amqp.NULL)
    return amqp.described(ERROR, amqp.listed(fields))


def accepted() -> bytes:
    return amqp.described(ACCEPTED, amqp.EMPTY_LIST)


def rejected(condition: str, description: str) -> bytes:
    return amqp.described(REJECTED, amqp.listed((error(condition, description),)))
