"""Many pictures in one folder: every one is painted, in memory that hardly grows with their number."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tracemalloc
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from common.receipts import FileVersion, MiniBatch, ReceiptBook
from style_transfer.collect import collect
from tests.picture_files import encoded
from tests.style_clips import SCORING, make_style

FEW, MANY = 1_000, 20_000
BYTES_PER_PICTURE = 1_000
"""What each process may keep of a picture that is done: its name, and a line of a table."""
SCRIPT = """
import json, resource, sys
from pathlib import Path
from batchscore.compute.local.engine import Engine
from batchscore.definitions import load_pipeline

pipeline, style, frames, out = map(Path, sys.argv[1:])
outputs = {name: out / name for name in ("stylized", "receipts", "report")}
inputs = {"frames": frames, "style": style, "device": "cpu"}
status = Engine(load_pipeline(pipeline), inputs, outputs, out / "work", out / "logs").run()
peaks = [resource.getrusage(who).ru_maxrss * 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
print(json.dumps([str(status.state), status.message, *peaks]))
"""


@dataclass(frozen=True)
class Painted:
    """How a run ended, and the largest memory of the engine and of the largest of its processes, in bytes."""

    state: str
    message: str
    engine: int
    largest_step: int


def paint(folder: Path, count: int) -> Painted:
    frames = folder / f"{count} pictures"
    frames.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    (frames / "0.png").write_bytes(encoded(noise, "PNG"))
    for number in range(1, count):
        os.link(frames / "0.png", frames / f"{number}.png")
    pipeline = SCORING / "style_transfer" / "frames.pipeline.yml"
    command = [
        sys.executable,
        "-c",
        SCRIPT,
        pipeline,
        make_style(folder / "style"),
        frames,
        folder / str(count),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=280)
    return Painted(*json.loads(done.stdout))


def collecting(folder: Path, count: int) -> int:
    """The bytes that collecting the report of so many pictures takes at most."""
    frames, receipts = folder / f"frames {count}", folder / f"receipts {count}"
    frames.mkdir()
    (frames / "0.png").touch()
    names = [f"{number}.png" for number in range(count)]
    for name in names[1:]:
        os.link(frames / "0.png", frames / name)
    book = ReceiptBook(receipts, folder, "parameters")
    phases = {"decode": 1.5, "infer": 2.5, "encode": 3.5, "write": 4.5, "total": 12.0}
    for start in range(0, count, 50):
        with MiniBatch(book, names[start : start + 50]) as batch:
            for name in names[start : start + 50]:
                batch.ok(name, "0" * 64, f"{name},16,16", [FileVersion(name, 100, "0" * 64)], phases)
    tracemalloc.start()
    try:
        assert (
            collect(frames, receipts, folder / "report") == f"{count} of {count} pictures painted, 0 failed"
        )
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_the_report_is_collected_in_little_memory(tmp_path: Path) -> None:
    assert collecting(tmp_path, 4_000) - collecting(tmp_path, 1_000) <= 3_000 * 700


@pytest.mark.slow
def test_memory_hardly_grows_with_the_number_of_pictures(tmp_path: Path) -> None:
    few, many = paint(tmp_path, FEW), paint(tmp_path, MANY)
    assert (few.state, many.state) == ("succeeded", "succeeded"), many.message
    assert sum(1 for _ in (tmp_path / str(MANY) / "stylized").iterdir()) == MANY
    assert (tmp_path / str(MANY) / "report" / "timings.csv").read_text().count("\n") == MANY + 1
    for before, after in ((few.engine, many.engine), (few.largest_step, many.largest_step)):
        assert after - before <= (MANY - FEW) * BYTES_PER_PICTURE
