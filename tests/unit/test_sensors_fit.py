"""A sensor's model is scikit-learn's, calls about nu of its training readings abnormal, or there is a reason for none."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import OneClassSVM

from sensors import fit
from sensors.errors import TrainingError
from sensors.fit import Fitted, Fitting, fit_sensor
from sensors.packed_models import PackedModels

SENSOR = ("pump-1", "pressure")
Floats = NDArray[np.float64]


def fitted(values: Floats, fitting: Fitting | None = None) -> Fitted:
    result = fit_sensor(SENSOR, values, fitting or Fitting())
    assert isinstance(result, Fitted), result
    return result


def readings(kind: str, count: int = 1_000, seed: int = 0) -> Floats:
    random = np.random.default_rng(seed)
    return {
        "normal": lambda: 80 + 3 * random.normal(size=count),
        "skewed": lambda: random.exponential(size=count),
        "wave": lambda: np.sin(np.arange(count) / 50) + 0.1 * random.normal(size=count),
        "two levels": lambda: np.where(random.random(count) < 0.3, 5.0, 90.0) + random.normal(size=count),
        "switch": lambda: random.integers(0, 2, count).astype(np.float64),
        "rounded": lambda: np.round(random.normal(size=count), 1),
        "counter of five": lambda: random.integers(0, 5, count).astype(np.float64),
        "far off": lambda: 1e9 + random.normal(size=count),
        "tiny": lambda: 1e-120 * random.normal(size=count),
    }[kind]()


def decision(models: PackedModels, x: Floats) -> Floats:
    """The formula, one term after the other, in the widest floats there are."""
    wide = np.longdouble
    scaled = (x.astype(wide) - models.mean.astype(wide)[0]) / models.scale.astype(wide)[0]
    pairs = np.exp(
        -models.gamma[0].astype(wide) * (scaled[:, None] - models.support_vectors.astype(wide)) ** 2
    )
    return (pairs @ models.dual_coef.astype(wide) + models.intercept.astype(wide)[0]).astype(np.float64)


KINDS = ["normal", "skewed", "wave", "two levels", "switch", "rounded", "counter of five", "far off", "tiny"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("nu", "gamma"), [(0.01, "scale"), (0.05, "auto"), (0.2, "0.5")])
def test_it_decides_as_the_pipeline_of_scikit_learn_does(kind: str, nu: float, gamma: str) -> None:
    values = readings(kind)
    fitting = Fitting(nu=nu, gamma=gamma)
    result = fitted(values, fitting)
    model = result.model
    samples = fit.spread(values, fit._generator(SENSOR, fitting)) if result.spread else values
    theirs = make_pipeline(
        StandardScaler(), OneClassSVM(nu=nu, gamma=float(gamma) if gamma == "0.5" else gamma, tol=1e-9)
    ).fit(samples[:, None])
    spread = values.std()
    x = np.concatenate([values, np.linspace(values.min() - 3 * spread, values.max() + 3 * spread, 501)])
    expected, found = theirs.decision_function(x[:, None]), decision(model, x)
    size = np.abs(model.intercept[0]) + np.abs(expected)  # what the difference of two sums can be relative to
    assert np.max(np.abs(found - expected) / size) <= 1e-12


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("nu", [0.0001, 0.001, 0.01, 0.05, 0.3])
def test_nu_is_about_the_share_of_training_readings_that_is_called_abnormal(kind: str, nu: float) -> None:
    values = readings(kind, 2_000)
    result = fitted(values, Fitting(nu=nu))
    assert (
        result.training_anomaly_rate <= nu + fit.NEAR_NU
    )  # what lies at the edge is on either side by chance


def test_with_the_tolerance_of_scikit_learn_a_small_nu_calls_much_abnormal() -> None:
    """That is why ours is another one; when this fails, theirs has become as good."""
    values = StandardScaler().fit_transform(readings("normal", 2_000)[:, None])
    assert np.mean(OneClassSVM(nu=0.0001).fit_predict(values) < 0) > 0.2


@pytest.mark.parametrize("count", [1_000, 2_000])
def test_a_sensor_that_reports_in_steps_does_not_lose_a_step_to_rounding(count: int) -> None:
    """Each of five values is a fifth of the readings, so none of them is abnormal; what lies outside is."""
    result = fitted(readings("counter of five", count), Fitting(nu=0.0001, gamma="scale"))
    assert result.spread
    assert (decision(result.model, np.arange(5.0)) > 0).all()
    assert (decision(result.model, np.array([-2.0, 6.0])) <= 0).all()


@pytest.mark.parametrize("kind", ["normal", "skewed"])
def test_what_is_normal_is_one_range_and_new_readings_are_as_abnormal_as_nu_says(kind: str) -> None:
    """With scale there are slits between usual values, into which new ones fall."""
    shares: dict[str, list[float]] = {Fitting().gamma: [], "scale": []}
    for gamma, found in shares.items():
        for seed in range(10):
            values = readings(kind, 250, seed)
            model = fitted(values, Fitting(nu=0.01, gamma=gamma)).model
            found.append(float(np.mean(decision(model, readings(kind, 2_000, 1_000 + seed)) <= 0)))
            if gamma != "scale":
                normal = decision(model, np.linspace(values.min(), values.max(), 5_001)) > 0
                assert np.count_nonzero(normal[1:] != normal[:-1]) <= 2
    assert np.mean(shares.pop(Fitting().gamma)) < 0.02
    assert np.mean(shares["scale"]) > 0.03


def test_readings_far_from_all_that_was_seen_are_abnormal_and_usual_ones_are_not() -> None:
    model = fitted(readings("normal")).model
    assert (decision(model, np.array([80.0, 79.0, 82.0])) > 0).all()
    assert (decision(model, np.array([40.0, 120.0, 1e9, -1e300])) <= 0).all()


@pytest.mark.parametrize(
    ("values", "fitting", "reason"),
    [
        (np.arange(99.0), Fitting(), "it has 99 values, and min_samples is 100"),
        (np.empty(0), Fitting(), "it has 0 values, and min_samples is 100"),
        (np.full(200, 84.5), Fitting(), "it is constant: each of its 200 values is 84.5"),
        (np.zeros(200), Fitting(), "it is constant: each of its 200 values is 0.0"),
        (
            np.tile([1e9, np.nextafter(1e9, 2e9)], 100),
            Fitting(),
            "it is constant: its 200 values, 1000000000.0 to 1000000000.0000001, differ by no more than rounding",
        ),
        (np.tile([-1e308, 1e308], 100), Fitting(), "the fit failed: "),
        (np.tile([1.0, np.nan], 100), Fitting(), "the fit failed: not all of its values are finite numbers"),
    ],
)
def test_a_sensor_without_a_model_has_a_reason(values: Floats, fitting: Fitting, reason: str) -> None:
    result = fit_sensor(SENSOR, values, fitting)
    assert isinstance(result, str)
    assert result.startswith(reason)


def test_a_model_that_calls_most_of_its_own_readings_abnormal_is_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As fits with scikit-learn's own tolerance do."""
    monkeypatch.setattr(fit, "TOLERANCES", (1e-3,))
    monkeypatch.setattr(fit, "spread", lambda samples, draw: samples)
    result = fit_sensor(SENSOR, readings("normal", 2_000), Fitting(nu=0.0001, gamma="scale"))
    assert isinstance(result, str)
    assert "of its own training readings abnormal, and nu is 0.01 %" in result


