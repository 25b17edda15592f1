"""Entry script of the classify step: a mini-batch of images in, one row per image that could be read out."""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from common.output_files import sha256_of
from common.picture_file import UnreadablePictureError, read_content
from common.receipts import MiniBatch, ReceiptBook, parameters_hash
from digits.classifier import PROBABILITIES, SCORES, Classifier, Floats, ImageError


class _Worker:
    """What one worker process keeps between mini-batches."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.images: Path | None = args.images
        self.classifier = Classifier.open(args.model, args.labels, args.scores)
        model = self.classifier.model
        parameters = {"model": sha256_of(model.path), "labels": self.classifier.labels, "scores": args.scores}
        # The rows are in the receipts; there are no output files beside them.
        self.book = ReceiptBook(args.receipts, args.receipts, parameters_hash(parameters))
        print(f"model {model.path.parent.name} on {model.device}", flush=True)

    def name(self, path: Path) -> str:
        """The image's name inside the folder of images, with forward slashes."""
        if self.images is not None and path.is_relative_to(self.images):
            return path.relative_to(self.images).as_posix()
        return path.name


_workers: list[_Worker] = []


def init() -> None:
    """Open the model once per worker process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=Path, help="the folder of images, which their names are relative to")
    parser.add_argument("--model", type=Path, help="folder with model.onnx (default: the shipped one)")
    parser.add_argument("--labels", type=Path, help="text file with the name of a class on each line")
    parser.add_argument("--scores", choices=SCORES, default=PROBABILITIES, help="what the model gives")
    parser.add_argument("--receipts", type=Path, required=True, help="folder for the receipts")
    args, _ = parser.parse_known_args()
    _workers[:] = [_Worker(args)]


def run(mini_batch: list[str]) -> list[str]:
    """Classify these image files in one call of the model; one row per image that could be read."""
    (worker,) = _workers
    files = {worker.name(Path(path)): Path(path) for path in mini_batch}
    with MiniBatch(worker.book, list(files)) as batch:
        versions: dict[str, str] = {}
        decode_ms: dict[str, float] = {}
        pictures: dict[str, Floats] = {}
        for name, path in files.items():
            began = time.perf_counter()
            version = ""
            try:
                content = read_content(path)
                version = hashlib.sha256(content).hexdigest()
                if batch.skip(name, version):
                    continue
                pictures[name] = worker.classifier.prepare(content)
            except ImageError as error:
                batch.failed(name, version, str(error))
            except UnreadablePictureError as error:
                batch.failed(name, version, f"the file {error}")
            versions[name] = version
            decode_ms[name] = 1000 * (time.perf_counter() - began)
        if pictures:
            began = time.perf_counter()
            answers = worker.classifier.classify(list(pictures.values()))
            infer_ms = 1000 * (time.perf_counter() - began) / len(pictures)
            for name, (label, probability) in zip(pictures, answers, strict=True):
                milliseconds = {
                    "decode": decode_ms[name],
                    "infer": infer_ms,
                    "total": decode_ms[name] + infer_ms,
                }
                batch.ok(name, versions[name], csv_row(name, label, probability), [], milliseconds)
    return batch.rows


def csv_row(name: str, label: str, probability: float) -> str:
    """A line of predictions.csv, without its end."""
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow([name, label, f"{probability:.6f}"])
    return line.getvalue()
