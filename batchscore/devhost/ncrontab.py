"""Schedules of timer triggers: NCRONTAB expressions of six (or five) fields, and time spans, in UTC.

Unlike cron's, the day of the month and the day of the week must both match. Days of the week are 0 (Sunday)
to 6; months and days may be named by a prefix of at least three letters.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from batchscore.devhost.configuration import timespan

_HORIZON_DAYS = 366 * 41  # 29 February on a given weekday recurs within 40 years, whatever the century
_MONTHS = (
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
)
_WEEKDAYS = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")
_PART = re.compile(r"(?P<start>\*|\w+)(?:-(?P<end>\w+))?(?:/(?P<step>\d+))?")


@dataclass(frozen=True)
class Interval:
    """A schedule that strikes every so often, counted from the last time."""

    length: timedelta

    def next_after(self, moment: datetime) -> datetime:
        return moment + self.length


@dataclass(frozen=True)
class Cron:
    """The allowed values of each field, in order."""

    seconds: tuple[int, ...]
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]

    def next_after(self, moment: datetime) -> datetime:
        """The first time after `moment` (aware) that every field allows; ValueError where there is none."""
        now = moment.astimezone(UTC)
        day = now.date()
        after: time | None = now.time().replace(microsecond=0)
        for _ in range(_HORIZON_DAYS):
            if self._allows(day):
                found = self._first_in_day(after)
                if found is not None:
                    return datetime.combine(day, found, UTC)
            day += timedelta(days=1)
            after = None
        raise ValueError("it never strikes")

    def _allows(self, day: date) -> bool:
        return day.month in self.months and day.day in self.days and (day.weekday() + 1) % 7 in self.weekdays

    def _first_in_day(self, after: time | None) -> time | None:
        """The first allowed time of a day, later than `after` where one is given."""
        if after is None:
            return time(self.hours[0], self.minutes[0], self.seconds[0])
        for hour in self.hours:
            if hour < after.hour:
                continue
            if hour > after.hour:
                return time(hour, self.minutes[0], self.seconds[0])
            for minute in self.minutes:
                if minute < after.minute:
                    continue
                if minute > after.minute:
                    return time(hour, minute, self.seconds[0])
                for second in self.seconds:
                    if second > after.second:
                        return time(hour, minute, second)
        return None


Schedule = Cron | Interval


def parse_schedule(text: str) -> Schedule:
    """Read a schedule; ValueError names the field and the value, and says what would be right."""
    length = timespan(text)
    if length is not None:
        if not length:
            raise ValueError("a time span must be longer than nothing")
        return Interval(length)
    fields = text.split()
    if len(fields) == 5:
        fields = ["0", *fields]
    if len(fields) != 6:
        raise ValueError(
            f"it has {len(fields)} fields; six are needed (second minute hour day month weekday), "
            "or a time span such as 00:05:00"
        )
    cron = Cron(
        seconds=tuple(sorted(_field("second", fields[0], 0, 59))),
        minutes=tuple(sorted(_field("minute", fields[1], 0, 59))),
        hours=tuple(sorted(_field("hour", fields[2], 0, 23))),
        days=_field("day of the month", fields[3], 1, 31),
        months=_field("month", fields[4], 1, 12, _MONTHS),
        weekdays=_field("day of the week", fields[5], 0, 6, _WEEKDAYS),
    )
    cron.next_after(datetime(2000, 1, 1, tzinfo=UTC))
    return cron


def _field(name: str, text: str, least: int, most: int, names: tuple[str, ...] = ()) -> frozenset[int]:
    values: set[int] = set()
    for part in text.split(","):
        found = _PART.fullmatch(part)
        if found is None or (found["start"] == "*" and found["end"]):
            raise ValueError(f"the {name} is {text!r}; {part!r} is not a value, a range, a list or a step")
        step = int(found["step"] or 1)
        if step == 0:
            raise ValueError(f"the {name} is {text!r}; a step must be 1 or more")
        if found["start"] == "*":
            start, end = least, most
        else:
            start = _value(name, found["start"], least, most, names)
            if found["end"]:
                end = _value(name, found["end"], least, most, names)
            else:
                end = most if found["step"] else start
        if start > end:
            raise ValueError(f"the {name} is {text!r}; the range {part!r} runs backwards")
        values.update(range(start, end + 1, step))
    return frozenset(values)


def _value(name: str, text: str, least: int, most: int, names: tuple[str, ...]) -> int:
    if text.isdecimal():
        value = int(text)
        if least <= value <= most:
            return value
    elif len(text) >= 3:
        for index, candidate in enumerate(names):
            if candidate.startswith(text.lower()):
                return least + index
    allowed = f"{least} to {most}" + (
        f", or {names[0][:3].title()} to {names[-1][:3].title()}" if names else ""
    )
    raise ValueError(f"the {name} is {text!r}; it must be {allowed}")
