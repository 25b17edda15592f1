"""The words that come at least so often, one to a line."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

import writing

parser = argparse.ArgumentParser()
for name in ("--lines", "--least", "--note", "--words"):
    parser.add_argument(name)
arguments = parser.parse_args()
assert arguments.note is None
counts = Counter(Path(arguments.lines).read_text().split())
writing.lines(
    Path(arguments.words) / "words.txt",
    [word for word, count in counts.items() if count >= int(arguments.least)],
)
