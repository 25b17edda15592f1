"""What pandas and scikit-learn make of readings, one sensor after the other: what predictions are compared with."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline

Sensor = tuple[str, str]


def reference(
    frame: pd.DataFrame, pipelines: dict[Sensor, Pipeline], minutes: int, aggregation: str
) -> dict[tuple[pd.Timestamp, str, str], tuple[float, int, float]]:
    """Value, prediction and decision by time, device and tag: one sensor after the other."""
    expected = {}
    for (device, tag), own in frame.groupby(["Device", "Tag"]):
        if (device, tag) not in pipelines:
            continue
        windows = own.set_index("TS")["Value"].resample(f"{minutes}min", closed="right", label="right")
        values = getattr(windows, aggregation)()[windows.count() > 0]
        model = pipelines[device, tag]
        column = values.to_numpy()[:, None]
        decided = zip(model.decision_function(column), model.predict(column), strict=True)
        for (time, value), (decision, label) in zip(values.items(), decided, strict=True):
            expected[time, device, tag] = (value, int(label == -1), decision)
    return expected


def rows_of(path: Path) -> Iterator[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        yield from csv.DictReader(stream)


def assert_equal(path: Path, expected: dict[Any, tuple[float, int, float]]) -> None:
    """Every value is there once, in order, with the label and the decision that scikit-learn gives."""
    rows = list(rows_of(path / "predictions.csv"))
    keys = [(pd.Timestamp(row["TS"]), row["Device"], row["Tag"]) for row in rows]
    assert keys == sorted(expected)
    found = np.array([[float(row[name]) for name in ("Val", "Prediction", "Score")] for row in rows])
    wanted = np.array([expected[key] for key in keys])
    np.testing.assert_allclose(found[:, 0], wanted[:, 0], rtol=1e-12)
    np.testing.assert_array_equal(found[:, 1], wanted[:, 1])
    np.testing.assert_allclose(found[:, 2], wanted[:, 2], rtol=1e-9, atol=1e-9)
