"""Decisions of many one-class SVMs at once: what scikit-learn says of each, one by one."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensors import svm
from sensors.packed_models import PackedModels
from tests.fitted_sensors import fit, packed

RNG = np.random.default_rng(7)


def offsets_of(counts: list[int]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


@pytest.mark.parametrize(
    ("nu", "gamma", "samples"),
    [(1e-4, 0.01, 100), (0.01, "scale", 300), (0.05, "scale", 1200), (0.1, 5.0, 1200), (0.5, 0.5, 60)],
)
def test_every_decision_and_label_is_that_of_scikit_learn(
    nu: float, gamma: float | str, samples: int
) -> None:
    """To a 1e-12th of the model's own scale, |intercept|; labels wherever the decision is not rounding error."""
    pipelines = {
        (f"{number:02}", "1"): fit(
            RNG.normal(RNG.uniform(-90, 90), RNG.uniform(0.01, 20), samples), nu, gamma
        )
        for number in range(30)
    }
    models = packed(pipelines)
    counts = [int(RNG.integers(1, 900)) for _ in range(29)] + [0]
    offsets = offsets_of(counts)
    values = [
        RNG.normal(scaler.mean_[0], 3 * scaler.scale_[0], count)
        for (scaler, _), count in zip(pipelines.values(), counts, strict=True)
    ]
    found = svm.decisions(models, np.concatenate(values), offsets)
    flips = 0
    for number, (_, pipeline) in enumerate(sorted(pipelines.items())):
        if not counts[number]:
            continue
        mine = found[offsets[number] : offsets[number + 1]]
        theirs = pipeline.decision_function(values[number][:, None])
        assert np.abs(mine - theirs).max() <= 1e-12 * abs(models.intercept[number])
        clear = np.abs(theirs) > 1e-12
        labels = pipeline.predict(values[number][:, None]) == -1
        flips += int((svm.is_anomaly(mine) != labels)[clear].sum())
    assert flips == 0
    assert svm.is_anomaly(found).any()
    assert not svm.is_anomaly(found).all()


FINITE = st.floats(-1e3, 1e3)


@st.composite
def cases(draw: st.DrawFn) -> tuple[PackedModels, np.ndarray, np.ndarray]:
    count = draw(st.integers(1, 6))
    vectors = [draw(st.lists(st.floats(-9, 9), min_size=1, max_size=9)) for _ in range(count)]
    values = [draw(st.lists(FINITE, max_size=9)) for _ in range(count)]
    total = sum(map(len, vectors))
    each = {
        name: np.array([draw(st.floats(low, high)) for _ in range(count)])
        for name, low, high in [
            ("intercept", -9, 9),
            ("gamma", 1e-3, 9),
            ("mean", -99, 99),
            ("scale", 1e-2, 99),
        ]
    }
    dual = np.array([draw(st.floats(0, 1)) for _ in range(total)])
    sensors = [(str(number), "t") for number in range(count)]
    models = PackedModels(sensors, offsets_of([*map(len, vectors)]), np.concatenate(vectors), dual, **each)
    flat = np.array([value for part in values for value in part], np.float64)
    return models, flat, offsets_of([*map(len, values)])


@given(case=cases(), block=st.integers(1, 64), alone=st.integers(0, 64))
def test_padding_and_blocks_of_any_size_change_nothing(case, block: int, alone: int) -> None:
    models, values, offsets = case
    usual = svm.BLOCK_PAIRS, svm.ALONE_PAIRS
    svm.BLOCK_PAIRS, svm.ALONE_PAIRS = block, min(block, alone)
    try:
        found = svm.decisions(models, values, offsets)
    finally:
        svm.BLOCK_PAIRS, svm.ALONE_PAIRS = usual
    for sensor in range(len(models)):
        own = slice(*models.offsets[sensor : sensor + 2])
        for place in range(*offsets[sensor : sensor + 2]):
            x = (values[place] - models.mean[sensor]) / models.scale[sensor]
            terms = [
                weight * math.exp(-models.gamma[sensor] * (x - vector) ** 2)
                for weight, vector in zip(models.dual_coef[own], models.support_vectors[own], strict=True)
            ]
            assert found[place] == pytest.approx(sum(terms) + models.intercept[sensor], rel=1e-11, abs=1e-11)


def test_a_value_far_from_everything_has_the_intercept_for_its_decision() -> None:
    models = packed({("1", "1"): fit([1.0, 2.0, 3.0, 2.0], nu=0.5)})
    far = np.array([1e308, -1e308, 1e200])
    assert svm.decisions(models, far, offsets_of([3])).tolist() == [models.intercept[0]] * 3


def test_a_decision_of_exactly_zero_is_an_anomaly_as_predict_has_it() -> None:
    assert svm.is_anomaly(np.array([0.0, -0.0, -1e-300, 1e-300])).tolist() == [True, True, True, False]


def test_no_values_are_no_decisions() -> None:
    models = packed({("1", "1"): fit([1.0, 2.0, 3.0])})
    assert len(svm.decisions(models, np.zeros(0), offsets_of([0]))) == 0
