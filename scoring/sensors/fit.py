"""One sensor's model: StandardScaler and OneClassSVM fitted to its values, or the reason why there is none."""

from __future__ import annotations

import hashlib
import math
import warnings
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import StandardScaler
from sklearn.svm import OneClassSVM

from sensors.errors import TrainingError
from sensors.packed_models import Floats, PackedModels, Sensor

GAMMAS = ("scale", "auto")
TOLERANCES = (1e-9, 1e-6, 1e-3)
"""libsvm stops when its optimum is this near; the first that it reaches within MOST_STEPS counts.

The decision at the edge of what is normal is 0, so an optimum that is 1e-3 away (scikit-learn's default) calls whatever
lies near the edge abnormal at random. With a small nu, whose decisions are all small, that is most of the readings:
fitted to 1,200 readings of each of 15 sensors, nu = 1e-4 calls 27 % of them abnormal with 1e-3, and 0.5 % with 1e-8.
"""
MOST_STEPS = 300_000
MOST_STEPS_AT_LAST = 10_000_000
NEAR_NU = 0.02
AT_THE_EDGE = 12
"""So many readings, or this share, may be called abnormal beyond nu: a few lie at the edge itself, on either side."""
MOST_BEYOND_NU = 0.1
"""A model that calls more of its own training readings abnormal than nu and this has not learned what is normal."""


@dataclass(frozen=True)
class Fitting:
    """How models are fitted."""

    nu: float = 0.01
    gamma: str = "0.02"
    """`scale`, `auto`, or a number above 0, in units of the values' standard deviation.

    With `scale`, about 1, the decisions of one feature and a small nu touch 0 between usual values, too, so that new
    ones fall into thin slits there: of 15 real sensors, half of whose minutes were held out, 6.6 % of these are then
    called abnormal with nu = 0.01, and 1.4 % with 0.02, where what is normal is one range.
    """
    min_samples: int = 100
    max_samples: int = 2_000
    seed: int = 0

    def check(self) -> None:
        """TrainingError says which value cannot be, and what can."""
        if not 0 < self.nu <= 1:
            raise TrainingError(
                f"nu is {self.nu}; it is the share of the training readings that will be called abnormal: above 0, "
                "at most 1."
            )
        if self.gamma not in GAMMAS and not _is_positive(self.gamma):
            raise TrainingError(
                f"gamma is {self.gamma[:100]!r}; it must be 'scale', 'auto' or a number above 0."
            )
        if self.min_samples < 2:
            raise TrainingError(f"min_samples is {self.min_samples}; it must be 2 at least.")
        if self.max_samples < self.min_samples:
            raise TrainingError(
                f"max_samples is {self.max_samples}, which is less than min_samples ({self.min_samples})."
            )


@dataclass(frozen=True)
class Fitted:
    """A model, and what is known of it."""

    model: PackedModels
    """of this one sensor"""
    samples: int
    training_anomaly_rate: float
    tolerance: float
    spread: bool
    """Whether it was fitted to values that were spread over their steps."""


def fit_sensor(sensor: Sensor, values: Floats, fitting: Fitting) -> Fitted | str:
    """The sensor's model, or the reason why it has none. The same values give the same model, whatever else is fitted.

    Of more than `max_samples` values so many are drawn, without replacement, by the seed and the sensor's name.
    """
    if len(values) < fitting.min_samples:
        return f"it has {len(values)} values, and min_samples is {fitting.min_samples}"
    draw = _generator(sensor, fitting)
    samples = _drawn(values, fitting, draw)
    try:
        with np.errstate(over="raise", invalid="raise", divide="raise"):
            found = _fit(sensor, samples, samples, fitting)
            near = fitting.nu + max(NEAR_NU, AT_THE_EDGE / len(samples))
            if isinstance(found, Fitted) and found.training_anomaly_rate > near:
                again = _fit(sensor, spread(samples, draw), samples, fitting)
                if isinstance(again, Fitted) and again.training_anomaly_rate < found.training_anomaly_rate:
                    found = replace(again, spread=True)
    except (ValueError, ArithmeticError) as error:
        return f"the fit failed: {str(error).splitlines()[0]}"
    if isinstance(found, Fitted) and found.training_anomaly_rate > fitting.nu + MOST_BEYOND_NU:
        return (
            f"its model would call {100 * found.training_anomaly_rate:.0f} % of its own training readings abnormal, "
            f"and nu is {100 * fitting.nu:g} %"
        )
    return found


