"""Small sets of sensors' models, for tests."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

SCORING = Path(__file__).resolve().parents[1] / "scoring"


def make_set(folder: Path, sensors: int = 3, *, name: str = "pumps", mean: float = 10.0) -> Path:
    """A whole set of models with two support vectors each."""
    if str(SCORING) not in sys.path:
        sys.path.insert(0, str(SCORING))
    from sensors.model_set import SensorFigures, write_model_set
    from sensors.packed_models import PackedModels

    names = sorted((str(index // 5), str(index % 5)) for index in range(sensors))
    ones = np.ones(sensors)
    models = PackedModels(
        names,
        np.arange(0, 2 * sensors + 1, 2),
        np.tile([-1.0, 1.0], sensors),
        np.tile([0.5, 0.5], sensors),
        -0.4 * ones,
        ones,
        mean * ones,
        2 * ones,
    )
    figures = [SensorFigures(sensor, 100, 2, 0.01) for sensor in names]
    write_model_set(
        folder,
        models,
        figures,
        name=name,
        created_at="2026-11-21T12:00:00Z",
        readings={"from": "2026-11-01T00:00:00Z", "to": "2026-11-20T00:00:00Z", "count": 4_321},
        parameters={"nu": 0.01},
    )
    return folder
