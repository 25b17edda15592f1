"""Entry script of the score step: shards of values in, their decisions out, thousands of sensors in one pass."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from common.output_files import sha256_of
from common.receipts import FileVersion, MiniBatch, ReceiptBook, parameters_hash
from sensors.aggregate import SensorBlock
from sensors.errors import SensorsError
from sensors.model_set import MODELS, ModelSet, open_model_set
from sensors.scores import Scores, together, write_scores
from sensors.shards import read_shard
from sensors.svm import decisions, is_anomaly


class _Worker:
    """What one worker process keeps between mini-batches."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.models = open_model_set(args.models)
        self.folder: Path = args.scores
        parameters = {"models": self.models.manifest["files"][MODELS]["sha256"]}
        self.book = ReceiptBook(args.receipts, args.scores, parameters_hash(parameters))
        print(f"models {self.models.label}: {len(self.models)} sensors", flush=True)

    def score(self, path: Path, batch: MiniBatch) -> None:
        """Score a shard that is not valid already; what cannot be done is noted as failed."""
        began = time.perf_counter()
        version = ""
        try:
            version = sha256_of(path)
            if batch.skip(path.name, version):
                return
            scores = score_shard(path, self.models)
        except (SensorsError, OSError) as error:
            batch.failed(path.name, version, str(error))
            return
        scored = time.perf_counter()
        write_scores(self.folder / path.name, scores)
        output = FileVersion.of(self.folder / path.name)
        anomalies = int(is_anomaly(scores.scores).sum())
        ended = time.perf_counter()
        milliseconds = {
            "infer": 1000 * (scored - began),
            "write": 1000 * (ended - scored),
            "total": 1000 * (ended - began),
        }
        batch.ok(path.name, version, f"{path.name},{len(scores)},{anomalies}", [output], milliseconds)


def score_shard(path: Path, models: ModelSet) -> Scores:
    """The decisions of all values of the shard's sensors that have a model, in order; only their models are read."""
    parts = [_score(block, models) for block in read_shard(path)]
    return together(parts) if parts else Scores(*(np.zeros(0, np.int64),) * 2, *(np.zeros(0),) * 2)


def _score(block: SensorBlock, models: ModelSet) -> Scores:
    places = models.find(block.sensors)
    counts = np.diff(block.offsets)
    times, values = block.times_ns, block.values
    if (places < 0).any():
        scored = np.repeat(places >= 0, counts)
        times, values, counts = times[scored], values[scored], counts[places >= 0]
        places = places[places >= 0]
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    scores = decisions(models.read(places), values, offsets)
    order = np.argsort(times, kind="stable")  # sensors go up already
    return Scores(times, np.repeat(places, counts), values, scores)[order]


_workers: list[_Worker] = []


def init() -> None:
    """Open the model set once per worker process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, required=True, help="folder of a model set")
    parser.add_argument("--scores", type=Path, required=True, help="folder for the scores")
    parser.add_argument("--receipts", type=Path, required=True, help="folder for the receipts")
    args, _ = parser.parse_known_args()
    _workers[:] = [_Worker(args)]


def run(mini_batch: list[str]) -> list[str]:
    """Score these shards; one row per shard that succeeded: name, values, anomalies."""
    (worker,) = _workers
    paths = [Path(path) for path in mini_batch]
    with MiniBatch(worker.book, [path.name for path in paths]) as batch:
        for path in paths:
            worker.score(path, batch)
    return batch.rows
