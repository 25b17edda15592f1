"""20,000 tiny pictures in one folder, painted by the local engine: CPU time a picture, and memory beside 2,000.

The style inverts, so that what is measured is everything but the model: reading, writing, receipts, the report.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
FEW, MANY = 2_000, 20_000
RUN = "--run"


def main() -> None:
    if RUN in sys.argv:
        run(*map(Path, sys.argv[-2:]))
        return
    for count in (FEW, MANY):
        with tempfile.TemporaryDirectory(prefix="batchscore-bench-") as name:
            frames = Path(name, "frames")
            frames.mkdir()
            Image.linear_gradient("L").resize((16, 16)).save(frames / "0.png")
            for number in range(1, count):
                os.link(frames / "0.png", frames / f"{number}.png")
            command = [sys.executable, "-m", "benchmarks.many_pictures", RUN, frames, name]
            subprocess.run(command, check=True, cwd=ROOT)


def run(frames: Path, folder: Path) -> None:
    from batchscore.compute.local.engine import Engine
    from batchscore.definitions import load_pipeline
    from tests.style_clips import make_style

    pipeline = load_pipeline(ROOT / "scoring" / "style_transfer" / "frames.pipeline.yml")
    inputs = {"frames": frames, "style": make_style(folder / "style"), "device": "cpu"}
    outputs = {name: folder / name for name in ("stylized", "receipts", "report")}
    before = os.times()
    status = Engine(pipeline, inputs, outputs, folder / "work", folder / "logs").run()
    after = os.times()
    count = sum(1 for _ in frames.iterdir())
    own_s = after.user + after.system - before.user - before.system
    steps_s = after.children_user + after.children_system - before.children_user - before.children_system
    engine, largest = (
        resource.getrusage(who).ru_maxrss // 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    print(
        f"{count} pictures {status.state}: {after.elapsed - before.elapsed:.0f} s; CPU a picture: "
        f"engine {1000 * own_s / count:.2f} ms, steps {1000 * steps_s / count:.2f} ms; "
        f"memory: engine {engine} MB, largest step {largest} MB",
        flush=True,
    )


if __name__ == "__main__":
    main()
