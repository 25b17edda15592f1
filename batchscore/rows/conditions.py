"""The expressions of an MLTable's `filter`: comparisons of a column with a value, joined by and, or, not.

`col("x") > 1.5 and not (col("name") == "a" or col("seen"))`. A comparison with null, or of unlike types, is
neither true nor false, and a row stays only where the whole is true, as in SQL and as Azure ML does it.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any

Test = Callable[[Mapping[str, Any]], bool | None]

_OPERATORS: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_SWAPPED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.Eq,
    ast.NotEq: ast.NotEq,
    ast.Lt: ast.Gt,
    ast.LtE: ast.GtE,
    ast.Gt: ast.Lt,
    ast.GtE: ast.LtE,
}


class UnsupportedConditionError(ValueError):
    """An expression, or a part of it, is none that is understood here; the text is that part."""


def parsed(expression: str) -> Test:
    """The condition that an expression says. UnsupportedConditionError quotes the part that is not understood."""
    try:
        tree = ast.parse(expression.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise UnsupportedConditionError(expression) from None
    return _test(tree.body)


def _test(node: ast.expr) -> Test:
    if isinstance(node, ast.BoolOp):
        parts = [_test(value) for value in node.values]
        return _all(parts) if isinstance(node.op, ast.And) else _any(parts)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        inner = _test(node.operand)

        def negated(row: Mapping[str, Any]) -> bool | None:
            value = inner(row)
            return None if value is None else not value

        return negated
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        return _comparison(node)
    name = _column(node)
    if name is None:
        raise UnsupportedConditionError(ast.unparse(node))
    return lambda row: row.get(name) if isinstance(row.get(name), bool) else None


def _comparison(node: ast.Compare) -> Test:
    left, kind, right = node.left, type(node.ops[0]), node.comparators[0]
    if _column(left) is None:
        left, right, kind = right, left, _SWAPPED.get(kind, kind)
    name, compare = _column(left), _OPERATORS.get(kind)
    if name is None or compare is None:
        raise UnsupportedConditionError(ast.unparse(node))
    wanted = _value(right)

    def compared(row: Mapping[str, Any]) -> bool | None:
        value = row.get(name)
        if value is None or value != value or _sort(value) != _sort(wanted):
            return None
        return bool(compare(value, wanted))

    return compared


def _column(node: ast.expr) -> str | None:
    if isinstance(node, ast.Name):
        return node.id
    if (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "col"
        and not node.keywords
    ):
        argument = node.args[0] if len(node.args) == 1 else None
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
            return argument.value
    return None


def _value(node: ast.expr) -> Any:
    negative = isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub)
    constant = node.operand if isinstance(node, ast.UnaryOp) and negative else node
    if isinstance(constant, ast.Constant) and isinstance(constant.value, (bool, int, float, str)):
        if not negative:
            return constant.value
        if _sort(constant.value) == "number":
            return -constant.value  # type: ignore[operator]
    raise UnsupportedConditionError(ast.unparse(node))


def _sort(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    return "number" if isinstance(value, (int, float)) else "text" if isinstance(value, str) else "other"


def _all(parts: list[Test]) -> Test:
    def every(row: Mapping[str, Any]) -> bool | None:
        values = [part(row) for part in parts]
        return False if False in values else None if None in values else True

    return every


def _any(parts: list[Test]) -> Test:
    def some(row: Mapping[str, Any]) -> bool | None:
        values = [part(row) for part in parts]
        return True if True in values else None if None in values else False

    return some
