"""As much of the Kusto query language as the alerts use, on rows of this process. What it does not know raises.

A null makes a comparison null, which is not true; `min`, `max` and their `-if` forms pass over nulls; a summary of no
row is one row. Microsoft's own parser checks the syntax of the same files elsewhere; this tells what they say.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

Row = dict[str, Any]

_SPAN = re.compile(r"\b(\d+)([smhd])\b(?=(?:[^\"]*\"[^\"]*\")*[^\"]*$)")
_STARTSWITH = re.compile(r"(\w+) startswith (\"[^\"]*\")")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def run(query: str, tables: Mapping[str, Sequence[Row]], now: datetime) -> list[Row]:
    """The rows that a query gives."""
    text = "\n".join(line for line in query.splitlines() if not line.lstrip().startswith("//"))
    table, *steps = re.split(r"\n\s*\|\s*", text.strip())
    rows = [dict(row) for row in tables[table.strip()]]
    for step in steps:
        operator, _, rest = step.partition(" ") if "\n" not in step.split(" ")[0] else step.partition("\n")
        rows = _OPERATORS[operator.strip()](rows, rest.strip(), now)
    return rows


def _where(rows: list[Row], rest: str, now: datetime) -> list[Row]:
    condition = _parsed(rest)
    return [row for row in rows if _value(condition, row, now) is True]


def _extend(rows: list[Row], rest: str, now: datetime) -> list[Row]:
    columns = _columns(rest)
    return [row | {name: _value(each, row, now) for name, each in columns.items()} for row in rows]


def _project(rows: list[Row], rest: str, now: datetime) -> list[Row]:
    columns = _columns(rest)
    return [{name: _value(each, row, now) for name, each in columns.items()} for row in rows]


def _summarize(rows: list[Row], rest: str, now: datetime) -> list[Row]:
    return [{name: _aggregate(each, rows, now) for name, each in _columns(rest).items()}]


_OPERATORS: dict[str, Callable[[list[Row], str, datetime], list[Row]]] = {
    "where": _where,
    "extend": _extend,
    "project": _project,
    "summarize": _summarize,
}


def _columns(text: str) -> dict[str, ast.expr]:
    """`a = f(x), b` as names and expressions."""
    call = ast.parse(f"columns({_python(_unnamed(text))})", mode="eval").body
    assert isinstance(call, ast.Call)
    plain = {each.id: each for each in call.args if isinstance(each, ast.Name)}
    assert len(plain) == len(call.args), text
    return {**plain, **{str(each.arg): each.value for each in call.keywords}}


def _unnamed(text: str) -> str:
    return re.sub(r"\s*\n\s*", " ", text)


def _parsed(text: str) -> ast.expr:
    return ast.parse(_python(_unnamed(text)), mode="eval").body


def _python(text: str) -> str:
    return _STARTSWITH.sub(r"startswith(\1, \2)", _SPAN.sub(r'span("\1\2")', text))


def _aggregate(node: ast.expr, rows: list[Row], now: datetime) -> Any:
    assert isinstance(node, ast.Call)
    assert isinstance(node.func, ast.Name)
    name, arguments = node.func.id, list(node.args)
    if name.endswith("if"):
        condition = arguments.pop()
        rows = [row for row in rows if _value(condition, row, now) is True]
        name = name.removesuffix("if")
    if name == "count":
        return len(rows)
    found = [value for row in rows if (value := _value(arguments[0], row, now)) is not None]
    return {"min": min, "max": max}[name](found, default=None)


def _value(node: ast.expr, row: Row, now: datetime) -> Any:
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name(id=name):
            return row[name]
        case ast.Attribute(value=inner, attr=name):
            there = _value(inner, row, now)
            return there.get(name) if isinstance(there, dict) else None
        case ast.BoolOp(op=ast.And(), values=parts):
            found = [_value(part, row, now) for part in parts]
            return False if False in found else None if None in found else True
        case ast.BoolOp(op=ast.Or(), values=parts):
            found = [_value(part, row, now) for part in parts]
            return True if True in found else None if None in found else False
        case ast.Compare(left=left, ops=[operator], comparators=[right]):
            a, b = _value(left, row, now), _value(right, row, now)
            return None if a is None or b is None else _COMPARISONS[type(operator)](a, b)
        case ast.Call(func=ast.Name(id="ago"), args=[span]):
            return now - _value(span, row, now)
        case ast.Call(func=ast.Name(id=name), args=arguments):
            return _FUNCTIONS[name](*(_value(argument, row, now) for argument in arguments))
    raise NotImplementedError(ast.dump(node))


_COMPARISONS: dict[type, Callable[[Any, Any], bool]] = {
    ast.Eq: lambda a, b: a == b,
    ast.NotEq: lambda a, b: a != b,
    ast.Lt: lambda a, b: a < b,
    ast.LtE: lambda a, b: a <= b,
    ast.Gt: lambda a, b: a > b,
    ast.GtE: lambda a, b: a >= b,
}


def _span(text: str) -> timedelta:
    return timedelta(**{_UNITS[text[-1]]: int(text[:-1])})


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _date(value: Any) -> datetime | None:
    return datetime.fromisoformat(value).astimezone(UTC) if isinstance(value, str) else None


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "startswith": lambda text, start: text.lower().startswith(start.lower()),
    "span": _span,
    "substring": lambda text, start: text[start:],
    "parse_json": _json,
    "tostring": lambda value: "" if value is None else str(value),
    "todouble": lambda value: None if value is None else float(value),
    "tobool": lambda value: value if isinstance(value, bool) else None,
    "todatetime": _date,
    "coalesce": lambda *values: next((value for value in values if value is not None), None),
    "max_of": lambda *values: max(values),
}
