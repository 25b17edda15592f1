"""Cuts a text at its blank lines into numbered segments, and says how many there are."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[4] / "scoring"))

from common.output_files import write_whole


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("--film", "--segments", "--count"):
        parser.add_argument(name, type=Path, required=True)
    arguments = parser.parse_args()
    segments = arguments.film.read_bytes().split(b"\n\n")
    for number, segment in enumerate(segments):
        write_whole(arguments.segments / f"seg-{number:03d}.txt", segment)
    write_whole(arguments.count, str(len(segments)).encode())


if __name__ == "__main__":
    main()
