"""What a test needs and the repository does not hold: a tool, or the folder with public data and Microsoft's schemas."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("BATCHSCORE_SHARED", ROOT.parent / "shared"))


def need(file: Path, how: str) -> Path:
    """The file or folder; where it is not there the test is skipped and says why, but a CI must have it."""
    if file.exists():
        return file
    said = f"{file} is not there: {how}"
    if os.environ.get("CI"):
        pytest.fail(said)
    pytest.skip(said)


def shared(*parts: str) -> Path:
    """A file or folder of the shared folder, which BATCHSCORE_SHARED names."""
    return need(SHARED.joinpath(*parts), "BATCHSCORE_SHARED names the folder that has it")
