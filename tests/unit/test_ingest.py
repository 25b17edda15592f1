"""What becomes of a batch of events: lines, names, hours; the same whenever and however it comes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import hypothesis
import hypothesis.strategies as st
import pytest

from batchscore.ingest import (
    MOST_KEPT_BYTES,
    MOST_LETTERS,
    Sorted,
    hour_start,
    partition_of,
    sort_out,
)
from batchscore.settings import EventLimits

LIMITS = EventLimits(event_bytes=100_000, readings=20, ahead_s=3_600)
ENQUEUED = datetime(2026, 11, 21, 17, 30, tzinfo=UTC)


@dataclass(frozen=True)
class Sent:
    """An event as the worker hands it over."""

    body: bytes
    sequence_number: int | None = 7
    enqueued_time: datetime | None = ENQUEUED
    metadata: Mapping[str, Any] | None = field(default=None, hash=False)

    def get_body(self) -> bytes:
        return self.body


def reading(ts: str = "2026-11-21T17:29:58Z", **fields: object) -> dict[str, object]:
    return {"ts": ts, "device": "pump", "tag": 4, "value": 1.5, **fields}


def sent(value: object, sequence: int = 7, enqueued: datetime = ENQUEUED) -> Sent:
    return Sent(json.dumps(value).encode(), sequence, enqueued)


def lines(blobs: Mapping[str, bytes]) -> list[dict[str, Any]]:
    return [json.loads(line) for content in blobs.values() for line in content.splitlines()]


def sorted_out(*events: Sent) -> Sorted:
    return sort_out("3", events, LIMITS)


def test_a_reading_becomes_one_line_with_all_that_tells_it_from_others() -> None:
    batch = sorted_out(sent(reading(id=12), 41), sent([reading(value=2), reading(device=9)], 43))
    (name,) = batch.readings
    assert name == f"readings/2026/11/21/17/3-41-43-{1_795_282_200_000}.jsonl"
    common = {"ts": "2026-11-21T17:29:58Z", "tag": "4", "partition": "3", "enqueued": "2026-11-21T17:30:00Z"}
    assert lines(batch.readings) == [
        {**common, "device": "pump", "value": 1.5, "sequence": 41, "index": 0, "id": "12"},
        {**common, "device": "pump", "value": 2.0, "sequence": 43, "index": 0},
        {**common, "device": "9", "value": 1.5, "sequence": 43, "index": 1},
    ]
    assert not batch.dead_letters


@pytest.mark.parametrize(
    ("ts", "hour"),
    [
        ("2026-11-21T17:00:00Z", "2026/11/21/16"),
        ("2026-11-21T17:00:00.000001Z", "2026/11/21/17"),
        ("2026-11-21T18:00:00Z", "2026/11/21/17"),
        ("2026-11-21T18:00:00.001Z", "2026/11/21/18"),
        ("2026-11-22T00:00:00+00:00", "2026/11/21/23"),
        ("2026-11-21T19:30:00+02:00", "2026/11/21/17"),
        ("2026-11-21T17:30:00", "2026/11/21/17"),  # without a zone: UTC
        ("2000-01-01T00:00:00Z", "1999/12/31/23"),
    ],
)
def test_an_hour_ends_with_its_last_instant_and_begins_after_that_of_the_one_before(
    ts: str, hour: str
) -> None:
    batch = sorted_out(sent(reading(ts), enqueued=datetime(2026, 11, 22, tzinfo=UTC)))
    assert [name.rsplit("/", 1)[0] for name in batch.readings] == [f"readings/{hour}"]
    (line,) = lines(batch.readings)
    assert hour_start(datetime.fromisoformat(line["ts"])) == datetime.strptime(hour, "%Y/%m/%d/%H").replace(
        tzinfo=UTC
    )


def test_readings_of_several_hours_go_to_each_hour_under_the_name_of_the_whole_batch() -> None:
    early, late = reading("2026-11-21T16:59:00Z"), reading("2026-11-21T17:01:00Z")
    batch = sorted_out(sent(early, 1), sent([late, early], 2), sent(late, 3))
    assert {name: len(content.splitlines()) for name, content in batch.readings.items()} == {
        "readings/2026/11/21/16/3-1-3-1795282200000.jsonl": 2,
        "readings/2026/11/21/17/3-1-3-1795282200000.jsonl": 2,
    }


@pytest.mark.parametrize(
    ("ts", "reason"),
    [
        (
            "2026-11-21T18:30:00.001Z",
            "ts 2026-11-21T18:30:00.001000+00:00 is more than 3,600 s ahead of 2026-11-21T17:30",
        ),
        ("1999-12-31T23:59:59Z", "is before 2000"),
        ("0001-01-01T00:00:00+10:00", "is out of range"),
        ("9999-12-31T23:00:00-10:00", "is out of range"),
        ("9999-12-31T23:00:00", "ahead"),
    ],
)
def test_a_time_that_cannot_be_is_a_dead_letter(ts: str, reason: str) -> None:
    batch = sorted_out(sent([reading(), reading(ts)]))
    assert len(lines(batch.readings)) == 1
    (letter,) = lines(batch.dead_letters)
    assert (letter["index"], json.loads(letter["body"])["ts"]) == (1, ts)
    assert reason in letter["reason"]


def test_a_time_that_is_just_not_too_far_ahead_lands() -> None:
    assert lines(sorted_out(sent(reading("2026-11-21T18:30:00Z"))).readings)


def test_a_dead_letter_says_which_event_it_was_and_why() -> None:
    batch = sorted_out(sent({"ts": 1}, 5), sent(reading(), 6), Sent(b"\xff\x00", 9))
    (name,) = batch.dead_letters
    assert name == "dead-letter/2026/11/21/17/3-5-9-1795282200000.jsonl"
    common = {"partition": "3", "enqueued": "2026-11-21T17:30:00Z"}
    assert lines(batch.dead_letters) == [
        {**common, "sequence": 5, "reason": "ts: Expected `datetime`, got `int`", "body": '{"ts": 1}'},
        {**common, "sequence": 9, "reason": "not UTF-8 at byte 0", "body": "/wA=", "encoding": "base64"},
    ]
    assert (batch.bad, batch.first_reason) == (2, "ts: Expected `datetime`, got `int`")


def test_dead_letters_go_to_the_hour_in_which_their_event_was_enqueued() -> None:
    before, after = ENQUEUED.replace(minute=59, second=59), ENQUEUED.replace(hour=18, minute=0)
    batch = sorted_out(sent(1, 1, before), sent(1, 2, after))
    assert [name.split("/")[4] for name in batch.dead_letters] == ["17", "18"]


def test_a_long_body_is_kept_in_part() -> None:
    batch = sorted_out(Sent("ü".encode() * 40_000), Sent(b"\xff" * 20_000))
    text, raw = lines(batch.dead_letters)
    assert text["body"] == "ü" * (MOST_KEPT_BYTES // 2)
    assert text["truncated"] is raw["truncated"] is True
    assert len(raw["body"]) == -(-MOST_KEPT_BYTES // 3) * 4


def test_many_readings_of_several_hours_are_all_there_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("batchscore.ingest.MOST_OBJECTS", 3)
    hours = ["2026-11-21T17:01:00Z", "2026-11-21T16:01:00Z", "2026-11-21T17:02:00Z"]
    batch = sorted_out(*(sent([reading(ts)] * 2, number) for number, ts in enumerate(hours * 4)))
    for content in batch.readings.values():
        numbers = [json.loads(line)["sequence"] for line in content.splitlines()]
        assert numbers == sorted(numbers)
    assert len(lines(batch.readings)) == 24


def test_an_event_with_many_bad_readings_is_one_dead_letter_and_its_good_ones_land() -> None:
    few, many = [1] * MOST_LETTERS, [1] * (MOST_LETTERS + 1)
    events = [sent([reading(), *few], 5), sent([reading(), *many], 6)]
    batch = sort_out("3", events, EventLimits())
    assert [(line["sequence"], line["index"]) for line in lines(batch.readings)] == [(5, 0), (6, 0)]
    *singles, whole = lines(batch.dead_letters)
    assert [line["index"] for line in singles] == list(range(1, MOST_LETTERS + 1))
    assert "index" not in whole
    assert whole["reason"] == (
        "101 of its 102 readings are bad, the first at index 1: Expected `object`, got `int`"
    )
    assert json.loads(whole["body"]) == [reading(), *many]


def test_what_is_written_of_a_flood_of_numbers_is_not_larger_than_the_flood() -> None:
    flood = sent([0] * EventLimits.readings)
    batch = sort_out("3", [flood], EventLimits())
    assert sum(map(len, batch.dead_letters.values())) < len(flood.body)


def test_the_partition_is_the_one_of_the_batchs_context() -> None:
    assert partition_of(Sent(b"", metadata={"PartitionContext": {"PartitionId": "12"}})) == "12"
    assert partition_of(Sent(b"", metadata={})) == "none"


def test_an_event_that_was_given_in_by_hand_has_no_number_and_no_time() -> None:
    batch = sort_out("none", [Sent(json.dumps(reading()).encode(), None, None)], LIMITS)
    assert list(batch.dead_letters) == ["dead-letter/1970/01/01/00/none--1--1-0.jsonl"]


def test_an_enqueue_time_without_a_zone_is_utc() -> None:
    with_zone, without = (Sent(b"1", 1, time) for time in (ENQUEUED, ENQUEUED.replace(tzinfo=None)))
    assert sorted_out(with_zone) == sorted_out(without)


BODIES = (
    st.binary(max_size=20)
    | st.lists(
        st.sampled_from(
            [
                "2026-11-21T17:29:58Z",
                "2026-11-21T16:00:00",
                "1970-01-01T00:00:00Z",
                "2030-01-01T00:00:00Z",
                "x",
            ]
        )
        .map(reading)
        .flatmap(lambda good: st.sampled_from([good, good | {"id": "a"}, good | {"value": None}, 5])),
        max_size=4,
    ).map(lambda readings: json.dumps(readings).encode())
    | st.just(json.dumps(reading()).encode())
)


def batch_of(bodies: Iterable[bytes]) -> list[Sent]:
    start = ENQUEUED - timedelta(seconds=20)
    return [Sent(body, 100 + 2 * at, start + timedelta(seconds=at)) for at, body in enumerate(bodies)]


def keys(batches: Iterable[Sorted]) -> tuple[set[tuple[object, ...]], set[tuple[object, ...]]]:
    """The readings and the dead letters by the keys by which their readers count them."""
    readings, dead = set(), set()
    for batch in batches:
        readings |= {
            (r["device"], r["tag"], r["ts"], r["id"])
            if "id" in r
            else (r["partition"], r["sequence"], r["index"], r["enqueued"])
            for r in lines(batch.readings)
        }
        dead |= {
            (d["partition"], d["sequence"], d.get("index"), d["enqueued"]) for d in lines(batch.dead_letters)
        }
    return readings, dead


@hypothesis.given(st.lists(BODIES, min_size=1, max_size=12), st.lists(st.integers(1, 11), max_size=3))
def test_delivered_again_it_gives_the_same_bytes_and_cut_elsewhere_the_same_keys(
    bodies: list[bytes], cuts: Sequence[int]
) -> None:
    events = batch_of(bodies)
    once = sort_out("0", events, LIMITS)
    assert sort_out("0", events, LIMITS) == once
    bounds = sorted({0, len(events), *(cut for cut in cuts if cut < len(events))})
    parts = [events[start:end] for start, end in pairwise(bounds)]
    assert keys(sort_out("0", part, LIMITS) for part in parts) == keys([once])


@hypothesis.given(st.lists(BODIES, min_size=1, max_size=12))
def test_every_event_lands_or_is_a_dead_letter_element_by_element(bodies: list[bytes]) -> None:
    batch = sort_out("0", batch_of(bodies), LIMITS)
    seen = [(r["sequence"], r["index"]) for r in lines(batch.readings)]
    seen += [(d["sequence"], d.get("index")) for d in lines(batch.dead_letters)]
    assert len(seen) == len(set(seen))
    for event in batch_of(bodies):
        indices = {index for sequence, index in seen if sequence == event.sequence_number}
        try:
            value = json.loads(event.body)
        except ValueError:
            value = None
        whole = indices in ({0}, {None})  # a single reading, or an event that is bad as a whole
        assert whole or (isinstance(value, list) and indices == set(range(len(value))))
        if isinstance(value, list) and value:
            assert indices == set(range(len(value)))
