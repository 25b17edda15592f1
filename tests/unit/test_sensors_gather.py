"""The gather step: each reading once, by intervals of event time, in shards by sensor; what it counts and refuses."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensors import buckets, gather, shards
from sensors.errors import ReadingsError
from sensors.gather import Window
from sensors.intervals import Hour
from sensors.readings_file import ReadingsFile

SCRIPT = Path(gather.__file__)
Values = dict[tuple[str, str], list[tuple[int, float]]]
START = datetime(2026, 11, 21, 17, tzinfo=UTC)


def iso(seconds: float) -> str:
    return (START + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


def reading(seconds: float, value: float, sequence: int, **more: object) -> dict[str, Any]:
    return {
        "ts": iso(seconds),
        "device": "pump",
        "tag": "1",
        "value": value,
        "partition": "0",
        "sequence": sequence,
        "index": 0,
        "enqueued": iso(seconds + 1),
        **more,
    }


@dataclass
class Gathered:
    values: Values
    counts: dict[str, Any]
    readings: dict[tuple[str, str], int]


def gathered(
    folder: Path, *files: Sequence[dict[str, Any]], hour: str | None = None, **given: Any
) -> Gathered:
    """What comes of these files of landed readings."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, rows in enumerate(files):
        path = folder / f"0-{number}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
        paths.append(ReadingsFile(path, path.name))
    window = Window(
        Hour.named(hour) if hour else None, given.get("interval", "1m"), given.get("aggregation", "mean")
    )
    out, counts = folder / "shards", folder / "gathered"
    gather.gather(paths, window, given.get("shards", 3), out, counts)
    found: Values = {}
    readings = {}
    for path in shards.shard_paths(out):
        for block in shards.read_shard(path):
            assert block.sensors == sorted(block.sensors)
            for number, sensor in enumerate(block.sensors):
                assert sensor not in found
                own = slice(*block.offsets[number : number + 2])
                found[sensor] = list(
                    zip(block.times_ns[own].tolist(), block.values[own].tolist(), strict=True)
                )
                readings[sensor] = int(block.readings[number])
    return Gathered(found, json.loads((counts / "counts.json").read_text()), readings)


def seconds_of(gathered: Gathered) -> list[tuple[float, float]]:
    """The values of the only sensor, by seconds of the hour."""
    ((_, values),) = gathered.values.items()
    return [((time - int(START.timestamp()) * 10**9) / 1e9, value) for time, value in values]


class TestIntervals:
    def test_a_reading_on_a_boundary_ends_an_interval(self, tmp_path: Path) -> None:
        rows = [reading(60, 1, 1), reading(60.001, 5, 2), reading(119, 7, 3), reading(120, 9, 4)]
        assert seconds_of(gathered(tmp_path, rows)) == [(60, 1), (120, 7)]

    @pytest.mark.parametrize(
        ("aggregation", "expected"),
        [
            ("mean", [(60, 3)]),
            ("min", [(60, 1)]),
            ("max", [(60, 6)]),
            ("last", [(60, 2)]),
            ("none", [(10, 6), (20, 1), (30, 2)]),
        ],
    )
    def test_readings_out_of_order_are_put_in_order(
        self, tmp_path: Path, aggregation: str, expected: list[tuple[float, float]]
    ) -> None:
        rows = [reading(30, 2, 1), reading(10, 6, 2), reading(20, 1, 3)]
        assert seconds_of(gathered(tmp_path, rows, aggregation=aggregation)) == expected

    def test_the_last_of_one_time_is_the_one_with_the_highest_sequence(self, tmp_path: Path) -> None:
        rows = [reading(10, 6, 9), reading(10, 4, 10), reading(10, 5, 2), reading(10, 3, 10, index=1)]
        assert seconds_of(gathered(tmp_path / "last", rows, aggregation="last")) == [(60, 3)]
        every = gathered(tmp_path / "none", rows, aggregation="none")
        assert [value for _, value in seconds_of(every)] == [5, 6, 4, 3]

    def test_one_reading_is_an_interval(self, tmp_path: Path) -> None:
        assert seconds_of(gathered(tmp_path, [reading(0.5, 4, 1)], interval="5m")) == [(300, 4)]

    def test_offsets_of_time_zones_do_not_matter(self, tmp_path: Path) -> None:
        rows = [
            reading(0, 2, 1, ts="2026-11-21T19:00:10+02:00"),
            reading(0, 4, 2, ts="2026-11-21T09:00:20-08:00"),
            reading(0, 6, 3, ts="2026-11-21 17:00:30"),
        ]
        assert seconds_of(gathered(tmp_path, rows)) == [(60, 4)]

    def test_what_was_aggregated_already_stays_as_it_is(self, tmp_path: Path) -> None:
        """The output of a Stream Analytics TumblingWindow, taken by the same intervals again."""
        rows = [{"WindowEnd": iso(60 * n), "DeviceId": 1, "Tag": "a", "Val": n / 7} for n in range(1, 61)]
        assert seconds_of(gathered(tmp_path, rows)) == [(60 * n, n / 7) for n in range(1, 61)]


