"""How far the steps of a job are, by the receipts that their workers leave; the service itself counts no items."""

from __future__ import annotations

import re
from collections.abc import Iterable

from azure.core.exceptions import ResourceNotFoundError

from batchscore.compute.azureml.described import StepDescription, StepRun
from batchscore.compute.base import JobState, Location, StepProgress
from batchscore.storage import LIST_PAGE, Storage, translated

_RECEIPTS = re.compile(r"(.+)\.(\d+)ok\.(\d+)failed\.(\d+)\.jsonl")
MOST_REMEMBERED = 1_000


def counted(names: Iterable[str]) -> tuple[int, int]:
    """Items done and failed by the names of receipts files: of a mini-batch that was tried again, the newest counts."""
    newest: dict[str, tuple[int, int, int]] = {}
    for name in names:
        match = _RECEIPTS.fullmatch(name)
        if match is not None:
            told = (int(match[4]), int(match[2]), int(match[3]))
            newest[match[1]] = max(told, newest.get(match[1], told))
    return sum(each[1] for each in newest.values()), sum(each[2] for each in newest.values())


class Progress:
    """Counts in storage. How many items there are is counted once per job and step, when all are there."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._totals: dict[tuple[str, str], int] = {}

    def of(
        self, job: str, step: StepDescription, run: StepRun | None, state: JobState, written: bool
    ) -> StepProgress:
        """How far a step is. `written`: the step that writes its items has succeeded."""
        seconds = run.seconds if run is not None and state.ended else 0
        plain = StepProgress(step.name, state, nodes=step.nodes, seconds=seconds)
        if step.items is None or step.receipts is None or (step.items_from and not written):
            return plain
        total = self._total(job, step.node, step.items)
        if state is JobState.QUEUED:
            return StepProgress(step.name, state, total, nodes=step.nodes)
        done, failed = counted(self._names(step.receipts))
        done = min(done, total) if total else done
        if state is JobState.SUCCEEDED and total:  # what left no receipt by now never will
            failed = max(failed, total - done)
        return StepProgress(step.name, state, total, done, failed, step.nodes, seconds)

    def _total(self, job: str, node: str, items: Location) -> int:
        if (job, node) not in self._totals:
            while len(self._totals) >= MOST_REMEMBERED:
                del self._totals[next(iter(self._totals))]
            self._totals[job, node] = sum(1 for _ in self._names(items))
        return self._totals[job, node]

    def _names(self, place: Location) -> Iterable[str]:
        """The names below a place, relative to it."""
        container = self._storage.container(place.account, place.container)
        prefix = f"{place.path}/"
        with translated(str(place)):
            try:
                for name in container.list_blob_names(name_starts_with=prefix, results_per_page=LIST_PAGE):
                    yield name.removeprefix(prefix)
            except ResourceNotFoundError:  # there is no such container yet
                return
