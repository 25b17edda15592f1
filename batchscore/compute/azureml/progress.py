"""How far the steps of a job are, by the receipts that their workers leave; the service itself counts no items."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TypeVar

from azure.core.exceptions import ResourceNotFoundError

from batchscore.compute.azureml.described import StepDescription, StepRun
from batchscore.compute.base import JobState, Location, StepProgress
from batchscore.storage import LIST_PAGE, Storage, translated

_RECEIPTS = re.compile(r"(.+)\.(\d+)ok\.(\d+)failed\.(\d+)\.jsonl")
MOST_REMEMBERED = 1_000
BETWEEN_COUNTS = 10

Value = TypeVar("Value")


@dataclass(frozen=True)
class Counts:
    """What receipts said when they were last counted, and until when that will do."""

    done: int
    failed: int
    good_until: float


def counted(names: Iterable[str]) -> tuple[int, int]:
    """Items done and failed by the names of receipts files: of a mini-batch that was tried again, the newest counts."""
    newest: dict[str, tuple[int, int, int]] = {}
    for name in names:
        match = _RECEIPTS.fullmatch(name)
        if match is not None:
            told = (int(match[4]), int(match[2]), int(match[3]))
            newest[match[1]] = max(told, newest.get(match[1], told))
    return sum(each[1] for each in newest.values()), sum(each[2] for each in newest.values())


def files(blobs: Iterable[tuple[str, int]]) -> int:
    """How many of the blobs (name, size) are files: a mounted folder is an empty blob in some accounts."""
    count, empty, folders = 0, set[str](), set[str]()
    for name, size_bytes in blobs:
        count += 1
        if not size_bytes:
            empty.add(name)
        folders.update(str(folder) for folder in PurePosixPath(name).parents)
    return count - len(empty & folders)


class Progress:
    """Counts in storage. How many items there are is counted once per job and step, when all are there; receipts are
    counted again when ten times as long has passed as counting takes, so that a step of very many costs no more."""

    def __init__(self, storage: Storage, clock: Callable[[], float] = time.monotonic) -> None:
        self._storage = storage
        self._clock = clock
        self._totals: dict[tuple[str, str], int] = {}
        self._counts: dict[tuple[str, str], Counts] = {}

    def of(
        self,
        job: str,
        step: StepDescription,
        run: StepRun | None,
        state: JobState,
        *,
        written: bool,
        over: bool,
    ) -> StepProgress:
        """How far a step is. `written`: the step that writes its items has succeeded. `over`: the job has ended, so
        what has left no receipt by now never will; before that its receipts may still be on their way."""
        seconds = run.seconds if run is not None and state.ended else 0
        plain = StepProgress(step.name, state, nodes=step.nodes, seconds=seconds)
        if step.items is None or step.receipts is None or (step.items_from and not written):
            return plain
        total = self._total(job, step.node, step.items)
        if state is JobState.QUEUED:
            return StepProgress(step.name, state, total, nodes=step.nodes)
        done, failed = self._counted(job, step.node, step.receipts, state)
        done = min(done, total) if total else done
        if state is JobState.SUCCEEDED and total and over:
            failed = max(failed, total - done)
        return StepProgress(step.name, state, total, done, failed, step.nodes, seconds)

    def _counted(self, job: str, node: str, receipts: Location, state: JobState) -> tuple[int, int]:
        known, now = self._counts.get((job, node)), self._clock()
        if known is not None and now < known.good_until and not state.ended:
            return known.done, known.failed
        done, failed = counted(name for name, _ in self._below(receipts))
        took_s = self._clock() - now
        _remember(self._counts, (job, node), Counts(done, failed, now + BETWEEN_COUNTS * took_s))
        return done, failed

    def _total(self, job: str, node: str, items: Location) -> int:
        if (job, node) not in self._totals:
            _remember(self._totals, (job, node), files(self._below(items)))
        return self._totals[job, node]

    def _below(self, place: Location) -> Iterator[tuple[str, int]]:
        """The names of the blobs below a place, relative to it, and their sizes in bytes."""
        container = self._storage.container(place.account, place.container)
        prefix = f"{place.path}/"
        with translated(str(place)):
            try:
                for blob in container.list_blobs(name_starts_with=prefix, results_per_page=LIST_PAGE):
                    yield blob.name.removeprefix(prefix), blob.size or 0
            except ResourceNotFoundError:  # there is no such container yet
                return


def _remember(memory: dict[tuple[str, str], Value], key: tuple[str, str], value: Value) -> None:
    memory.pop(key, None)
    while len(memory) >= MOST_REMEMBERED:
        del memory[next(iter(memory))]
    memory[key] = value
