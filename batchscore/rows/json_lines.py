"""Lines of JSON -> columns, with the types that Azure ML's reader gives them.

A column (and a field of an object, and the elements of a list) has the type of its first value that is not
null; values of another type become null there. How many did is counted, for somebody should know.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, NamedTuple


class JsonLineError(ValueError):
    """A line is no JSON object."""


class Shape(NamedTuple):
    """The type of some JSON values: `name` is Python's (`int`, `dict`), empty when all are null."""

    name: str = ""
    fields: dict[str, Shape] | None = None
    element: Shape | None = None


def records(lines: Iterable[str], drop_invalid: bool) -> list[dict[str, Any]]:
    """The objects of some lines; empty lines do not count. JsonLineError says which line is none."""
    result = []
    for number, line in enumerate(lines, 1):
        try:
            result.append(_object(line))
        except (ValueError, RecursionError) as error:
            if drop_invalid:
                continue
            raise JsonLineError(f"line {number} of the mini-batch is not a JSON object: {error}") from None
    return result


def _object(line: str) -> dict[str, Any]:
    value = json.loads(line, parse_constant=_no_constant)
    if isinstance(value, dict):
        return value
    raise JsonLineError(f"it is a {type(value).__name__}")


def columns(rows: list[dict[str, Any]]) -> tuple[dict[str, list[Any]], dict[str, Shape], dict[str, int]]:
    """The columns of some objects, their types, and how many values of each were of another type (now None)."""
    names = dict.fromkeys(name for row in rows for name in row)
    values: dict[str, list[Any]] = {}
    shapes: dict[str, Shape] = {}
    lost: dict[str, int] = {}
    for name in names:
        raw = [row.get(name) for row in rows]
        shapes[name] = shape_of(raw)
        values[name] = [_fitted(value, shapes[name]) for value in raw]
        gone = sum(old not in (None, {}) and new is None for old, new in zip(raw, values[name], strict=True))
        if gone:
            lost[name] = gone
    return values, shapes, lost


def shape_of(values: list[Any]) -> Shape:
    """The type of the first value that is not null, for objects and lists with what all of them hold."""
    first = next((value for value in values if value is not None and value != {}), None)
    if first is None:
        return Shape()
    if isinstance(first, dict):
        objects = [value for value in values if isinstance(value, dict)]
        names = dict.fromkeys(name for value in objects for name in value)
        return Shape("dict", {name: shape_of([value.get(name) for value in objects]) for name in names})
    if isinstance(first, list):
        elements = [each for value in values if isinstance(value, list) for each in value]
        return Shape("list", None, shape_of(elements))
    if isinstance(first, int) and not isinstance(first, bool) and not -(2**63) <= first < 2**63:
        return Shape("float")
    return Shape(type(first).__name__)


def _fitted(value: Any, shape: Shape) -> Any:
    if value is None or not shape.name:
        return None
    if shape.name == "dict" and isinstance(value, dict):
        return {name: _fitted(value.get(name), field) for name, field in (shape.fields or {}).items()}
    if shape.name == "list" and isinstance(value, list):
        return [_fitted(each, shape.element or Shape()) for each in value]
    if shape.name == "int":
        return value if type(value) is int and -(2**63) <= value < 2**63 else None
    if shape.name == "float":
        return (
            value
            if type(value) is float
            else float(value)
            if type(value) is int and abs(value) >= 2**63
            else None
        )
    return value if type(value).__name__ == shape.name else None


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
