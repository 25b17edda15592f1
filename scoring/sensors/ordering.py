"""A stable order by two keys, sorted as one where both fit into 64 bits: several times as fast."""

from __future__ import annotations

import numpy as np

from sensors.packed_models import Integers


def order_by(major: Integers, minor: Integers) -> Integers:
    """The places of the rows by `major`, then `minor`, then as they came."""
    if not len(major):
        return np.empty(0, np.int64)
    first, last = int(minor.min()), int(minor.max())
    least, span = int(major.min()), last - first + 1
    if span * (int(major.max()) - least + 1) < 1 << 63:
        return np.argsort((major - least) * span + (minor - first), kind="stable")
    return np.lexsort((minor, major))
