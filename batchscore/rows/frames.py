"""Columns -> a pandas DataFrame with the column types that Azure ML's reader gives."""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

from . import kinds
from .dates import NOT_A_TIME

NESTED = "nested"


class MissingPackageError(Exception):
    """The interpreter of a step lacks a package that its tables need."""


class Column(NamedTuple):
    """A column's type (a name of `kinds`, `nested`, or empty for nothing but nulls) and its values."""

    kind: str
    values: list[Any]


def pandas() -> Any:
    """The package pandas. MissingPackageError says where it is missing."""
    return _imported("pandas")


def pyarrow(module: str = "pyarrow") -> Any:
    """The package pyarrow, or one of its modules. MissingPackageError says where it is missing."""
    return _imported(module)


def _imported(module: str) -> Any:
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError:
        name = module.partition(".")[0]
        raise MissingPackageError(
            f"the package {name} is not installed for {sys.executable}, and rows of a table are handed over with "
            f"it. Install it there: {sys.executable} -m pip install {name}"
        ) from None


def frame(columns: dict[str, Column], length: int) -> Any:
    """The DataFrame of some columns, its index 0, 1, 2, …; a column of nulls alone holds None."""
    package = pandas()
    series = {name: _series(package, column) for name, column in columns.items()}
    return package.DataFrame(series, index=package.RangeIndex(length), columns=list(series))


def _series(package: Any, column: Column) -> Any:
    kind, values = column
    nulls = values.count(None)
    if nulls == len(values):
        return package.Series([None] * nulls, dtype=object)
    if kind == kinds.INTEGER:
        return package.Series(_numbers(values), dtype="float64" if nulls else "int64")
    if kind == kinds.FLOAT:
        return package.Series(_numbers(values), dtype="float64")
    if kind == kinds.BOOLEAN:
        return package.Series(values, dtype=object if nulls else bool)
    if kind == kinds.DATETIME:
        moments = [NOT_A_TIME if value is None else value for value in values]
        return package.Series(moments, dtype="int64").astype("datetime64[ns]")
    if kind == NESTED:
        return pyarrow().array(values).to_pandas()
    return package.Series(values)


def _numbers(values: list[Any]) -> list[float | None]:
    return [float("nan") if value is None else value for value in values] if None in values else values
