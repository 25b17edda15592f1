"""Entry script of the fit step: shards of values in, a model for each of their sensors out, or why there is none."""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import pyarrow as pa
import sklearn

from common.output_files import sha256_of
from common.receipts import MiniBatch, ReceiptBook, parameters_hash
from sensors.aggregate import SensorBlock
from sensors.errors import SensorsError, TrainingError
from sensors.fit import TOLERANCES, Fitted, Fitting, fit_sensor
from sensors.fitted_shard import FittedShard, write_fitted
from sensors.model_set import SensorFigures, SkippedSensor
from sensors.shards import read_shard
from sensors.times import parse_times


class Span:
    """The times (after, until] that values are taken from, int64 nanoseconds; None where it is open."""

    def __init__(self, after: str | None, until: str | None) -> None:
        self.after_ns, self.until_ns = _time("after", after), _time("until", until)
        if after and until and self.after_ns >= self.until_ns:
            raise TrainingError(f"no time is after {after} ('after') and not after {until} ('until').")

    def of(self, times_ns: np.ndarray) -> slice:
        """Which of these times, which go up, are in it."""
        return slice(*np.searchsorted(times_ns, [self.after_ns, self.until_ns], side="right"))


def _time(name: str, text: str | None) -> int:
    if text is None:
        limits = np.iinfo(np.int64)
        return limits.min if name == "after" else limits.max
    times, good = parse_times(pa.array([text]))
    if not good[0]:
        raise TrainingError(f"{name!r} is {text[:100]!r}; give a time such as 2026-11-01T00:00:00Z.")
    return int(times[0])


class _Worker:
    """What one worker process keeps between mini-batches."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.fitting = fitting_of(args)
        self.span = Span(args.after, args.until)
        self.folder: Path = args.fitted
        parameters = {
            **asdict(self.fitting),
            "after": args.after,
            "until": args.until,
            "tolerances": TOLERANCES,
            "scikit-learn": sklearn.__version__,
        }
        self.book = ReceiptBook(args.receipts, args.fitted, parameters_hash(parameters))

    def fit(self, path: Path, batch: MiniBatch) -> None:
        """Fit the sensors of a shard that is not valid already; what cannot be read is noted as failed."""
        began = time.perf_counter()
        version = ""
        try:
            version = sha256_of(path)
            if batch.skip(path.name, version):
                return
            fitted = fit_shard(path, self.fitting, self.span)
        except (SensorsError, OSError) as error:
            batch.failed(path.name, version, str(error))
            return
        done = time.perf_counter()
        outputs = write_fitted(self.folder, path.name, fitted)
        ended = time.perf_counter()
        milliseconds = {
            "fit": 1000 * (done - began),
            "write": 1000 * (ended - done),
            "total": 1000 * (ended - began),
        }
        row = f"{path.name},{len(fitted.figures)},{len(fitted.skipped)}"
        batch.ok(path.name, version, row, outputs, milliseconds)


def fit_shard(path: Path, fitting: Fitting, span: Span) -> FittedShard:
    """A model, or a reason, for each sensor of the shard."""
    result = FittedShard()
    for block in read_shard(path):
        _fit_block(block, fitting, span, result)
    return result


def _fit_block(block: SensorBlock, fitting: Fitting, span: Span, result: FittedShard) -> None:
    for index, sensor in enumerate(block.sensors):
        begin, end = block.offsets[index], block.offsets[index + 1]
        times_ns = block.times_ns[begin:end]
        taken = span.of(times_ns)
        times_ns, values = times_ns[taken], block.values[begin:end][taken]
        if len(values):
            result.values += len(values)
            first, last = int(times_ns[0]), int(times_ns[-1])
            result.first_ns = first if result.first_ns is None else min(first, result.first_ns)
            result.last_ns = last if result.last_ns is None else max(last, result.last_ns)
        fitted = fit_sensor(sensor, values, fitting)
        if isinstance(fitted, Fitted):
            result.models.append(fitted.model)
            result.figures.append(
                SensorFigures(
                    sensor, fitted.samples, int(fitted.model.offsets[-1]), fitted.training_anomaly_rate
                )
            )
            result.spread += fitted.spread
            result.coarse += fitted.tolerance > TOLERANCES[0]
        else:
            result.skipped.append(SkippedSensor(sensor, len(values), fitted))


def fitting_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments that say how models are fitted, and to which times' values."""
    usual = Fitting()
    parser.add_argument("--nu", type=float, default=usual.nu)
    parser.add_argument("--gamma", default=usual.gamma)
    parser.add_argument("--min-samples", type=int, default=usual.min_samples)
    parser.add_argument("--max-samples", type=int, default=usual.max_samples)
    parser.add_argument("--seed", type=int, default=usual.seed)
    parser.add_argument("--after", help="leave out what is not after this time")
    parser.add_argument("--until", help="leave out what is after this time")


def fitting_of(args: argparse.Namespace) -> Fitting:
    """What the arguments say; TrainingError when it cannot be."""
    fitting = Fitting(args.nu, args.gamma, args.min_samples, args.max_samples, args.seed)
    fitting.check()
    return fitting


_workers: list[_Worker] = []


def init() -> None:
    """Read the arguments once per worker process."""
    parser = argparse.ArgumentParser(description=__doc__)
    fitting_arguments(parser)
    parser.add_argument("--fitted", type=Path, required=True, help="folder for the models of each shard")
    parser.add_argument("--receipts", type=Path, required=True, help="folder for the receipts")
    args, _ = parser.parse_known_args()
    _workers[:] = [_Worker(args)]


def run(mini_batch: list[str]) -> list[str]:
    """Fit the sensors of these shards; one row per shard that succeeded: name, sensors with a model, and without."""
    (worker,) = _workers
    paths = [Path(path) for path in mini_batch]
    with MiniBatch(worker.book, [path.name for path in paths]) as batch:
        for path in paths:
            worker.fit(path, batch)
    return batch.rows
