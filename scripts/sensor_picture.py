"""A picture of scored sensors: their values in time, what each model takes for normal, and the anomalies."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scoring"))
mpl.use("Agg")

import matplotlib.dates as mdates
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from sensors.model_set import open_model_set
from sensors.packed_models import Floats, PackedModels
from sensors.svm import decisions, is_anomaly

MOST_SENSORS = 3
GRID = 4_000
VALUE, BAND, ANOMALY = "#3b5b92", "#cfe8cf", "#d1342f"


def draw(predictions: Path, models: Path, picture: Path) -> None:
    """Draw the sensors that have most anomalies; `predictions` is a table as sensors/score writes it."""
    frame = pd.read_csv(predictions, dtype={"Device": str, "Tag": str}, parse_dates=["TS"])
    counts = Counter(dict.fromkeys(zip(frame["Device"], frame["Tag"], strict=True), 0))
    counts.update((row.Device, row.Tag) for row in frame[frame["Prediction"] == 1].itertuples(index=False))
    chosen = [sensor for sensor, _ in counts.most_common(MOST_SENSORS)]
    model_set = open_model_set(models)
    figure, axes = plt.subplots(
        len(chosen), 1, figsize=(11, 2.6 * len(chosen)), sharex=True, squeeze=False, layout="constrained"
    )
    for axis, sensor in zip(axes[:, 0], chosen, strict=True):
        own = frame[(frame["Device"] == sensor[0]) & (frame["Tag"] == sensor[1])]
        model = model_set.read(model_set.find([sensor]))
        _panel(axis, own, model)
        axis.set_title(f"device {sensor[0]}, tag {sensor[1]}", loc="left", fontsize=10)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper right", fontsize=8, ncols=3)
    axes[-1, 0].xaxis.set_major_formatter(mdates.DateFormatter("%H:%M"))
    axes[-1, 0].set_xlabel(f"{frame['TS'].iloc[0]:%Y-%m-%d}, UTC; model {frame['Model'].iloc[0]}")
    figure.savefig(picture, dpi=110)
    plt.close(figure)


def _panel(axis: Axes, own: pd.DataFrame, model: PackedModels) -> None:
    values = own["Val"].to_numpy()
    margin = 0.08 * max(np.ptp(values), float(model.scale[0]))
    grid = np.linspace(values.min() - margin, values.max() + margin, GRID)
    for number, (low, high) in enumerate(normal_ranges(model, grid)):
        axis.axhspan(low, high, color=BAND, label="normal to the model" if number == 0 else None)
    wrong = own["Prediction"].to_numpy() == 1
    axis.plot(own["TS"], values, color=VALUE, linewidth=1, marker=".", markersize=3, label="value")
    axis.plot(
        own["TS"][wrong],
        values[wrong],
        linestyle="",
        marker="o",
        color=ANOMALY,
        markersize=6,
        label="anomaly",
    )
    axis.set_ylim(grid[0], grid[-1])
    axis.grid(alpha=0.25)


def normal_ranges(model: PackedModels, grid: Floats) -> list[tuple[float, float]]:
    """Where on a grid of values the one model calls them normal: the ends of each range."""
    normal = ~is_anomaly(decisions(model, grid, np.array([0, len(grid)])))
    edges = np.flatnonzero(np.diff(np.concatenate([[False], normal, [False]]).astype(np.int8)))
    return [
        (float(grid[begin]), float(grid[end - 1])) for begin, end in zip(edges[::2], edges[1::2], strict=True)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("predictions", type=Path)
    parser.add_argument("models", type=Path, help="folder of the model set")
    parser.add_argument("picture", type=Path)
    given = parser.parse_args()
    draw(given.predictions, given.models, given.picture)


if __name__ == "__main__":
    main()