def test_a_fit_that_does_not_come_near_enough_is_tried_less_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit, "MOST_STEPS", 2_000)
    result = fitted(readings("normal", 2_000), Fitting(nu=0.05, gamma="scale"))
    assert result.tolerance > 1e-9
    monkeypatch.setattr(fit, "MOST_STEPS", 1)
    monkeypatch.setattr(fit, "MOST_STEPS_AT_LAST", 1)
    assert "the fit did not end in 1 steps" in str(fit_sensor(SENSOR, readings("normal"), Fitting()))


def test_only_so_many_samples_are_drawn_by_seed_and_sensor() -> None:
    values = readings("wave", 5_000)
    one, again = (fitted(values, Fitting(max_samples=200, min_samples=100)) for _ in range(2))
    other = fitted(values, Fitting(max_samples=200, min_samples=100, seed=1))
    assert (one.samples, other.samples) == (200, 200)
    assert one.model.mean == again.model.mean
    assert one.model.mean != other.model.mean
    neighbour = fit_sensor(("pump-2", "pressure"), values, Fitting(max_samples=200, min_samples=100))
    assert isinstance(neighbour, Fitted)
    assert neighbour.model.mean != one.model.mean


@pytest.mark.parametrize(
    ("fitting", "message"),
    [
        (Fitting(nu=0.0), "nu is 0.0; it is the share of the training readings"),
        (Fitting(nu=1.5), "nu is 1.5"),
        (Fitting(nu=float("nan")), "nu is nan"),
        (Fitting(gamma="wide"), "gamma is 'wide'; it must be 'scale', 'auto' or a number above 0"),
        (Fitting(gamma="-1"), "gamma is '-1'"),
        (Fitting(gamma="inf"), "gamma is 'inf'"),
        (Fitting(min_samples=1), "min_samples is 1; it must be 2 at least"),
        (Fitting(max_samples=50), r"max_samples is 50, which is less than min_samples \(100\)"),
    ],
)
def test_what_cannot_be_fitted_is_told_before_anything_is(fitting: Fitting, message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        fitting.check()


@given(
    st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=2, max_size=40),
    st.floats(1e-6, 1),
    st.sampled_from(["scale", "auto", "1e-9", "1e9"]),
)
def test_whatever_the_values_there_is_a_model_or_a_reason(values: list[float], nu: float, gamma: str) -> None:
    result = fit_sensor(SENSOR, np.array(values), Fitting(nu=nu, gamma=gamma, min_samples=2))
    if isinstance(result, Fitted):
        result.model.check()
        assert result.training_anomaly_rate <= nu + fit.MOST_BEYOND_NU
    else:
        assert result
