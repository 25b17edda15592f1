"""`sensors/score` on real readings, run by a person on files: what pandas and scikit-learn make of the same readings."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from sklearn.pipeline import Pipeline

from tests.fitted_sensors import fit, packed, write_set
from tests.needed import shared
from tests.sensor_reference import Sensor, assert_equal, reference, rows_of

ROOT = Path(__file__).parents[2]
READINGS = ("data", "sensor_data.csv")
UNTRAINED: Sensor = ("3", "5")
SILENT: Sensor = ("9", "1")


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    """The 17,768 readings, with their times in UTC."""
    read = pd.read_csv(shared(*READINGS), dtype={"Device": str, "Tag": str})
    read["TS"] = pd.to_datetime(read["TS"], utc=True)
    return read


@pytest.fixture(scope="module")
def pipelines(frame: pd.DataFrame) -> dict[Sensor, Pipeline]:
    """A model for each sensor but one, and one of a sensor that sends nothing."""
    found = {sensor: fit(own["Value"]) for sensor, own in frame.groupby(["Device", "Tag"])}
    return {
        **{sensor: model for sensor, model in found.items() if sensor != UNTRAINED},
        SILENT: fit([1.0, 2.0, 3.0]),
    }


@pytest.fixture(scope="module")
def models(pipelines: dict[Sensor, Pipeline], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_set(tmp_path_factory.mktemp("models"), packed(pipelines))


def score(folder: Path, **inputs: object) -> Path:
    """Run the workload; the folder of predictions."""
    given = [text for name, value in inputs.items() for text in ("--input", f"{name}={value}")]
    command = [sys.executable, "-m", "batchscore.cli", "run", "sensors/score", *given]
    ran = subprocess.run(
        [*command, "--output-folder", str(folder / "out")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert ran.returncode == 0, ran.stderr + ran.stdout
    return folder / "out" / "predictions"


@pytest.mark.parametrize(("minutes", "aggregation"), [(1, "mean"), (5, "max")])
def test_the_readings_of_a_csv_are_scored_as_scikit_learn_scores_them(
    frame: pd.DataFrame,
    pipelines: dict[Sensor, Pipeline],
    models: Path,
    tmp_path: Path,
    minutes: int,
    aggregation: str,
) -> None:
    out = score(
        tmp_path, csv=shared(*READINGS), models=models, interval=f"{minutes}m", aggregation=aggregation
    )
    expected = reference(frame, pipelines, minutes, aggregation)
    assert_equal(out, expected)
    summary = json.loads((out / "summary.json").read_text("utf-8"))
    assert summary["readings"] == {
        "read": len(frame),
        "used": len(frame),
        "duplicates": 0,
        "bad": 0,
        "outside": 0,
        "late": 0,
    }
    assert summary["sensors"] == {"scored": 14, "unscored": 1, "silent": 1}
    assert summary["values"] == len(expected)
    assert summary["anomalies"] == sum(prediction for _, prediction, _ in expected.values()) > 0
    assert [(row["Device"], row["Tag"]) for row in rows_of(out / "unscored.csv")] == [UNTRAINED]
    assert [(row["Device"], row["Tag"]) for row in rows_of(out / "silent.csv")] == [SILENT]


def test_an_hour_that_was_landed_is_scored_from_its_manifest_each_reading_once(
    frame: pd.DataFrame, pipelines: dict[Sensor, Pipeline], models: Path, tmp_path: Path
) -> None:
    """Delivered in batches, some of them twice and one after the manifest was frozen; times with an offset of two hours."""
    hour = frame[(frame["TS"] > "2018-08-29T00:00Z") & (frame["TS"] <= "2018-08-29T01:00Z")]
    assert len(hour) > 3000
    lines = [
        json.dumps(
            {
                "ts": row.TS.tz_convert("+02:00").isoformat(),
                "device": row.Device,
                "tag": row.Tag,
                "value": row.Value,
                "partition": str(number % 2),
                "sequence": number,
                "index": 0,
                "enqueued": "2018-08-29T00:59:59Z" if number % 100 else "2018-08-29T01:03:00Z",
            }
        )
        for number, row in enumerate(hour.itertuples())
    ]
    folder, blobs = tmp_path / "00", []
    folder.mkdir()
    for begin in [*range(0, len(lines), 500), 250, 1250]:
        path = folder / f"0-{begin}.jsonl"
        path.write_text("\n".join(lines[begin : begin + 500]) + "\n", "utf-8")
        content = path.read_bytes()
        md5 = base64.b64encode(hashlib.md5(content).digest()).decode()
        blobs.append({"name": path.name, "size": len(content), "md5": md5})
    (folder / "1-0.jsonl").write_text(lines[0].replace('"sequence": 0', '"sequence": 99999') + "\n", "utf-8")
    manifest = tmp_path / "v1.json"
    manifest.write_text(json.dumps({"hour": "2018-08-29T00", "version": 1, "blobs": blobs}), "utf-8")

    out = score(tmp_path, readings=folder, manifest=manifest, hour="2018-08-29T00", models=models, shards=3)
    assert_equal(out, reference(hour, pipelines, 1, "mean"))
    summary = json.loads((out / "summary.json").read_text("utf-8"))
    late = sum(number % 100 == 0 for number in range(len(hour)))
    twice = sum(number % 100 == 0 for begin in (250, 1250) for number in range(begin, begin + 500))
    assert summary["readings"] == {
        "read": len(hour) + 1000,
        "used": len(hour),
        "duplicates": 1000,
        "bad": 0,
        "outside": 0,
        "late": late + twice,
    }
