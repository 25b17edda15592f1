"""The AMQP 1.0 type system: values to bytes and back (OASIS AMQP 1.0, part 1).

Everything that the stand-in sends has a known type, so an encoder is a function from a value to bytes, and bytes are
put together. What arrives may be anything: `decode` and `skip` raise AmqpError and nothing else.
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from batchscore.errors import BatchscoreError

_DEEPEST = 32
"""Nesting beyond this is an attack: no message of a client comes near it."""


class AmqpError(BatchscoreError):
    """The peer sent what AMQP does not allow, or asked for what it cannot have."""

    def __init__(self, condition: str, description: str) -> None:
        self.condition = condition
        self.description = description
        super().__init__(f"{condition}: {description}")


class Symbol(str):
    """A symbolic value, from a constrained domain; a string to Python."""

    __slots__ = ()


@dataclass(frozen=True)
class Described:
    """A value with a descriptor that gives it a meaning."""

    descriptor: object
    value: object


NULL = b"\x40"
TRUE = b"\x41"
FALSE = b"\x42"
EMPTY_LIST = b"\x45"


def uint(value: int) -> bytes:
    return b"\x70" + value.to_bytes(4)


def ulong(value: int) -> bytes:
    return b"\x80" + value.to_bytes(8)


def ushort(value: int) -> bytes:
    return b"\x60" + value.to_bytes(2)


def ubyte(value: int) -> bytes:
    return b"\x50" + value.to_bytes(1)


def int32(value: int) -> bytes:
    return b"\x71" + value.to_bytes(4, signed=True)


def long(value: int) -> bytes:
    return b"\x81" + value.to_bytes(8, signed=True)


def timestamp(milliseconds: int) -> bytes:
    """A moment in milliseconds since 1970, UTC."""
    return b"\x83" + milliseconds.to_bytes(8, signed=True)


def boolean(value: bool) -> bytes:
    return TRUE if value else FALSE


def binary(value: bytes) -> bytes:
    return _variable(0xA0, value)


def string(value: str) -> bytes:
    return _variable(0xA1, value.encode())


def symbol(value: str) -> bytes:
    return _variable(0xA3, value.encode("ascii"))


def _variable(code: int, value: bytes) -> bytes:
    if len(value) < 256:
        return bytes((code, len(value))) + value
    return struct.pack(">BI", code + 0x10, len(value)) + value


def listed(items: Iterable[bytes]) -> bytes:
    return _compound(0xC0, list(items))


def mapped(pairs: Iterable[tuple[bytes, bytes]]) -> bytes:
    return _compound(0xC1, [part for pair in pairs for part in pair])


def _compound(code: int, items: Sequence[bytes]) -> bytes:
    body = b"".join(items)
    if len(body) < 255 and len(items) < 256:
        return bytes((code, len(body) + 1, len(items))) + body
    return struct.pack(">BII", code + 0x10, len(body) + 4, len(items)) + body


def strings(values: Sequence[str]) -> bytes:
    """An array of strings."""
    return _array(0xB1, [value.encode() for value in values])


def symbols(values: Sequence[str]) -> bytes:
    """An array of symbols."""
    return _array(0xB3, [value.encode("ascii") for value in values])


def _array(constructor: int, values: Sequence[bytes]) -> bytes:
    body = b"".join(len(value).to_bytes(4) + value for value in values)
    return struct.pack(">BIIB", 0xF0, len(body) + 5, len(values), constructor) + body


def described(descriptor: int, value: bytes) -> bytes:
    return bytes((0x00, 0x53, descriptor)) + value


_FIXED = {
    0x50: struct.Struct(">B"),
    0x51: struct.Struct(">b"),
    0x52: struct.Struct(">B"),
    0x53: struct.Struct(">B"),
    0x54: struct.Struct(">b"),
    0x55: struct.Struct(">b"),
    0x60: struct.Struct(">H"),
    0x61: struct.Struct(">h"),
    0x70: struct.Struct(">I"),
    0x71: struct.Struct(">i"),
    0x72: struct.Struct(">f"),
    0x80: struct.Struct(">Q"),
    0x81: struct.Struct(">q"),
    0x82: struct.Struct(">d"),
    0x83: struct.Struct(">q"),
}
_WIDTHS = {0x4: 0, 0x5: 1, 0x6: 2, 0x7: 4, 0x8: 8, 0x9: 16}
_EMPTY: dict[int, object] = {0x40: None, 0x41: True, 0x42: False, 0x43: 0, 0x44: 0}


def decode(data: bytes, at: int = 0, depth: int = 0) -> tuple[object, int]:
    """The value that begins at `at`, and where the next one begins. AmqpError where there is none."""
    code = _byte(data, at)
    if code == 0:
        if depth > _DEEPEST:
            raise _malformed("values are nested too deep")
        descriptor, at = decode(data, at + 1, depth + 1)
        value, at = decode(data, at, depth + 1)
        return Described(descriptor, value), at
    return _decode_as(code, data, at + 1, depth)


def _decode_as(code: int, data: bytes, at: int, depth: int) -> tuple[object, int]:
    fixed = _FIXED.get(code)
    if fixed is not None:
        end = at + fixed.size
        if end > len(data):
            raise _malformed("it ends within a value")
        return fixed.unpack_from(data, at)[0], end
    if code in _EMPTY:
        return _EMPTY[code], at
    if code == 0x45:
        return [], at
    start, end = _extent(code, data, at)
    match code & 0xEF if code >= 0xA0 else code:
        case 0xA0:
            return data[start:end], end
        case 0xA1 | 0xA3:
            try:
                text = data[start:end].decode()
            except UnicodeDecodeError:
                raise _malformed("a string is not UTF-8") from None
            return (Symbol(text) if code & 0x0F == 3 else text), end
        case 0xC0 | 0xC1 | 0xE0:
            return _decode_compound(code, data, start, end, depth), end
        case 0x56:
            return data[start] == 1, end
        case 0x98:
            return uuid.UUID(bytes=data[start:end]), end
        case 0x73 | 0x74 | 0x84 | 0x94:  # char and decimals: nothing here looks into them
            return data[start:end], end
    raise _malformed(f"0x{code:02x} is no type")


def _decode_compound(code: int, data: bytes, start: int, end: int, depth: int) -> object:
    if depth > _DEEPEST:
        raise _malformed("values are nested too deep")
    count, at = _count(code, data, start, end)
    values = []
    if code & 0xEF == 0xE0 and count:
        constructor = _byte(data, at)
        at += 1
        if constructor == 0:
            raise _malformed("arrays of described values are not supported")
        for _ in range(count):
            value, at = _decode_as(constructor, data, at, depth + 1)
            values.append(value)
    else:
        for _ in range(count):
            value, at = decode(data, at, depth + 1)
            values.append(value)
    if at > end:
        raise _malformed("a value is longer than what holds it")
    if code & 0xEF != 0xC1:
        return values
    try:
        return dict(zip(values[::2], values[1::2], strict=True))
    except (TypeError, ValueError):
        raise _malformed("a map has a key that cannot be one, or no value for it") from None


def skip(data: bytes, at: int) -> int:
    """Where the value that begins at `at` ends; its content is not looked at."""
    values = 1
    while values:
        code = _byte(data, at)
        at += 1
        if code == 0:
            values += 1
            continue
        _, at = _extent(code, data, at)
        values -= 1
    return at


def items(data: bytes, at: int) -> list[tuple[int, int]]:
    """Where each item of the list or map that begins at `at` begins and ends."""
    code = _byte(data, at)
    if code == 0x45:
        return []
    if code not in (0xC0, 0xD0, 0xC1, 0xD1):
        raise _malformed("a list or a map is wanted")
    start, end = _extent(code, data, at + 1)
    count, at = _count(code, data, start, end)
    found = []
    for _ in range(count):
        after = skip(data, at)
        found.append((at, after))
        at = after
    if at > end:
        raise _malformed("a value is longer than what holds it")
    return found


def _extent(code: int, data: bytes, at: int) -> tuple[int, int]:
    """Where the bytes of a value begin and end, its size field excluded; `at` is behind its constructor."""
    width = _WIDTHS.get(code >> 4)
    if width is not None:
        end = at + width
    elif code >= 0xA0:
        size = 4 if code & 0x10 else 1
        length = int.from_bytes(data[at : at + size])
        at += size
        end = at + length
    else:
        raise _malformed(f"0x{code:02x} is no type")
    if end > len(data):
        raise _malformed("it ends within a value")
    return at, end


def _count(code: int, data: bytes, start: int, end: int) -> tuple[int, int]:
    size = 4 if code & 0x10 else 1
    if start + size > end:
        raise _malformed("a list without a count")
    count = int.from_bytes(data[start : start + size])
    if count > end - start:  # an item is a byte at least, but for arrays of nothing, which nobody needs
        raise _malformed("a list with more items than bytes")
    return count, start + size


def _byte(data: bytes, at: int) -> int:
    try:
        return data[at]
    except IndexError:
        raise _malformed("it ends where a value is due") from None


def _malformed(what: str) -> AmqpError:
    return AmqpError("amqp:decode-error", f"These bytes are not AMQP: {what}.")
