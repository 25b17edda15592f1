"""Which hours are due, and what their records become: the policy, with a clock that stands still."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchscore import hours, paths, runs
from batchscore.errors import RequestError
from batchscore.hour_accounts import HourState, state_of
from batchscore.hours import Action, Blob, Bounds, Hour, HourRecord, Manifest
from batchscore.ingest import hour_start
from batchscore.runs import Cause, RunState
from batchscore.triggers import RunRequest

T17 = Hour(datetime(2026, 11, 21, 17, tzinfo=UTC))
NOW = datetime(2026, 11, 21, 18, 5, tzinfo=UTC)
BOUNDS = Bounds(catch_up=24, late=12)
A, B = Blob("0-1-9-1.jsonl", 10, "YQ=="), Blob("1-1-9-1.jsonl", 20, "Yg==")


@pytest.mark.parametrize(
    ("time", "name"),
    [
        ("2026-11-21T17:00:00.000001+00:00", "2026-11-21T17"),
        ("2026-11-21T17:59:59+00:00", "2026-11-21T17"),
        ("2026-11-21T18:00:00+00:00", "2026-11-21T17"),
        ("2026-11-21T18:00:00.000001+00:00", "2026-11-21T18"),
        ("2026-11-22T00:00:00+00:00", "2026-11-21T23"),
        ("2027-01-01T00:00:00+00:00", "2026-12-31T23"),
        ("2026-11-21T18:30:00+05:30", "2026-11-21T12"),
        ("2026-10-25T02:30:00+01:00", "2026-10-25T01"),
    ],
)
def test_an_hour_holds_what_comes_after_its_start_up_to_its_end(time: str, name: str) -> None:
    assert hours.hour_of(datetime.fromisoformat(time)).name == name


@given(st.datetimes(timezones=st.just(UTC)).filter(lambda time: 1 < time.year < 9999), st.integers(-14, 14))
def test_every_time_belongs_to_one_hour_whatever_its_zone(moment: datetime, zone: int) -> None:
    hour = hours.hour_of(moment.astimezone(timezone(timedelta(hours=zone))))
    assert hour.start < moment <= hour.end
    assert hours.hour_named(hour.name) == hour
    assert hour_start(moment) == hour.start  # where it lands
    assert paths.readings_blob(hour.start, "a") == f"{paths.readings_prefix(hour.start)}/a"


def test_a_time_without_a_zone_belongs_to_no_hour() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        hours.hour_of(NOW.replace(tzinfo=None))


@pytest.mark.parametrize(
    "text", ["", "2026-11-21", "2026-11-21T24", "2026-13-01T00", "2026-11-21T17:00", "../x", "9999-12-31T23"]
)
def test_what_is_no_hour_is_refused_by_name(text: str) -> None:
    with pytest.raises(RequestError, match="is no hour"):
        hours.hour_named(text)


@pytest.mark.parametrize(
    ("now", "newest"),
    [("17:59:59.999999", "2026-11-21T16"), ("18:00:00", "2026-11-21T17"), ("18:05:00", "2026-11-21T17")],
)
def test_an_hour_is_in_reach_once_it_is_over(now: str, newest: str) -> None:
    reach = hours.in_reach(datetime.fromisoformat(f"2026-11-21T{now}+00:00"), Bounds(2, 1))
    assert reach[0].name == newest
    assert [one.start - other.start for one, other in pairwise(reach)] == [timedelta(hours=1)] * 2


def recorded(*blobs: Blob, waits: str = "", published: bool = True) -> HourRecord:
    record = hours.empty(T17, NOW)
    if blobs:
        record = hours.with_version(T17, record, Manifest(T17.name, 1, blobs), NOW)
        record = hours.with_published(record, 1, 0, NOW) if published else record
    return replace(record, waits=waits)


@pytest.mark.parametrize(
    ("record", "blobs", "frozen", "age", "action"),
    [
        (None, (A,), (), 0, Action.SCORE),
        (None, (), (), 0, Action.EMPTY),
        (None, (A,), (), 24, Action.SCORE),  # missed while down
        (None, (), (), 24, Action.EMPTY),
        (None, (A,), (), 25, Action.NOTHING),  # beyond CATCH_UP_HOURS
        (None, (), (), 25, Action.NOTHING),
        (None, (A,), (), -1, Action.NOTHING),  # not over
        (recorded(), (), (), 0, Action.NOTHING),
        (recorded(), (A,), (), 12, Action.SCORE),  # empty, and readings came late
        (recorded(), (A,), (), 13, Action.NOTHING),  # beyond LATE_HOURS
        (recorded(waits="no model"), (A,), (), 24, Action.SCORE),
        (recorded(waits="no model"), (A,), (), 25, Action.NOTHING),
        (recorded(A), (A,), (A,), 1, Action.NOTHING),
        (recorded(A), (A, B), (A,), 12, Action.SCORE),
        (recorded(A), (A, B), (A,), 13, Action.NOTHING),
        (recorded(A), (replace(A, size=11),), (A,), 1, Action.SCORE),
        (recorded(A), (replace(A, md5="Yw=="),), (A,), 1, Action.SCORE),
        (recorded(A, B), (A,), (A, B), 1, Action.NOTHING),  # removed: what is published stays
        (recorded(A), (), (A,), 1, Action.NOTHING),
        (recorded(A, published=False), (A,), (A,), 1, Action.NOTHING),  # failed: people decide
        (recorded(A, published=False), (A, B), (A,), 1, Action.SCORE),  # failed, and something new came
        (recorded(A, waits="no model"), (A, B), (A,), 20, Action.SCORE),
    ],
)
def test_what_is_due(
    record: HourRecord | None, blobs: tuple[Blob, ...], frozen: tuple[Blob, ...], age: int, action: Action
) -> None:
    now = NOW + timedelta(hours=age)
    assert hours.decide(T17, record, blobs, frozen, now, BOUNDS) is action


def test_a_manifest_is_the_same_bytes_for_the_same_blobs_in_any_order() -> None:
    one, other = hours.next_manifest(T17, None, (A, B)), hours.next_manifest(T17, None, (B, A))
    assert one.encode() == other.encode()
    assert one.encode() == (
        b'{"hour":"2026-11-21T17","version":1,"blobs":[{"name":"0-1-9-1.jsonl","size":10,"md5":"YQ=="},'
        b'{"name":"1-1-9-1.jsonl","size":20,"md5":"Yg=="}]}'
    )


def test_a_version_has_the_run_that_its_hour_and_number_give() -> None:
    record = hours.with_version(T17, None, hours.next_manifest(T17, None, (A, B)), NOW)
    record = hours.with_version(T17, record, hours.next_manifest(T17, record, (A,)), NOW)
    first, second = record.versions
    assert (first.number, first.blobs, first.size_bytes) == (1, 2, 30)
    assert second.run == Cause("hour", "2026-11-21T17", "v2").run_id
    assert first.run != second.run
    assert first.manifest != second.manifest
    assert hours.version_of(hours.cause_of(T17, 2)) == (T17, 2)


@pytest.mark.parametrize(
    "cause",
    [
        Cause("cli", "2026-11-21T17", "v1"),
        Cause("hour", "2026-11-21T17", "v0"),
        Cause("hour", "2026-11-21T17", "1"),
        Cause("hour", "../2026", "v1"),
    ],
)
def test_another_cause_scores_no_hour(cause: Cause) -> None:
    with pytest.raises(RequestError):
        hours.version_of(cause)


def two_versions() -> HourRecord:
    record = hours.with_version(T17, None, hours.next_manifest(T17, None, (A,)), NOW)
    return hours.with_version(T17, record, hours.next_manifest(T17, record, (A, B)), NOW)


def test_what_is_published_goes_forwards_only() -> None:
    later = NOW + timedelta(minutes=1)
    record = hours.with_published(two_versions(), 2, 0, NOW)
    assert hours.with_published(record, 1, 0, later) is record
    assert hours.with_published(record, 2, 0, later) is record
    pointer = hours.pointer_of(record)
    assert pointer is not None
    assert (pointer.version, pointer.path) == (2, "predictions/2026-11-21T17/v2")
    assert pointer.run == record.versions[1].run


def test_a_version_that_was_published_with_errors_is_published_again_with_fewer() -> None:
    record = hours.with_published(two_versions(), 2, 3, NOW)
    better = hours.with_published(record, 2, 0, NOW + timedelta(minutes=1))
    assert [version.failed_items for version in better.versions] == [0, 0]
    assert better.published == 2
    assert better.published_at != record.published_at


def test_a_version_that_the_record_does_not_know_is_not_published() -> None:
    with pytest.raises(RequestError, match="knows no v3"):
        hours.with_published(two_versions(), 3, 0, NOW)


def test_nothing_is_pointed_to_before_something_is_published() -> None:
    assert hours.pointer_of(two_versions()) is None


RUN = runs.accepted(hours.cause_of(T17, 1), RunRequest("sensors/score"), NOW)


@pytest.mark.parametrize(
    ("record", "run_state", "age", "state"),
    [
        (None, None, 0, HourState.DUE),
        (None, None, 24, HourState.DUE),
        (None, None, 25, HourState.MISSED),
        (recorded(), None, 0, HourState.EMPTY),
        (recorded(waits="no model"), None, 0, HourState.WAITING),
        (recorded(A, published=False), None, 0, HourState.SCORING),
        (recorded(A, published=False), RunState.ACCEPTED, 0, HourState.SCORING),
        (recorded(A, published=False), RunState.RUNNING, 0, HourState.SCORING),
        (recorded(A), RunState.SUCCEEDED, 0, HourState.SCORED),
        (recorded(A), None, 0, HourState.SCORED),  # its run's record was cleaned up
        (recorded(A), RunState.RUNNING, 0, HourState.SCORING),  # retried
        (recorded(A, published=False), RunState.FAILED, 0, HourState.FAILED),
        (recorded(A, published=False), RunState.CANCELED, 0, HourState.FAILED),
        (recorded(A, published=False), RunState.REJECTED, 0, HourState.FAILED),
    ],
)
def test_each_hour_has_one_state(
    record: HourRecord | None, run_state: RunState | None, age: int, state: HourState
) -> None:
    run = replace(RUN, state=run_state) if run_state else None
    now = NOW + timedelta(hours=age)
    assert state_of(T17, record, run, now, BOUNDS) is state


def test_an_hour_of_which_items_failed_says_so() -> None:
    record = hours.with_published(recorded(A, published=False), 1, 2, NOW)
    assert state_of(T17, record, None, NOW, BOUNDS) is HourState.WITH_ERRORS


def test_waiting_for_the_same_reason_changes_nothing() -> None:
    record = hours.waiting(T17, None, "no model", NOW)
    assert hours.waiting(T17, record, "no model", NOW) is record
    assert hours.waiting(T17, record, "no workload", NOW).waits == "no workload"
    assert hours.with_version(T17, record, hours.next_manifest(T17, record, (A,)), NOW).waits == ""
