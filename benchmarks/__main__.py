"""Run every benchmark, one after the other; put the figures into README.md."""

from __future__ import annotations

import runpy
from pathlib import Path

NOT_ALONE = ("reference_way",)  # what another benchmark runs, in an environment of its own


def main() -> None:
    for path in sorted(Path(__file__).parent.glob("[a-z]*.py")):
        if path.stem not in NOT_ALONE:
            title = path.read_text(encoding="utf-8").split('"""')[1].splitlines()[0]
            print(f"\n== {path.stem}: {title}", flush=True)
            runpy.run_module(f"benchmarks.{path.stem}", run_name="__main__")


if __name__ == "__main__":
    main()
