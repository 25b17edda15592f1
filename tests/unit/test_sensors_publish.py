"""Scores of shards as one table in time order, each row once, and what became of every sensor."""

from __future__ import annotations

import csv
import json
import resource
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.receipts import read_folder
from sensors import publish, score, scores, shards
from sensors.aggregate import SensorBlock
from sensors.errors import ResultError
from sensors.model_set import MANIFEST, open_model_set
from sensors.scores import Scores, merged, write_scores
from sensors.shard_results import check_results
from tests.fitted_sensors import fit, packed, write_set

MINUTE = 60 * 10**9
COUNTS: dict[str, Any] = {
    "hour": "2026-11-21T17",
    "interval": "1m",
    "aggregation": "mean",
    "time_unit": "ms",
    "readings": {"read": 9, "used": 5, "duplicates": 1, "bad": 2, "outside": 1, "late": 0},
    "bad": {"value is no number": 2},
    "bad_examples": [],
}
LABEL = "sensors@2026-11-21T12:00:00Z"
STRANGE = ('a,"b"', "Zürich\n1")


def block(values: dict[tuple[str, str], list[tuple[int, float]]]) -> SensorBlock:
    """A shard's content: minute and value of each sensor's values."""
    sensors = sorted(values)
    flat = [pair for sensor in sensors for pair in values[sensor]]
    counts = [len(values[sensor]) for sensor in sensors]
    return SensorBlock(
        sensors,
        np.array(counts, np.int64) * 2,
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        np.array([minute * MINUTE for minute, _ in flat], np.int64),
        np.array([value for _, value in flat], np.float64),
    )


