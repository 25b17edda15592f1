"""The longest word of each file, as a row."""

from __future__ import annotations

import argparse
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("--longest", action="store_true")
arguments = parser.parse_args()


def run(mini_batch: list[str]) -> list[str]:
    assert arguments.longest
    files = [Path(item) for item in mini_batch]
    return [f"{file.stem}: {max(file.read_text().split(), key=len)}" for file in files]
