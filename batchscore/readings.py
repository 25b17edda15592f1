"""What one Event Hub event says: a reading, or an array of them, each on its own. Nothing here raises for content."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from datetime import datetime
from itertools import islice
from typing import Annotated, Any

import msgspec

from batchscore.settings import EventLimits

LONGEST_NAME = 256
"""Characters that a device, a tag or an id may have."""
_LONGEST_NUMBER = 400  # digits; more are more than any float holds

_SPACE = re.compile(r"[ \t\n\r]*")
_WHERE = re.compile(r"(.*) - at `\$\.(.*)`", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(\w+)`")

Name = (
    Annotated[str, msgspec.Meta(min_length=1, max_length=LONGEST_NAME)]
    | Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
)


class Reading(msgspec.Struct, gc=False):
    """A reading as its producer sent it."""

    ts: datetime
    device: Name
    tag: Name
    value: float
    id: Name | None = None


_decode = msgspec.json.Decoder(Reading | list[Reading]).decode
_decode_one = msgspec.json.Decoder(Reading).decode


def read_event(body: bytes, limits: EventLimits) -> Reading | list[Reading | str] | str:
    """The reading of an event, or those of its array, with a reason in the place of each that is bad, or the reason
    why the whole event is bad."""
    if len(body) > limits.event_bytes:
        return f"the event has {len(body):,} bytes, more than {limits.event_bytes:,}"
    try:
        found: Reading | list[Reading | str] = _decode(str(body, "utf-8"))
    except (ValueError, RecursionError):
        return _examined(body, limits.readings)
    if type(found) is list:
        return _counted(found, limits.readings)
    return found


def element_texts(body: bytes) -> list[str]:
    """The text of each element of an event that holds an array."""
    return [text for _, text in _elements(body.decode("utf-8-sig"))]


def _examined(body: bytes, most: int) -> Reading | list[Reading | str] | str:
    """What is bad about an event that was not read at once, and which of its readings are good all the same."""
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return f"not UTF-8 at byte {error.start}"
    try:
        if text.lstrip(" \t\n\r").startswith("["):
            elements = islice(_elements(text), most + 1)  # of a million nothings no more is looked at
            return _counted([_reading(value, element) for value, element in elements], most)
        value, end = _next(text, 0)
        _expect_end(text, end)
        return _reading(value, text)
    except RecursionError:
        return "not JSON that can be read: it is nested too deeply"
    except ValueError as error:
        return f"not JSON: {error}"


def _counted(found: list[Reading | str], most: int) -> list[Reading | str] | str:
    if not found:
        return "an array without readings"
    if len(found) > most:
        return f"an array of more than {most:,} readings"
    return found


def _elements(text: str) -> Iterator[tuple[Any, str]]:
    """The values of a JSON array and the text of each; ValueError where it is none."""
    position = _after_space(text, text.index("[") + 1)
    if text[position : position + 1] == "]":
        return _expect_end(text, position + 1)
    while True:
        value, end = _next(text, position)
        yield value, text[position:end]
        end = _after_space(text, end)
        mark = text[end : end + 1]
        if mark == "]":
            return _expect_end(text, end + 1)
        if mark != ",":
            raise json.JSONDecodeError("Expecting ',' delimiter", text, end)
        position = _after_space(text, end + 1)


def _reading(value: Any, text: str) -> Reading | str:
    """The reading that this text is, with its value as Python reads it; or why it is none."""
    number = value.get("value") if isinstance(value, dict) else None
    if isinstance(number, float) and not math.isfinite(number):
        return f"value is {'NaN' if math.isnan(number) else 'infinite'}"
    try:
        return _decode_one(text)
    except msgspec.ValidationError as error:
        return _told(str(error))
    except msgspec.DecodeError as error:  # NaN in another field, half of a surrogate pair
        return f"not JSON: {error}"
    except RecursionError:
        return "nested too deeply"


def _told(fault: str) -> str:
    """What msgspec found, with the field before it."""
    missing = _MISSING.match(fault)
    if missing:
        return f"{missing[1]} is missing"
    where = _WHERE.fullmatch(fault)
    return f"{where[2]}: {where[1]}" if where else fault


def _next(text: str, position: int) -> tuple[Any, int]:
    """The value that stands here, and where it ends. NaN and Infinity, which are no JSON but which many producers
    write, are read, so that the reading with one is bad and not all those beside it."""
    value, end = _DECODER.raw_decode(text, _after_space(text, position))
    return value, end


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= _LONGEST_NUMBER else float(digits)


_DECODER = json.JSONDecoder(parse_int=_integer)


def _after_space(text: str, position: int) -> int:
    found = _SPACE.match(text, position)
    assert found is not None
    return found.end()


def _expect_end(text: str, position: int) -> None:
    position = _after_space(text, position)
    if position != len(text):
        raise json.JSONDecodeError("Extra data", text, position)
