"""`sensors/train` on real readings: by a person on files, and by trigger files on a host, where its sets are published."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import OneClassSVM

from batchscore.compute.base import Location
from batchscore.models import ModelStore
from batchscore.runs import Run, RunState
from tests.acceptance.hosts import ROOT, User, user_of_a_host
from tests.fitted_sensors import SCORING
from tests.needed import shared

READINGS = ("data", "sensor_data.csv")
CONSTANT, SELDOM = ("7", "constant"), ("7", "seldom")


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The 17,768 readings, and two sensors that cannot be trained."""
    path = tmp_path_factory.mktemp("readings") / "readings.csv"
    lines = [shared(*READINGS).read_text().rstrip("\n")]
    for minute in range(200):
        lines.append(f"2018-08-29 0{minute // 60}:{minute % 60:02}:30.000,{','.join(CONSTANT)},5.5")
        if minute < 9:
            lines.append(f"2018-08-29 00:0{minute}:30.000,{','.join(SELDOM)},{minute}")
    path.write_text("\n".join(lines) + "\n")
    return path


def run(workload: str, folder: Path, **inputs: object) -> Path:
    """Run the workload as a person does on files; the output folder."""
    given = [text for name, value in inputs.items() for text in ("--input", f"{name}={value}")]
    command = [
        sys.executable,
        "-m",
        "batchscore.cli",
        "run",
        workload,
        *given,
        "--output-folder",
        str(folder),
    ]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=240)
    assert ran.returncode == 0, ran.stderr + ran.stdout
    return folder


@pytest.fixture(scope="module")
def trained(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run("sensors/train", tmp_path_factory.mktemp("trained"), csv=table, nu=0.02)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_every_sensor_of_the_readings_is_in_the_set_or_listed_with_a_reason(
    table: Path, trained: Path
) -> None:
    there = {tuple(sensor) for sensor in pd.read_csv(table, dtype=str)[["Device", "Tag"]].to_numpy()}
    models = rows(trained / "models" / "sensors.csv")
    skipped = rows(trained / "models" / "skipped.csv")
    assert {(row["Device"], row["Tag"]) for row in models} == there - {CONSTANT, SELDOM}
    assert {(row["Device"], row["Tag"]): row["Reason"] for row in skipped} == {
        CONSTANT: "it is constant: each of its 200 values is 5.5",
        SELDOM: "it has 9 values, and min_samples is 100",
    }
    manifest = json.loads((trained / "models" / "manifest.json").read_bytes())
    assert manifest["readings"]["used"] == 17_768 + 209
    assert manifest["readings"]["from"] == "2018-08-28T23:01:00.000Z"
    assert manifest["readings"]["to"] == "2018-08-29T03:20:00.000Z"
    assert manifest["parameters"]["nu"] == 0.02
    assert (manifest["spread_over_steps"], manifest["less_exact"]) == (0, 0)


def test_the_set_scores_as_scikit_learn_fitted_to_the_same_intervals_does(
    table: Path, trained: Path, tmp_path: Path
) -> None:
    predictions = rows(
        run("sensors/score", tmp_path, csv=table, models=trained / "models")
        / "predictions"
        / "predictions.csv"
    )
    frame = pd.read_csv(table, dtype={"Device": str, "Tag": str}, parse_dates=["TS"])
    compared = 0
    for (device, tag), own in frame.groupby(["Device", "Tag"]):
        if (device, tag) in (CONSTANT, SELDOM):
            continue
        windows = own.set_index("TS")["Value"].resample("1min", closed="right", label="right")
        ours = [row for row in predictions if (row["Device"], row["Tag"]) == (device, tag)]
        values = np.array([float(row["Val"]) for row in ours])
        assert values == pytest.approx(windows.mean().dropna().to_numpy(), rel=1e-12)
        # What differs in the last digit of a mean moves an optimum far more, so scikit-learn gets the same digits.
        theirs = make_pipeline(StandardScaler(), OneClassSVM(nu=0.02, gamma=0.02, tol=1e-9)).fit(
            values[:, None]
        )
        expected = theirs.decision_function(values[:, None])
        found = np.array([float(row["Score"]) for row in ours])
        assert np.max(np.abs(found - expected)) <= 1e-12 * abs(theirs[1].intercept_[0])
        labels = np.array([int(row["Prediction"]) for row in ours])
        assert (labels == (theirs.predict(values[:, None]) < 0))[np.abs(expected) > 1e-12].all()
        assert np.mean(labels) < 0.05, "nu is 0.02"
        compared += len(ours)
    assert compared == len(predictions) > 3_000


@pytest.mark.parametrize(("gamma", "least", "most"), [(None, 0.005, 0.02), ("scale", 0.05, 0.1)])
def test_of_readings_that_were_held_out_about_nu_are_abnormal(
    table: Path, gamma: str | None, least: float, most: float
) -> None:
    """With the default gamma; scale leaves slits between usual values, into which readings fall."""
    assert str(SCORING) in sys.path
    from sensors.fit import Fitted, Fitting, fit_sensor
    from sensors.svm import decisions, is_anomaly

    frame = pd.read_csv(table, dtype={"Device": str, "Tag": str}, parse_dates=["TS"])
    fitting = Fitting(nu=0.01) if gamma is None else Fitting(nu=0.01, gamma=gamma)
    abnormal = held_out = 0
    for sensor, own in frame.groupby(["Device", "Tag"]):
        windows = own.set_index("TS")["Value"].resample("1min", closed="right", label="right")
        values = windows.mean().dropna().to_numpy()
        fitted = fit_sensor(sensor, values[::2], fitting)
        if isinstance(fitted, Fitted):
            unseen = values[1::2]
            abnormal += int(is_anomaly(decisions(fitted.model, unseen, np.array([0, len(unseen)]))).sum())
            held_out += len(unseen)
    assert held_out > 1_800
    assert least < abnormal / held_out < most


@pytest.mark.slow
def test_a_second_run_gives_the_same_models_and_fits_nothing_again(
    table: Path, trained: Path, tmp_path: Path
) -> None:
    before = (trained / "models" / "model.safetensors").read_bytes()
    receipts = len(list((trained / "receipts").iterdir()))
    run("sensors/train", trained, csv=table, nu=0.02)
    assert len(list((trained / "receipts").iterdir())) == receipts
    again = run("sensors/train", tmp_path, csv=table, nu=0.02, shards=3)
    assert (again / "models" / "model.safetensors").read_bytes() == before, (
        "however sensors are cut into shards"
    )


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory, table: Path) -> Iterator[User]:
    with user_of_a_host(tmp_path_factory.mktemp("host")) as user:
        user.upload("readings.csv", table.read_bytes())
        yield user


