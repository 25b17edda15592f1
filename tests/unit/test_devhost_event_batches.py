"""When events are a batch."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from batchscore.devhost.configuration import EventHubOptions
from batchscore.devhost.event_batches import WaitingEvents
from batchscore.devhost.event_data import ReceivedEvent

START = datetime(2026, 11, 21, 17, tzinfo=UTC)


def events(first: int, last: int, later_s: float = 0) -> list[ReceivedEvent]:
    time = START + timedelta(seconds=later_s)
    return [ReceivedEvent(b"", number, str(number * 10), time) for number in range(first, last + 1)]


def waiting(most: int, least: int = 1, wait_s: float = 10.0) -> WaitingEvents:
    return WaitingEvents(EventHubOptions(most, least, wait_s))


def taken(source: WaitingEvents, now: float) -> list[int]:
    return [event.sequence for event in source.take(now)]


def test_without_a_least_size_whatever_came_is_a_batch_up_to_the_most() -> None:
    source = waiting(3)
    source.add(events(1, 5), 0.0)
    assert [taken(source, 0.0), taken(source, 0.0), taken(source, 0.0)] == [[1, 2, 3], [4, 5], []]


def test_fewer_than_the_least_wait_for_more() -> None:
    source = waiting(10, 4)
    source.add(events(1, 3), 0.0)
    assert taken(source, 9.9) == []
    source.add(events(4, 4), 9.9)
    assert taken(source, 9.9) == [1, 2, 3, 4]


def test_fewer_than_the_least_wait_no_longer_than_allowed() -> None:
    source = waiting(10, 4)
    source.add(events(1, 1), 5.0)
    source.add(events(2, 2), 14.0)
    assert source.wait_s(14.0) == 1.0
    assert taken(source, 15.0) == [1, 2]
    assert source.wait_s(15.0) is None


def test_what_a_batch_leaves_waits_anew() -> None:
    source = waiting(4, 3)
    source.add(events(1, 6), 0.0)
    assert taken(source, 8.0) == [1, 2, 3, 4]
    assert (taken(source, 17.9), source.wait_s(17.9)) == ([], 18.0 - 17.9)
    assert taken(source, 18.0) == [5, 6]


def test_what_came_before_is_dropped_unless_the_hub_was_made_anew() -> None:
    source = waiting(10)
    source.add(events(1, 3), 0.0)
    source.add(events(2, 4), 0.0)
    assert taken(source, 0.0) == [1, 2, 3, 4]
    source.add(events(4, 5), 0.0)
    assert taken(source, 0.0) == [5]
    source.add(events(0, 1, later_s=60), 0.0)
    assert taken(source, 0.0) == [0, 1]
