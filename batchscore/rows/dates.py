"""Dates and times in text: which formats a value may have, and what it means in nanoseconds since 1970.

The formats, and which of them win, are those that Azure ML's type inference was observed to use: a year first
before a year last; day and month that can be swapped are ambiguous until another value decides.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache

NOT_A_TIME = -(2**63)
"""What stands for a time that pandas cannot hold (NaT)."""

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PIECES = {
    "%Y": r"(?P<Y>\d{1,4})",
    "%y": r"(?P<y>\d{2})",
    "%m": r"(?P<m>\d{1,2})",
    "%d": r"(?P<d>\d{1,2})",
    "%b": r"(?P<b>[A-Za-z]{3})",
    "%H": r"(?P<H>\d{1,2})",
    "%I": r"(?P<I>\d{1,2})",
    "%M": r"(?P<M>\d{1,2})",
    "%S": r"(?P<S>\d{1,2})",
    "%f": r"(?P<f>\d{1,9})",
    "%p": r"(?P<p>[AaPp][Mm])",
    "%z": r"\s*(?P<z>Z|UTC|[+-]\d{2}:?\d{2})",
}
_YEAR_FIRST = [
    f"%Y{mark}%m{mark}%d{time}"
    for mark in "-/"
    for time in (
        "",
        *(f"{gap}%H:%M:%S{part}{zone}" for gap in " T" for part in ("", ".%f") for zone in ("", "%z")),
    )
]
_TIMES_LAST = ("", " %H:%M:%S", " %H:%M", " %I:%M:%S %p", " %I:%M %p")
_NAMED_MONTH = [f"%d{mark}%b{mark}%{year}{time}" for mark in "-/" for year in "yY" for time in _TIMES_LAST]
_SWAPPABLE = [
    (f"%m{mark}%d{mark}%{year}{time}", f"%d{mark}%m{mark}%{year}{time}")
    for mark in "-/"
    for year in "yY"
    for time in _TIMES_LAST
]
_compiled: dict[str, re.Pattern[str]] = {}


def supported(form: str) -> bool:
    """Whether a format (`%Y-%m-%d`) consists of pieces that are understood here."""
    return (
        bool(form) and all(piece in _PIECES for piece in re.findall(r"%.", form)) and not form.endswith("%")
    )


@lru_cache(maxsize=8192)
def nanoseconds(text: str, form: str) -> int | None:
    """What a text means in a format: nanoseconds since 1970 in UTC, NOT_A_TIME out of range, None for no match."""
    match = _pattern(form).fullmatch(text.lstrip())
    if match is None:
        return None
    part = match.groupdict()
    year = int(part["Y"]) if part.get("Y") else _century(int(part.get("y") or 70))
    month = _month(part["b"]) if part.get("b") else int(part.get("m") or 1)
    hour = int(part.get("H") or 0)
    if part.get("I"):
        hour = int(part["I"])
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + (12 if (part.get("p") or "").lower() == "pm" else 0)
    minute, second, day = int(part.get("M") or 0), int(part.get("S") or 0), int(part.get("d") or 1)
    if year == 0 and 1 <= month <= 12 and 1 <= day <= 31:
        return NOT_A_TIME
    try:
        moment = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        return None
    since = moment - _EPOCH - _offset(part.get("z"))
    fraction = int((part.get("f") or "0").ljust(9, "0"))
    result = (since.days * 86_400 + since.seconds) * 1_000_000_000 + fraction
    return result if -(2**63) < result < 2**63 else NOT_A_TIME


def first_of(text: str, forms: list[str]) -> int | None:
    """What a text means in the first format that fits."""
    for form in forms:
        result = nanoseconds(text, form)
        if result is not None:
            return result
    return None


def forms_of(values: list[str]) -> list[str] | None:
    """The formats of a column's values, or None when one of them is no date or the values contradict each other.

    Values whose day and month can be swapped have no format unless another value decides which is which.
    """
    known: list[str] = []
    swappable: dict[tuple[str, str], set[str]] = {}
    for value in dict.fromkeys(values):
        if value != value.rstrip() or not value[:1].strip():
            value = value.lstrip()
            if value != value.rstrip():
                return None
        if any(nanoseconds(value, form) is not None for form in known):
            continue
        plain = next((form for form in _YEAR_FIRST if nanoseconds(value, form) is not None), None)
        plain = plain or next((form for form in _NAMED_MONTH if nanoseconds(value, form) is not None), None)
        if plain is not None:
            known.append(plain)
            continue
        for pair in _SWAPPABLE:
            fitting = [form for form in pair if nanoseconds(value, form) is not None]
            if fitting:
                decided = swappable.setdefault(pair, set())
                if len(fitting) == 1:
                    decided.add(fitting[0])
                break
        else:
            return None
    if any(len(decided) > 1 for decided in swappable.values()):
        return None
    return known + [form for decided in swappable.values() for form in sorted(decided)]


def _pattern(form: str) -> re.Pattern[str]:
    if form not in _compiled:
        pieces = re.split(r"(%.|\s+)", form)
        text = "".join(
            _PIECES.get(piece) or (r"\s+" if piece.isspace() else re.escape(piece)) for piece in pieces
        )
        _compiled[form] = re.compile(text.replace(r"\s+(?P<p>", r"\s*(?P<p>"), re.ASCII)
    return _compiled[form]


def _century(year: int) -> int:
    return year + (1900 if year >= 70 else 2000)


def _month(name: str) -> int:
    return _MONTHS.index(name.lower()) + 1 if name.lower() in _MONTHS else 0


def _offset(zone: str | None) -> timedelta:
    if zone is None or zone in ("Z", "UTC"):
        return timedelta()
    sign = -1 if zone[0] == "-" else 1
    return sign * timedelta(hours=int(zone[1:3]), minutes=int(zone[-2:]))


def text_of(moment: int) -> str:
    """A time as text: as RFC 3339 in UTC, with as many digits of the fraction as it has, by threes."""
    second, fraction = divmod(moment, 1_000_000_000)
    plain = (_EPOCH + timedelta(seconds=second)).replace(tzinfo=None).isoformat()
    digits = f"{fraction:09d}"
    while digits.endswith("000"):
        digits = digits[:-3]
    return f"{plain}{'.' if digits else ''}{digits}+00:00"
