"""Decisions of many one-class SVMs at once: padded float64 NumPy in blocks that stay in a core's cache."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from sensors.packed_models import Floats, Integers, PackedModels

BLOCK_VALUES = 1 << 16
"""Pairs of a value and a support vector that are worked on at a time: 512 KiB of float64, a part of a core's L2 cache."""


def decisions(models: PackedModels, values: Floats, offsets: Integers) -> Floats:
    """The decision of each value, float64 [len(values)], as scikit-learn's `decision_function` gives it.

    `values[offsets[i]:offsets[i + 1]]` are those of `models.sensors[i]`, in the sensor's own units. A value is an
    anomaly where `is_anomaly` says so. Memory beside the result does not grow with anything but the number of
    sensors; sensors with few support vectors or few values share a block.
    """
    result = np.empty(len(values))
    counts = np.diff(models.offsets)
    work = np.empty(max(BLOCK_VALUES, int(counts.max(initial=0))))
    with np.errstate(
        over="ignore", under="ignore"
    ):  # far from every support vector: exp(-inf) is 0, as it should
        for group, begin, end in _blocks(counts, np.diff(offsets)):
            _decide(models, values, offsets, group, begin, end, work, result)
    return result


def is_anomaly(decision: Floats) -> NDArray[np.bool_]:
    """Where `predict` of scikit-learn says -1: a decision of exactly 0 is one."""
    return decision <= 0


def _blocks(vectors: Integers, values: Integers) -> Iterator[tuple[Integers, int, int]]:
    """Sensors of like sizes, and which of each one's values (from, to), so that a block has BLOCK_VALUES pairs."""
    order = np.lexsort((values, vectors))
    order = order[values[order] > 0]
    vector_counts, value_counts = vectors[order].tolist(), values[order].tolist()
    first = 0
    while first < len(order):
        longest, last = value_counts[first], first + 1
        while last < len(order):
            grown = max(longest, value_counts[last])
            if (last + 1 - first) * vector_counts[last] * grown > BLOCK_VALUES:
                break
            longest, last = grown, last + 1
        step = max(1, BLOCK_VALUES // vector_counts[last - 1]) if last == first + 1 else longest
        for begin in range(0, longest, step):
            yield order[first:last], begin, min(begin + step, longest)
        first = last


def _decide(
    models: PackedModels,
    values: Floats,
    offsets: Integers,
    group: Integers,
    begin: int,
    end: int,
    work: Floats,
    result: Floats,
) -> None:
    """The decisions of values begin to end of each sensor of the group, into their places in `result`."""
    starts = offsets[group] + begin
    rows = _Rows(starts, np.minimum(offsets[group + 1] - starts, end - begin))
    support = _Rows(models.offsets[group], models.offsets[group + 1] - models.offsets[group])

    root = np.sqrt(models.gamma[group])[:, None]
    scaled = rows.of(values) - models.mean[group][:, None]
    scaled /= models.scale[group][:, None]
    scaled *= root
    vectors = support.of(models.support_vectors) * root
    weights = support.of(models.dual_coef)
    if support.mask is not None:
        weights = np.where(support.mask, weights, 0.0)

    # The values lie along the last axis: NumPy's inner loops are as long as there are values, and exp sees one piece.
    shape = (len(group), vectors.shape[1], scaled.shape[1])
    pairs = work[: math.prod(shape)].reshape(shape)
    np.subtract(scaled[:, None, :], vectors[:, :, None], out=pairs)
    np.multiply(pairs, pairs, out=pairs)
    np.negative(pairs, out=pairs)
    np.exp(pairs, out=pairs)
    decided = np.matmul(weights[:, None, :], pairs)[:, 0, :]
    decided += models.intercept[group][:, None]
    rows.put(decided, result)


class _Rows:
    """Pieces of a flat array as the rows of a padded one."""

    def __init__(self, starts: Integers, counts: Integers) -> None:
        longest = int(counts.max())
        self._shape = (len(starts), longest)
        self._slice: slice | None = None
        self.mask: NDArray[np.bool_] | None = None
        """Which values are a row's own; None when all are."""
        if bool((counts == longest).all()):
            first = int(starts[0])
            if bool(
                (starts == first + longest * np.arange(len(starts))).all()
            ):  # one piece: nothing is copied
                self._slice = slice(first, first + longest * len(starts))
                return
            self._places = starts[:, None] + np.arange(longest)
        else:
            column = np.arange(longest)
            self.mask = column < counts[:, None]
            self._places = np.where(self.mask, starts[:, None] + column, starts[:, None])

    def of(self, flat: Floats) -> Floats:
        """The rows, float64 [rows, longest]; what is padded repeats the row's first value."""
        rows: Floats = flat[self._places] if self._slice is None else flat[self._slice].reshape(self._shape)
        return rows

    def put(self, padded: Floats, flat: Floats) -> None:
        """Write the rows' own values to where they came from."""
        if self._slice is not None:
            flat[self._slice] = padded.ravel()
        elif self.mask is None:
            flat[self._places] = padded
        else:
            flat[self._places[self.mask]] = padded[self.mask]
