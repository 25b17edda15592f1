"""What the doors do: a trigger file, an HTTP body or a poison message becomes a run record, once per cause."""

from __future__ import annotations

import hashlib
import json
import logging
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain, islice
from typing import Annotated, Any

import msgspec
from azure.core.exceptions import ResourceNotFoundError
from azure.storage.blob import BlobClient

from batchscore import inbox, paths, runs, signals
from batchscore.errors import (
    RequestError,
    RunConflictError,
    RunNotFoundError,
    RunUnreadableError,
    StorageUnavailableError,
)
from batchscore.printable import printable, quoted
from batchscore.run_store import RunStore
from batchscore.runs import Cause, Run
from batchscore.settings import Settings
from batchscore.signals import Signal
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
LONGEST_LINE = 1_000
Moment = Annotated[datetime, msgspec.Meta(tz=True)]
MOST_KNOWN = 20_000
SWEEP_PAGE = 1_000
SWEEP_PAGES = 20


@dataclass(frozen=True)
class Mark:
    """How far the sweep of one kind of file is. `newest` is the newest file that a whole sweep saw; a sweep that is
    not through yet goes on at `token`: it began at `began` and has seen files up to `seen`."""

    newest: Moment = LONG_AGO
    token: str | None = None
    began: Moment = LONG_AGO
    seen: Moment = LONG_AGO


@dataclass(frozen=True)
class Swept:
    """What one sweep did."""

    found: int = 0
    """How many files had no run and have one now."""
    faults: int = 0
    """How many could not be recorded."""
    unrecorded_since: datetime | None = None
    """When the oldest of those was written."""

    def plus(self, other: Swept) -> Swept:
        times = [each for each in (self.unrecorded_since, other.unrecorded_since) if each]
        return Swept(self.found + other.found, self.faults + other.faults, min(times, default=None))


_MARKS = msgspec.json.Decoder(dict[str, Mark])  # at import, as in run_store


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
        self._known: OrderedDict[str, None] = OrderedDict()

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
            signals.say(Signal.POISON_MESSAGE, run="", file="")
            return None
        run, created = self._store.create(runs.poisoned(cause, text, self._clock()))
        if created:
            log.error("run %s poisoned: %s", run.id, run.reason)
            signals.say(Signal.POISON_MESSAGE, run=run.id, file=cause.name)
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

    def sweep(self) -> Swept:
        """Record the trigger files and inbox files that have no run: their event was lost.

        Files are looked at from a few minutes before the newest one that the last sweep saw, or before that sweep
        began: a file may come while the listing is past its name. A file that cannot be recorded hides no other. One
        sweep reads SWEEP_PAGES pages of names; where there are more, the next sweep goes on from there."""
        for name in (self._settings.trigger_container, self._settings.data_container):
            self._storage.container("data", name, create=True)  # for those who upload first
        marks = self._marks()
        swept = self._sweep_kind(TRIGGER_FILE, marks)
        if self._settings.inbox_rules and swept.faults < MOST_FAULTS:
            swept = swept.plus(self._sweep_kind(INBOX_FILE, marks))
        return swept

    def _sweep_kind(self, kind: str, marks: dict[str, Mark]) -> Swept:
        """Sweep the files of one kind."""
        container = self._storage.container("data", self._container(kind))
        prefix = inbox.INBOX if kind == INBOX_FILE else None
        mark, now = marks.get(kind, Mark()), self._clock()
        since = min(mark.newest, now)
        began, newest = (min(mark.began, now), mark.seen) if mark.token else (now, since)
        swept = Swept()
        pages = container.list_blobs(name_starts_with=prefix, results_per_page=SWEEP_PAGE).by_page(mark.token)
        try:
            with translated("the list of trigger files"):
                for blob in chain.from_iterable(islice(pages, SWEEP_PAGES)):
                    modified = blob.last_modified
                    if modified < since - SWEEP_OVERLAP or not self._starts_a_run(kind, blob.name):
                        continue
                    newest = max(newest, min(modified, began))
                    run_id = Cause(kind, blob.name, paths.normal_etag(blob.etag)).run_id
                    try:
                        if not self._recorded(run_id):
                            record = self.inbox_file if kind == INBOX_FILE else self.trigger_file
                            recorded = record(container.get_blob_client(blob.name)) is not None
                            swept = swept.plus(Swept(found=int(recorded)))
                    except Exception:
                        log.exception("the file %s cannot be recorded", quoted(blob.name))
                        swept = swept.plus(Swept(faults=1, unrecorded_since=modified))
                        began = min(began, modified)  # so that no mark is later, and it is looked at again
                        newest = min(newest, began)
                        if swept.faults == MOST_FAULTS:  # storage is down: do not wait for it at every file
                            break
        except StorageUnavailableError:
            if mark.token:  # perhaps it is the place that storage does not take; the next sweep begins anew
                self._save(marks, kind, Mark(since))
            raise
        token = getattr(pages, "continuation_token", None)
        if swept.faults < MOST_FAULTS:
            self._save(marks, kind, Mark(since, token, began, newest) if token else Mark(newest))
        return swept

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
        """Whether the file has its run. One that is poisoned is read again: storage answers now."""
        if run_id in self._known:
            return True
        try:
            run = self._store.get(run_id)
            if run.state is runs.RunState.POISONED:
                log.info("run %s was poisoned; its file is read again", run_id)
                self.replay(run_id)
        except RunNotFoundError:
            return False
        except (RunUnreadableError, RunConflictError, RequestError) as error:
            log.warning("%s", error)
            return True
        self._remember(run_id)
        return True

    def _remember(self, run_id: str) -> None:
        """Keep in mind that there is a record, so that the sweep need not ask storage about each new file again."""
        self._known[run_id] = None
        if len(self._known) > MOST_KNOWN:
            with suppress(KeyError):  # another thread took the last one
                self._known.popitem(last=False)

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
        request = new.request
        if run.state is runs.RunState.POISONED and request is not None:  # now that the file could be read
            run = self._store.update(run.id, lambda current: _replayed(current, request, now))
        self._remember(run.id)
        if created:
            said = f"{run.state}: {run.reason}" if run.reason else f"{run.state}: {run.workload}"
            line = " ".join(said.splitlines())
            log.info("%s -> run %s %s", printable(cause.name, 100), run.id, printable(line, LONGEST_LINE))
        return run

    def _parse(self, data: bytes) -> RunRequest:
        return parse(data, self._workloads, self._settings.max_trigger_bytes)

    def _sweep_blob(self) -> BlobClient:
        return self._storage.container("system", paths.RUNS, create=True).get_blob_client(paths.SWEEP_BLOB)

    def _marks(self) -> dict[str, Mark]:
        """How far the sweep of each kind of file is."""
        with translated("the mark of the last sweep"):
            try:
                data = self._sweep_blob().download_blob().readall()
            except ResourceNotFoundError:
                return {}
        try:
            return _MARKS.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return {}

    def _save(self, marks: dict[str, Mark], kind: str, mark: Mark) -> None:
        if marks.get(kind) == mark:
            return
        marks[kind] = mark
        with translated("the mark of the last sweep"):
            self._sweep_blob().upload_blob(msgspec.json.encode(marks), overwrite=True)

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


def _replayed(run: Run, request: RunRequest, now: datetime) -> Run:
    return runs.replay(run, request, now) if run.state is runs.RunState.POISONED else run
