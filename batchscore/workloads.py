"""The workloads that are there: every `<folder>/<name>.pipeline.yml` below the folder of workloads."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import TYPE_CHECKING

from batchscore.definitions import load_pipeline
from batchscore.errors import RequestError

if TYPE_CHECKING:
    from batchscore.definitions.model import Pipeline

SUFFIX = ".pipeline.yml"


class Workloads:
    """Pipelines by workload name, loaded when first asked for and again when a file has changed."""

    def __init__(self, folder: Path, local_map: Path | None = None) -> None:
        self.folder = folder
        self._local_map = local_map
        self._loaded: dict[str, tuple[tuple[tuple[str, int], ...], Pipeline]] = {}

    @property
    def models(self) -> Path:
        """The folder of the models that ship with the workloads."""
        return self.folder / "models"

    def names(self) -> list[str]:
        found = self.folder.glob(f"*/*{SUFFIX}")
        return sorted(path.relative_to(self.folder).as_posix().removesuffix(SUFFIX) for path in found)

    def file(self, name: str) -> str:
        """The pipeline file of a workload, relative to the folder; RequestError names the nearest workload."""
        names = self.names()
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
            hint = f"Did you mean {near[0]!r}?" if near else f"There are: {', '.join(names)}."
            raise RequestError(f"there is no workload {name[:200]!r}. {hint}")
        return name + SUFFIX

    def pipeline(self, name: str) -> Pipeline:
        """The workload's pipeline; RequestError for an unknown name, DefinitionError for a faulty file."""
        path = self.folder / self.file(name)
        cached = self._loaded.get(name)
        if cached is None or cached[0] != _stamp(path, cached[1]):
            pipeline = load_pipeline(path, self._local_map)
            cached = (_stamp(path, pipeline), pipeline)
            self._loaded[name] = cached
        return cached[1]


def _stamp(path: Path, pipeline: Pipeline) -> tuple[tuple[str, int], ...]:
    """What changes when a file of the pipeline does, wherever it lies, or one is put beside it."""
    files = {*path.parent.glob("*.yml"), *pipeline.files}
    return tuple(sorted((str(file), file.stat().st_mtime_ns if file.exists() else 0) for file in files))
