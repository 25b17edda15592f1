"""The collect step: one row per image, exactly once and in the order of names, from the receipts."""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from common.output_files import whole_file
from common.receipts import read_folder

PREDICTIONS, FAILED = "predictions.csv", "failed.csv"


@dataclass(frozen=True)
class Collected:
    """What became of every image: its row of predictions.csv, or why there is none."""

    rows: list[str]
    failures: list[tuple[str, str]]


def collect(images: Path, receipts: Path) -> Collected:
    """Match the images with the newest receipt of each; an image without one has failed, too.

    Keeps one row per image in memory.
    """
    names = sorted(path.relative_to(images).as_posix() for path in images.rglob("*") if path.is_file())
    rows: dict[str, str] = {}
    errors = dict.fromkeys(names, "no worker finished it")
    for receipt in read_folder(receipts):
        if receipt.item not in errors:
            continue
        if receipt.succeeded and receipt.row:
            rows[receipt.item] = receipt.row
        else:
            rows.pop(receipt.item, None)
            errors[receipt.item] = receipt.error or "no reason given"
    return Collected(
        [rows[name] for name in names if name in rows],
        [(name, errors[name]) for name in names if name not in rows],
    )


def write(collected: Collected, folder: Path) -> None:
    """Write predictions.csv, and failed.csv with the images that have no row."""
    with (
        whole_file(folder / PREDICTIONS) as path,
        path.open("w", encoding="utf-8", newline="") as stream,
    ):
        stream.write("File,Prediction,Probability\n")
        stream.writelines(f"{row}\n" for row in collected.rows)
    _write_table(folder / FAILED, ("File", "Error"), collected.failures)


def _write_table(target: Path, header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    with whole_file(target) as path, path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def main() -> None:
    """Collect, write, and fail when there is not a single row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=Path, required=True, help="the folder of images")
    parser.add_argument("--receipts", type=Path, required=True, help="the receipts of the classify step")
    parser.add_argument("--predictions", type=Path, required=True, help="folder for the two tables")
    args = parser.parse_args()
    collected = collect(args.images, args.receipts)
    write(collected, args.predictions)
    print(f"{len(collected.rows)} images classified, {len(collected.failures)} failed")
    for name, error in collected.failures[:10]:
        print(f"{name}: {error}", file=sys.stderr)
    if not collected.rows:
        raise SystemExit(
            "no image was classified; failed.csv says why"
            if collected.failures
            else f"no image in {args.images}"
        )


if __name__ == "__main__":
    main()
