"""Entry script of the collect step: the timings of every picture, and which ones failed and why."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from common.output_files import whole_file, write_whole
from common.receipts import OK, read_folder
from style_transfer.errors import ResultError, StyleTransferError
from style_transfer.timings import csv_table, timings_header, timings_line


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
    told = _tell(items, receipts)
    done = [name for name in items if name not in told.errors]
    with whole_file(report / "timings.csv") as path, path.open("w", encoding="utf-8", newline="") as table:
        table.write(f"{timings_header(('item',))}\n")
        table.writelines(f"{told.timings[name]}\n" for name in done)
    failed = [(name, told.errors[name]) for name in items if name in told.errors]
    write_whole(report / "failed.csv", csv_table(("item", "reason"), failed).encode())
    notes = [(name, told.notes[name]) for name in done if name in told.notes]
    write_whole(report / "notes.csv", csv_table(("item", "note"), notes).encode())
    if not done:
        raise ResultError(f"none of {len(items)} pictures was painted; the first: {': '.join(failed[0])}")
    return f"{len(done)} of {len(items)} pictures painted, {len(failed)} failed"


@dataclass
class _Told:
    """What the receipts say, by item, in as little memory as it takes: there may be a million."""

    errors: dict[str, str]
    """Those whose newest receipt tells of a failure, and those without any."""
    timings: dict[str, str] = field(default_factory=dict)
    """The line of the table: of the newest receipt that tells of real work, else of the first that tells of none."""
    notes: dict[str, str] = field(default_factory=dict)


def _tell(items: Iterable[str], receipts: Path) -> _Told:
    told = _Told(dict.fromkeys(items, "never finished"))
    known = set(told.errors)
    for receipt in read_folder(receipts):
        name = receipt.item
        if name not in known:
            continue
        if not receipt.succeeded:
            told.errors[name] = receipt.error or "no reason given"
            continue
        told.errors.pop(name, None)
        if receipt.status == OK or name not in told.timings:
            told.timings[name] = timings_line([name], receipt)
        if receipt.note:
            told.notes[name] = receipt.note
    return told


def _files(folder: Path) -> Iterator[Path]:
    for place, _, names in os.walk(folder):
        yield from (Path(place) / name for name in names)


if __name__ == "__main__":
    main()
