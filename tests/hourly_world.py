"""Hours in memory: hosts whose every call to storage can be watched, cut off or made to wait for its turn."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, cast

from batchscore import hours, paths, runs
from batchscore.compute.base import Job, Location
from batchscore.hour_accounts import HourAccounts
from batchscore.hour_runs import StoredHourRuns
from batchscore.hour_store import HourStore
from batchscore.hourly import Hourly, bounds_of
from batchscore.hours import Hour, HourRecord
from batchscore.run_store import BlobRunStore
from batchscore.runs import Run, RunState
from batchscore.settings import Settings
from batchscore.storage import Storage
from tests.memory_blobs import Before, MemoryBlobs, MemoryStorage

ENOUGH = {"AzureWebJobsStorage": "UseDevelopmentStorage=true", "DATA_STORAGE": "UseDevelopmentStorage=true"}
T17 = Hour(datetime(2026, 11, 21, 17, tzinfo=UTC))


class World:
    """Storage that all hosts share, and a clock."""

    def __init__(self, **environment: str) -> None:
        self.settings = Settings.from_environment(
            ENOUGH | {"CATCH_UP_HOURS": "0", "LATE_HOURS": "24"} | environment
        )
        self.system, self.data = MemoryBlobs(), MemoryBlobs()
        self.now = datetime(2026, 11, 21, 18, 5, tzinfo=UTC)
        self.obstacle: str | None = None

    def host(self, before: Before = lambda call, name: None) -> Host:
        return Host(self, before)

    def land(self, hour: Hour, name: str, content: bytes = b"{}\n") -> None:
        self.data.client().upload_blob(f"{paths.readings_prefix(hour.start)}/{name}", content, overwrite=True)

    def record(self, hour: Hour = T17) -> HourRecord | None:
        return self.host().store.record(hour)[0]

    def pointer(self, hour: Hour = T17) -> dict[str, Any] | None:
        there = self.data.blobs.get(paths.pointer_path(hour.name))
        return json.loads(there[0]) if there else None

    def manifest(self, hour: Hour, version: int) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.data.blobs[paths.manifest_path(hour.name, version)][0])
        return found

    def runs(self) -> list[Run]:
        return self.host().runs.recent(10_000)

    def contents(self) -> dict[str, bytes]:
        """Everything in storage that means something: a marker of runs that their records do not bear out does not."""
        kept = {**self.system.blobs, **self.data.blobs}
        return {
            name: content
            for name, (content, _, _) in kept.items()
            if not name.startswith((paths.BY_STATE, paths.ACTIVE))
        }


class Host:
    """One process: what it knows is lost when it is killed, what it wrote is not."""

    def __init__(self, world: World, before: Before) -> None:
        storage = cast("Storage", MemoryStorage(world.system, world.data, before))
        self.world = world
        self.store = HourStore(storage, world.settings)
        self.runs = BlobRunStore(storage, lambda: world.now)
        self.hour_runs = StoredHourRuns(self.store, self.runs, lambda: world.now)
        self.accounts = HourAccounts(self.store, self.hour_runs, bounds_of(world.settings), lambda: world.now)
        self.hourly = Hourly(
            world.settings,
            self.store,
            self.runs,
            self.hour_runs,
            lambda request: world.obstacle,
            lambda: world.now,
        )

    def start(self, run: Run) -> Run:
        """What the reconciler does with an accepted run."""
        self.hour_runs.check(run)
        place = paths.predictions_location(self.world.settings, run.cause.name, run.cause.version)
        logs = Location("system", paths.LOGS, run.id)
        job = Job(f"{run.id}-1", run.id, 1, run.workload, "", {}, {paths.PREDICTIONS: place}, logs)
        return self.runs.update(
            run.id,
            lambda current: (
                replace(current, job=job, state=RunState.RUNNING)
                if current.state is RunState.ACCEPTED
                else current
            ),
        )

    def score(self, run: Run) -> None:
        """What the job of a run leaves behind."""
        assert run.job is not None
        place = run.job.outputs[paths.PREDICTIONS].path
        self.world.data.client().upload_blob(f"{place}/predictions.csv", b"TS\n", overwrite=True)

    def end(self, run: Run, state: RunState = RunState.SUCCEEDED, failed_items: int = 0) -> None:
        """What the reconciler does when a job has ended."""
        if state is RunState.SUCCEEDED:
            self.score(run)
            self.hour_runs.publish(run, failed_items)
        self.runs.update(
            run.id,
            lambda current: (
                replace(current, state=state, ended_at=self.world.now)
                if current.state is RunState.RUNNING
                else current
            ),
        )

    def finish(self, state: RunState = RunState.SUCCEEDED) -> None:
        """Start and end every run that is not over."""
        for run in list(self.runs.active()):
            self.end(self.start(run) if run.state is RunState.ACCEPTED else run, state)

    def retry(self, run: Run) -> Run:
        self.hour_runs.check_retry(run)
        return self.runs.update(run.id, lambda current: runs.retry(current, self.world.now))


def blobs_of(world: World, hour: Hour, version: int) -> set[str]:
    return {blob["name"] for blob in world.manifest(hour, version)["blobs"]}


def digest_in_data(world: World, hour: Hour, version: int) -> str:
    """The hash of the manifest that a run of this version reads."""
    return hours.digest_of(world.data.blobs[paths.manifest_path(hour.name, version)][0])
