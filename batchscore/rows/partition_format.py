"""Columns from a file's path: `/{store}/{day:yyyy/MM/dd}/*.csv` -> what the path says of store and day."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from . import dates

_PIECE = re.compile(r"\{([^{}]*)\}|(\*)")
_DATE_PIECES = {"yyyy": ("%Y", r"\d{4}"), "MM": ("%m", r"\d{2}"), "dd": ("%d", r"\d{2}"), "HH": ("%H", r"\d{2}"),
                "mm": ("%M", r"\d{2}"), "ss": ("%S", r"\d{2}")}  # fmt: skip


class PartitionFormatError(ValueError):
    """A partition format is none; the text says why."""


class PartitionFormat(NamedTuple):
    """A format made ready: the pattern to look for in a path, and its columns, times after all others."""

    pattern: re.Pattern[str]
    texts: tuple[str, ...]
    times: tuple[tuple[str, tuple[str, ...]], ...]
    """Column -> the pieces of its format (`%Y`, `%m`) in order."""

    @property
    def names(self) -> tuple[str, ...]:
        return (*self.texts, *(name for name, _ in self.times))

    def values(self, path: str) -> dict[str, Any] | None:
        """What a path with forward slashes says of each column, times in nanoseconds; None when it does not fit."""
        match = self.pattern.search("/" + path.lstrip("/"))
        if match is None:
            return None
        found: dict[str, Any] = {name: match[f"t{index}"] for index, name in enumerate(self.texts)}
        for index, (name, pieces) in enumerate(self.times):
            text = "/".join(match[f"d{index}_{number}"] for number in range(len(pieces)))
            found[name] = dates.nanoseconds(text, "/".join(pieces))
        return found


def parsed(text: str) -> PartitionFormat:
    """The format that a text says. PartitionFormatError names what is wrong with it."""
    texts: list[str] = []
    times: list[tuple[str, tuple[str, ...]]] = []
    pattern, position = "", 0
    for match in _PIECE.finditer(text):
        pattern += re.escape(text[position : match.start()])
        position = match.end()
        if match[2]:
            pattern += "[^/]*"
            continue
        name, colon, form = match[1].partition(":")
        name = name.strip()
        if not name or name in texts or name in dict(times):
            raise PartitionFormatError(f"{{{match[1]}}} needs a name that no other column of the format has")
        if not colon:
            pattern += f"(?P<t{len(texts)}>[^/]+)"
            texts.append(name)
            continue
        piece, pieces = _time(form, len(times))
        pattern += piece
        times.append((name, pieces))
    rest = text[position:]
    if "{" in rest or "}" in rest:
        raise PartitionFormatError("a brace is not closed")
    if not texts and not times:
        raise PartitionFormatError("it names no column; write one in braces, as in /{store}/*.csv")
    return PartitionFormat(re.compile(pattern + re.escape(rest)), tuple(texts), tuple(times))


def _time(form: str, index: int) -> tuple[str, tuple[str, ...]]:
    pattern = ""
    pieces: list[str] = []
    for part in re.split(r"(yyyy|MM|dd|HH|mm|ss)", form):
        if part in _DATE_PIECES:
            name, digits = _DATE_PIECES[part]
            pattern += f"(?P<d{index}_{len(pieces)}>{digits})"
            pieces.append(name)
        elif re.search(r"[A-Za-z]", part):
            raise PartitionFormatError(f"{part!r} is none of yyyy, MM, dd, HH, mm, ss")
        else:
            pattern += re.escape(part)
    if not pieces or "%Y" not in pieces or len(set(pieces)) < len(pieces):
        raise PartitionFormatError(f"{form!r} needs yyyy, and each of yyyy, MM, dd, HH, mm, ss at most once")
    return pattern, tuple(pieces)
