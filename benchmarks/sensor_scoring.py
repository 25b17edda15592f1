"""Sensors: decisions against a loop over scikit-learn, landed readings to predictions, memory at ten times the sensors."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

SCORING = Path(__file__).resolve().parent.parent / "scoring"
sys.path.insert(0, str(SCORING))
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):  # both ways on one thread, as a worker has it
    os.environ[variable] = "1"

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from sklearn.pipeline import Pipeline

from sensors.packed_models import PackedModels, together
from sensors.svm import decisions
from tests.fitted_sensors import fit, packed, write_set

SENSORS, READINGS = 1_000, 720
FEW, MANY = 10_000, 100_000
MANY_READINGS = int(os.environ.get("SENSOR_READINGS", "72"))  # 720 takes 12 GB and a quarter of an hour
ROUNDS = 7
HOUR_START_MS = 1_795_280_400_000  # 2026-11-21T17:00:00Z
PARTITIONS = 4
FILE_ROWS = 4096
RNG = np.random.default_rng(1)
STEP = """
import runpy, sys
from pathlib import Path
script, shards, sys.argv = sys.argv[1], sys.argv[2], sys.argv[1:]
step = runpy.run_path(script, run_name="" if shards else "__main__")
if shards:
    step["init"]()
    paths = sorted(Path(shards).glob("*.arrow"))
    assert len(step["run"]([str(path) for path in paths])) == len(paths)
