"""Lines of delimited text -> fields, with the quoting rules of Azure ML's reader.

A field that begins with a quotation mark ends at the next single one, two of them standing for one; what
follows up to the delimiter is added as it is. A field that merely contains quotation marks is taken literally,
and so is one whose quotation never ends. An empty field is null (None) unless it is quoted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

Fields = list[str | None]

QUOTE = '"'


def lines(text: str) -> Iterator[str]:
    """The lines of a text that are not empty; only a line feed ends one, and a carriage return before it goes."""
    for line in text.split("\n"):
        if line:
            yield line[:-1] if line.endswith("\r") else line


def fields(line: str, delimiter: str, empty: str | None = None) -> Fields:
    """The fields of one line; `empty` stands for those with nothing in them."""
    if QUOTE not in line:
        return [field or empty for field in line.split(delimiter)]
    result: Fields = []
    position = 0
    while position <= len(line):
        value, position, _ = _field(line, position, delimiter, empty, "")
        result.append(value)
        position += 1
    return result


def records(text: str, delimiter: str, empty: str | None = None) -> Iterator[Fields]:
    """The records of a text in which quoted fields may hold line breaks."""
    if QUOTE not in text:
        for line in lines(text):
            yield fields(line, delimiter, empty)
        return
    position, length = 0, len(text)
    record: Fields = []
    while position < length:
        if not record and text[position] in "\r\n":  # a line with nothing in it
            position += 1
            continue
        value, end, quoted = _field(text, position, delimiter, empty, "\n")
        at_break = end >= length or text[end] == "\n"
        if at_break and value is not None and not quoted:
            value = value.removesuffix("\r") or empty
        elif at_break and quoted and value is not None and text[end - 1 : end] == "\r":
            value = value[:-1]
        record.append(value)
        position = end + 1
        if at_break:
            yield record
            record = []
    if record:  # the text ended with a delimiter
        record.append(empty)
        yield record


def _field(
    text: str, start: int, delimiter: str, empty: str | None, line_break: str
) -> tuple[str | None, int, bool]:
    """A field's value, the position of what ends it, and whether it was quoted."""
    if text[start : start + 1] == QUOTE:
        parts = []
        position = start + 1
        while (close := text.find(QUOTE, position)) >= 0:
            parts.append(text[position:close])
            if text[close + 1 : close + 2] != QUOTE:
                end = _end(text, close + 1, delimiter, line_break)
                parts.append(text[close + 1 : end])
                return "".join(parts), end, True
            parts.append(QUOTE)
            position = close + 2
    end = _end(text, start, delimiter, line_break)
    return text[start:end] or empty, end, False


def _end(text: str, start: int, delimiter: str, line_break: str) -> int:
    if not line_break:
        found = text.find(delimiter, start)
        return len(text) if found < 0 else found
    match = _ends(delimiter).search(text, start)
    return len(text) if match is None else match.start()


@lru_cache
def _ends(delimiter: str) -> re.Pattern[str]:
    return re.compile(f"[{re.escape(delimiter)}\n]")


def header(names: Fields) -> list[str]:
    """Column names from a header's fields: trimmed, numbered where empty, told apart where equal."""
    result: list[str] = []
    for number, name in enumerate(names, 1):
        plain = (name or "").strip() or f"Column{number}"
        unique, again = plain, 0
        while unique in result:
            again += 1
            unique = f"{plain}_{again}"
        result.append(unique)
    return result


def column(names: list[str], index: int) -> str:
    """The name of the column at an index; a record that is longer than the header adds numbered ones."""
    return names[index] if index < len(names) else f"Column{index + 1}"
