"""How the items of a parallel step are cut into mini-batches: by a number of files, by bytes or by columns of a table."""

from __future__ import annotations

import re

from batchscore.definitions.reading import LARGEST_COUNT, Section
from batchscore.definitions.steps import Layer, first

_TABLE_SIZE = re.compile(r"(\d{1,12})([kmg]b)", re.IGNORECASE)
_UNITS = {"kb": 1 << 10, "mb": 1 << 20, "gb": 1 << 30}


def mini_batch_size(layers: tuple[Layer, ...], is_table: bool) -> int | None:
    """How many files, or for a table how many bytes (`1024`, `10kb`, `1mb`), a mini-batch has."""

    def size(section: Section) -> int | None:
        node = section.get("mini_batch_size")
        match = _TABLE_SIZE.fullmatch(node.value.strip()) if node and isinstance(node.value, str) else None
        if match is None:
            return section.whole("mini_batch_size", 1)
        if not is_table:
            section.refuse(
                "mini_batch_size",
                f"is {match[0]!r}, a size of tables, and the items are files. Give a number of files.",
            )
            return None
        size_bytes = int(match[1]) * _UNITS[match[2].lower()]
        if not 1 <= size_bytes <= LARGEST_COUNT:
            section.wrong("mini_batch_size", f"from 1 to {LARGEST_COUNT} bytes")
            return None
        return size_bytes

    found = first(layers, size)
    for layer in layers:
        node = layer.section.get("mini_batch_size")
        if found is not None and node is not None and isinstance(node.value, int):
            layer.section.refuse(
                "mini_batch_size",
                f'is a number, and Azure ML takes text alone there. Write "{node.value}".',
            )
    return found


def partition_keys(layers: tuple[Layer, ...], is_table: bool) -> tuple[str, ...] | None:
    """The columns that `partition_keys` names."""

    def keys(section: Section) -> tuple[str, ...] | None:
        node = section.get("partition_keys")
        if node is None:
            return None
        if not is_table:
            section.refuse(
                "partition_keys",
                "are columns of a table, and the items are files. Make the input an mltable, or remove them.",
            )
            return None
        names = [item.value for item in node.value] if isinstance(node.value, list) else []
        texts = tuple(name for name in names if isinstance(name, str) and name)
        if not texts or len(texts) < len(names) or len(set(texts)) < len(texts):
            section.wrong("partition_keys", "a list of column names, each once")
            return None
        return texts

    return first(layers, keys)
