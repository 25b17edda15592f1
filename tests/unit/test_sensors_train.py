"""The steps of sensors/train, called as the engine calls them: nothing dropped in silence, nothing done twice."""

from __future__ import annotations

import csv
import json
import keyword
import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from common.receipts import read_folder
from sensors import fit_shards, pack
from sensors.aggregate import SensorBlock
from sensors.errors import ResultError, TrainingError
from sensors.fit import Fitted, Fitting, fit_sensor
from sensors.fit_shards import Span
from sensors.fitted_shard import FittedShard, read_fitted
from sensors.gather import COUNTS
from sensors.model_set import MANIFEST, SENSORS, SKIPPED, verify_model_set
from sensors.packed_models import Sensor
from sensors.shards import shard_paths, write_shard

MINUTE_NS = 60_000_000_000
START_NS = 1_790_000_000_000_000_000 // MINUTE_NS * MINUTE_NS
READ = {"read": 1_010, "used": 1_000, "duplicates": 7, "bad": 3, "outside": 0, "late": 0}


def values(seed: int, count: int = 150) -> list[float]:
    return (50 + np.random.default_rng(seed).normal(size=count)).tolist()


class Training:
    """A run of the parallel step and of the last one, on shards of this test."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self._monkeypatch = monkeypatch

    def write(self, name: str, sensors: dict[Sensor, list[float]]) -> Path:
        ordered = sorted(sensors)
        counts = [len(sensors[sensor]) for sensor in ordered]
        times = [START_NS + minute * MINUTE_NS for count in counts for minute in range(1, count + 1)]
        block = SensorBlock(
            ordered,
            np.array(counts),
            np.cumsum([0, *counts]),
            np.array(times, np.int64),
            np.array([value for sensor in ordered for value in sensors[sensor]]),
        )
        path = self.folder / "shards" / f"{name}.arrow"
        path.parent.mkdir(exist_ok=True)
        write_shard(path, block)
        return path

    def fit(self, *arguments: str) -> list[str]:
        """Fit all shards in one mini-batch, in a new worker."""
        folders = [f"--{name}={self.folder / name}" for name in ("fitted", "receipts")]
        self._monkeypatch.setattr("sys.argv", ["fit_shards.py", *arguments, *folders])
        fit_shards.init()
        return fit_shards.run([str(path) for path in shard_paths(self.folder / "shards")])

    def statuses(self) -> dict[str, str]:
        return {receipt.item: receipt.status for receipt in read_folder(self.folder / "receipts")}

    def pack(self, *arguments: str) -> Path:
        (self.folder / "gathered").mkdir(exist_ok=True)
        counts = {"interval": "1m", "aggregation": "mean", "readings": READ}
        (self.folder / "gathered" / COUNTS).write_text(json.dumps(counts))
        folders = [
            f"--{name}={self.folder / name}"
            for name in ("shards", "gathered", "fitted", "receipts", "models")
        ]
        self._monkeypatch.setattr("sys.argv", ["pack.py", "--name=pumps", *arguments, *folders])
        pack.main()
        return self.folder / "models"

    def table(self, name: str) -> list[list[str]]:
        with (self.folder / "models" / name).open(encoding="utf-8", newline="") as stream:
            return list(csv.reader(stream))[1:]


@pytest.fixture
def training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Training:
    return Training(tmp_path, monkeypatch)


@pytest.fixture
def mixed(training: Training) -> Training:
    """Two shards: three sensors that can be trained, one that is constant, one with few values."""
    training.write("0000", {("1", "1"): values(1), ("2", "4"): [84.5] * 150, ("2", "5"): values(2)})
    training.write("0001", {("1", "2"): values(3, 20), ("10", "1"): values(4)})
    return training


def test_each_sensor_has_a_model_or_a_reason(mixed: Training) -> None:
    assert mixed.fit() == ["0000.arrow,2,1", "0001.arrow,1,1"]
    models = verify_model_set(mixed.pack())
    assert list(models.sensors) == [("1", "1"), ("10", "1"), ("2", "5")]
    assert [row[:3] for row in mixed.table(SENSORS)] == [
        ["1", "1", "150"],
        ["10", "1", "150"],
        ["2", "5", "150"],
    ]
    assert mixed.table(SKIPPED) == [
        ["1", "2", "20", "it has 20 values, and min_samples is 100"],
        ["2", "4", "150", "it is constant: each of its 150 values is 84.5"],
    ]


def test_the_models_are_those_of_each_sensor_alone(mixed: Training) -> None:
    mixed.fit()
    models = verify_model_set(mixed.pack())
    for sensor, seed in ((("1", "1"), 1), (("10", "1"), 4), (("2", "5"), 2)):
        alone = fit_sensor(sensor, np.array(values(seed)), Fitting())
        assert isinstance(alone, Fitted)
        packed = models.read(models.find([sensor]))
        assert packed.support_vectors.tobytes() == alone.model.support_vectors.tobytes()
        assert packed.dual_coef.tobytes() == alone.model.dual_coef.tobytes()
        for name in ("intercept", "gamma", "mean", "scale"):
            assert getattr(packed, name) == getattr(alone.model, name)


def test_the_manifest_says_what_the_set_was_made_of(mixed: Training) -> None:
    arguments = ("--nu=0.05", "--seed=7", "--until=2100-01-01T00:00:00Z")
    mixed.fit(*arguments)
    manifest = json.loads((mixed.pack(*arguments) / MANIFEST).read_bytes())
    assert (manifest["name"], manifest["sensors"], manifest["skipped"]) == ("pumps", 3, 2)
    first, last = (
        str(np.datetime64(START_NS + minutes * MINUTE_NS, "ns").astype("datetime64[ms]")) + "Z"
        for minutes in (1, 150)
    )
    assert manifest["readings"] == {"from": first, "to": last, "values": 620, **READ}
    parameters = manifest["parameters"]
    assert (parameters["nu"], parameters["seed"], parameters["gamma"]) == (0.05, 7, Fitting().gamma)
    assert (parameters["interval"], parameters["aggregation"]) == ("1m", "mean")
    assert (parameters["after"], parameters["until"]) == (None, "2100-01-01T00:00:00Z")
    rates = [float(row[4]) for row in mixed.table(SENSORS)]
    assert manifest["training_anomaly_rate"] == pytest.approx(np.mean(rates))
    assert 0 < manifest["training_anomaly_rate"] < 0.1
    assert set(manifest["versions"]) == {"python", "numpy", "scikit-learn"}
    assert manifest["samples"] == 450


def test_what_is_fitted_is_not_fitted_again_unless_something_changed(mixed: Training) -> None:
    mixed.fit()
    before = verify_model_set(mixed.pack()).manifest["files"]["model.safetensors"]
    assert mixed.fit() == ["0000.arrow,2,1", "0001.arrow,1,1"]
    assert mixed.statuses() == {"0000.arrow": "skipped", "0001.arrow": "skipped"}
    assert verify_model_set(mixed.pack()).manifest["files"]["model.safetensors"] == before

    mixed.write("0001", {("1", "2"): values(3), ("10", "1"): values(4)})
    assert mixed.fit() == ["0000.arrow,2,1", "0001.arrow,2,0"]
    assert mixed.statuses() == {"0000.arrow": "skipped", "0001.arrow": "ok"}
    (mixed.folder / "fitted" / "0000.arrow.safetensors").write_bytes(b"torn")
    mixed.fit()
    assert mixed.statuses() == {"0000.arrow": "ok", "0001.arrow": "skipped"}
    mixed.fit("--nu=0.02")
    assert mixed.statuses() == {"0000.arrow": "ok", "0001.arrow": "ok"}


def test_only_values_of_the_span_count(training: Training) -> None:
    """After `after`, until `until`: the ends of intervals, each of which is (start, end]."""
    training.write("0000", {("1", "1"): values(1, 300)})
    first, last = (
        str(np.datetime64(START_NS + minutes * MINUTE_NS, "ns").astype("datetime64[s]"))
        for minutes in (50, 200)
    )
    training.fit(f"--after={first}", f"--until={last}Z")
    [samples] = [
        row[2] for row in (training.pack(f"--after={first}", f"--until={last}Z"), training.table(SENSORS))[1]
    ]
    assert samples == "150"
    alone = fit_sensor(("1", "1"), np.array(values(1, 300)[50:200]), Fitting())
    assert isinstance(alone, Fitted)
    assert verify_model_set(training.folder / "models").read().mean == alone.model.mean


@pytest.mark.parametrize(
    ("after", "until", "message"),
    [
        ("yesterday", None, "'after' is 'yesterday'; give a time such as 2026-11-01T00:00:00Z"),
        (None, "2026-13-01", "'until' is '2026-13-01'"),
        ("2026-11-02T00:00:00Z", "2026-11-01T00:00:00Z", "no time is after .* and not after"),
        ("2026-11-01T02:00:00+02:00", "2026-11-01T00:00:00Z", "no time is after .* and not after"),
    ],
)
def test_a_span_that_is_none_is_told(after: str | None, until: str | None, message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        Span(after, until)


def test_a_set_is_made_of_all_shards_or_not_at_all(
    mixed: Training, capsys: pytest.CaptureFixture[str]
) -> None:
    path = mixed.folder / "shards" / "0001.arrow"
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    assert mixed.fit() == ["0000.arrow,2,1"]
    with pytest.raises(SystemExit, match=r"1 of 2 shards are not fitted, .*0001.arrow is no whole shard"):
        mixed.pack()
    assert not (mixed.folder / "models").exists()
    path.write_bytes(whole)
    mixed.fit()
    assert mixed.statuses() == {"0000.arrow": "skipped", "0001.arrow": "ok"}
    assert len(verify_model_set(mixed.pack())) == 3


def test_a_set_without_a_model_is_none(training: Training) -> None:
    training.write("0000", {("1", "1"): [1.0] * 200, ("1", "2"): values(1, 5)})
    training.fit()
    with pytest.raises(
        SystemExit, match="none of 2 sensors has a model: device '1', tag '1': it is constant"
    ):
        training.pack()


def test_no_readings_at_all_are_told(training: Training) -> None:
    training.write("0000", {})
    training.fit()
    with pytest.raises(SystemExit, match="none of 0 sensors has a model: no readings"):
        training.pack()


def test_what_a_shard_was_fitted_to_is_read_as_it_was_written(mixed: Training) -> None:
    mixed.fit()
    read = read_fitted(mixed.folder / "fitted", "0000.arrow")
    made = fit_shards.fit_shard(mixed.folder / "shards" / "0000.arrow", Fitting(), Span(None, None))
    assert (read.figures, read.skipped, read.values) == (made.figures, made.skipped, made.values)
    assert (read.first_ns, read.last_ns) == (made.first_ns, made.last_ns)
    (mixed.folder / "fitted" / "0000.arrow.json").write_text('{"models": 0}')
    with pytest.raises(ResultError, match=r"0000.arrow.json cannot be read"):
        read_fitted(mixed.folder / "fitted", "0000.arrow")


def test_more_shards_than_a_process_may_open_files_are_packed(training: Training) -> None:
    for number in range(60):
        training.write(f"{number:04}", {(f"{number:02}", "1"): values(number, 20)})
    training.fit("--min-samples=20", "--nu=0.5")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    there = len(list(Path("/dev/fd").iterdir()))
    resource.setrlimit(resource.RLIMIT_NOFILE, (there + 20, limits[1]))
    try:
        models = training.pack("--min-samples=20", "--nu=0.5")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert len(verify_model_set(models)) == 60


def test_many_reasons_are_summed_up() -> None:
    skipped: list[Any] = [pack.SkippedSensor((str(n), "1"), 0, "none") for n in range(13)]
    with pytest.raises(TrainingError, match=r"none of 13 sensors has a model: .* and 3 more \(skipped.csv\)"):
        pack.pack(Path("nowhere"), "x", [FittedShard(skipped=skipped)], {}, {})


def test_inputs_have_names_that_azure_ml_takes() -> None:
    """Its Python library makes a function of a component, so `from` is no name of an input."""
    declared = yaml.safe_load((Path(fit_shards.__file__).parent / "train.pipeline.yml").read_text())
    assert [name for name in declared["inputs"] if keyword.iskeyword(name) or not name.isidentifier()] == []
