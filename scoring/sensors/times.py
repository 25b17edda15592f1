"""Times as people write them: ISO 8601 with any offset, to nanoseconds since 1970 in UTC."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sensors.packed_models import Integers

_UTC = pa.timestamp("ns", "UTC")
_FIRST, _BEYOND = (int(np.datetime64(year, "ns").astype(np.int64)) for year in ("1678", "2262"))
_HAS_OFFSET = r"[T ].*(Z|[+-][0-9]{2}(:?[0-9]{2})?)$"


def parse_times(texts: Any) -> tuple[Integers, NDArray[np.bool_]]:
    """Each text's time, int64 nanoseconds, and which of them are one; a time without an offset is UTC.

    `texts` is an Arrow array of strings. Years from 1678 to 2261 fit.
    """
    try:
        return _split(pc.cast(texts, _UTC))
    except pa.ArrowInvalid:
        pass
    texts = pc.if_else(
        pc.match_substring_regex(texts, _HAS_OFFSET), texts, pc.binary_join_element_wise(texts, "Z", "")
    )
    try:
        return _split(pc.cast(texts, _UTC))
    except pa.ArrowInvalid:
        return _split(pa.array([_parsed(text) for text in texts], _UTC))


def _parsed(text: Any) -> Any:
    try:
        return pc.cast(text, _UTC)
    except pa.ArrowInvalid:
        return None


def _split(times: Any) -> tuple[Integers, NDArray[np.bool_]]:
    numbers: Integers = times.cast(pa.int64()).fill_null(_FIRST - 1).to_numpy()
    return numbers, (numbers >= _FIRST) & (numbers < _BEYOND)
