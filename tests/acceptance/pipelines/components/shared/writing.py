"""How results are written."""

from __future__ import annotations

from pathlib import Path


def lines(file: Path, words: list[str]) -> None:
    file.write_text("".join(f"{word}\n" for word in words))