def train(user: User, **inputs: object) -> Run:
    done = user.run({"workload": "sensors/train", "inputs": {"csv": "readings.csv", **inputs}})
    assert done.state is RunState.SUCCEEDED, done.reason
    return done


@pytest.mark.slow
def test_a_trained_set_is_found_by_name_and_a_promoted_one_stays(user: User) -> None:
    store = ModelStore(user.application.storage)
    assert train(user).published == {"models": "sensors:1"}
    assert train(user, nu=0.05).published == {"models": "sensors:2"}
    assert store.resolve("sensors").path == "sensors/2"
    store.promote("sensors", 1)
    scored = user.run({"workload": "sensors/score", "inputs": {"csv": "readings.csv", "models": "sensors"}})
    assert scored.state is RunState.SUCCEEDED, scored.reason
    assert scored.job is not None
    assert scored.job.inputs["models"] == Location("system", "models", "sensors/1")
    table = user.results(scored, "predictions")["predictions.csv"].decode().splitlines()
    assert table[1].endswith(",sensors:1")
    store.promote("sensors", None)
    assert store.resolve("sensors").path == "sensors/2"


@pytest.mark.slow
def test_readings_that_no_model_can_be_made_of_fail_the_run_with_the_reason(user: User) -> None:
    user.upload("few.csv", b"TS,Device,Tag,Value\n2026-11-21T12:00:00Z,1,1,5\n")
    run = user.run(
        {"workload": "sensors/train", "inputs": {"csv": "few.csv", "models_name": "few"}},
    )
    assert run.state is RunState.FAILED
    assert "none of 1 sensors has a model: device '1', tag '1': it has 1 values" in run.reason
    assert ModelStore(user.application.storage).versions("few") == []
