"""Entry script of the collect step: the timings of every picture, and which ones failed and why."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from common.output_files import write_whole
from common.receipts import read_folder
from style_transfer.errors import ResultError, StyleTransferError
from style_transfer.timings import csv_table, newest_and_worked, timings_table


def main() -> None:
    """Write timings.csv, failed.csv and notes.csv; fail where no picture was painted."""
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
    items = sorted(path.relative_to(frames).as_posix() for path in _files(frames))
    if not items:
        raise ResultError("the folder of frames is empty")
    newest, worked = newest_and_worked(read_folder(receipts))
    done = [name for name in items if name in newest and newest[name].succeeded]
    rows = (([name], worked.get(name, newest[name])) for name in done)
    write_whole(report / "timings.csv", timings_table(("item",), rows).encode())
    failed = [
        (name, (newest[name].error if name in newest else None) or "never finished")
        for name in items
        if name not in newest or not newest[name].succeeded
    ]
    write_whole(report / "failed.csv", csv_table(("item", "reason"), failed).encode())
    notes = [(name, newest[name].note or "") for name in done if newest[name].note]
    write_whole(report / "notes.csv", csv_table(("item", "note"), notes).encode())
    if not done:
        raise ResultError(f"none of {len(items)} pictures was painted; the first: {': '.join(failed[0])}")
    return f"{len(done)} of {len(items)} pictures painted, {len(failed)} failed"


def _files(folder: Path) -> Iterator[Path]:
    for place, _, names in os.walk(folder):
        yield from (Path(place) / name for name in names)


if __name__ == "__main__":
    main()
