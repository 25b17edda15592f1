"""A stable order by two keys, whether or not both fit into one."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sensors.ordering import order_by

KEYS = st.integers(-3, 3) | st.integers(-(1 << 62), 1 << 62)


@given(st.lists(st.tuples(KEYS, KEYS), max_size=30))
def test_is_that_of_pairs(pairs: list[tuple[int, int]]) -> None:
    major, minor = (np.array([pair[each] for pair in pairs], np.int64) for each in (0, 1))
    assert order_by(major, minor).tolist() == sorted(range(len(pairs)), key=pairs.__getitem__)
