"""Values as a person reads them: durations, sizes, times, counts."""

from __future__ import annotations

from datetime import UTC, datetime


def duration(seconds: float) -> str:
    """Two units at most: 0.4 s, 12 s, 3 min 05 s, 2 h 04 min, 3 d 2 h."""
    if seconds < 9.95:
        return f"{max(seconds, 0):.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes:02} min"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h"


def milliseconds(value: float) -> str:
    return f"{value:.3g} ms" if value < 999.5 else duration(value / 1_000)


def age(then: datetime, now: datetime) -> str:
    """How long ago, in one unit."""
    seconds = (now - then).total_seconds()
    if seconds < 5:
        return "just now"
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{int(seconds // length)} {unit} ago"
    return f"{int(seconds)} s ago"


def moment(time: datetime) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def size(count: float) -> str:
    """Bytes in decimal units."""
    for unit in ("bytes", "kB", "MB"):
        if count < 999.5:
            return f"{count:.0f} bytes" if unit == "bytes" else f"{count:.3g} {unit}"
        count /= 1_000
    return f"{count:,.3g} GB" if count < 999.5 else f"{count / 1_000:,.3g} TB"


def counted(number: int, singular: str, plural: str = "") -> str:
    """1 file, 2 files."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"