status = Path("/proc/self/status").read_text()
sys.stderr.write(status.split("VmHWM:")[1].split()[0])
"""


def kernel(nu: float, gamma: float | str, samples: int) -> None:
    """1,000 sensors with 720 readings each: the medians of interleaved rounds, by CPU seconds."""
    pipelines = {(f"{number:04}", "1"): a_model(nu, gamma, samples) for number in range(SENSORS)}
    models = packed(pipelines)
    values = np.concatenate(
        [RNG.normal(model[0].mean_[0], 2 * model[0].scale_[0], READINGS) for model in pipelines.values()]
    )
    offsets = np.arange(SENSORS + 1) * READINGS
    ours, theirs = [], []
    for _ in range(ROUNDS):
        began = time.process_time()
        found = decisions(models, values, offsets)
        ours.append(time.process_time() - began)
        began = time.process_time()
        wanted = [
            model.decision_function(values[begin:end, None])
            for model, (begin, end) in zip(pipelines.values(), pairwise(offsets.tolist()), strict=True)
        ]
        theirs.append(time.process_time() - began)
    error = np.abs(found - np.concatenate(wanted)) / np.repeat(np.abs(models.intercept), READINGS)
    clear = np.abs(found) > 1e-12
    flips = int(((found <= 0) != (np.concatenate(wanted) <= 0))[clear].sum())
    vectors = len(models.support_vectors) / SENSORS
    ratio = statistics.median(theirs) / statistics.median(ours)
    print(
        f"{vectors:.0f} support vectors: {ratio:.1f} × scikit-learn ({1e3 * statistics.median(ours):.0f} ms against "
        f"{1e3 * statistics.median(theirs):.0f} ms of CPU time; {1e9 * statistics.median(ours) / len(values) / vectors:.1f} ns a pair); "
        f"largest error {error.max():.0e} of the intercept, {flips} flipped labels of {len(values)}",
        flush=True,
    )


def a_model(nu: float, gamma: float | str, samples: int) -> Pipeline:
    return fit(RNG.normal(RNG.uniform(-50, 50), RNG.uniform(0.1, 10), samples), nu, gamma)


def name(sensor: int) -> tuple[str, str]:
    """Ten tags a device."""
    return f"device-{sensor // 10:05}", f"tag-{sensor % 10}"


def many_models(sensors: int) -> PackedModels:
    """Some 62 support vectors each: a hundred models that were fitted, in turn."""
    fitted = [packed({("", ""): fit(RNG.normal(20, 2, 310))}) for _ in range(100)]
    return together([replace(fitted[sensor % 100], sensors=[name(sensor)]) for sensor in range(sensors)])


def land(folder: Path, sensors: int, readings: int) -> int:
    """Write the readings of an hour as ingest lands them, in order of time; gives their bytes."""
    folder.mkdir(parents=True)
    devices, tags = (pa.array([name(sensor)[part] for sensor in range(sensors)]) for part in (0, 1))
    size = sequence = 0
    for turn in range(readings):
        at_ms = HOUR_START_MS + 1 + turn * (3_600_000 // readings) + np.sort(RNG.integers(0, 4_000, sensors))
        order = RNG.permutation(sensors)
        value = np.round(RNG.normal(20, 2.2, sensors), 3)
        numbers = np.arange(sequence, sequence + sensors)
        sequence += sensors
        lines = pc.binary_join_element_wise(
            '{"ts":"',
            iso(at_ms),
            '","device":"',
            devices.take(order),
            '","tag":"',
            tags.take(order),
            '","value":',
            pa.array(value).cast(pa.string()),
            ',"partition":"',
            pa.array(numbers % PARTITIONS).cast(pa.string()),
            '","sequence":',
            pa.array(numbers).cast(pa.string()),
            ',"index":0,"enqueued":"',
            iso(at_ms + 200),
            '"}\n',
            "",
        )
        for begin in range(0, sensors, FILE_ROWS):
            content = "".join(lines.slice(begin, FILE_ROWS).to_pylist()).encode()
            (folder / f"{turn % PARTITIONS}-{sequence}-{begin}.jsonl").write_bytes(content)
            size += len(content)
    return size


def iso(at_ms: np.ndarray) -> pa.Array:
    texts = pa.array(at_ms).cast(pa.timestamp("ms", "UTC")).cast(pa.string())
    return pc.replace_substring(texts, " ", "T")


def write_manifest(path: Path, folder: Path) -> None:
    blobs = []
    for file in sorted(folder.iterdir()):
        content = file.read_bytes()
        md5 = base64.b64encode(hashlib.md5(content).digest()).decode()
        blobs.append({"name": file.name, "size": len(content), "md5": md5})
    path.write_text(json.dumps({"hour": "2026-11-21T17", "version": 1, "blobs": blobs}))


@dataclass(frozen=True)
class Used:
    cpu_s: float
    wall_s: float
    peak_mb: float

    def __str__(self) -> str:
        return f"{self.cpu_s:.1f} CPU-s ({self.wall_s:.1f} s), {self.peak_mb:.0f} MB"


def run(script: str, *arguments: str, shards: str = "") -> Used:
    """What a step used, imports included, in a process of its own; an entry script is called with all shards."""
    began = time.perf_counter()
    command = [sys.executable, "-c", STEP, str(SCORING / "sensors" / script), shards, *arguments]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    told = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, told
    return Used(usage.ru_utime + usage.ru_stime, time.perf_counter() - began, int(told) / 1024)


def end_to_end(folder: Path, sensors: int, readings: int, aggregation: str) -> None:
    """The three steps, each in a process of its own, the score step with one worker; imports included."""
    models, landed, manifest = folder / "models", folder / "readings", folder / "v1.json"
    write_set(models, many_models(sensors))
    size = land(landed, sensors, readings)
    write_manifest(manifest, landed)
    outputs = ("shards", "gathered", "scores", "receipts", "predictions")
    out = {each: str(folder / each) for each in outputs}
    given = ("--readings", str(landed), "--manifest", str(manifest), "--hour", "2026-11-21T17")
    gathered = run(
        "gather.py",
        *given,
        "--aggregation",
        aggregation,
        "--output",
        out["shards"],
        "--gathered",
        out["gathered"],
    )
    arguments = ("--models", str(models), "--scores", out["scores"], "--receipts", out["receipts"])
    scored = run("score.py", *arguments, shards=out["shards"])
    arguments += (
        "--shards",
        out["shards"],
        "--gathered",
        out["gathered"],
        "--predictions",
        out["predictions"],
    )
    published, as_parquet = (run("publish.py", *arguments, "--format", form) for form in ("csv", "parquet"))
    summary = json.loads(Path(out["predictions"], "summary.json").read_text())
    assert summary["readings"]["used"] == sensors * readings, summary
    print(
        f"{sensors} sensors × {readings} readings ({size / 1e6:.0f} MB of JSON lines), {summary['values']} values "
        f"({aggregation}): gather {gathered}; score {scored}; publish CSV {published}, "
        f"Parquet {as_parquet}",
        flush=True,
    )


def main() -> None:
    kernel(1e-4, 0.01, 200)
    kernel(0.05, "scale", 310)
    for sensors, readings, aggregation in [
        (FEW, READINGS, "none"),
        (FEW, READINGS, "mean"),
        (FEW, 72, "none"),
        (MANY, MANY_READINGS, "none"),
    ]:
        with tempfile.TemporaryDirectory() as folder:
            end_to_end(Path(folder), sensors, readings, aggregation)


if __name__ == "__main__":
    main()
