"""Tumbling intervals of event time, hours, and times as people write them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensors.errors import ReadingsError
from sensors.intervals import AGGREGATIONS, Hour, interval_ends, interval_ns
from sensors.times import parse_times


def ns(text: str) -> int:
    (time,), (good,) = parse_times(pa.array([text]))
    assert good, text
    return int(time)


@pytest.mark.parametrize(
    ("time", "interval", "end"),
    [
        ("2026-11-21T17:00:00Z", "1m", "2026-11-21T17:00:00Z"),  # on a boundary: the end of the one before
        ("2026-11-21T17:00:00.000000001Z", "1m", "2026-11-21T17:01:00Z"),
        ("2026-11-21T17:00:59.999Z", "1m", "2026-11-21T17:01:00Z"),
        ("2026-11-21T17:01:00Z", "1m", "2026-11-21T17:01:00Z"),
        ("2026-11-21T17:03:00Z", "5m", "2026-11-21T17:05:00Z"),
        ("2026-11-21T17:00:30.25Z", "500ms", "2026-11-21T17:00:30.5Z"),
        ("2026-11-21T17:00:00.001Z", "1h", "2026-11-21T18:00:00Z"),
        ("2026-11-21T18:00:00Z", "1h", "2026-11-21T18:00:00Z"),
        ("2026-11-21T19:31:10+02:00", "1m", "2026-11-21T17:32:00Z"),
        ("2026-11-21T12:01:10-05:30", "1m", "2026-11-21T17:32:00Z"),
        ("1969-12-31T23:59:30Z", "1m", "1970-01-01T00:00:00Z"),
        ("1969-12-31T23:59:00Z", "1m", "1969-12-31T23:59:00Z"),
    ],
)
def test_an_interval_ends_with_its_end_and_begins_after_its_start(time: str, interval: str, end: str) -> None:
    assert interval_ends(np.array([ns(time)]), interval_ns(interval)).tolist() == [ns(end)]


@given(
    st.integers(-(1 << 61), 1 << 61),
    st.sampled_from(["1ms", "40ms", "1s", "30s", "1m", "4m", "5m", "20m", "1h"]),
)
def test_a_time_is_in_its_interval_and_intervals_divide_hours(time: int, interval: str) -> None:
    length = interval_ns(interval)
    (end,) = interval_ends(np.array([time]), length).tolist()
    assert end - length < time <= end
    assert end % length == 0


@pytest.mark.parametrize(
    "text", ["", "0m", "7m", "1d", "1.5s", "-1m", "2h", "m", "1 m", "7s", "11ms", "99999999s"]
)
def test_an_interval_that_does_not_divide_an_hour_is_refused_by_name(text: str) -> None:
    with pytest.raises(ReadingsError, match=r"interval .* divides an hour; right are"):
        interval_ns(text)


def test_an_hour_is_named_by_its_start() -> None:
    hour = Hour.named("2026-11-21T17")
    assert (hour.start_ns, hour.end_ns) == (ns("2026-11-21T17:00Z"), ns("2026-11-21T18:00Z"))


@pytest.mark.parametrize(
    "name", ["", "2026-11-21", "2026-11-21T24", "2026-13-01T00", "2026-11-21T7", "2026-11-21T17Z"]
)
def test_what_is_no_hour_is_refused_by_name(name: str) -> None:
    with pytest.raises(ReadingsError, match="write the UTC hour's start"):
        Hour.named(name)


@pytest.mark.parametrize(("aggregation", "value"), [("mean", 4.0), ("min", 1.0), ("max", 8.0), ("last", 3.0)])
def test_what_an_aggregation_makes_of_an_interval(aggregation: str, value: float) -> None:
    values = np.array([9.0, 1.0, 8.0, 3.0, 5.0])
    found = AGGREGATIONS[aggregation](values, np.array([0, 1, 4]), np.array([0, 3, 4]))
    assert found.tolist() == [9.0, value, 5.0]


def test_a_mean_of_the_largest_numbers_is_one_of_them() -> None:
    assert AGGREGATIONS["mean"](
        np.array([1.5e308] * 4 + [2.0, 4.0]), np.array([0, 4]), np.array([3, 5])
    ).tolist() == [
        1.5e308,
        3.0,
    ]


@pytest.mark.parametrize(
    ("text", "same_as"),
    [
        ("2018-08-28 23:00:05.000", "2018-08-28T23:00:05Z"),
        ("2018-08-28T23:00:05", "2018-08-28T23:00:05Z"),
        ("2018-08-28T23:00:05.1234567Z", "2018-08-28T23:00:05.123456700Z"),
        ("2018-08-29T01:00:05+02:00", "2018-08-28T23:00:05Z"),
        ("2018-08-28 15:30:05-0730", "2018-08-28T23:00:05Z"),
    ],
)
def test_a_time_without_an_offset_is_utc(text: str, same_as: str) -> None:
    assert ns(text) == ns(same_as)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2018-08-28",
        "2018-13-28T00:00:00Z",
        "1600-01-01T00:00:00Z",
        "2262-01-01T00:00:00Z",
        "1535497205",
    ],
)
def test_what_is_no_time_spoils_no_other(text: str) -> None:
    times, good = parse_times(pa.array(["2018-08-28T23:00:05Z", text, None, "2018-08-28 23:00:05"]))
    assert good.tolist() == [True, False, False, True]
    assert times[0] == times[3]


@given(st.datetimes(datetime(1700, 1, 1), datetime(2200, 1, 1)), st.integers(-14 * 60, 14 * 60))  # noqa: DTZ001
def test_an_offset_moves_the_clock_and_not_the_time(time: datetime, minutes: int) -> None:
    sign = "-" if minutes < 0 else "+"
    local = time + timedelta(minutes=minutes)
    text = f"{local.isoformat()}{sign}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"
    whole = (time.replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    assert ns(text) == 1000 * whole
