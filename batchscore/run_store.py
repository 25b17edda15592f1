"""RunStore: where run records are kept and claimed, in Blob or in memory."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Protocol

import msgspec
from azure.core import MatchConditions
from azure.core.exceptions import ResourceExistsError, ResourceModifiedError, ResourceNotFoundError

from batchscore import paths
from batchscore.errors import RunNotFoundError, RunUnreadableError, StorageUnavailableError
from batchscore.printable import printable, quoted
from batchscore.runs import Run, RunState
from batchscore.storage import LIST_PAGE, Storage, translated

log = logging.getLogger("batchscore.run_store")

Change = Callable[[Run], Run]

ORPHANED_MARKER_AFTER = timedelta(minutes=10)
MOST_TRIES = 20
CHANGE = "change"
"""The metadata of a record that name the change that wrote it."""
READERS = 8
FEW = 50
"""Names asked for at once where mostly the first few are looked at: a long list keeps storage busy for a second."""

_RECORD = msgspec.json.Decoder(Run)
"""Made while this module is imported: two threads that meet a type for the first time together crash msgspec."""


class RunStore(Protocol):
    """Records by run id. A record is claimed by creating it and changed by compare-and-swap."""

    def create(self, run: Run) -> tuple[Run, bool]:
        """Claim the run's id. Gives the record that is there now, and whether this call made it."""

    def get(self, run_id: str) -> Run:
        """The record; RunNotFoundError when there is none, RunUnreadableError when it is none of ours. Lists leave
        such a record out."""

    def update(self, run_id: str, change: Change) -> Run:
        """Change the record by a pure function, tried again when somebody else was quicker. What the function
        raises passes through; when it gives back the same object, nothing is written."""

    def active(self) -> Iterator[Run]:
        """The runs that are not over, in the order in which they were queued."""

    def recent(self, limit: int, state: RunState | None = None) -> list[Run]:
        """The newest runs, the newest first."""

    def find(self, prefix: str) -> list[Run]:
        """The runs whose id begins so, at most ten."""

    def keep_rejected(self, run_id: str, data: bytes) -> None:
        """Keep a copy of what was rejected."""


