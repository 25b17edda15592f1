"""Which mini-batches a parallel step has: the input's files, in order, so many at a time."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import batched
from pathlib import Path


@dataclass(frozen=True)
class MiniBatch:
    """A handful of items; `items` are names relative to the input's folder, with forward slashes."""

    index: int
    items: tuple[str, ...]

    @property
    def id(self) -> str:
        return str(self.index)


def items_in(data: Path) -> list[str]:
    """The names of all files below a folder, sorted; for a file its own name."""
    if data.is_file():
        return [data.name]
    names = []
    for folder, _, files in os.walk(data):
        prefix = Path(folder).relative_to(data)
        names += [(prefix / name).as_posix() for name in files]
    return sorted(names)


def split(items: Sequence[str], size: int) -> list[MiniBatch]:
    """The items in mini-batches of `size`; the last one may be smaller."""
    return [MiniBatch(index, group) for index, group in enumerate(batched(items, size, strict=False))]
