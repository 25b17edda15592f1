"""What a column of text is: inferred from its first values and then applied to all of them.

Observed of Azure ML's reader: the first 200 records decide; a value that does not fit later becomes null; text
of 0 and 1, t and f, true and false is boolean; a whole number that has a fraction loses it.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from . import dates

SAMPLE_ROWS = 200

STRING, INTEGER, FLOAT, BOOLEAN, DATETIME = "string", "int", "float", "boolean", "datetime"

_WHOLE = re.compile(r"[+-]?\d+", re.ASCII)
_NUMBER = re.compile(
    r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(inf|infinity|nan)", re.ASCII | re.IGNORECASE
)
_TRUE = frozenset(("true", "True", "TRUE", "t", "T", "1"))
_FALSE = frozenset(("false", "False", "FALSE", "f", "F", "0"))
_LEAST, _MOST = -(2**63), 2**63 - 1


class Kind(NamedTuple):
    """A column's type; `forms` are the formats of a `datetime`, the three after it those of a told `boolean`."""

    name: str = STRING
    forms: tuple[str, ...] = ()
    true_values: tuple[str, ...] = ()
    false_values: tuple[str, ...] = ()
    mismatch_as: str = ""


def inferred(values: list[str | None]) -> Kind:
    """The type of a column by some of its values."""
    texts = [value for value in values if value is not None]
    if not texts:
        return Kind()
    plain = [text.strip() for text in texts]
    if all(_is_boolean(text) for text in plain):
        return Kind(BOOLEAN)
    if all(_is_whole(text) for text in plain):
        return Kind(INTEGER)
    if all(_NUMBER.fullmatch(text) for text in plain):
        return Kind(FLOAT)
    forms = dates.forms_of(texts)
    return Kind() if forms is None else Kind(DATETIME, tuple(forms))


def _is_boolean(text: str) -> bool:
    if text in _TRUE or text in _FALSE:
        return True
    return bool(_WHOLE.fullmatch(text)) and len(text) < 400 and int(text) in (0, 1)


def _is_whole(text: str) -> bool:
    return bool(_WHOLE.fullmatch(text)) and len(text) < 400 and _LEAST <= int(text) <= _MOST


def converted(values: list[Any], kind: Kind, was: str = "") -> list[Any]:
    """A column's values as a type: None where a value is null or does not fit, times in nanoseconds.

    `was` is the name of the type that the values have already; empty for text and JSON's own values.
    """
    if was == DATETIME:
        if kind.name == STRING:
            return [None if value in (None, dates.NOT_A_TIME) else dates.text_of(value) for value in values]
        return values if kind.name == DATETIME else [None] * len(values)
    if kind.name == STRING:
        return [None if value is None else _as_text(value) for value in values]
    if kind.name == INTEGER:
        return [_integer(value) for value in values]
    if kind.name == FLOAT:
        return [_float(value) for value in values]
    if kind.name == BOOLEAN:
        return [_boolean(value, kind) for value in values]
    forms = list(kind.forms)
    return [dates.first_of(value, forms) if isinstance(value, str) else None for value in values]


def _as_text(value: Any) -> str | None:
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e16 else repr(value)
    return None if isinstance(value, (dict, list)) else str(value)


def _integer(value: Any) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, str):
        text = value.strip()
        if _WHOLE.fullmatch(text) and len(text) < 400:
            return max(_LEAST, min(_MOST, int(text)))
        value = _float(text)
    if not isinstance(value, float):
        return None
    if value != value:
        return 0
    return _MOST if value >= _MOST else _LEAST if value <= _LEAST else int(value)


def _float(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, (int, float)):
        return float(value)
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        return float(value)
    return None


def _boolean(value: Any, kind: Kind) -> bool | None:
    if isinstance(value, (bool, int, float)) and not (kind.true_values or kind.false_values):
        return bool(value)
    text = None if value is None else _as_text(value)
    text = text.strip() if text is not None else None
    if text is None:
        return None
    if text in (kind.true_values or _TRUE):
        return True
    if text in (kind.false_values or _FALSE):
        return False
    return {"true": True, "false": False}.get(kind.mismatch_as)
