"""Which steps run now and on how many cores: those whose inputs are ready, side by side, within the machine's cores."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from batchscore.compute.base import JobState
from batchscore.compute.local.machine import Machine
from batchscore.definitions.model import ParallelStep, Pipeline, Step, StepOutput


def needs(step: Step) -> frozenset[str]:
    """The steps that must have succeeded before this one can start: those it reads from."""
    return frozenset(binding.step for binding in step.bindings.values() if isinstance(binding, StepOutput))


@dataclass
class Branches:
    """The steps of one run. A step holds the cores it was given until it ends.

    Cores are shared out when a step starts: what is free, evenly among the steps that are ready. So a step that
    is alone has the whole machine, and steps side by side never have more cores than there are. Where there are
    GPUs, one parallel step at a time has them.
    """

    pipeline: Pipeline
    machine: Machine
    states: dict[str, JobState] = field(default_factory=dict)
    """How each step that was started ended, or that it runs."""
    _held: dict[str, int] = field(default_factory=dict)

    @property
    def running(self) -> Collection[str]:
        return self._held.keys()

    def start(self) -> dict[str, Machine]:
        """The steps to start now, in their order, each with its part of the machine; they run from now on."""
        ready = self._ready()
        shares = share(self.machine.cores - sum(self._held.values()), ready)
        for name, cores in shares.items():
            self._held[name] = cores
            self.states[name] = JobState.RUNNING
        return {name: self.machine.part(cores) for name, cores in shares.items()}

    def end(self, name: str, state: JobState) -> None:
        """Say how a step has ended; its cores are free again."""
        del self._held[name]
        self.states[name] = state

    def _ready(self) -> list[str]:
        found: list[str] = []
        gpus_taken = self.machine.gpus > 0 and any(
            isinstance(self.pipeline.step(name), ParallelStep) for name in self._held
        )
        for step in self.pipeline.steps:
            waits = any(self.states.get(name) is not JobState.SUCCEEDED for name in needs(step))
            if step.name in self.states or waits:
                continue
            if isinstance(step, ParallelStep) and self.machine.gpus:
                if gpus_taken:
                    continue
                gpus_taken = True
            found.append(step.name)
        return found


def share(free: int, ready: Sequence[str]) -> Mapping[str, int]:
    """So many cores for each, as even as can be; at least one, so that some may have to wait."""
    started = ready[: max(free, 0)]
    return {name: free // len(started) + (index < free % len(started)) for index, name in enumerate(started)}
