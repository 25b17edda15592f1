"""Columns as an MLTable file names them and their types as it tells them -> what a Table holds, or every mistake."""

from __future__ import annotations

import re
from typing import Any

from batchscore.definitions.reading import Section
from batchscore.definitions.yamlnodes import Node
from batchscore.rows import dates
from batchscore.rows.kinds import BOOLEAN, DATETIME, Kind


def listed(section: Section, node: Node | None, key: str) -> list[Node]:
    """The entries of a list; none after a problem."""
    if node is None:
        return []
    if not isinstance(node.value, list):
        section.wrong(key, "a list (lines that begin with -)")
        return []
    return node.value


def selection(section: Section, key: str) -> Any:
    """A name, names or a pattern, ready for JSON; None after a problem."""
    value = section.values[key].value
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(item.value, str) for item in value):
        return [item.value for item in value]
    if isinstance(value, dict):
        inner = Section(section.values[key], value, key, section.problems)
        inner.allow(("pattern", "ignore_case", "invert"))
        pattern = inner.text("pattern")
        try:
            re.compile(pattern or "")
        except re.error as error:
            inner.refuse("pattern", f"is {pattern!r}, which is no regular expression: {error}.")
            return None
        if pattern is not None:
            return {
                "pattern": pattern,
                "ignore_case": bool(inner.flag("ignore_case")),
                "invert": bool(inner.flag("invert")),
            }
    section.wrong(key, "a column, a list of columns, or a mapping with pattern")
    return None


def told_kinds(section: Section, key: str) -> list[tuple[Any, Kind]]:
    """The entries of a list of columns with the type that is told for them."""
    result = []
    for item in listed(section, section.get(key), key):
        entry = Section.of(item, f"an entry of {key}", section.problems)
        if entry is None:
            continue
        entry.allow(("columns", "column_type"))
        if "columns" not in entry or "column_type" not in entry:
            entry.missing("columns or column_type", "Say both.")
            continue
        which, kind = selection(entry, "columns"), _kind(entry)
        if which is not None and kind is not None:
            result.append((which, kind))
    return result


def _kind(entry: Section) -> Kind | None:
    value = entry.values["column_type"].value
    if isinstance(value, str) and value in ("boolean", "float", "string", "int"):
        return Kind(value)
    if isinstance(value, dict) and len(value) == 1:
        inner = entry.section("column_type")
        assert inner is not None
        for name, read_kind in ((DATETIME, _datetime), (BOOLEAN, _boolean)):
            told = inner.section(name) if name in inner else None
            if told is not None:
                return read_kind(told)
    entry.wrong("column_type", "boolean, float, string, int, or a mapping with datetime or boolean")
    return None


def _datetime(told: Section) -> Kind | None:
    told.allow(("formats", "date_constant"))
    told.refuse("date_constant", "is not supported. Write a format that has a year.")
    forms = _texts(told, "formats")
    if not forms or not all(dates.supported(form) for form in forms):
        if "formats" in told:
            told.wrong("formats", "formats of %Y %y %m %b %d %H %I %M %S %f %p %z")
        else:
            told.missing("formats", "Write one, such as '%Y-%m-%d'.")
        return None
    return Kind(DATETIME, forms)


def _boolean(told: Section) -> Kind:
    told.allow(("true_values", "false_values", "mismatch_as"))
    mismatch = told.choice("mismatch_as", ("error", "true", "false")) or "error"
    return Kind(BOOLEAN, (), _texts(told, "true_values"), _texts(told, "false_values"), mismatch)


def _texts(section: Section, key: str) -> tuple[str, ...]:
    node = section.get(key)
    if node is None:
        return ()
    if isinstance(node.value, list):
        return tuple(str(item.value) for item in node.value)
    return (str(node.value),)
