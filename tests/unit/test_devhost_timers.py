"""When a timer strikes first after a start, and whether its state is kept."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from batchscore.devhost.ncrontab import parse_schedule
from batchscore.devhost.timers import TimerState, first_strike, is_monitored

NEVER = datetime(1, 1, 1, tzinfo=UTC)


def _at(text: str) -> datetime:
    return datetime.fromisoformat(f"2026-11-20 {text}").replace(tzinfo=UTC)


HOURLY = parse_schedule("0 0 * * * *")


def test_the_first_time_ever_it_waits_for_the_hour() -> None:
    assert first_strike(None, HOURLY, _at("10:30")) == (_at("11:00"), False)


def test_nothing_missed_is_nothing_past_due() -> None:
    state = TimerState(_at("10:00"), _at("11:00"), _at("10:00"))
    assert first_strike(state, HOURLY, _at("10:30")) == (_at("11:00"), False)


def test_a_missed_hour_strikes_at_once() -> None:
    state = TimerState(_at("08:00"), _at("09:00"), _at("08:00"))
    assert first_strike(state, HOURLY, _at("10:30")) == (_at("10:30"), True)


def test_a_timer_that_never_struck_counts_from_when_it_was_first_seen() -> None:
    state = TimerState(NEVER, _at("09:00"), _at("08:30"))
    assert first_strike(state, HOURLY, _at("08:45")) == (_at("09:00"), False)
    assert first_strike(state, HOURLY, _at("09:01")) == (_at("09:01"), True)


def test_a_changed_schedule_counts_from_the_last_strike() -> None:
    state = TimerState(_at("08:00"), _at("09:00"), _at("08:00"))
    assert first_strike(state, parse_schedule("0 0 22 * * *"), _at("10:30")) == (_at("22:00"), False)


@pytest.mark.parametrize(
    ("text", "kept"),
    [("0 * * * * *", True), ("*/30 * * * * *", False), ("00:01:00", True), ("00:00:59", False)],
)
def test_state_is_kept_from_a_minute_up(text: str, kept: bool) -> None:
    assert is_monitored(parse_schedule(text), _at("10:30")) is kept
