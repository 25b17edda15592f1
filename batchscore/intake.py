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

from batchscore import inbox, paths, runs
from batchscore.errors import RequestError, RunConflictError, RunNotFoundError, RunUnreadableError
from batchscore.printable import printable, quoted
from batchscore.run_store import RunStore
from batchscore.runs import Cause, Run
from batchscore.settings import Settings
from batchscore.storage import Storage, bounded_read, translated
from batchscore.triggers import RunRequest, parse
from batchscore.workloads import Workloads

log = logging.getLogger("batchscore.intake")

TRIGGER_FILE, INBOX_FILE = FILE_KINDS = ("trigger_file", "inbox_file")
TRIGGER_SUFFIX = ".json"
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
SWEEP_OVERLAP = timedelta(minutes=5)
MOST_KEPT_BYTES = 65_536
MOST_FAULTS = 5
LONGEST_KEY = 500


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
        return self._file(TRIGGER_FILE, blob)

    def inbox_file(self, blob: BlobClient) -> Run | None:
        """The run of a file dropped in the inbox, of which nothing is read. None when the file is gone, or none
        that starts a run. StorageUnavailableError when storage does not answer: the host tries again."""
        ignored = self._ignored(blob.blob_name)
        if ignored:
            log.info("%s starts no run: %s", printable(blob.blob_name), ignored.reason)
            return None
        return self._file(INBOX_FILE, blob)

    def request(self, kind: str, key: str, body: bytes) -> tuple[Run, bool]:
        """The run of an HTTP body or of the command line, and whether it is new. RequestError for a bad body (no
        record is made: the caller is told at once); RunConflictError for a key used with another body."""
        request = parse(body, self._workloads, self._settings.max_trigger_bytes)
        if not key.isprintable() or not 0 < len(key) <= LONGEST_KEY:
            raise RequestError(
                f"the idempotency key is {quoted(key)}; it must have 1 to {LONGEST_KEY} printable characters."
            )
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
        cause = self._poisoned_cause(text)
        if cause is None:
            log.error("a poison message names no trigger file: %s", printable(text, 500))
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
        name = run.cause.name
        blob = self._storage.container("data", self._container(run.cause.kind)).get_blob_client(name)
        seen = self._look(run.cause.kind, blob)
        if seen is None:
            raise RequestError(f"the file {name!r} is gone. Upload it again.")
        body, etag = seen
        there = Cause(run.cause.kind, name, paths.normal_etag(etag))
        if run.cause.version and there.version != run.cause.version:
            raise RequestError(
                f"the file {name!r} was replaced since; what it asks for now is run {there.run_id}."
            )
        request = self._parse(body())
        return self._store.update(run_id, lambda current: runs.replay(current, request, self._clock()))

    def sweep(self) -> int:
        """Record the trigger files and inbox files that have no run: their event was lost. Gives how many there were.

        Files are looked at from a few minutes before the newest one that the last sweep saw, or before that sweep
        began: a file may come while the listing is past its name. A file that cannot be recorded hides no other."""
        for name in (self._settings.trigger_container, self._settings.data_container):
            self._storage.container("data", name, create=True)  # for those who upload first
        marks = self._last_sweep()
        found, faults = self._sweep_kind(TRIGGER_FILE, marks)
        if self._settings.inbox_rules and faults < MOST_FAULTS:
            found += self._sweep_kind(INBOX_FILE, marks)[0]
        return found

    def _sweep_kind(self, kind: str, marks: dict[str, datetime]) -> tuple[int, int]:
        """Sweep the files of one kind; how many had no run, and how many could not be recorded."""
        container = self._storage.container("data", self._container(kind))
        prefix = inbox.INBOX if kind == INBOX_FILE else None
        began, since = self._clock(), marks.get(kind, LONG_AGO)
        newest, found, faults = since, 0, 0
        with translated("the list of trigger files"):
            for blob in container.list_blobs(name_starts_with=prefix):
                modified = blob.last_modified
                if modified < since - SWEEP_OVERLAP or not self._starts_a_run(kind, blob.name):
                    continue
                newest = max(newest, min(modified, began))
                run_id = Cause(kind, blob.name, paths.normal_etag(blob.etag)).run_id
                try:
                    if not self._recorded(run_id):
                        record = self.inbox_file if kind == INBOX_FILE else self.trigger_file
                        found += record(container.get_blob_client(blob.name)) is not None
                except Exception:
                    log.exception("the file %s cannot be recorded", quoted(blob.name))
                    faults += 1
                    if faults == MOST_FAULTS:  # storage is down: do not wait for it at every file
                        break
        if newest > since and not faults:
            marks[kind] = newest
            self._save_sweep(marks)
        return found, faults

    def _starts_a_run(self, kind: str, name: str) -> bool:
        return name.endswith(TRIGGER_SUFFIX) if kind == TRIGGER_FILE else not self._ignored(name)

    def _ignored(self, name: str) -> inbox.Ignored | None:
        try:
            wanted = inbox.request_of(name, self._settings.inbox_rules)
        except RequestError:
            return None  # it is rejected, and told
        return wanted if isinstance(wanted, inbox.Ignored) else None

    def _container(self, kind: str) -> str:
        return self._settings.data_container if kind == INBOX_FILE else self._settings.trigger_container

    def _recorded(self, run_id: str) -> bool:
        try:
            self._store.get(run_id)
        except RunNotFoundError:
            return False
        except RunUnreadableError:
            return True
        return True

    def _file(self, kind: str, blob: BlobClient) -> Run | None:
        seen = self._look(kind, blob)
        if seen is None:
            log.warning("the file %s is gone; nothing to do", quoted(blob.blob_name))
            return None
        body, etag = seen
        return self._record(Cause(kind, blob.blob_name, paths.normal_etag(etag)), body)

    def _look(self, kind: str, blob: BlobClient) -> tuple[Callable[[], bytes], str] | None:
        """What gives the request that a file makes (or raises RequestError), and the file's ETag, by one call.
        None when there is no such file."""
        name, rules = blob.blob_name, self._settings.inbox_rules
        try:
            with translated(f"the file {name!r}"):
                if kind == TRIGGER_FILE:
                    data, etag = bounded_read(blob, self._settings.max_trigger_bytes + 1)
                    return lambda: data, etag
                properties = blob.get_blob_properties()
        except ResourceNotFoundError:
            return None
        if (properties.metadata or {}).get("hdi_isfolder") == "true":
            return None
        empty = properties.size == 0
        return lambda: inbox.body_of(name, rules, empty=empty), str(properties.etag)

    def _record(self, cause: Cause, body: Callable[[], bytes]) -> Run:
        now = self._clock()
        data = b""
        try:
            data = body()
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
            log.info("%s -> run %s %s", printable(cause.name, 100), run.id, printable(said))
        return run

    def _parse(self, data: bytes) -> RunRequest:
        return parse(data, self._workloads, self._settings.max_trigger_bytes)

    def _sweep_blob(self) -> BlobClient:
        return self._storage.container("system", paths.RUNS, create=True).get_blob_client(paths.SWEEP_BLOB)

    def _last_sweep(self) -> dict[str, datetime]:
        """The newest file of each kind that was seen."""
        with translated("the mark of the last sweep"):
            try:
                marks = json.loads(self._sweep_blob().download_blob().readall())
                now = self._clock()
                return {
                    kind: min(datetime.fromisoformat(marks[kind]), now)
                    for kind in FILE_KINDS
                    if kind in marks
                }
            except (ResourceNotFoundError, ValueError, TypeError, RecursionError):
                return {}

    def _save_sweep(self, marks: dict[str, datetime]) -> None:
        with translated("the mark of the last sweep"):
            text = json.dumps({kind: newest.isoformat() for kind, newest in marks.items()})
            self._sweep_blob().upload_blob(text.encode(), overwrite=True)

    def _poisoned_cause(self, text: str) -> Cause | None:
        try:
            message: Any = json.loads(text)
            name, etag = message["BlobName"], message["ETag"]
            if not isinstance(name, str) or not isinstance(etag, str) or not paths.is_blob_name(name):
                return None
            f"{name}{etag}".encode()  # half of a surrogate pair is in no blob's name, and no record could hold it
        except (ValueError, KeyError, TypeError, RecursionError):
            return None
        in_inbox = message.get("ContainerName") == self._settings.data_container and name.startswith(
            inbox.INBOX
        )
        return Cause(INBOX_FILE if in_inbox else TRIGGER_FILE, name, paths.normal_etag(etag))