class BlobRunStore:
    """Records as JSON blobs in the system account.

    Beside `records/<id>.json` there are three kinds of empty blobs, so that no listing reads records it does not
    need: `active/<time>-<id>` while the run is not over, `by-time/<inverted time>-<id>` for good, and
    `by-state/<state>/<inverted time>-<id>` once it was started or is over. All are written before the record; the
    record alone is the claim, so a marker that the record does not bear out means nothing.
    """

    def __init__(self, storage: Storage, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._container = storage.container("system", paths.RUNS, create=True)
        self._clock = clock

    def create(self, run: Run) -> tuple[Run, bool]:
        with suppress(RunNotFoundError):
            return self.get(run.id), False
        with translated(f"run {run.id}"):
            self._container.upload_blob(paths.by_time_blob(run.id, run.created_at), b"", overwrite=True)
            if not run.state.ended:
                self._mark(run)
            self._index(run)
            try:
                self._container.upload_blob(
                    paths.record_blob(run.id), msgspec.json.encode(run), overwrite=False
                )
            except ResourceExistsError:
                return self.get(run.id), False
            self._mark_again(run)
        return run, True

    def get(self, run_id: str) -> Run:
        return self._read(run_id)[0]

    def update(self, run_id: str, change: Change) -> Run:
        for _ in range(MOST_TRIES):
            mark = uuid.uuid4().hex
            before, etag = self._read(run_id)
            after = change(before)
            if after is before:
                return before
            with translated(f"run {run_id}"):
                queued = not after.state.ended and (before.state.ended or before.queued_at != after.queued_at)
                if queued:
                    self._mark(after)
                if _state_marker(after) != _state_marker(before):
                    self._index(after)
                try:
                    self._container.upload_blob(
                        paths.record_blob(run_id),
                        msgspec.json.encode(after),
                        overwrite=True,
                        etag=etag,
                        match_condition=MatchConditions.IfNotModified,
                        metadata={CHANGE: mark},
                    )
                except ResourceModifiedError:
                    if self._last_change(run_id) != mark:  # else it was this one, whose answer was lost
                        continue
                if queued:
                    self._mark_again(after)
                moved = not before.state.ended and before.queued_at != after.queued_at
                if moved or (after.state.ended and not before.state.ended):
                    self._unmark(paths.active_blob(run_id, before.queued_at))
                marker = _state_marker(before)
                if marker and marker != _state_marker(after):
                    self._unmark(marker)
            return after
        raise StorageUnavailableError(
            f"run {run_id} was changed by others {MOST_TRIES} times in a row. Try again."
        )

    def active(self) -> Iterator[Run]:
        with translated("the list of active runs"):
            for name in self._container.list_blob_names(name_starts_with=paths.ACTIVE, results_per_page=FEW):
                marked = paths.marked_run(name)
                if marked is None:
                    log.warning("blob %s/%s is no marker of a run: remove it", paths.RUNS, printable(name))
                    continue
                run_id, queued_ms = marked
                try:
                    run = self._active(run_id, queued_ms)
                    if run is None:
                        # Its record may be about to be written; only an old marker is known to mean nothing.
                        age_ms = paths.milliseconds(self._clock()) - queued_ms
                        if age_ms > ORPHANED_MARKER_AFTER / timedelta(milliseconds=1):
                            self._remove_orphan(name, run_id, queued_ms)
                        continue
                except RunUnreadableError as error:
                    log.warning("%s", error)
                    continue
                yield run

    def _active(self, run_id: str, queued_ms: int) -> Run | None:
        """The run that an active marker speaks of, if that is true."""
        with suppress(RunNotFoundError):
            run = self.get(run_id)
            if not run.state.ended and paths.milliseconds(run.queued_at) == queued_ms:
                return run
        return None

    def _remove_orphan(self, name: str, run_id: str, queued_ms: int) -> None:
        """Remove a marker that means nothing, unless it has come to mean something since it was looked at."""
        with suppress(ResourceNotFoundError, ResourceModifiedError):
            seen = self._container.get_blob_client(name).get_blob_properties().etag
            if self._active(run_id, queued_ms) is None:
                self._container.delete_blob(name, etag=seen, match_condition=MatchConditions.IfNotModified)

    def recent(self, limit: int, state: RunState | None = None) -> list[Run]:
        found: list[Run] = []
        with ThreadPoolExecutor(READERS) as pool, translated("the list of runs"):
            markers = self._markers(limit, state)
            while len(found) < limit:
                some = list(islice(markers, min(limit - len(found), FEW)))
                if not some:
                    break
                found += [run for run in pool.map(lambda marker: self._marked(marker, state), some) if run]
        return found

    def _markers(self, limit: int, state: RunState | None) -> Iterator[str]:
        """The names of the markers under which runs in a state are listed, the newest first."""
        if state is RunState.ACCEPTED:  # these have no entry of their own, to keep accepting them cheap
            waiting = self._container.list_blob_names(
                name_starts_with=paths.ACTIVE, results_per_page=LIST_PAGE
            )
            return iter(sorted(waiting, reverse=True))
        prefix = paths.BY_TIME if state is None else f"{paths.BY_STATE}{_state_folder(state)}/"
        return iter(self._container.list_blob_names(name_starts_with=prefix, results_per_page=limit))

    def _marked(self, name: str, state: RunState | None) -> Run | None:
        """The run that a marker speaks of, if it is (still) true."""
        marked = paths.marked_run(name)
        if marked is None:
            return None
        run_id, number = marked
        try:
            run = self.get(run_id)
        except (RunNotFoundError, RunUnreadableError):
            return None
        if state is RunState.ACCEPTED:
            its_own = paths.milliseconds(run.queued_at) == number
        else:
            its_own = paths.inverted(paths.milliseconds(run.created_at)) == number
        return run if its_own and state in (None, run.state) else None

    def find(self, prefix: str) -> list[Run]:
        found: list[Run] = []
        with translated("the list of runs"):
            for name in self._container.list_blob_names(
                name_starts_with=paths.RECORDS + prefix, results_per_page=FEW
            ):
                with suppress(RunNotFoundError, RunUnreadableError):
                    found.append(self.get(name.removeprefix(paths.RECORDS).removesuffix(".json")))
                if len(found) == 10:
                    break
        return found

    def keep_rejected(self, run_id: str, data: bytes) -> None:
        with translated(f"the copy of rejected run {run_id}"):
            self._container.upload_blob(paths.rejected_blob(run_id), data, overwrite=True)

    def _read(self, run_id: str) -> tuple[Run, str]:
        with translated(f"run {run_id}"):
            try:
                download = self._container.download_blob(paths.record_blob(run_id))
            except ResourceNotFoundError as error:
                raise RunNotFoundError(
                    f"there is no run {run_id!r}. 'batchscore runs' lists them."
                ) from error
            data = download.readall()
        return _decoded(run_id, data), download.properties.etag

    def _last_change(self, run_id: str) -> str | None:
        properties = self._container.get_blob_client(paths.record_blob(run_id)).get_blob_properties()
        return (properties.metadata or {}).get(CHANGE)

    def _mark(self, run: Run) -> None:
        self._container.upload_blob(paths.active_blob(run.id, run.queued_at), b"", overwrite=True)

    def _mark_again(self, run: Run) -> None:
        """For a process that was held up between the marker and the record (a laptop that slept): others may have taken
        the marker for one that means nothing."""
        if not run.state.ended and self._clock() - run.queued_at > ORPHANED_MARKER_AFTER / 2:
            self._mark(run)

    def _index(self, run: Run) -> None:
        marker = _state_marker(run)
        if marker:
            self._container.upload_blob(marker, b"", overwrite=True)

    def _unmark(self, name: str) -> None:
        with suppress(ResourceNotFoundError):
            self._container.delete_blob(name)


def _state_folder(state: RunState) -> str | None:
    """Where runs in this state are listed; None for those that wait to be started."""
    if state is RunState.ACCEPTED:
        return None
    return state.value if state.ended else "started"


def _state_marker(run: Run) -> str | None:
    folder = _state_folder(run.state)
    return paths.by_state_blob(folder, run.id, run.created_at) if folder else None


def _decoded(run_id: str, data: bytes) -> Run:
    """The record in these bytes; RunUnreadableError when it is none, or that of another run."""
    try:
        run = _RECORD.decode(data)
        wrong = "" if run.id == run_id else f"it is that of run {quoted(run.id, 40)}"
        for moment in (run.created_at, run.queued_at, run.updated_at, run.progress_at, run.ended_at):
            if moment is not None and moment.tzinfo is None:
                wrong = "it holds a time without a zone"
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        wrong = printable(str(error))
    if wrong:
        raise RunUnreadableError(
            f"the record of run {run_id} cannot be read: {wrong}. Another version wrote it, or it was changed by "
            f"hand: look at {paths.RUNS}/{paths.record_blob(run_id)} in the system account."
        )
    return run


class MemoryRunStore:
    """Records in this process alone, for tests of what stands on a RunStore."""

    def __init__(self) -> None:
        self._runs: dict[str, Run] = {}
        self.rejected: dict[str, bytes] = {}

    def create(self, run: Run) -> tuple[Run, bool]:
        there = self._runs.setdefault(run.id, run)
        return there, there is run

    def get(self, run_id: str) -> Run:
        try:
            return self._runs[run_id]
        except KeyError:
            raise RunNotFoundError(f"there is no run {run_id!r}. 'batchscore runs' lists them.") from None

    def update(self, run_id: str, change: Change) -> Run:
        self._runs[run_id] = change(self.get(run_id))
        return self._runs[run_id]

    def active(self) -> Iterator[Run]:
        waiting = [run for run in self._runs.values() if not run.state.ended]
        yield from sorted(waiting, key=lambda run: (paths.milliseconds(run.queued_at), run.id))

    def recent(self, limit: int, state: RunState | None = None) -> list[Run]:
        newest = sorted(self._runs.values(), key=lambda run: (-paths.milliseconds(run.created_at), run.id))
        return [run for run in newest if state is None or run.state is state][:limit]

    def find(self, prefix: str) -> list[Run]:
        return [self._runs[name] for name in sorted(self._runs) if name.startswith(prefix)][:10]

    def keep_rejected(self, run_id: str, data: bytes) -> None:
        self.rejected[run_id] = data
