"""This machine as a node, and the part of it that a step has: cores and GPUs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path


@dataclass(frozen=True)
class Machine:
    """What the workers of a step share."""

    cores: int
    gpus: int = 0
    whole: bool = True
    """Whether it is all there is, or other steps have the rest."""

    @classmethod
    def here(cls) -> Machine:
        """The cores that this process may use, and the GPUs that it may see."""
        devices = [entry.name for entry in Path("/dev").glob("nvidia[0-9]*")]
        return cls(os.process_cpu_count() or 1, visible_gpus(os.environ, devices))

    def part(self, cores: int) -> Machine:
        """So many of its cores, with the GPUs."""
        return replace(self, cores=cores, whole=cores == self.cores)

    @property
    def limits(self) -> dict[str, str]:
        """The variables that keep a program to its part: OpenMP, the libraries that ask it, and Python 3.13's count."""
        if self.whole:
            return {}
        return {"OMP_NUM_THREADS": str(self.cores), "PYTHON_CPU_COUNT": str(self.cores)}

    def workers(self, mini_batches: int, wanted: int | None) -> int:
        """How many workers: as many as asked for (else one for each GPU, or each core where there is no GPU), but
        never more than cores or mini-batches."""
        return max(1, min(wanted or self.gpus or self.cores, self.cores, mini_batches))

    def threads(self, workers: int) -> int:
        """How many threads each worker may use so that together they fill the machine and no more."""
        return max(1, self.cores // workers)


def visible_gpus(environment: Mapping[str, str], devices: list[str]) -> int:
    """How many of the machine's devices (`nvidia0`, …) the steps can use; CUDA_VISIBLE_DEVICES may hide some."""
    there = len([name for name in devices if name.removeprefix("nvidia").isdecimal()])
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return there
    named = [entry.strip() for entry in visible.split(",")]
    return min(there, len([entry for entry in named if entry and not entry.startswith("-")]))
