"""Entry script of the collect step: the timings of every picture, and which ones failed and why."""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from common.output_files import write_whole
from common.receipts import read_folder
from style_transfer.errors import ResultError, StyleTransferError
from style_transfer.timings import csv_table, newest_and_worked, timings_table


def main() -> None:
    """Write timings.csv and failed.csv; fail where two pictures share a name or there are none."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=Path, required=True)
    parser.add_argument("--receipts", type=Path, required=True)
    parser.add_argument("--report", type=Path, required=True, help="folder for the tables")
    args, _ = parser.parse_known_args()
    try:
        print(collect(args.frames, args.receipts, args.report))
    except StyleTransferError as error:
        sys.exit(f"error: {error}")


def collect(frames: Path, receipts: Path, report: Path) -> str:
    """Write the tables and say in a sentence how many pictures there are and how many failed."""
    items = sorted(_file_names(frames))
    if not items:
        raise ResultError("the folder of frames is empty")
    twice = sorted(name for name, count in Counter(items).items() if count > 1)
    if twice:
        raise ResultError(
            f"{len(twice)} names stand for several pictures in different folders, of which only one is kept: "
            f"{', '.join(twice[:10])}{', …' if len(twice) > 10 else ''}"
        )
    newest, worked = newest_and_worked(read_folder(receipts))
    done = [name for name in items if name in newest and newest[name].succeeded]
    rows = (([name], worked.get(name, newest[name])) for name in done)
    write_whole(report / "timings.csv", timings_table(("item",), rows).encode())
    failed = [
        (name, newest[name].error if name in newest else "never finished")
        for name in items
        if name not in newest or not newest[name].succeeded
    ]
    write_whole(report / "failed.csv", csv_table(("item", "reason"), failed).encode())
    return f"{len(done)} of {len(items)} pictures painted, {len(failed)} failed"


def _file_names(folder: Path) -> Iterator[str]:
    for _, _, names in os.walk(folder):
        yield from names


if __name__ == "__main__":
    main()