class TestRepetitions:
    def test_a_delivery_in_two_files_counts_once(self, tmp_path: Path) -> None:
        rows = [reading(10, 2, 1), reading(20, 4, 2)]
        found = gathered(tmp_path, rows, rows)
        assert seconds_of(found) == [(60, 3)]
        assert (found.counts["readings"]["used"], found.counts["readings"]["duplicates"]) == (2, 2)

    def test_a_producer_that_sends_again_is_known_by_its_id(self, tmp_path: Path) -> None:
        """The copy that was enqueued first counts, whichever file is read first."""
        again = reading(10, 99, 7, id="a", enqueued=iso(50))
        found = gathered(tmp_path, [again], [reading(10, 2, 1, id="a"), reading(10, 6, 2, id="b")])
        assert seconds_of(found) == [(60, 4)]
        assert found.counts["readings"]["duplicates"] == 1

    def test_an_id_counts_for_its_sensor_and_time_alone(self, tmp_path: Path) -> None:
        rows = [reading(10, 2, 1, id="a"), reading(11, 4, 2, id="a"), reading(10, 9, 3, id="a", tag="2")]
        assert gathered(tmp_path, rows).counts["readings"]["duplicates"] == 0

    @pytest.mark.parametrize(
        "other", [{"partition": "1"}, {"sequence": 2}, {"index": 1}, {"enqueued": iso(99)}], ids=str
    )
    def test_without_an_id_the_place_in_the_hub_tells_readings_apart(
        self, tmp_path: Path, other: dict[str, Any]
    ) -> None:
        """The same number in a hub that was made anew has another enqueued time."""
        rows = [reading(10, 2, 1), reading(10, 2, 1), reading(10, 2, 1) | other]
        assert gathered(tmp_path, rows).counts["readings"] | {"late": 0} == {
            "read": 3,
            "used": 2,
            "duplicates": 1,
            "bad": 0,
            "outside": 0,
            "late": 0,
        }

    def test_rows_with_nothing_to_tell_them_apart_all_count(self, tmp_path: Path) -> None:
        rows = [{"ts": iso(10), "device": "pump", "tag": "1", "value": value} for value in (2, 2, 5)]
        found = gathered(tmp_path, rows)
        assert seconds_of(found) == [(60, 3)]
        assert found.counts["readings"]["duplicates"] == 0


class TestHour:
    def test_readings_of_other_hours_are_left_out_and_counted(self, tmp_path: Path) -> None:
        rows = [reading(0, 1, 1), reading(0.001, 2, 2), reading(3600, 4, 3), reading(3600.001, 8, 4)]
        found = gathered(tmp_path, rows, hour="2026-11-21T17", interval="1h")
        assert seconds_of(found) == [(3600, 3)]
        assert found.counts["readings"]["outside"] == 2

    def test_late_is_what_was_enqueued_after_the_hour(self, tmp_path: Path) -> None:
        rows = [reading(10, 1, 1), reading(3599.5, 2, 2), reading(20, 3, 3, enqueued=iso(3600))]
        found = gathered(tmp_path, rows, hour="2026-11-21T17")
        assert found.counts["readings"]["late"] == 1
        assert found.counts["readings"]["used"] == 3


