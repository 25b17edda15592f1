"""Leftovers: what the steps of a succeeded run had handed to each other, and its removal in bounded portions.

A run is noted (an empty blob `leftovers/<run>`) before its record says that it succeeded, so a crash between the two
loses nothing; a note is only looked into once the run is over. Results, receipts and logs are never touched, and a run
that may still be retried (failed, canceled, succeeded with errors) keeps everything.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from itertools import islice
from typing import Protocol

from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.storage.blob import ContainerClient

from batchscore import paths
from batchscore.compute.base import Location
from batchscore.errors import RunNotFoundError, RunUnreadableError
from batchscore.run_store import RunStore
from batchscore.runs import Run, RunState
from batchscore.storage import LIST_PAGE, Storage, translated

log = logging.getLogger("batchscore.leftovers")

PORTION = 256
MOST_PER_PASS = 2_048
CONNECTIONS = 8


def intermediates(run: Run) -> dict[str, Location]:
    """The outputs of a run that only its own steps read, by name, as its record has them; receipts are none."""
    if run.job is None or run.results is None:
        return {}
    between = paths.between_path(run.id)
    named = {
        name: place
        for name, place in run.job.outputs.items()
        if name not in run.results
        and name != paths.RECEIPTS_OUTPUT
        and place.account == "data"
        and place.path.startswith(f"{between}/")
    }
    if f"/paths/{between}/" not in run.job.document:
        return named
    # on Azure ML, what no output of the pipeline names lies there as well
    containers = {place.container for place in run.job.outputs.values() if place.account == "data"}
    return {f"{container}/between": Location("data", container, between) for container in containers}


class Leftovers(Protocol):
    """What the reconciler asks."""

    def note(self, run_id: str) -> None:
        """Say that the run is about to succeed."""

    def remove(self, now: datetime, keep_lease: Callable[[], None]) -> bool:
        """Remove a portion of what noted runs left over; whether there is more to do."""


class BlobLeftovers:
    """Notes and intermediates in storage."""

    def __init__(self, storage: Storage, store: Callable[[], RunStore]) -> None:
        self._storage = storage
        self._store = store

    def note(self, run_id: str) -> None:
        with translated(f"the note on run {run_id}"):
            self._notes().upload_blob(paths.leftovers_blob(run_id), b"", overwrite=True)

    def remove(self, now: datetime, keep_lease: Callable[[], None]) -> bool:
        left = MOST_PER_PASS
        for run_id in self._noted():
            keep_lease()
            run = self._run(run_id)
            if run is not None and not run.state.ended:
                continue
            if run is not None and run.state is RunState.SUCCEEDED:
                for place in intermediates(run).values():
                    left -= self._remove(place, left, keep_lease)
                    if left <= 0:
                        return True
                self._store().update(run_id, lambda current: replace(current, cleaned_at=now))
                log.info("run %s: its intermediates are removed (KEEP_INTERMEDIATES is false)", run_id)
            with translated(f"the note on run {run_id}"), suppress(ResourceNotFoundError):
                self._notes().delete_blob(paths.leftovers_blob(run_id))
        return False

    def _noted(self) -> Iterator[str]:
        with translated("the notes on leftovers"):
            for name in self._notes().list_blob_names(
                name_starts_with=paths.LEFTOVERS, results_per_page=LIST_PAGE
            ):
                yield name.removeprefix(paths.LEFTOVERS)

    def _run(self, run_id: str) -> Run | None:
        with suppress(RunNotFoundError, RunUnreadableError):
            return self._store().get(run_id)
        return None

    def _remove(self, place: Location, most: int, keep_lease: Callable[[], None]) -> int:
        """Remove up to so many blobs at and below a place; how many went. Those that stay do not count: each pass
        would come as far as them and no further."""
        container = self._storage.container(place.account, place.container)
        gone = 0
        names = _blobs_of(container, place)
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            while gone < most and (portion := list(islice(names, min(PORTION, most - gone)))):
                keep_lease()
                with translated(str(place)):
                    gone += sum(pool.map(lambda name: _delete(container, name), reversed(portion)))
        return gone

    def _notes(self) -> ContainerClient:
        return self._storage.container("system", paths.RUNS, create=True)


def _blobs_of(container: ContainerClient, place: Location) -> Iterator[str]:
    with translated(str(place)), suppress(ResourceNotFoundError):
        for name in container.list_blob_names(name_starts_with=place.path, results_per_page=LIST_PAGE):
            if name == place.path or name.startswith(f"{place.path}/"):
                yield name


def _delete(container: ContainerClient, name: str) -> bool:
    """Whether it went. A blob that somebody holds (a lease, a legal hold, a folder that is not empty yet) stays, and no
    more is said."""
    try:
        container.delete_blob(name)
    except HttpResponseError as error:
        if error.status_code not in (404, 409, 412):
            raise
        return False
    return True
