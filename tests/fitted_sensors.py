"""Sensors' models fitted by scikit-learn, for tests and benchmarks that compare with it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import OneClassSVM

SCORING = Path(__file__).resolve().parents[1] / "scoring"
if str(SCORING) not in sys.path:
    sys.path.insert(0, str(SCORING))

from sensors.model_set import SensorFigures, write_model_set  # noqa: E402
from sensors.packed_models import PackedModels, Sensor  # noqa: E402

CREATED_AT = "2026-11-21T12:00:00Z"


def fit(samples: Any, nu: float = 0.05, gamma: float | str = "scale") -> Pipeline:
    """A sensor's model, made of the values that it usually has."""
    model = make_pipeline(StandardScaler(), OneClassSVM(nu=nu, gamma=gamma))
    return model.fit(np.asarray(samples, np.float64).reshape(-1, 1))


def packed(pipelines: Mapping[Sensor, Pipeline]) -> PackedModels:
    """The fitted models as they are stored."""
    sensors = sorted(pipelines)
    scalers = [pipelines[sensor][0] for sensor in sensors]
    machines = [pipelines[sensor][1] for sensor in sensors]
    counts = [len(machine.support_vectors_) for machine in machines]
    return PackedModels(
        sensors,
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        np.concatenate([machine.support_vectors_[:, 0] for machine in machines]),
        np.concatenate([machine.dual_coef_[0] for machine in machines]),
        np.array([machine.intercept_[0] for machine in machines]),
        np.array([machine._gamma for machine in machines]),
        np.array([scaler.mean_[0] for scaler in scalers]),
        np.array([scaler.scale_[0] for scaler in scalers]),
    )


def write_set(folder: Path, models: PackedModels, name: str = "sensors") -> Path:
    """A whole model set in a folder."""
    figures = [
        SensorFigures(sensor, None, count, None)
        for sensor, count in zip(models.sensors, np.diff(models.offsets).tolist(), strict=True)
    ]
    write_model_set(folder, models, figures, name=name, created_at=CREATED_AT)
    return folder
