"""What the product promises when everything goes wrong: sixty random faults, and then all is well by itself."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FAULTS = 60
SEED = 20_261_121


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_after_sixty_random_faults_every_run_has_finished_by_itself_and_nothing_is_left(
    tmp_path: Path,
) -> None:
    """`make faults N=60 SEED=…` plays the same sequence again; the events are printed when anything is wrong."""
    command = [
        sys.executable,
        "-m",
        "tests.faults",
        "--faults",
        str(FAULTS),
        "--seed",
        str(SEED),
        "--per-round",
        "30",
    ]
    done = subprocess.run(
        [*command, "--folder", str(tmp_path / "faults")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"seed {SEED}:\n{done.stdout}\n{done.stderr}"
    assert "Problems: 0." in done.stdout
    hit = re.search(r"\*\*all\*\* \| \*\*(\d+)\*\*", done.stdout)
    assert hit is not None
    assert int(hit[1]) >= FAULTS
