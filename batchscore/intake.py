"""What the doors do: a trigger file, an HTTP body or a poison message becomes a run record, once per cause."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from azure.core.exceptions import ResourceNotFoundError
from azure.storage.blob import BlobClient

from batchscore import paths, runs
from batchscore.errors import RequestError, RunConflictError, RunNotFoundError, RunUnreadableError
from batchscore.run_store import RunStore
from batchscore.runs import Cause, Run
from batchscore.settings import Settings
from batchscore.storage import Storage, bounded_read, translated
from batchscore.triggers import RunRequest, parse
from batchscore.workloads import Workloads

log = logging.getLogger("batchscore.intake")

TRIGGER_SUFFIX = ".json"
SWEEP_OVERLAP = timedelta(minutes=5)
MOST_KEPT_BYTES = 65_536
MOST_FAULTS = 5


class Intake:
    """Records runs. Bad requests become rejected runs; only storage faults raise."""

    def __init__(
        self,
        settings: Settings,
        storage: Storage,
        store: RunStore,
        workloads: Workloads,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._settings = settings
        self._storage = storage
        self._store = store
        self._workloads = workloads
        self._clock = clock

    def trigger_file(self, blob: BlobClient) -> Run | None:
        """The run of a trigger file, read by one GET of at most one byte more than allowed. None when the file is
        gone. StorageUnavailableError when it cannot be read: the host tries again."""
        name = blob.blob_name
        try:
            data, etag = self._read(blob)
        except ResourceNotFoundError:
            log.warning("trigger file %r is gone; nothing to do", name)
            return None
        return self._record(Cause("trigger_file", name, paths.normal_etag(etag)), data)

    def request(self, kind: str, key: str, body: bytes) -> tuple[Run, bool]:
        """The run of an HTTP body or of the command line, and whether it is new. RequestError for a bad body (no
        record is made: the caller is told at once); RunConflictError for a key used with another body."""
        request = parse(body, self._workloads, self._settings.max_trigger_bytes)
        cause = Cause(kind, key, hashlib.sha256(body).hexdigest())
        run, created = self._store.create(runs.accepted(cause, request, self._clock()))
        if run.cause.version != cause.version:
            raise RunConflictError(
                f"the idempotency key {key[:100]!r} was used with another body, for run {run.id}. Use a new key."
            )
        return run, created

    def poison(self, message: bytes) -> Run | None:
        """Keep a message that the host gave up on. None when it names no trigger file."""
        text = message.decode("utf-8", "replace")
        cause = _poisoned_cause(text)
        if cause is None:
            log.error("a poison message names no trigger file: %s", text[:500])
            return None
        run, created = self._store.create(runs.poisoned(cause, text, self._clock()))
        if created:
            log.error("run %s poisoned: %s", run.id, run.reason)
        return run

    def replay(self, run_id: str) -> Run:
        """Read the trigger file of a poisoned run again and accept it; RequestError when it is gone, replaced or
        bad."""
        run = self._store.get(run_id)
        if run.state is not runs.RunState.POISONED:
            raise RunConflictError(f"run {run.id} is {run.state}: only a poisoned run can be replayed.")
        blob = self._storage.container("data", self._settings.trigger_container).get_blob_client(
            run.cause.name
        )
        try:
            data, etag = self._read(blob)
        except ResourceNotFoundError as error:
            raise RequestError(f"trigger file {run.cause.name!r} is gone. Upload it again.") from error
        there = Cause(run.cause.kind, run.cause.name, paths.normal_etag(etag))
        if run.cause.version and there.version != run.cause.version:
            raise RequestError(
                f"trigger file {run.cause.name!r} was replaced since; what it says now is run {there.run_id}."
            )
        request = self._parse(data)
        return self._store.update(run_id, lambda current: runs.replay(current, request, self._clock()))

    def sweep(self) -> int:
        """Record the trigger files that have no run: their event was lost. Gives how many there were.

        Files are looked at from a few minutes before the newest one that the last sweep saw, or before that sweep
        began: a file may come while the listing is past its name. A file that cannot be recorded hides no other."""
        self._storage.container(
            "data", self._settings.data_container, create=True
        )  # for those who upload first
        container = self._storage.container("data", self._settings.trigger_container, create=True)
        began, since = self._clock(), self._last_sweep()
        newest, found, faults = since, 0, 0
        with translated("the list of trigger files"):
            for blob in container.list_blobs():
                modified = blob.last_modified
                if not blob.name.endswith(TRIGGER_SUFFIX) or modified < since - SWEEP_OVERLAP:
                    continue
                newest = max(newest, min(modified, began))
                run_id = Cause("trigger_file", blob.name, paths.normal_etag(blob.etag)).run_id
                try:
                    if not self._recorded(run_id):
                        found += self.trigger_file(container.get_blob_client(blob.name)) is not None
                except Exception:
                    log.exception("trigger file %r cannot be recorded", blob.name)
                    faults += 1
                    if faults == MOST_FAULTS:  # storage is down: do not wait for it at every file
                        break
        if newest > since and not faults:
            self._save_sweep(newest)
        return found

    def _recorded(self, run_id: str) -> bool:
        try:
            self._store.get(run_id)
        except RunNotFoundError:
            return False
        except RunUnreadableError:
            return True
        return True

    def _read(self, blob: BlobClient) -> tuple[bytes, str]:
        with translated(f"trigger file {blob.blob_name!r}"):
            return bounded_read(blob, self._settings.max_trigger_bytes + 1)

    def _record(self, cause: Cause, data: bytes) -> Run:
        now = self._clock()
        try:
            new = runs.accepted(cause, self._parse(data), now)
        except RequestError as error:
            try:
                return self._store.get(cause.run_id)
            except RunNotFoundError:
                self._store.keep_rejected(cause.run_id, data[:MOST_KEPT_BYTES])
            new = runs.rejected(cause, str(error), now)
        run, created = self._store.create(new)
        if created:
            said = f"{run.state}: {run.reason}" if run.reason else f"{run.state}: {run.workload}"
            log.info("%s -> run %s %s", cause.name, run.id, said)
        return run

    def _parse(self, data: bytes) -> RunRequest:
        return parse(data, self._workloads, self._settings.max_trigger_bytes)

    def _sweep_blob(self) -> BlobClient:
        return self._storage.container("system", paths.RUNS, create=True).get_blob_client(paths.SWEEP_BLOB)

    def _last_sweep(self) -> datetime:
        with translated("the mark of the last sweep"):
            try:
                return datetime.fromisoformat(
                    json.loads(self._sweep_blob().download_blob().readall())["newest"]
                )
            except (ResourceNotFoundError, ValueError, KeyError):
                return datetime(2000, 1, 1, tzinfo=UTC)

    def _save_sweep(self, newest: datetime) -> None:
        with translated("the mark of the last sweep"):
            self._sweep_blob().upload_blob(
                json.dumps({"newest": newest.isoformat()}).encode(), overwrite=True
            )


def _poisoned_cause(text: str) -> Cause | None:
    try:
        message: Any = json.loads(text)
        name, etag = message["BlobName"], message["ETag"]
        f"{name}{etag}".encode()  # half of a surrogate pair is in no blob's name, and no record could hold it
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    if not isinstance(name, str) or not isinstance(etag, str):
        return None
    return Cause("trigger_file", name, paths.normal_etag(etag))
