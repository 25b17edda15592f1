"""Loading a sensor's model: packed sets beside NumPy archives and pickles; and what fitting near enough costs.

A file of each kind holds the same fitted model. 100,000 models are those that were fitted, over and over.
"""

from __future__ import annotations

import pickle
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import OneClassSVM

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scoring"))

from sensors.fit import Fitted, Fitting, fit_sensor
from sensors.model_set import open_model_set
from sensors.packed_models import PackedModels, Sensor
from sensors.svm import decisions
from tests.fitted_sensors import packed, write_set

FITTED = 100
MODELS = 100_000
ROUNDS = 7
NU = 0.05
SAMPLES = 1_000


def readings(number: int) -> np.ndarray:
    random = np.random.default_rng(number)
    return 50 + 10 * np.sin(np.arange(SAMPLES) / (20 + number)) + random.normal(size=SAMPLES)


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        loading(Path(scratch))
    fitting()


def loading(folder: Path) -> None:
    pipelines = {
        (f"device-{number:04}", "1"): make_pipeline(StandardScaler(), OneClassSVM(nu=NU, tol=1e-9)).fit(
            readings(number)[:, None]
        )
        for number in range(FITTED)
    }
    small = packed(pipelines)
    for number, pipeline in enumerate(pipelines.values()):
        (folder / f"{number}.pickle").write_bytes(pickle.dumps(pipeline))
        archive(folder / f"{number}.npz", pipeline)
    whole = write_set(folder / "set", many(small))
    size = sum(file.stat().st_size for file in whole.iterdir())
    print(
        f"{len(small)} fitted models of {len(small.support_vectors) / len(small):.0f} support vectors; "
        f"{MODELS:,} in a set: {size / MODELS:.0f} bytes a model on disk"
    )
    kinds: dict[str, Callable[[], int]] = {
        "packed, opened": lambda: len(open_model_set(whole)),
        "packed, opened and all models read": lambda: len(open_model_set(whole).read()),
        "packed, opened and a 16th of the models read (a model of all)": lambda: sixteenth(whole),
        "npz": lambda: sum(read_archive(folder / f"{number}.npz") for number in range(FITTED)),
        "pickle": lambda: sum(unpickled(folder / f"{number}.pickle") for number in range(FITTED)),
    }
    spent: dict[str, list[float]] = {kind: [] for kind in kinds}
    walls: dict[str, list[float]] = {kind: [] for kind in kinds}
    for _ in range(ROUNDS):
        for kind, load in kinds.items():
            began, wall = time.process_time(), time.perf_counter()
            count = load()
            spent[kind].append((time.process_time() - began) / count * 1e6)
            walls[kind].append(time.perf_counter() - wall)
    base = statistics.median(spent["packed, opened and all models read"])
    for kind, values in spent.items():
        each = statistics.median(values)
        print(
            f"{kind}: {each:.2f} µs of CPU time a model ({each / base:.1f} × packed), "
            f"{statistics.median(walls[kind]):.3f} s in all"
        )
    command = [sys.executable, "-m", "benchmarks.model_set", str(whole)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    print(ran.stdout, end="")


def many(small: PackedModels) -> PackedModels:
    """MODELS models: the fitted ones, over and over."""
    turns = MODELS // len(small)
    sensors: list[Sensor] = [
        (f"device-{turn:04}-{device}", tag) for turn in range(turns) for device, tag in small.sensors
    ]
    counts = np.tile(np.diff(small.offsets), turns)
    names = ("support_vectors", "dual_coef", "intercept", "gamma", "mean", "scale")
    values = {name: np.tile(getattr(small, name), turns) for name in names}
    return PackedModels(sensors, np.concatenate([[0], np.cumsum(counts)]), **values)


def sixteenth(folder: Path) -> int:
    models = open_model_set(folder)
    models.read(np.arange(0, len(models), 16))
    return len(models)


def archive(path: Path, pipeline: Pipeline) -> None:
    scaler, machine = pipeline
    np.savez(
        path,
        support_vectors=machine.support_vectors_[:, 0],
        dual_coef=machine.dual_coef_[0],
        intercept=machine.intercept_,
        gamma=machine._gamma,
        mean=scaler.mean_,
        scale=scaler.scale_,
    )


def read_archive(path: Path) -> int:
    with np.load(path) as file:
        return len([file[name] for name in file.files]) > 0


def unpickled(path: Path) -> int:
    return len(pickle.loads(path.read_bytes())) > 0


def peak(folder: Path) -> None:
    """In a process of its own: the memory that opening a set takes, and reading a 16th of it."""
    before = memory_mib()
    models = open_model_set(folder)
    models.find([models.sensors[0]])
    opened = memory_mib()
    part = models.read(np.arange(0, len(models), 16))
    read = memory_mib()
    print(
        f"memory: {opened - before:.0f} MiB more to open {len(models):,} models and find one by its name, "
        f"{read - opened:.0f} MiB more to read {len(part):,} of them"
    )


def memory_mib() -> float:
    """The process's own memory; pages of the mapped file, which the system takes back when it likes, are none."""
    [line] = [
        line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon:")
    ]
    return int(line.split()[1]) / 1024


def fitting() -> None:
    """The same readings, fitted with scikit-learn's tolerance and with ours, in turns; then what gamma does to new ones."""
    for nu in (1e-4, 0.01, 0.05):
        theirs_s = ours_s = theirs_rate = ours_rate = 0.0
        vectors = [0, 0]
        for number in range(FITTED):
            values = readings(number)[:, None]
            began = time.process_time()
            theirs = make_pipeline(StandardScaler(), OneClassSVM(nu=nu, gamma="scale")).fit(values)
            rate = np.mean(theirs.decision_function(values) <= 0)
            between = time.process_time()
            ours = fit_sensor(("1", "1"), values[:, 0], Fitting(nu=nu, gamma="scale"))
            ours_s += time.process_time() - between
            theirs_s += between - began
            theirs_rate += rate
            assert isinstance(ours, Fitted), ours
            ours_rate += ours.training_anomaly_rate
            vectors[0] += len(theirs[1].support_)
            vectors[1] += len(ours.model.support_vectors)
        print(
            f"{FITTED} sensors of {SAMPLES:,} values, nu {nu:g}: scikit-learn's tolerance {1000 * theirs_s / FITTED:.1f} ms, "
            f"{vectors[0] / FITTED:.0f} support vectors, {100 * theirs_rate / FITTED:.2f} % abnormal; ours "
            f"{1000 * ours_s / FITTED:.1f} ms, {vectors[1] / FITTED:.0f}, {100 * ours_rate / FITTED:.2f} %"
        )
    for gamma in ("scale", "0.5", "0.3", "0.1", Fitting().gamma, "0.01"):
        abnormal = []
        for number in range(FITTED):
            usual = np.random.default_rng(number).normal(size=250 + SAMPLES)
            fitted = fit_sensor(("1", "1"), usual[:250], Fitting(nu=0.01, gamma=gamma))
            assert isinstance(fitted, Fitted), fitted
            abnormal.append(np.mean(decisions(fitted.model, usual[250:], np.array([0, SAMPLES])) <= 0))
        print(
            f"{FITTED} sensors of 250 normally distributed values, nu 0.01, gamma {gamma}: "
            f"{100 * np.mean(abnormal):.2f} % of {SAMPLES:,} new ones abnormal"
        )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        peak(Path(sys.argv[1]))
    else:
        main()
