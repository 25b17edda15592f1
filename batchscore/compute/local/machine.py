"""This machine as a node: its cores and its GPUs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Machine:
    """What workers share."""

    cores: int
    gpus: int = 0

    @classmethod
    def here(cls) -> Machine:
        """The cores that this process may use, and the GPUs that it may see."""
        devices = [entry.name for entry in Path("/dev").glob("nvidia[0-9]*")]
        return cls(os.process_cpu_count() or 1, visible_gpus(os.environ, devices))

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