def spread(samples: Floats, draw: np.random.Generator) -> Floats:
    """The samples, each moved by less than half the smallest step between two of them.

    A sensor that reports in steps (a counter, tenths of a degree) puts a large share of its readings on one and the
    same value. Where that is the edge of what is normal, rounding decides about all of them. Spread over their steps,
    as what was measured is, no value holds many.
    """
    steps = np.diff(np.unique(samples))
    return samples + steps.min() * (draw.random(len(samples)) - 0.5) if len(steps) else samples


def _fit(sensor: Sensor, samples: Floats, judged: Floats, fitting: Fitting) -> Fitted | str:
    """A model of the samples, and the share of the judged values that it calls abnormal."""
    if not np.isfinite(samples).all():
        return "the fit failed: not all of its values are finite numbers"
    scaler = StandardScaler().fit(samples[:, None])
    # scikit-learn sets the scale to 1 where the values do not differ by more than rounding
    if scaler.scale_[0] != math.sqrt(scaler.var_[0]):
        return _constant(samples)
    scaled = scaler.transform(samples[:, None])
    gamma = _gamma(fitting.gamma, scaled)
    machine, tolerance = _optimum(scaled, fitting.nu, gamma)
    if machine is None:
        return f"the fit did not end in {MOST_STEPS_AT_LAST:,} steps; try another gamma or fewer max_samples"
    decisions = machine.decision_function(scaler.transform(judged[:, None]))
    model = PackedModels(
        [sensor],
        np.array([0, len(machine.support_vectors_)]),
        machine.support_vectors_[:, 0].astype(np.float64),
        machine.dual_coef_[0].astype(np.float64),
        machine.intercept_.astype(np.float64),
        np.array([gamma]),
        scaler.mean_.astype(np.float64),
        scaler.scale_.astype(np.float64),
    )
    model.check()
    return Fitted(model, len(samples), float(np.mean(decisions <= 0)), tolerance, spread=False)


def _generator(sensor: Sensor, fitting: Fitting) -> np.random.Generator:
    name = "\0".join((str(fitting.seed), *sensor)).encode()
    return np.random.default_rng(int.from_bytes(hashlib.sha256(name).digest()[:16], "big"))


def _drawn(values: Floats, fitting: Fitting, draw: np.random.Generator) -> Floats:
    if len(values) <= fitting.max_samples:
        return values
    return values[np.sort(draw.choice(len(values), fitting.max_samples, replace=False))]


def _gamma(given: str, scaled: NDArray[np.float64]) -> float:
    """The number that scikit-learn takes for `scale` and `auto` with one feature."""
    if given == "scale":
        return float(1 / scaled.var())
    return 1.0 if given == "auto" else float(given)


def _optimum(scaled: NDArray[np.float64], nu: float, gamma: float) -> tuple[OneClassSVM | None, float]:
    for tolerance in TOLERANCES:
        steps = MOST_STEPS if tolerance != TOLERANCES[-1] else MOST_STEPS_AT_LAST
        machine = OneClassSVM(kernel="rbf", nu=nu, gamma=gamma, tol=tolerance, max_iter=steps)
        with warnings.catch_warnings():
            warnings.simplefilter("error", ConvergenceWarning)
            try:
                return machine.fit(scaled), tolerance
            except ConvergenceWarning:
                continue
    return None, 0.0


def _constant(samples: Floats) -> str:
    low, high = float(samples.min()), float(samples.max())
    if low == high:
        return f"it is constant: each of its {len(samples)} values is {low!r}"
    return f"it is constant: its {len(samples)} values, {low!r} to {high!r}, differ by no more than rounding"


def _is_positive(text: str) -> bool:
    try:
        return 0 < float(text) < math.inf
    except ValueError:
        return False
