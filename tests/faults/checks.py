"""What must be true once everything has been healed: each check says what is wrong, in words."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from azure.core.exceptions import HttpResponseError, ResourceNotFoundError

from batchscore import paths
from batchscore.devhost.blobs import POISON_QUEUE
from batchscore.runs import Run, RunState
from tests.faults.errands import Errand, developed
from tests.faults.world import World

TEMPORARY = re.compile(r"(^|/)(\.[^/]*\.part|[^/]*\.(new|tmp|part)|tmp)($|/)")
LEASE_FREE_S = 20.0
MAX_ATTEMPTS = 3


def legitimate_end(errand: Errand, run: Run) -> bool:
    """Whether a run may have ended so, without success, by what was done to it: it is then retried, as a person
    would."""
    if run.state is RunState.CANCELED:
        return errand.cancelled
    if run.state is not RunState.FAILED:
        return False
    if errand.killed_commands and "was killed by SIGKILL" in run.reason:
        return True
    if "attempts were lost and got no further" in run.reason:
        return errand.killed_attempts >= MAX_ATTEMPTS
    missing = re.search("there is no blob|changed or went away|there is nothing below", run.reason)
    return bool(missing) and bool(errand.told)


def of_run(world: World, errand: Errand, run: Run) -> Iterator[str]:
    """What is wrong with a run that should have succeeded."""
    if run.state is not RunState.SUCCEEDED:
        yield f"is {run.state}: {run.reason}"
        return
    receipts = _receipts(world, run)
    results = world.results(run.id, "developed" if errand.is_film else "scored")
    if set(results) != set(receipts):
        yield f"receipts {sorted(receipts)} are not of the outputs {sorted(results)}"
        return
    for item, data in results.items():
        receipt = receipts[item]
        content = errand.content(item, receipt["input"])
        if content is None:
            yield f"{item}: its receipt names an input that never was"
        elif data != developed(content):
            yield f"{item}: its output is not what its receipt says ({len(data)} bytes)"
        output = receipt["outputs"][0]
        if (output["size_bytes"], output["sha256"]) != (len(data), hashlib.sha256(data).hexdigest()):
            yield f"{item}: its receipt and its output differ"
    yield from (_of_film if errand.is_film else _of_rows)(world, errand, run, results, receipts)
    counted = (run.summary.ok, run.summary.failed) if run.summary else None
    if counted != (len(receipts), 0):
        yield f"its summary counts {counted}, but there are {len(receipts)} items"
    if run.id in {path.name for path in world.disk.folder.iterdir()}:
        yield "its work folder is still there"
    yield from _of_logs(world, run)
    if not errand.deleted:  # a step of which an item is gone is made anew as a whole
        yield from computed_twice(errand.computed)


def _of_film(
    world: World, errand: Errand, run: Run, results: dict[str, bytes], receipts: dict[str, Any]
) -> Iterator[str]:
    (films,) = errand.versions.values()
    joined = world.results(run.id, "joined").get("")
    whole = {b"\n\n".join(developed(part) for part in each.split(b"\n\n")): each for each in films}
    if joined not in whole:
        yield f"the joined film ({len(joined or b'')} bytes) is that of no version of its input"
        return
    count = len(whole[joined].split(b"\n\n"))
    if set(results) != {f"seg-{number:03d}.txt" for number in range(count)}:
        yield f"{count} segments were joined, but the outputs are {sorted(results)}"


def _of_rows(
    world: World, errand: Errand, run: Run, results: dict[str, bytes], receipts: dict[str, Any]
) -> Iterator[str]:
    names = {name.rpartition("/")[2] for name in errand.versions}
    deleted = {name.rpartition("/")[2] for name in errand.deleted}
    if not names - deleted <= set(results) <= names:
        yield f"outputs are {sorted(results)}, inputs were {sorted(names)}, deleted {sorted(deleted)}"
    table = world.results(run.id, "table").get("", b"").decode().splitlines()
    wanted = sorted(f"{item},{receipt['input']}" for item, receipt in receipts.items())
    if [row for row in wanted if row.split(",")[0] not in deleted] != [
        row for row in table if row.split(",")[0] not in deleted
    ]:
        yield f"the table is {table}, it should be {wanted}"
    if len(table) != len({row.split(",")[0] for row in table}):
        yield f"the table has an item twice: {table}"


def _receipts(world: World, run: Run) -> dict[str, Any]:
    """The newest receipt of each item."""
    newest: dict[str, Any] = {}
    for data in world.results(run.id, paths.RECEIPTS_OUTPUT).values():
        for line in data.splitlines():
            receipt = json.loads(line)
            if receipt["item"] not in newest or receipt["ended_at"] >= newest[receipt["item"]]["ended_at"]:
                newest[receipt["item"]] = receipt
    return newest


def computed_twice(file: Path) -> Iterator[str]:
    """Items that were computed although their receipt was there already."""
    receipted: set[tuple[str, str]] = set()
    for line in file.read_text().splitlines() if file.exists() else ():
        what, item, version, *_ = line.split()
        if what == "computed" and (item, version) in receipted:
            yield f"{item} was computed again although it had its receipt"
        if what == "receipted":
            receipted.add((item, version))


def _of_logs(world: World, run: Run) -> Iterator[str]:
    last = run.attempts[-1]
    location = paths.logs_location(run.id, last.number)
    with world.storage() as application:
        container = application.storage.container("system", location.container)
        names = list(container.list_blob_names(name_starts_with=location.path + "/"))
        for name in names:
            data = container.download_blob(name).readall()
            if b"\0" in data:
                yield f"the log {name} has holes"
            try:
                data.decode()
            except UnicodeDecodeError:
                yield f"the log {name} is not text"
    if not any(name.endswith("engine.txt") for name in names):
        yield f"attempt {last.number} has no engine log ({names})"


def of_world(world: World) -> Iterator[str]:
    """What is wrong with the rest: leftovers of any kind."""
    for found in world.processes():
        if found.role != "host":
            yield f"process {found.pid} ({found.role} {found.job}) is left"
    for path in world.disk.folder.rglob("*"):
        name = path.relative_to(world.disk.folder).as_posix()
        if TEMPORARY.search(name):
            yield f"the temporary file {name} is left in the work folder"
    with world.storage() as application:
        for account, containers in (
            ("data", (world.settings.data_container, world.settings.trigger_container)),
            ("system", (paths.RUNS, paths.LOGS)),
        ):
            for each in containers:
                for name in application.storage.container(account, each).list_blob_names():
                    if TEMPORARY.search(name):
                        yield f"the temporary blob {each}/{name} is left"
        markers = list(
            application.storage.container("system", paths.RUNS).list_blob_names(name_starts_with=paths.ACTIVE)
        )
        live = [run.id for run in application.store.active()]
    if live:
        yield f"runs are active: {live}"
    if len(markers) > len(world.errands):
        yield f"{len(markers)} markers of active runs are left"
    for queue in (POISON_QUEUE, f"{POISON_QUEUE}-poison", f"{paths.RECONCILE_QUEUE}-poison"):
        try:
            with world.storage():
                count = world.queue(queue).get_queue_properties().approximate_message_count
        except ResourceNotFoundError:
            continue
        if count:
            yield f"{count} messages are in the queue {queue}"
    if not _lease_comes_free(world):
        yield f"the reconciler's lease was not free within {LEASE_FREE_S:.0f} s"


def most_at_once(runs: Iterable[Run]) -> int:
    """How many attempts there were at the same time."""
    moments: list[tuple[datetime, int]] = []
    for run in runs:
        for attempt in run.attempts:
            moments.append((attempt.started_at, 1))
            moments.append((attempt.ended_at or attempt.started_at, -1))
    now = most = 0
    for _, change in sorted(moments):
        now += change
        most = max(most, now)
    return most


def _lease_comes_free(world: World) -> bool:
    deadline = time.monotonic() + LEASE_FREE_S
    with world.storage() as application:
        blob = application.storage.container("system", paths.RUNS).get_blob_client(paths.LEASE_BLOB)
        while time.monotonic() < deadline:
            try:
                blob.acquire_lease(15).release()
                return True
            except HttpResponseError:
                time.sleep(0.1)
    return False