class Case:
    """Shards and models in a folder, scored and published as the steps do."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self._monkeypatch = folder, monkeypatch
        self.pipelines = {
            sensor: fit([1.0, 2.0, 3.0, 2.5], 0.5) for sensor in (("1", "1"), ("2", "1"), STRANGE)
        }
        write_set(folder / "models", packed(self.pipelines))
        self.write("0000", {("1", "1"): [(1, 2.0), (2, 9.0)], ("7", "1"): [(1, 5.0)]})
        self.write("0001", {STRANGE: [(1, 2.25), (3, 1e-7)]})

    def write(self, name: str, values: dict[tuple[str, str], list[tuple[int, float]]]) -> None:
        shards.write_shard(self.folder / "shards" / f"{name}.arrow", block(values))

    def score(self, paths: Sequence[Path] | None = None) -> list[str]:
        arguments = [f"--{name}={self.folder / name}" for name in ("models", "scores", "receipts")]
        self._monkeypatch.setattr("sys.argv", ["score.py", *arguments])
        score.init()
        return score.run([str(path) for path in paths or shards.shard_paths(self.folder / "shards")])

    def statuses(self) -> dict[str, str]:
        return {receipt.item: receipt.status for receipt in read_folder(self.folder / "receipts")}

    def publish(self, form: str = "csv", **counts: Any) -> str:
        paths = shards.shard_paths(self.folder / "shards")
        check_results(paths, self.folder / "scores", self.folder / "receipts", "scored")
        checked = [self.folder / "scores" / path.name for path in paths]
        models = open_model_set(self.folder / "models")
        return publish.publish(models, paths, checked, COUNTS | counts, form, self.folder / "out")

    def table(self, name: str) -> list[list[str]]:
        with (self.folder / "out" / name).open(encoding="utf-8", newline="") as stream:
            return list(csv.reader(stream))


@pytest.fixture
def case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Case:
    return Case(tmp_path, monkeypatch)


class TestPredictions:
    def test_are_in_order_of_time_device_and_tag_with_what_scikit_learn_says(self, case: Case) -> None:
        assert case.score() == ["0000.arrow,2,1", "0001.arrow,2,1"]
        said = case.publish()
        assert said == (
            f"4 values of 2 sensors scored by {LABEL}, 2 anomalies; 1 sensors have readings and no model, "
            "1 a model and no reading"
        )
        header, *rows = case.table("predictions.csv")
        assert header == ["TS", "Device", "Tag", "Val", "Prediction", "Score", "Model"]
        expected = []
        for minute, sensor, value in [
            (1, ("1", "1"), 2.0),
            (1, STRANGE, 2.25),
            (2, ("1", "1"), 9.0),
            (3, STRANGE, 1e-7),
        ]:
            decision = case.pipelines[sensor].decision_function([[value]])[0]
            prediction = {1: "0", -1: "1"}[case.pipelines[sensor].predict([[value]])[0]]
            expected.append((f"1970-01-01T00:0{minute}:00.000Z", *sensor, value, prediction, decision))
        assert [(row[0], row[1], row[2], float(row[3]), row[4]) for row in rows] == [
            row[:5] for row in expected
        ]
        assert [float(row[5]) for row in rows] == pytest.approx([row[5] for row in expected], rel=1e-12)
        assert {row[6] for row in rows} == {LABEL}

    def test_as_parquet_have_the_same_rows(self, case: Case) -> None:
        case.score()
        case.publish()
        case.publish("parquet")
        columns = {"TS": str, "Device": str, "Tag": str, "Model": str}
        from_csv = pd.read_csv(case.folder / "out" / "predictions.csv", dtype=columns)
        table = pq.read_table(case.folder / "out" / "predictions.parquet")
        assert table.column_names == list(from_csv.columns)
        assert str(table.schema.field("TS").type) == "timestamp[ms, tz=UTC]"
        for name in table.column_names[1:]:
            assert table[name].to_pylist() == from_csv[name].tolist()
        assert [time.isoformat(timespec="milliseconds") for time in table["TS"].to_pylist()] == [
            text.replace("Z", "+00:00") for text in from_csv["TS"]
        ]

    def test_have_times_as_fine_as_they_must_be(self, case: Case) -> None:
        case.score()
        case.publish(time_unit="us")
        assert case.table("predictions.csv")[1][0] == "1970-01-01T00:01:00.000000Z"

    def test_of_no_reading_are_a_header(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        case = Case(tmp_path, monkeypatch)
        for path in shards.shard_paths(tmp_path / "shards"):
            path.unlink()
        case.write("0000", {})
        case.score()
        assert "0 values of 0 sensors" in case.publish()
        assert len(case.table("predictions.csv")) == 1
        assert len(case.table("silent.csv")) == 1 + 3


class TestSensors:
    def test_every_sensor_is_in_one_of_three_tables(self, case: Case) -> None:
        case.score()
        case.publish()
        assert case.table("sensors.csv") == [
            ["Device", "Tag", "Readings", "Values", "Anomalies"],
            ["1", "1", "4", "2", "1"],
            [*STRANGE, "4", "2", "1"],
        ]
        assert case.table("unscored.csv") == [["Device", "Tag", "Readings", "Values"], ["7", "1", "2", "1"]]
        assert case.table("silent.csv") == [["Device", "Tag"], ["2", "1"]]

    def test_the_summary_says_what_was_counted(self, case: Case) -> None:
        case.score()
        case.publish()
        summary = json.loads((case.folder / "out" / "summary.json").read_text("utf-8"))
        assert summary == {
            "hour": "2026-11-21T17",
            "interval": "1m",
            "aggregation": "mean",
            "model": LABEL,
            "trained_with": {},
            "readings": COUNTS["readings"],
            "bad": COUNTS["bad"],
            "bad_examples": [],
            "sensors": {"scored": 2, "unscored": 1, "silent": 1},
            "values": 4,
            "anomalies": 2,
            "most_anomalies": [
                {"device": "1", "tag": "1", "values": 2, "anomalies": 1},
                {"device": STRANGE[0], "tag": STRANGE[1], "values": 2, "anomalies": 1},
            ],
        }


class TestResume:
    def test_only_missing_shards_are_scored_again(self, case: Case) -> None:
        first, second = shards.shard_paths(case.folder / "shards")
        case.score([first])
        assert case.score() == ["0000.arrow,2,1", "0001.arrow,2,1"]
        assert case.statuses() == {"0000.arrow": "skipped", "0001.arrow": "ok"}
        (case.folder / "scores" / second.name).write_bytes(b"torn")
        case.score()
        assert case.statuses() == {"0000.arrow": "skipped", "0001.arrow": "ok"}
        case.publish()

    def test_other_models_score_everything_again(self, case: Case) -> None:
        case.score()
        write_set(case.folder / "models", packed(case.pipelines | {("7", "1"): fit([4.0, 5.0, 6.0])}))
        assert [row.split(",")[:2] for row in case.score()] == [["0000.arrow", "3"], ["0001.arrow", "2"]]
        assert set(case.statuses().values()) == {"ok"}


class TestOtherValues:
    """Models know the values that they were trained with: means of five minutes lie closer together than of one."""

    @pytest.mark.parametrize(
        ("interval", "said"),
        [
            ("1m", ""),
            ("5m", "The models were trained with interval 5m, not 1m: train with what you score with"),
        ],
    )
    def test_are_told(self, case: Case, interval: str, said: str) -> None:
        path = case.folder / "models" / MANIFEST
        trained_with = {"interval": interval, "aggregation": "mean"}
        content = json.loads(path.read_text("utf-8")) | {"parameters": {**trained_with, "nu": 0.01}}
        path.write_text(json.dumps(content), "utf-8")
        case.score()
        assert case.publish().endswith(said or "1 a model and no reading")
        summary = json.loads((case.folder / "out" / "summary.json").read_text("utf-8"))
        assert summary["trained_with"] == trained_with

    def test_of_imported_models_nobody_knows_them(self, case: Case) -> None:
        case.score()
        assert case.publish().endswith("1 a model and no reading")
        summary = json.loads((case.folder / "out" / "summary.json").read_text("utf-8"))
        assert summary["trained_with"] == {}


class TestRefused:
    """A part of an hour is never published."""

    def refused(self, case: Case, said: str) -> None:
        with pytest.raises(ResultError, match=said):
            case.publish()
        assert not (case.folder / "out").exists()

    def test_a_shard_that_nobody_finished(self, case: Case) -> None:
        case.score(shards.shard_paths(case.folder / "shards")[:1])
        self.refused(
            case, "1 of 2 shards are not scored, so nothing is published: 0001.arrow: no worker finished it"
        )

    def test_a_shard_that_failed(self, case: Case) -> None:
        path = case.folder / "shards" / "0001.arrow"
        path.write_bytes(path.read_bytes()[:-9])
        assert case.score() == ["0000.arrow,2,1"]
        self.refused(case, "0001.arrow: 0001.arrow is no whole shard")

    def test_scores_that_are_not_whole(self, case: Case) -> None:
        case.score()
        path = case.folder / "scores" / "0000.arrow"
        path.write_bytes(path.read_bytes()[:-9])
        self.refused(case, "0000.arrow: what was made of it is not what its receipt describes")

    def test_scores_of_what_the_shard_was_before(self, case: Case) -> None:
        case.score()
        case.write("0000", {("1", "1"): [(1, 3.0)]})
        self.refused(case, "0000.arrow: it was scored before it had its present content")

    def test_no_shard_at_all(self, case: Case) -> None:
        for path in shards.shard_paths(case.folder / "shards"):
            path.unlink()
        self.refused(case, "there is no shard")


def test_more_shards_than_a_process_may_open_files_are_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "BLOCK_VALUES", 1)  # two record batches in each
    for number in range(60):
        sensors = {(f"{number:02}", tag): [(1, 2.0)] for tag in ("1", "2")}
        shards.write_shard(tmp_path / f"{number:04}.arrow", block(sensors))
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(list(Path("/dev/fd").iterdir())) + 20, limits[1]))
    try:
        found = list(shards.sensors_of(shards.shard_paths(tmp_path)))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert found == [((f"{number:02}", tag), 2, 1) for number in range(60) for tag in ("1", "2")]


def test_files_of_one_record_batch_are_merged_at_once(tmp_path: Path) -> None:
    """However many: a turn for each end of a file, of all the others, would be the square of them."""
    paths = []
    for number in range(30):
        paths.append(tmp_path / f"{number}.arrow")
        write_scores(paths[-1], Scores(*(np.full(1, number),) * 2, *(np.ones(1),) * 2))
    (piece,) = merged(paths)
    assert piece.sensors.tolist() == list(range(30))


def test_pieces_are_written_in_none_that_is_much_larger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publish, "PIECE_ROWS", 4)
    rows = Scores(*(np.arange(11),) * 2, *(np.ones(11),) * 2)
    pieces = list(publish._larger([rows[:1], rows[1:3], rows[3:10], rows[10:]]))
    assert [piece.sensors.tolist() for piece in pieces] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9], [10]]


ROWS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 20), st.floats(-9, 9)), max_size=60)


@given(rows=ROWS, batch=st.integers(1, 9), files=st.integers(1, 4))
def test_files_merge_into_the_order_of_all_their_rows(rows, batch, files, tmp_path_factory) -> None:
    """A sensor is in one file; several of its rows may have one time, and stay as they are."""
    folder = tmp_path_factory.mktemp("merge")
    rows = sorted(rows, key=lambda row: row[:2])
    usual, scores.BATCH_ROWS = scores.BATCH_ROWS, batch
    paths = []
    try:
        for number in range(files):
            own = [row for row in rows if row[1] % files == number]
            columns = [
                np.array([row[each] for row in own], kind) for each, kind in [(0, "i8"), (1, "i8"), (2, "f8")]
            ]
            paths.append(folder / f"{number}.arrow")
            write_scores(paths[-1], Scores(*columns, columns[2]))
    finally:
        scores.BATCH_ROWS = usual
    found = [
        (int(time), int(sensor), float(value))
        for piece in merged(paths)
        for time, sensor, value in zip(piece.times_ns, piece.sensors, piece.values, strict=True)
    ]
    assert found == rows
