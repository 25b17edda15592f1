"""Decisions of many one-class SVMs at once: float64 NumPy in blocks that stay in a core's cache."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from sensors.packed_models import Floats, Integers, PackedModels

BLOCK_PAIRS = 1 << 16
"""Pairs of a value and a support vector that are worked on at a time: 512 KiB of float64, a part of a core's L2 cache."""
ALONE_PAIRS = 1 << 14
"""From so many pairs on a sensor is worked on by itself: then nothing is padded, and what a call costs is little."""


def decisions(models: PackedModels, values: Floats, offsets: Integers) -> Floats:
    """The decision of each value, float64 [len(values)], as scikit-learn's `decision_function` gives it.

    `values[offsets[i]:offsets[i + 1]]` are those of `models.sensors[i]`, in the sensor's own units. A value is an
    anomaly where `is_anomaly` says so. Memory beside the result does not grow with anything but the number of
    sensors; sensors with few support vectors or few values share a block.
    """
    result = np.empty(len(values))
    vectors, counts = np.diff(models.offsets), np.diff(offsets)
    work = np.empty(max(BLOCK_PAIRS, int(vectors.max(initial=0))))
    alone = vectors * counts >= ALONE_PAIRS
    with np.errstate(
        over="ignore", under="ignore"
    ):  # far from every support vector: exp(-inf) is 0, as it should
        for sensor in np.flatnonzero(alone).tolist():
            _decide_alone(
                models, sensor, values, int(offsets[sensor]), int(offsets[sensor + 1]), work, result
            )
        for group in _groups(vectors, counts, np.flatnonzero(~alone & (counts > 0))):
            _decide_group(models, group, values, offsets, work, result)
    return result


def is_anomaly(decision: Floats) -> NDArray[np.bool_]:
    """Where `predict` of scikit-learn says -1: a decision of exactly 0 is one."""
    return decision <= 0


def _decide_alone(
    models: PackedModels, sensor: int, values: Floats, begin: int, end: int, work: Floats, result: Floats
) -> None:
    """The decisions of one sensor's values."""
    own = slice(int(models.offsets[sensor]), int(models.offsets[sensor + 1]))
    root = math.sqrt(models.gamma[sensor])
    weights = models.dual_coef[own]
    # Every difference of a value and a support vector as a product of matrices, [1, -vector] [value, 1]: rounded once
    # like a subtraction, and BLAS is three times as fast at it as a broadcast.
    left = np.ones((len(weights), 2))
    np.multiply(models.support_vectors[own], -root, out=left[:, 1])
    step = max(1, len(work) // len(weights))
    for first in range(begin, end, step):
        last = min(first + step, end)
        right = np.ones((2, last - first))
        np.subtract(values[first:last], models.mean[sensor], out=right[0])
        right[0] /= models.scale[sensor]
        right[0] *= root
        pairs = work[: len(weights) * (last - first)].reshape(len(weights), last - first)
        np.matmul(left, right, out=pairs)
        _gaussians(pairs)
        np.matmul(weights, pairs, out=result[first:last])
    result[begin:end] += models.intercept[sensor]


def _groups(vectors: Integers, values: Integers, sensors: Integers) -> Iterator[Integers]:
    """Sensors of like sizes, as many as a block has room for."""
    order = sensors[np.lexsort((values[sensors], vectors[sensors]))]
    vector_counts, value_counts = vectors[order].tolist(), values[order].tolist()
    first = 0
    while first < len(order):
        longest, last = value_counts[first], first + 1
        while last < len(order):
            grown = max(longest, value_counts[last])
            if (last + 1 - first) * vector_counts[last] * grown > BLOCK_PAIRS:
                break
            longest, last = grown, last + 1
        yield order[first:last]
        first = last


def _decide_group(
    models: PackedModels, group: Integers, values: Floats, offsets: Integers, work: Floats, result: Floats
) -> None:
    """The decisions of all values of a group of sensors, padded to those of the largest."""
    rows = _Rows(offsets[group], offsets[group + 1])
    support = _Rows(models.offsets[group], models.offsets[group + 1])
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
    _gaussians(pairs)
    decided = np.matmul(weights[:, None, :], pairs)[:, 0, :]
    decided += models.intercept[group][:, None]
    rows.put(decided, result)


def _gaussians(differences: Floats) -> None:
    """exp(-x * x), in place."""
    np.multiply(differences, differences, out=differences)
    np.negative(differences, out=differences)
    np.exp(differences, out=differences)


class _Rows:
    """Pieces of a flat array as the rows of a padded one."""

    def __init__(self, starts: Integers, ends: Integers) -> None:
        counts = ends - starts
        longest = int(counts.max())
        self._shape = (len(starts), longest)
        self._slice: slice | None = None
        self.mask: NDArray[np.bool_] | None = None
        """Which values are a row's own; None when all are."""
        if bool((counts == longest).all()):
            first = int(starts[0])
            if bool((starts[1:] == ends[:-1]).all()):  # one piece: nothing is copied
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
