"""Entry script of the publish step: one table of predictions in time order, and what became of every sensor."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TextIO

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from common.output_files import whole_file, write_whole
from sensors.errors import ResultError, SensorsError
from sensors.gather import COUNTS
from sensors.model_set import ModelSet, open_model_set
from sensors.packed_models import Integers, Sensor
from sensors.predictions import FORMATS, field, predictions_file
from sensors.scores import Scores, merged, together
from sensors.shard_results import check_results
from sensors.shards import sensors_of, shard_paths
from sensors.svm import is_anomaly

SUMMARY = "summary.json"
MOST_ANOMALOUS = 20
PIECE_ROWS = 1 << 17


def main() -> None:
    """Publish; one sentence about what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shards", type=Path, required=True)
    parser.add_argument("--gathered", type=Path, required=True)
    parser.add_argument("--scores", type=Path, required=True)
    parser.add_argument("--receipts", type=Path, required=True)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--format", choices=FORMATS, default="csv")
    parser.add_argument("--predictions", type=Path, required=True, help="folder for the tables")
    args, _ = parser.parse_known_args()
    try:
        models = open_model_set(args.models)
        shards = shard_paths(args.shards)
        check_results(shards, args.scores, args.receipts, "scored")
        scores = [args.scores / shard.name for shard in shards]
        counts = json.loads((args.gathered / COUNTS).read_bytes())
        print(publish(models, shards, scores, counts, args.format, args.predictions), flush=True)
    except SensorsError as error:
        sys.exit(f"error: {error}")


def publish(
    models: ModelSet,
    shards: Sequence[Path],
    scores: Sequence[Path],
    counts: dict[str, Any],
    form: str,
    folder: Path,
) -> str:
    """Write the tables and the summary, the summary last; says in a sentence what was found.

    Memory holds a few numbers per model and one record batch per shard, never all the rows.
    """
    sensors = models.sensors
    anomalies, rows = np.zeros(len(models), np.int64), np.zeros(len(models), np.int64)
    with predictions_file(folder, form, sensors, models.label, counts["time_unit"]) as write:
        for piece in _larger(merged(scores)):
            rows += np.bincount(piece.sensors, minlength=len(models))
            anomalies += np.bincount(piece.sensors[is_anomaly(piece.scores)], minlength=len(models))
            write(piece)
    unscored = _sensor_tables(models, shards, rows, anomalies, folder)
    scored, silent = int((rows > 0).sum()), int((rows == 0).sum())
    most = [place for place in np.argsort(-anomalies, kind="stable")[:MOST_ANOMALOUS] if anomalies[place]]
    summary = {
        **{key: counts[key] for key in ("hour", "interval", "aggregation")},
        "model": models.label,
        "trained_with": _trained_with(models),
        "readings": counts["readings"],
        "bad": counts["bad"],
        "bad_examples": counts["bad_examples"],
        "sensors": {"scored": scored, "unscored": unscored, "silent": silent},
        "values": int(rows.sum()),
        "anomalies": int(anomalies.sum()),
        "most_anomalies": [
            {
                "device": sensors[place][0],
                "tag": sensors[place][1],
                "values": int(rows[place]),
                "anomalies": int(anomalies[place]),
            }
            for place in most
        ],
    }
    write_whole(folder / SUMMARY, json.dumps(summary, indent=2, ensure_ascii=False).encode())
    said = (
        f"{summary['values']} values of {scored} sensors scored by {models.label}, {summary['anomalies']} anomalies; "
        f"{unscored} sensors have readings and no model, {silent} a model and no reading"
    )
    other = [
        f"{key} {wanted}, not {summary[key]}"
        for key, wanted in _trained_with(models).items()
        if wanted != summary[key]
    ]
    return said + (
        f". The models were trained with {', '.join(other)}: train with what you score with" if other else ""
    )


def _trained_with(models: ModelSet) -> dict[str, str]:
    """How readings were taken together for training, where the set says so; an imported one does not."""
    parameters = models.manifest.get("parameters")
    told = parameters if isinstance(parameters, dict) else {}
    return {key: str(told[key]) for key in ("interval", "aggregation") if key in told}


def _larger(pieces: Iterable[Scores]) -> Iterator[Scores]:
    """The same rows in pieces that are each worth a call, and none much larger."""
    waiting: list[Scores] = []
    for piece in pieces:
        waiting.append(piece)
        if sum(map(len, waiting)) >= PIECE_ROWS:
            yield from _cut(together(waiting))
            waiting = []
    if waiting:
        yield together(waiting)


def _cut(rows: Scores) -> Iterator[Scores]:
    for first in range(0, len(rows), PIECE_ROWS):
        yield rows[first : first + PIECE_ROWS]


def _sensor_tables(
    models: ModelSet, shards: Sequence[Path], rows: Integers, anomalies: Integers, folder: Path
) -> int:
    """Write sensors.csv, unscored.csv and silent.csv, each sorted by device and tag; the number of unscored ones."""
    unscored = 0
    heard = np.zeros(len(models), bool)
    with ExitStack() as files:
        scored_table = _table(files, folder / "sensors.csv", "Device,Tag,Readings,Values,Anomalies")
        unscored_table = _table(files, folder / "unscored.csv", "Device,Tag,Readings,Values")
        silent_table = _table(files, folder / "silent.csv", "Device,Tag")
        for sensor, readings, count in sensors_of(shards):
            (place,) = models.find([sensor]).tolist()
            if place < 0:
                unscored += 1
                unscored_table.write(f"{_named(sensor)},{readings},{count}\n")
                continue
            if heard[place] or rows[place] != count:
                raise ResultError(
                    f"of {_named(sensor)}, {rows[place]} of {count} values are scored; the shards and the scores "
                    "are not of the same attempt. Remove both and retry."
                )
            heard[place] = True
            scored_table.write(f"{_named(sensor)},{readings},{count},{anomalies[place]}\n")
        for place in np.flatnonzero(~heard).tolist():
            silent_table.write(f"{_named(models.sensors[place])}\n")
    return unscored


def _table(files: ExitStack, target: Path, header: str) -> TextIO:
    path = files.enter_context(whole_file(target))
    stream = files.enter_context(path.open("w", encoding="utf-8", newline=""))
    stream.write(header + "\n")
    return stream


def _named(sensor: Sensor) -> str:
    return ",".join(map(field, sensor))


if __name__ == "__main__":
    main()
