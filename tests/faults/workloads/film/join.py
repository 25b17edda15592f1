"""Joins the developed segments; their number must be the one that was cut."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[4] / "scoring"))

from common.output_files import write_whole


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("--developed", "--count", "--joined"):
        parser.add_argument(name, type=Path, required=True)
    arguments = parser.parse_args()
    segments = sorted(arguments.developed.glob("seg-*.txt"))
    wanted = int(arguments.count.read_text())
    if len(segments) != wanted:
        sys.exit(f"{wanted} segments were cut, but {len(segments)} are there")
    write_whole(arguments.joined, b"\n\n".join(segment.read_bytes() for segment in segments))


if __name__ == "__main__":
    main()
