"""Many one-class SVMs in nine arrays, one model per sensor, sorted by sensor, every value checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from sensors.errors import ModelSetError

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Sensor = tuple[str, str]
"""A device and a tag."""

PER_MODEL = ("intercept", "gamma", "mean", "scale")
PER_SUPPORT_VECTOR = ("support_vectors", "dual_coef")
_POSITIVE = ("gamma", "scale")


@dataclass(frozen=True)
class PackedModels:
    """Models of n sensors with `total` support vectors together.

    A reading x of sensor i has the decision

        sum over k of dual_coef[k] * exp(-gamma[i] * ((x - mean[i]) / scale[i] - support_vectors[k])**2) + intercept[i]

    for k from offsets[i] to offsets[i + 1]; where it is not above 0, x is abnormal. That is `decision_function` of scikit-learn's
    Pipeline of StandardScaler and OneClassSVM (kernel rbf) with one feature.
    """

    sensors: Sequence[Sensor]
    """n of them, sorted, each once."""
    offsets: Integers
    """int64 [n + 1]"""
    support_vectors: Floats
    """float64 [total], in scaled units"""
    dual_coef: Floats
    """float64 [total]"""
    intercept: Floats
    """float64 [n]"""
    gamma: Floats
    """float64 [n], above 0"""
    mean: Floats
    """float64 [n]"""
    scale: Floats
    """float64 [n], above 0"""

    def __len__(self) -> int:
        return len(self.sensors)

    def check(self) -> None:
        """ModelSetError says which sensor's which value no model can have."""
        check_sensors(self.sensors)
        count = len(self.sensors)
        check_offsets(self.offsets, count, len(self.support_vectors))
        for name in PER_MODEL:
            _check_length(name, getattr(self, name), count, "one for each sensor")
        _check_length("dual_coef", self.dual_coef, len(self.support_vectors), "one for each support vector")
        self.check_model_values()
        self.check_support_vectors()

    def check_model_values(self) -> None:
        """The values of which each model has one."""
        for name in PER_MODEL:
            values = getattr(self, name)
            good = np.isfinite(values)
            if name in _POSITIVE:
                good &= values > 0
            if not good.all():
                at = int(np.argmin(good))
                right = "a number above 0" if name in _POSITIVE else "a finite number"
                raise ModelSetError(
                    f"{name} of {named(self.sensors[at])} is {values[at]}; it must be {right}."
                )

    def check_support_vectors(self) -> None:
        """The values of which each model has many."""
        for name in PER_SUPPORT_VECTOR:
            values = getattr(self, name)
            good = np.isfinite(values)
            if not good.all():
                at = int(np.argmin(good))
                owner = int(np.searchsorted(self.offsets, at, side="right")) - 1
                raise ModelSetError(
                    f"{name} of {named(self.sensors[owner])} holds {values[at]} at position "
                    f"{at - int(self.offsets[owner])}; each must be a finite number."
                )

    def pick(self, indices: Integers) -> PackedModels:
        """The models at these indices, which go up; what lies between is not read."""
        starts, counts = self.offsets[indices], np.diff(self.offsets)[indices]
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        total = int(offsets[-1])
        if len(indices) and total == self.offsets[indices[-1] + 1] - starts[0]:
            where: slice | Integers = slice(int(starts[0]), int(starts[0]) + total)
        else:
            where = np.repeat(starts - offsets[:-1], counts) + np.arange(total)
        values = {name: np.array(getattr(self, name)[where]) for name in PER_SUPPORT_VECTOR}
        values |= {name: np.array(getattr(self, name)[indices]) for name in PER_MODEL}
        return PackedModels([self.sensors[index] for index in indices.tolist()], offsets, **values)


def together(parts: Sequence[PackedModels]) -> PackedModels:
    """The models of several parts as one, sorted by sensor; ModelSetError when two have the same sensor."""
    sensors = [sensor for part in parts for sensor in part.sensors]
    order = np.array(sorted(range(len(sensors)), key=sensors.__getitem__), dtype=np.int64)
    counts = np.concatenate([np.diff(part.offsets) for part in parts]).astype(np.int64)
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])[order]
    counts = counts[order]
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    where = np.repeat(starts - offsets[:-1], counts) + np.arange(offsets[-1])
    values = {
        name: np.concatenate([getattr(part, name) for part in parts])[where] for name in PER_SUPPORT_VECTOR
    }
    values |= {name: np.concatenate([getattr(part, name) for part in parts])[order] for name in PER_MODEL}
    result = PackedModels([sensors[index] for index in order.tolist()], offsets, **values)
    check_sensors(result.sensors)
    return result


def named(sensor: Sensor) -> str:
    """How messages call a sensor."""
    device, tag = sensor
    return f"device {device[:100]!r}, tag {tag[:100]!r}"


def check_sensors(sensors: Sequence[Sensor]) -> None:
    """Sensors are there, named, sorted, and none of them twice."""
    if not sensors:
        raise ModelSetError("there is no model in the set; it must hold one at least.")
    for before, sensor in pairwise(sensors):
        if before >= sensor:
            problem = "is there twice" if before == sensor else f"stands after {named(before)}"
            raise ModelSetError(f"{named(sensor)} {problem}; sensors must be sorted, each once.")
    for device, tag in sensors:
        if not device or not tag:
            raise ModelSetError(
                f"{named((device, tag))} has an empty name; a device and a tag must have one."
            )


def check_offsets(offsets: Integers, count: int, total: int) -> None:
    """Offsets cut `total` values into `count` pieces, none of them empty."""
    _check_length("offsets", offsets, count + 1, "one for each sensor and one for the end")
    if offsets[0] != 0 or offsets[-1] != total:
        raise ModelSetError(
            f"offsets go from {offsets[0]} to {offsets[-1]}; they must go from 0 to {total}, the number of "
            f"support vectors."
        )
    rises = np.diff(offsets) > 0
    if not rises.all():
        at = int(np.argmin(rises))
        raise ModelSetError(
            f"offsets {at} and {at + 1} are {offsets[at]} and {offsets[at + 1]}; each must be larger than the one "
            f"before, for a model has one support vector at least."
        )


def _check_length(name: str, values: NDArray[np.generic], length: int, why: str) -> None:
    if values.ndim != 1 or len(values) != length:
        raise ModelSetError(f"{name} has the shape {list(values.shape)}; it must be [{length}], {why}.")
