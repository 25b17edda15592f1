"""A model of the reference implementation, a pickled Pipeline of scikit-learn, as a packed one, every parameter checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sensors.errors import ModelSetError
from sensors.inert_pickle import MACHINE, PIPELINE, SCALER, Instance, read_inert
from sensors.packed_models import PackedModels, Sensor


@dataclass(frozen=True)
class LegacyModel:
    """The model, and what the pickle says of its training."""

    model: PackedModels
    samples: int | None
    nu: float
    version: str
    """of scikit-learn"""


def read_legacy(sensor: Sensor, content: bytes) -> LegacyModel:
    """The sensor's model; ModelSetError says what in the pickle cannot be, or cannot be scored."""
    pipeline = read_inert(content)
    if not isinstance(pipeline, Instance) or pipeline.kind != PIPELINE:
        raise ModelSetError(f"it holds no Pipeline but {_kind(pipeline)}.")
    steps = pipeline.state.get("steps")
    kinds = (
        [_kind(step[1]) for step in steps if isinstance(step, tuple) and len(step) == 2]
        if isinstance(steps, list)
        else []
    )
    if kinds != [SCALER, MACHINE]:
        raise ModelSetError(
            f"its steps are {', '.join(kinds)[:200] or 'none'}; they must be {SCALER}, {MACHINE}."
        )
    assert isinstance(steps, list)
    scaler, machine = (step[1].state for step in steps)
    kernel = machine.get("kernel")
    if not isinstance(kernel, str) or kernel != "rbf":
        raise ModelSetError(f"its kernel is {_shown(kernel)}; only 'rbf' can be scored.")
    if _flag(machine, "_sparse", usual=False):
        raise ModelSetError("it was fitted to sparse data; a sensor's are not.")
    nu = _number(machine, "nu")
    if not 0 < nu <= 1:
        raise ModelSetError(f"its nu is {nu}; it must be above 0 and at most 1.")
    vectors = _array(machine, "support_vectors_", (None, 1))
    model = PackedModels(
        [sensor],
        np.array([0, len(vectors)], np.int64),
        vectors[:, 0],
        _array(machine, "dual_coef_", (1, len(vectors)))[0],
        _array(machine, "intercept_", (1,)),
        np.array([_gamma(machine)]),
        _array(scaler, "mean_", (1,)) if _flag(scaler, "with_mean", usual=True) else np.zeros(1),
        _array(scaler, "scale_", (1,)) if _flag(scaler, "with_std", usual=True) else np.ones(1),
    )
    model.check()
    if not (model.dual_coef > 0).all():
        raise ModelSetError("a weight in dual_coef_ is not above 0; those of a one-class SVM are.")
    shape = machine.get("shape_fit_")
    samples = shape[0] if isinstance(shape, tuple) and len(shape) == 2 and type(shape[0]) is int else None
    return LegacyModel(model, samples, nu, _version(machine))


def _gamma(machine: dict[str, Any]) -> float:
    """The number that was fitted with; what was asked for may be 'auto' or 'scale'."""
    fitted, asked = _number(machine, "_gamma"), machine.get("gamma")
    if isinstance(asked, int | float) and asked != fitted:
        raise ModelSetError(f"its gamma is {asked}, and it was fitted with {fitted}; they must be the same.")
    return fitted


def _version(machine: dict[str, Any]) -> str:
    version = machine.get("_sklearn_version")
    return version[:20] if isinstance(version, str) else "unknown"


def _flag(state: dict[str, Any], name: str, *, usual: bool) -> bool:
    value = state.get(name, usual)
    if not isinstance(value, bool):
        raise ModelSetError(f"its {name} is {_shown(value)}; it must be True or False.")
    return value


def _number(state: dict[str, Any], name: str) -> float:
    value = state.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ModelSetError(f"its {name} is {_shown(value)}; it must be a number.")
    return float(value)


def _array(state: dict[str, Any], name: str, shape: tuple[int | None, ...]) -> NDArray[np.float64]:
    value = state.get(name)
    if not isinstance(value, np.ndarray) or value.dtype.kind != "f":
        raise ModelSetError(f"its {name} is {_shown(value)}; it must be an array of floats.")
    fits = value.ndim == len(shape) and all(
        wanted in (None, there) for wanted, there in zip(shape, value.shape, strict=True)
    )
    if not fits:
        wanted = ["any" if each is None else each for each in shape]
        raise ModelSetError(
            f"its {name} has the shape {list(value.shape)}; a model of one sensor has {wanted}."
        )
    return np.array(value, np.float64)


def _kind(value: Any) -> str:
    return value.kind if isinstance(value, Instance) else type(value).__name__


def _shown(value: Any) -> str:
    """A value in a sentence; never a container, which may hold itself."""
    if value is None:
        return "not there"
    if isinstance(value, str):
        return repr(value[:60])
    return repr(value) if isinstance(value, int | float) else f"a {type(value).__name__}"
