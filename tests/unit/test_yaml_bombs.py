"""A file of a kilobyte that stands for gigabytes (anchors of anchors) is read or refused in no time and no memory.

Tables (MLTable files) come from whoever may write into the data container.
"""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from batchscore.definitions import load_pipeline
from batchscore.definitions.mltable import load_table
from batchscore.errors import DefinitionError

WORDS = "bcdefghijklm"
MOST_S = 20.0
MOST_BYTES = 100_000_000


def bomb(kind: str) -> str:
    """Lines of anchors, each nine times the one before: 9 ** 12 values in all under `m`."""
    first = "[x, x, x, x, x, x, x, x, x]" if kind == "list" else "{k: x, l: x}"
    lines = [f"  a: &a {first}"]
    for before, name in zip("a" + WORDS, WORDS, strict=False):
        nine = [f"*{before}"] * 9
        value = ", ".join(nine if kind == "list" else (f"k{n}: {each}" for n, each in enumerate(nine)))
        lines.append(f"  {name}: &{name} " + (f"[{value}]" if kind == "list" else f"{{{value}}}"))
    return "\n".join(lines)


TABLES = {
    "paths": "type: mltable\nx:\n{bomb}\npaths: *m\n",
    "transformations": "type: mltable\npaths: [{{file: ./x.csv}}]\nx:\n{bomb}\ntransformations: *m\n",
    "an argument": "type: mltable\npaths: [{{file: ./x.csv}}]\nx:\n{bomb}\ntransformations: [{{read_delimited: *m}}]\n",
    "a filter": "type: mltable\npaths: [{{file: ./x.csv}}]\nx:\n{bomb}\ntransformations: [{{read_json_lines: {{}}}}, {{keep_columns: *m}}]\n",
}
PIPELINES = {
    "inputs": "type: pipeline\nname: x\nx:\n{bomb}\ninputs: *m\njobs: {{}}\n",
    "jobs": "type: pipeline\nname: x\nx:\n{bomb}\njobs: *m\n",
    "a step": "type: pipeline\nname: x\nx:\n{bomb}\njobs: {{a: *m}}\n",
    "a default": "type: pipeline\nname: x\nx:\n{bomb}\ninputs: {{a: {{type: string, default: *m}}}}\njobs: {{}}\n",
    "settings": "type: pipeline\nname: x\nx:\n{bomb}\nsettings: *m\njobs: {{}}\n",
}


def in_no_time(read: Callable[[], object]) -> None:
    """Read it, refused or not, within bounds."""
    tracemalloc.start()
    began = time.monotonic()
    try:
        with pytest.raises(DefinitionError) as refused:
            read()
        assert time.monotonic() - began < MOST_S
        assert tracemalloc.get_traced_memory()[1] < MOST_BYTES
        assert len(str(refused.value)) < 100_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", ["list", "mapping"])
@pytest.mark.parametrize("where", TABLES)
def test_a_table(where: str, kind: str, tmp_path: Path) -> None:
    (tmp_path / "MLTable").write_text(TABLES[where].format(bomb=bomb(kind)))
    in_no_time(lambda: load_table(tmp_path))


@pytest.mark.parametrize("kind", ["list", "mapping"])
@pytest.mark.parametrize("where", PIPELINES)
def test_a_pipeline(where: str, kind: str, tmp_path: Path) -> None:
    (tmp_path / "pipeline.yml").write_text(PIPELINES[where].format(bomb=bomb(kind)))
    in_no_time(lambda: load_pipeline(tmp_path / "pipeline.yml"))
