"""A flood of trigger files, and what the host did meanwhile: its memory, its answers, what became of the files."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import msgspec

from batchscore import paths
from batchscore.runs import Run
from tests.acceptance.hosts import User

UPLOADERS = 4
BAD_ONE_IN = 10
BAD = b'{"workload": "gated/wait", "inputs": {"files": "../elsewhere"}}'


@dataclass
class Watch:
    """What was seen of a host during a flood, twice a second."""

    resident_mb: list[float] = field(default_factory=list)
    answered_s: list[float] = field(default_factory=list)
    running: list[int] = field(default_factory=list)
    cpu_s: float = 0.0
    """CPU time of the host's process."""
    unanswered: int = 0


def upload(user: User, good: bytes, count: int, first: int = 0) -> dict[str, str]:
    """Drop so many trigger files, some at a time, one in ten of them bad; the run that each causes, by name."""
    container = user.application.storage.container("data", user.application.settings.trigger_container)

    def drop(number: int) -> tuple[str, str]:
        name = f"flood/{number:06d}.json"
        answer = container.get_blob_client(name).upload_blob(BAD if number % BAD_ONE_IN == 0 else good)
        return name, paths.run_id("trigger_file", name, paths.normal_etag(str(answer["etag"])))

    with ThreadPoolExecutor(UPLOADERS) as pool:
        return dict(pool.map(drop, range(first, first + count)))


def recorded(user: User) -> int:
    """How many runs have a record."""
    container = user.application.storage.container("system", paths.RUNS)
    return sum(1 for _ in container.list_blob_names(name_starts_with=paths.RECORDS))


def wait_until_recorded(user: User, count: int, patience_s: float) -> None:
    """Wait until so many runs have a record. Counting them keeps storage busy, so it is done a tenth of the time."""
    deadline = time.monotonic() + patience_s
    while True:
        began = time.monotonic()
        there = recorded(user)
        if there >= count:
            return
        assert began < deadline, f"{there} of {count} recorded within {patience_s} s"
        time.sleep(max(0.5, 9 * (time.monotonic() - began)))


def records(user: User) -> Iterator[Run]:
    """Every record, a few read at a time."""
    container = user.application.storage.container("system", paths.RUNS)
    names = list(container.list_blob_names(name_starts_with=paths.RECORDS))
    with ThreadPoolExecutor(8) as pool:
        for data in pool.map(lambda name: container.download_blob(name).readall(), names):
            yield msgspec.json.decode(data, type=Run)


def most_at_once(found: list[Run], until: datetime) -> int:
    """How many attempts were under way at the same instant, at most; `until` is when the records began to be read: a
    run that was read while it ran may have ended, and made room for another, before that one was read."""
    edges = []
    for run in found:
        for attempt in run.attempts:
            if attempt.started_at > until:
                continue
            edges.append((attempt.started_at, 1))
            if attempt.ended_at is not None:
                edges.append((attempt.ended_at, -1))
    most = now = 0
    for _, change in sorted(edges):
        now += change
        most = max(most, now)
    return most


@contextmanager
def watching(user: User) -> Iterator[Watch]:
    """Ask the host for its runs and look at its memory twice a second."""
    watch, over = Watch(), threading.Event()

    def look() -> None:
        while not over.wait(0.5):
            began = time.perf_counter()
            try:
                status, document = user.http("GET", "runs?state=running&limit=50")
            except (OSError, json.JSONDecodeError):
                watch.unanswered += 1
                continue
            watch.answered_s.append(time.perf_counter() - began)
            if status == 200:
                watch.running.append(len(document["runs"]))
            else:
                watch.unanswered += 1
            watch.resident_mb.append(resident_mb(user.host.pid))

    before, pid = cpu_s(user.host.pid), user.host.pid
    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield watch
    finally:
        over.set()
        thread.join()
        watch.cpu_s = cpu_s(pid) - before


def cpu_s(pid: int) -> float:
    """The CPU time that a process has taken."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mb(pid: int) -> float:
    """The memory that a process occupies now."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1_000 for line in lines if line.startswith("VmRSS"))
