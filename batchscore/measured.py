"""What earlier runs took, beside what was declared: a small blob for each workload, and what follows from it."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import median

import msgspec

from batchscore import compare_and_swap, paths
from batchscore.compute.base import Location, Scalar
from batchscore.definitions.model import Pipeline
from batchscore.storage import Storage

log = logging.getLogger("batchscore.measured")

MOST_RUNS = 20
"""How many runs are remembered of a workload on one kind of machine."""
MOST_TRIES = 5


@dataclass(frozen=True)
class StepSample:
    """One step of one run."""

    name: str
    size: str
    """The VM size that it ran on, `local` of this machine."""
    declared: str
    """What its tag said then; a tag that has changed makes the sample worthless."""
    work: float
    """Worker-seconds, as a multiple of what was declared."""
    items: float | None = None
    """Items that another step made, as a multiple of what was expected."""
    start_s: float | None = None
    """What its workers took beside their items."""


@dataclass(frozen=True)
class RunSample:
    """One run that succeeded at its first attempt."""

    run_id: str
    ended_at: datetime
    options: str
    """Stands for the options that it was run with."""
    steps: tuple[StepSample, ...]
    node_start_s: float | None = None
    """How long a step waited for nodes that were not there."""


@dataclass(frozen=True)
class Correction:
    """By how much a step differs from what is declared of it, and how many runs say so."""

    work: float = 1
    start_s: float | None = None
    runs: int = 0
    alike: bool = False
    """Whether those runs had the same options."""


_RUNS = msgspec.json.Decoder(tuple[RunSample, ...])


def options_of(pipeline: Pipeline, inputs: Mapping[str, Location | Scalar]) -> str:
    """A short text that is the same for runs that should take as long with the same data: numbers, switches and
    choices by value, of everything else whether it was given."""
    told = {
        name: value
        if not isinstance(value, Location)
        and (pipeline.inputs[name].type != "string" or pipeline.inputs[name].enum)
        else "given"
        for name, value in inputs.items()
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:12]


def correction(runs: Iterable[RunSample], step: str, size: str, declared: str, options: str) -> Correction:
    """The median over the runs on such machines: of those with the same options if there are any, else of all."""
    found = [(run, sample) for run, sample in _samples(runs, step, declared) if sample.size == size]
    same = [(run, sample) for run, sample in found if run.options == options]
    used = [sample for _, sample in same or found]
    if not used:
        return Correction()
    starts = [sample.start_s for sample in used if sample.start_s is not None]
    return Correction(
        median(sample.work for sample in used), median(starts) if starts else None, len(used), bool(same)
    )


def items_correction(runs: Iterable[RunSample], step: str, declared: str, options: str) -> tuple[float, int]:
    """By how much the number of items differs from what is expected, on any machine, and how many runs say so."""
    found = [(run, sample.items) for run, sample in _samples(runs, step, declared) if sample.items]
    used = [items for run, items in found if run.options == options] or [items for _, items in found]
    return (median(used), len(used)) if used else (1.0, 0)


def node_start_s(runs: Iterable[RunSample]) -> float | None:
    """How long nodes of clusters took to be there, if any run has waited for one."""
    waits = [run.node_start_s for run in runs if run.node_start_s is not None]
    return median(waits) if waits else None


def _samples(runs: Iterable[RunSample], step: str, declared: str) -> list[tuple[RunSample, StepSample]]:
    return [
        (run, sample)
        for run in runs
        for sample in run.steps
        if sample.name == step and sample.declared == declared
    ]


def remembered(runs: Sequence[RunSample], new: RunSample) -> tuple[RunSample, ...]:
    """The runs with the new one, the oldest of its kind of machines forgotten when there are many."""
    others = [run for run in runs if run.run_id != new.run_id]
    like = [run for run in others if _sizes(run) == _sizes(new)]
    forgotten = like[: max(0, len(like) - MOST_RUNS + 1)]
    return (*(run for run in others if run not in forgotten), new)


def _sizes(run: RunSample) -> frozenset[str]:
    return frozenset(step.size for step in run.steps)


class Measurements:
    """The blobs, in the system account."""

    def __init__(self, storage: Storage) -> None:
        self._container = storage.container("system", paths.RUNS, create=True)

    def read(self, workload: str) -> tuple[RunSample, ...]:
        """What is remembered; nothing where another version wrote it."""
        return self._read(workload)[0]

    def add(self, workload: str, sample: RunSample) -> None:
        """Remember a run. One that others are quicker than again and again is left out: it is one of many."""
        for _ in range(MOST_TRIES):
            runs, etag = self._read(workload)
            data = msgspec.json.encode(remembered(runs, sample))
            if compare_and_swap.swap(self._container, paths.measured_blob(workload), data, etag):
                return

    def _read(self, workload: str) -> tuple[tuple[RunSample, ...], str | None]:
        data, etag = compare_and_swap.read(self._container, paths.measured_blob(workload))
        try:
            return (() if data is None else _RUNS.decode(data)), etag
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            log.warning("%s is forgotten: %s", paths.measured_blob(workload), error)
            return (), etag
