"""The part of a model's card that must be true: the table of its files with their SHA-256."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from common.output_files import sha256_of

_ROW = re.compile(
    r"^\| `(?P<name>[^`]+)` \| (?P<size>[\d,]+) \| `(?P<sha256>[0-9a-f]{64})` \|$", re.MULTILINE
)
_TABLE = re.compile(r"^\| file \| bytes \| SHA-256 \|\n\|[-:| ]+\|\n(?:\|.*\n)*", re.MULTILINE)


def files_in(card: Path) -> dict[str, str]:
    """The files that a card names, with the SHA-256 it gives for each."""
    return {row["name"]: row["sha256"] for row in _ROW.finditer(card.read_text("utf-8"))}


def file_table(folder: Path, names: Iterable[str]) -> str:
    """The table of the files as they are now."""
    rows = (
        f"| `{name}` | {(folder / name).stat().st_size:,} | `{sha256_of(folder / name)}` |\n"
        for name in names
    )
    return "| file | bytes | SHA-256 |\n|---|--:|---|\n" + "".join(rows)


def renew_table(card: Path, names: Iterable[str]) -> bool:
    """Bring the table in `card` up to date with the files beside it; whether anything changed."""
    text = card.read_text("utf-8")
    renewed, count = _TABLE.subn(file_table(card.parent, names), text, count=1)
    if count != 1:
        raise ValueError(
            f"{card.name} in {card.parent.name} has no table of files (| file | bytes | SHA-256 |)"
        )
    if renewed != text:
        card.write_text(renewed, "utf-8")
    return renewed != text
