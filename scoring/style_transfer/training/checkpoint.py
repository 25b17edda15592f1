"""A checkpoint: a training as it was after a step, in a file of plain arrays."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from common.output_files import write_whole

Arrays = Mapping[str, npt.NDArray[np.generic]]


@dataclass(frozen=True)
class Checkpoint:
    """`arrays` holds weights, averages and the optimiser's state; `training` says of which training."""

    training: str
    step: int
    arrays: Arrays

    def write(self, path: Path) -> None:
        """Replace the file as a whole."""
        content = io.BytesIO()
        about: dict[str, Any] = {"training": np.array(self.training), "step": np.array(self.step)}
        np.savez(content, **{**about, **self.arrays})
        write_whole(path, content.getvalue())

    @classmethod
    def read(cls, path: Path, training: str) -> Checkpoint | None:
        """The checkpoint of this training; None where there is none, a torn one, or one of another training."""
        try:
            with path.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored.files}
            found = cls(str(arrays.pop("training")), int(arrays.pop("step")), arrays)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None
        return found if found.training == training else None
