"""Which mini-batches a parallel step has: the input's files, in order, so many at a time."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import batched
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class MiniBatch:
    """A handful of items; `items` are names relative to the input's folder, with forward slashes.

    The items of a table are rows: then `parts` says where they lie (see batchscore.rows.reader), `rows` how many
    there are as far as that is known before reading them, and `items` names the places for people.
    """

    index: int
    items: tuple[str, ...]
    rows: int = 0
    parts: tuple[Mapping[str, Any], ...] = ()
    keys: Mapping[str, Any] = field(default_factory=dict)
    """The values of `partition_keys` that all of its items have."""

    @property
    def id(self) -> str:
        return str(self.index)

    @property
    def size(self) -> int:
        """How many items it has, as far as is known before reading it."""
        return self.counted(self.rows if self.parts else len(self.items))

    def counted(self, items: int) -> int:
        """How many items so many rows or files of it are: with `partition_keys` the partition is the item."""
        return min(items, 1) if self.keys else items


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