# A plain reference: pandas, one sensor and one interval at a time.
NAMES = st.sampled_from(["1", "2", "pump", "Zürich", 'a,"b"'])
ROWS = st.lists(
    st.builds(
        dict,
        half_seconds=st.integers(-10, 400),
        device=NAMES,
        tag=NAMES,
        value=st.floats(-1e9, 1e9),
        id=st.sampled_from([None, None, "a", "b", "c"]),
        partition=st.sampled_from(["0", "1"]),
        times=st.integers(1, 3),
    ),
    max_size=40,
)


def landed(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each row as an event of its own, with its sequence number; it may be delivered several times."""
    deliveries = []
    for sequence, row in enumerate(rows):
        event = reading(
            row["half_seconds"] / 2,
            row["value"],
            sequence,
            device=row["device"],
            tag=row["tag"],
            partition=row["partition"],
            enqueued=iso(500 + sequence),
        )
        if row["id"] is not None:
            event["id"] = row["id"]
        deliveries += [event] * row["times"]
    return deliveries


def reference(deliveries: list[dict[str, Any]], minutes: int, aggregation: str) -> tuple[Values, int]:
    frame = pd.DataFrame(deliveries)
    if frame.empty:
        return {}, 0
    if "id" not in frame:
        frame["id"] = None
    frame["time"] = pd.to_datetime(frame["ts"], format="ISO8601")
    frame = frame.sort_values(["enqueued", "sequence"], kind="stable")
    with_id = frame["id"].notna()
    once = pd.concat(
        [
            frame[with_id].drop_duplicates(["device", "tag", "ts", "id"]),
            frame[~with_id].drop_duplicates(["partition", "sequence", "index", "enqueued"]),
        ]
    ).sort_values(["time", "sequence"], kind="stable")
    values: Values = {}
    for sensor, own in once.groupby(["device", "tag"]):
        if aggregation == "none":
            series = zip(own["time"], own["value"], strict=True)
        else:
            window = own.set_index("time")["value"].resample(f"{minutes}min", closed="right", label="right")
            series = getattr(window, aggregation)()[window.count() > 0].items()
        values[sensor] = [(time.value, value) for time, value in series]
    return values, len(frame) - len(once)


@given(rows=ROWS, minutes=st.sampled_from([1, 2]), aggregation=st.sampled_from(["mean", "min", "max", "last", "none"]), data=st.data())  # fmt: skip
def test_any_readings_in_any_order_and_files_are_what_pandas_makes_of_them(
    rows, minutes, aggregation, data, tmp_path_factory
) -> None:
    deliveries = landed(rows)
    shuffled = data.draw(st.permutations(deliveries))
    cut = data.draw(st.integers(0, len(shuffled)))
    count = data.draw(st.integers(1, 5))
    found = gathered(
        tmp_path_factory.mktemp("case"),
        shuffled[:cut],
        shuffled[cut:],
        interval=f"{minutes}m",
        aggregation=aggregation,
        shards=count,
    )
    expected, duplicates = reference(deliveries, minutes, aggregation)
    assert found.counts["readings"]["duplicates"] == duplicates
    assert found.counts["readings"]["used"] == len(deliveries) - duplicates == sum(found.readings.values())
    assert found.values.keys() == expected.keys()
    for sensor, values in expected.items():
        assert [time for time, _ in found.values[sensor]] == [time for time, _ in values]
        for (_, mine), (_, theirs) in zip(found.values[sensor], values, strict=True):
            assert math.isclose(mine, theirs, rel_tol=1e-12, abs_tol=1e-6)


class TestShards:
    def test_are_the_same_bytes_for_the_same_readings(self, tmp_path: Path) -> None:
        rows = [reading(n, n, n, device=str(n % 17)) for n in range(500)]
        kept = []
        for name in ("one", "two"):
            gathered(tmp_path / name, rows, shards=4)
            kept.append(
                {path.name: path.read_bytes() for path in shards.shard_paths(tmp_path / name / "shards")}
            )
        assert kept[0] == kept[1]
        assert len(kept[0]) == 4

    def test_those_of_an_earlier_try_go(self, tmp_path: Path) -> None:
        rows = [reading(n, n, n, device=str(n)) for n in range(50)]
        gathered(tmp_path, rows, shards=9)
        assert len(shards.shard_paths(tmp_path / "shards")) == 9
        assert len(gathered(tmp_path, rows, shards=2).values) == 50
        assert len(shards.shard_paths(tmp_path / "shards")) == 2

    def test_there_are_more_of_a_large_input_than_were_asked_for(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(gather, "SHARD_INPUT_BYTES", 2000)
        found = gathered(tmp_path, [reading(n, n, n, device=str(n)) for n in range(100)], shards=1)
        assert found.counts["shards"] > 5
        assert len(found.values) == 100

    def test_hold_what_was_written_to_disk_in_several_turns(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(buckets, "FLUSH_ROWS", 10)
        monkeypatch.setattr(shards, "BLOCK_VALUES", 7)
        files = [[reading(60 * n + 5, n, n, device=str(d)) for d in range(4)] for n in range(20)]
        found = gathered(tmp_path, *files, shards=2)
        assert {device: [value for _, value in values] for (device, _), values in found.values.items()} == {
            str(d): [float(n) for n in range(20)] for d in range(4)
        }

    def test_no_reading_at_all_is_one_empty_shard(self, tmp_path: Path) -> None:
        found = gathered(tmp_path, [])
        assert (found.values, found.counts["shards"], found.counts["readings"]["read"]) == ({}, 1, 0)


def test_a_gather_that_was_killed_is_made_good_by_the_next_one(tmp_path: Path) -> None:
    """Killed among its shards: all of them are there afterwards, whole, and nothing else."""
    table = tmp_path / "readings.csv"
    rows = (
        f"2026-11-21T17:00:{second:02}Z,{device},1,{second}" for device in range(3000) for second in range(3)
    )
    table.write_text("\n".join(("TS,Device,Tag,Value", *rows)) + "\n", "utf-8")

    def start(folder: Path) -> subprocess.Popen[bytes]:
        command = [sys.executable, str(SCRIPT), "--csv", str(table), "--shards", "400"]
        command += ["--output", str(folder / "shards"), "--gathered", str(folder / "gathered")]
        scratch = {"TMPDIR": str(tmp_path)}  # as the engine gives a step a folder of its own
        return subprocess.Popen(command, env=os.environ | scratch, stdout=subprocess.DEVNULL)

    def files(folder: Path) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in (folder / "shards").iterdir()}

    assert start(tmp_path / "clean").wait() == 0
    killed = start(tmp_path / "killed")
    deadline = time.monotonic() + 60
    while not shards.shard_paths(tmp_path / "killed" / "shards"):
        assert time.monotonic() < deadline
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert len(shards.shard_paths(tmp_path / "killed" / "shards")) < 400
    assert not (tmp_path / "killed" / "gathered").exists()
    assert start(tmp_path / "killed").wait() == 0
    assert files(tmp_path / "killed") == files(tmp_path / "clean")


def manifest(folder: Path, *names: str, **more: Any) -> Path:
    blobs = []
    for name in names:
        content = (folder / name).read_bytes()
        md5 = base64.b64encode(hashlib.md5(content).digest()).decode()
        blobs.append({"name": name, "size": len(content), "md5": md5})
    path = folder.parent / "v1.json"
    path.write_text(json.dumps({"hour": "2026-11-21T17", "version": 1, "blobs": blobs, **more}), "utf-8")
    return path


class TestManifest:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        folder = tmp_path / "17"
        folder.mkdir()
        for number in range(3):
            (folder / f"{number}.jsonl").write_text(json.dumps(reading(10, number, number)) + "\n")
        return folder

    def run(self, folder: Path, *arguments: str, expect: int = 0) -> str:
        command = [
            sys.executable,
            str(SCRIPT),
            "--readings",
            str(folder),
            "--output",
            str(folder.parent / "shards"),
        ]
        command += ["--gathered", str(folder.parent / "gathered"), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == expect, done.stderr
        return done.stdout + done.stderr

    def test_exactly_its_files_are_read(self, folder: Path) -> None:
        listed = manifest(folder, "0.jsonl", "2.jsonl")
        said = self.run(folder, "--manifest", str(listed), "--hour", "2026-11-21T17")
        assert "2 readings in 2 files: 2 used" in said
        assert "3 readings in 3 files" in self.run(folder)

    def test_a_missing_file_is_named(self, folder: Path) -> None:
        listed = manifest(folder, "0.jsonl", "2.jsonl")
        (folder / "2.jsonl").unlink()
        assert "error: 2.jsonl is missing" in self.run(folder, "--manifest", str(listed), expect=1)

    def test_a_file_whose_writer_gave_no_md5_is_known_by_its_size(self, folder: Path) -> None:
        size = (folder / "0.jsonl").stat().st_size
        listed = manifest(folder, blobs=[{"name": "0.jsonl", "size": size, "md5": None}])
        assert "1 readings in 1 files: 1 used" in self.run(folder, "--manifest", str(listed))
        listed = manifest(folder, blobs=[{"name": "0.jsonl", "size": size + 1, "md5": None}])
        assert "the manifest says" in self.run(folder, "--manifest", str(listed), expect=1)

    @pytest.mark.parametrize(("old", "said"), [("2", "has the MD5"), ("2,", "bytes; the manifest says")])
    def test_a_changed_file_is_named(self, folder: Path, old: str, said: str) -> None:
        listed = manifest(folder, "0.jsonl", "2.jsonl")
        path = folder / "2.jsonl"
        path.write_text(path.read_text().replace(old, "3" if old == "2" else "33,"))
        error = self.run(folder, "--manifest", str(listed), expect=1)
        assert "error: 2.jsonl" in error
        assert said in error

    def test_the_manifest_of_another_hour_is_refused(self, folder: Path) -> None:
        listed = manifest(folder, "0.jsonl")
        error = self.run(folder, "--manifest", str(listed), "--hour", "2026-11-21T18", expect=1)
        assert "is the manifest of hour '2026-11-21T17'; the run is of 2026-11-21T18" in error

    @pytest.mark.parametrize("name", ["../17/0.jsonl", "/etc/passwd", ""])
    def test_a_name_outside_of_the_folder_is_refused(self, folder: Path, name: str) -> None:
        listed = manifest(folder, blobs=[{"name": name, "size": 1, "md5": ""}])
        assert "not below the folder" in self.run(folder, "--manifest", str(listed), expect=1)

    @pytest.mark.parametrize(
        "content", ["", "[]", '{"blobs": 1}', '{"blobs": [1]}', '{"blobs": [{"name": "0.jsonl"}]}']
    )
    def test_what_is_no_manifest_is_refused(self, folder: Path, content: str) -> None:
        path = folder.parent / "v1.json"
        path.write_text(content)
        assert "error: v1.json" in self.run(folder, "--manifest", str(path), expect=1)


class TestRefused:
    @pytest.mark.parametrize(
        ("given", "said"),
        [
            ((None, None, None), "either a folder of readings or a csv"),
            ((Path("r"), None, Path("c")), "either a folder of readings or a csv"),
            ((None, Path("m"), Path("c")), "a manifest names files of a folder of readings"),
        ],
    )
    def test_readings_are_given_once(self, given: tuple[Path | None, ...], said: str) -> None:
        with pytest.raises(ReadingsError, match=said):
            gather.chosen_files(*given, None)

    def test_a_file_without_one_reading_in_it(self, tmp_path: Path) -> None:
        with pytest.raises(
            ReadingsError, match=r"none of 2 rows is a reading; the first: tag is missing \(0-0.jsonl"
        ):
            gathered(tmp_path, [{"ts": iso(1), "device": "1", "value": 1}] * 2)
