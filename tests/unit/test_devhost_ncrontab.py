"""Timer schedules: NCRONTAB with six fields, day and weekday both binding, names, and time spans."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchscore.devhost.ncrontab import Cron, parse_schedule

START = datetime(2026, 11, 20, 10, 30, 15, tzinfo=UTC)  # a Friday


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0 * * * * *", "2026-11-20 10:31:00"),
        ("* * * * * *", "2026-11-20 10:30:16"),
        ("15 30 10 * * *", "2026-11-21 10:30:15"),
        ("*/20 * * * * *", "2026-11-20 10:30:20"),
        ("0 */15 * * * *", "2026-11-20 10:45:00"),
        ("0 5/15 * * * *", "2026-11-20 10:35:00"),
        ("0 0 9-17 * * *", "2026-11-20 11:00:00"),
        ("0 0 8,20 * * *", "2026-11-20 20:00:00"),
        ("0 0 0 1 * *", "2026-12-01 00:00:00"),
        ("0 0 0 1 1 *", "2027-01-01 00:00:00"),
        ("0 0 0 * jan *", "2027-01-01 00:00:00"),
        ("0 0 0 * March-apr *", "2027-03-01 00:00:00"),
        ("0 0 0 * * mon", "2026-11-23 00:00:00"),
        ("0 0 0 * * 0", "2026-11-22 00:00:00"),
        ("0 0 0 * * Sunday", "2026-11-22 00:00:00"),
        ("0 0 12 * * mon-FRI", "2026-11-20 12:00:00"),
        ("0 0 0 13 * fri", "2027-08-13 00:00:00"),  # both must match, unlike cron
        ("0 0 0 29 2 mon", "2044-02-29 00:00:00"),
        ("0 0 0 31 * *", "2026-12-31 00:00:00"),
        ("*/10 9 * * *", "2026-11-21 09:00:00"),  # five fields: at second 0
        ("00:05:00", "2026-11-20 10:35:15"),
        ("1.00:00:00", "2026-11-21 10:30:15"),
    ],
)
def test_the_next_strike(text: str, expected: str) -> None:
    assert parse_schedule(text).next_after(START) == datetime.fromisoformat(expected).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "0 fields"),
        ("* * * *", "4 fields"),
        ("0 0 0 0 * * *", "7 fields"),
        ("60 * * * * *", "second is '60'; it must be 0 to 59"),
        ("0 0 24 * * *", "hour is '24'"),
        ("0 0 0 0 * *", "day of the month is '0'; it must be 1 to 31"),
        ("0 0 0 * * 7", "day of the week is '7'; it must be 0 to 6, or Sun to Sat"),
        ("0 0 0 * 13 *", "month is '13'"),
        ("0 0 0 * ma *", "month is 'ma'"),
        ("0 0 0 L * *", "day of the month is 'L'"),
        ("0 0 0 ? * *", "'?' is not a value"),
        ("0 */0 * * * *", "step must be 1 or more"),
        ("0 30-10 * * * *", "runs backwards"),
        ("0 1,,2 * * * *", "'' is not a value"),
        ("0 -5 * * * *", "'-5' is not a value"),
        ("0 0 0 30 feb *", "never strikes"),
        ("00:00:00", "longer than nothing"),
    ],
)
def test_what_is_wrong_is_said(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words.replace("?", r"\?").replace("*", r"\*")):
        parse_schedule(text)


def test_other_time_zones_are_converted() -> None:
    moment = START.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert parse_schedule("0 0 * * * *").next_after(moment) == START.replace(hour=11, minute=0, second=0)


def test_fractions_of_a_second_do_not_repeat_a_strike() -> None:
    struck = START.replace(second=0, microsecond=1)
    assert parse_schedule("0 * * * * *").next_after(struck) == START.replace(minute=31, second=0)


_values = st.sampled_from(["*", "*/7", "3", "10-40/5", "1,2,50"])


@given(second=_values, minute=_values, start=st.integers(0, 86_399))
def test_it_is_the_first_moment_that_every_field_allows(second: str, minute: str, start: int) -> None:
    cron = parse_schedule(f"{second} {minute} * * * *")
    assert isinstance(cron, Cron)
    moment = datetime(2026, 3, 1, tzinfo=UTC) + timedelta(seconds=start)
    expected = moment + timedelta(seconds=1)
    while expected.second not in cron.seconds or expected.minute not in cron.minutes:
        expected += timedelta(seconds=1)
    assert cron.next_after(moment) == expected
