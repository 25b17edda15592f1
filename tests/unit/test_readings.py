"""Which events are readings, which are not, and what is said of those."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone

import hypothesis
import hypothesis.strategies as st
import pytest

from batchscore.readings import Reading, element_texts, read_event
from batchscore.settings import EventLimits

LIMITS = EventLimits(event_bytes=200_000, readings=5)
GOOD = {"ts": "2026-11-21T17:00:05Z", "device": "pump", "tag": 4, "value": 1.5}
TIME = datetime(2026, 11, 21, 17, 0, 5, tzinfo=UTC)


def event(**fields: object) -> bytes:
    """A good reading with other values for some fields, without those that are None."""
    return json.dumps(
        {name: value for name, value in {**GOOD, **fields}.items() if value is not None}
    ).encode()


@pytest.mark.parametrize(
    ("body", "reading"),
    [
        (event(), Reading(TIME, "pump", 4, 1.5)),
        (event(id="a-1"), Reading(TIME, "pump", 4, 1.5, "a-1")),
        (event(id=17), Reading(TIME, "pump", 4, 1.5, 17)),
        (event(device=-3, value=2), Reading(TIME, -3, 4, 2.0)),
        (event(value=1e300), Reading(TIME, "pump", 4, 1e300)),
        (event(ts="2026-11-21 17:00:05.000"), Reading(TIME.replace(tzinfo=None), "pump", 4, 1.5)),
        (event(ts="2026-11-21T19:00:05+02:00"), Reading(TIME, "pump", 4, 1.5)),
        (event(unit="bar", more={"a": [1]}), Reading(TIME, "pump", 4, 1.5)),
        (event(device="Pümpe 😀"), Reading(TIME, "Pümpe 😀", 4, 1.5)),
        (event(device="x" * 256), Reading(TIME, "x" * 256, 4, 1.5)),
        (b"\xef\xbb\xbf " + event() + b"\r\n", Reading(TIME, "pump", 4, 1.5)),
        (
            b"[" + event() + b" ,\n" + event(value=3) + b"]",
            [Reading(TIME, "pump", 4, 1.5), Reading(TIME, "pump", 4, 3.0)],
        ),
    ],
)
def test_what_is_a_reading(body: bytes, reading: Reading | list[Reading]) -> None:
    assert read_event(body, LIMITS) == reading


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not JSON"),
        (b"pump 1.5", "not JSON"),
        (b'{"ts": ', "not JSON"),
        (event() + event(), "not JSON: Extra data"),
        (b"[" + event(), "not JSON: Expecting ',' delimiter"),
        (b"[" + event() + b",]", "not JSON: Expecting value"),
        (b"[]", "an array without readings"),
        (b" [ ] ", "an array without readings"),
        (b"[" + b",".join([event()] * 6) + b"]", "an array of more than 5 readings"),
        (b"[" + b",".join([b"1"] * 6) + b"]", "an array of more than 5 readings"),
        (b"\xff" + event(), "not UTF-8 at byte 0"),
        (event(note="x").replace(b'"x"', b'"\xe4"'), "not UTF-8 at byte"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"x":' * 20_000, "nested too deeply"),
        (event(x="y" * 200_000), "bytes, more than 200,000"),
        (b'"text"', "Expected `object`, got `str`"),
        (b"17", "Expected `object`, got `int`"),
        (b"null", "Expected `object`, got `null`"),
        (b"{}", "ts is missing"),
        (event(ts=None), "ts is missing"),
        (event(device=None), "device is missing"),
        (event(tag=None), "tag is missing"),
        (event(value=None), "value is missing"),
        (event(value="1.5"), "value: Expected `float`, got `str`"),
        (event(value=True), "value: Expected `float`, got `bool`"),
        (event(value=[1]), "value: Expected `float`, got `array`"),
        (event(value=float("nan")), "value is NaN"),
        (event(value=float("-inf")), "value is infinite"),
        (event(value=0.25).replace(b"0.25", b"1e400"), "value is infinite"),
        (event(value=0.25).replace(b"0.25", b"9" * 350), "value"),
        (event(value=0.25).replace(b"0.25", b"9" * 3_000), "value is infinite"),
        (event(value=0.25).replace(b"0.25", b"null"), "value: Expected `float`, got `null`"),
        (event(ts="yesterday"), "ts: Invalid RFC3339 encoded datetime"),
        (event(ts="2026-11-21"), "ts: Invalid RFC3339 encoded datetime"),
        (event(ts="2026-11-31T17:00:05Z"), "ts: Invalid RFC3339 encoded datetime"),
        (event(ts=1_795_280_405), "ts: Expected `datetime`, got `int`"),
        (event(device=""), "device: Expected `str` of length >= 1"),
        (event(device="x" * 257), "device: Expected `str` of length <= 256"),
        (event(device=1.0), "device: Expected `int | str`, got `float`"),
        (event(device=True), "device: Expected `int | str`, got `bool`"),
        (event(tag=2**64), "tag: "),
        (event(id={}), "id: "),
        (event(device="\ud800"), "surrogate pair"),
    ],
)
def test_what_is_none_and_what_is_said_of_it(body: bytes, reason: str) -> None:
    said = read_event(body, LIMITS)
    assert isinstance(said, str)
    assert reason in said


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b'{"ts": "2026-11-21T17:00:05Z", "device": 1, "tag": 2, "value": NaN}', "value is NaN"),
        (event(value="much"), "value: Expected `float`, got `str`"),
        (event(ts=None), "ts is missing"),
        (b"[1, 2]", "Expected `object`, got `array`"),
    ],
)
def test_a_bad_reading_in_an_array_leaves_the_others_good(bad: bytes, reason: str) -> None:
    body = b"[" + b", ".join([event(), bad, event(value=7)]) + b"]"
    assert read_event(body, LIMITS) == [Reading(TIME, "pump", 4, 1.5), reason, Reading(TIME, "pump", 4, 7.0)]
    assert [text.encode() for text in element_texts(body)] == [event(), bad, event(value=7)]


NAMES = st.text(max_size=6) | st.integers()
TIMES = st.datetimes(timezones=st.sampled_from([None, UTC, timezone(timedelta(hours=-5))])).map(
    lambda time: time.isoformat()
)
READINGS = st.fixed_dictionaries(
    {},
    optional={
        "ts": TIMES | st.just("2026-11-21T17:00:05.1234567Z") | st.text(max_size=4) | st.integers(),
        "device": NAMES,
        "tag": NAMES | st.floats() | st.booleans(),
        "value": st.floats() | st.integers() | st.booleans() | st.text(max_size=3),
        "id": NAMES | st.none(),
        "more": st.recursive(st.floats() | st.text(max_size=3), st.lists, max_leaves=4),
    },
)


def _cut(body: bytes, cuts: list[tuple[int, bytes]]) -> bytes:
    for place, put in cuts:
        place %= len(body) + 1
        body = body[:place] + put + body[place + 1 :]
    return body


@hypothesis.settings(max_examples=400)
@hypothesis.given(
    st.binary(max_size=40)
    | st.builds(
        _cut,
        (READINGS | st.lists(READINGS, max_size=6)).map(lambda value: json.dumps(value).encode()),
        st.lists(st.tuples(st.integers(0, 500), st.binary(max_size=2)), max_size=2),
    )
)
def test_nothing_raises_and_every_reading_is_good_or_has_a_reason(body: bytes) -> None:
    found = read_event(body, LIMITS)
    for item in found if isinstance(found, list) else [found]:
        assert isinstance(item, Reading) or item
    if isinstance(found, list):
        assert len(element_texts(body)) == len(found) > 0


@hypothesis.given(READINGS)
def test_the_quick_reading_and_the_close_look_agree(value: dict[str, object]) -> None:
    """A byte order mark is all that the quick one does not know: with it, every event is looked at closely."""
    body = json.dumps(value).encode()
    assert read_event(body, LIMITS) == read_event(b"\xef\xbb\xbf" + body, LIMITS)
