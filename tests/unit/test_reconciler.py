"""The reconciler moves runs; what it is told by a compute that fails in every way is survived."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from batchscore import runs
from batchscore.cli.accounts import Chapter, account
from batchscore.compute.base import Job, JobState, JobStatus, Location, Overrides, StepProgress
from batchscore.deployment import Deployment
from batchscore.errors import ComputeUnavailableError, JobRefusedError, RequestError, StorageUnavailableError
from batchscore.holdings import Amount
from batchscore.lease import RENEW_AFTER_S, LeaseLostError
from batchscore.measured import RunSample
from batchscore.planner import Bounds
from batchscore.receipts import FailedItem
from batchscore.reconciler import MOST_UNPLANNED, Reconciler
from batchscore.run_store import MemoryRunStore
from batchscore.runs import Cause, Run, RunState
from batchscore.settings import Settings
from batchscore.triggers import RunRequest
from batchscore.workloads import Workloads
from tests.azureml_jobs import deployed
from tests.unit.workload_folder import write_workloads

ENOUGH = {"AzureWebJobsStorage": "UseDevelopmentStorage=true", "DATA_STORAGE": "UseDevelopmentStorage=true"}


class FakeLease:
    def __init__(self) -> None:
        self.free, self.kept = True, 0
        self.lost_after: int | None = None

    def acquire(self, wait_s: float) -> bool:
        was, self.free = self.free, False
        return was

    def keep(self, sure_for_s: float = RENEW_AFTER_S) -> None:
        self.kept += 1
        if self.lost_after is not None and self.kept > self.lost_after:
            raise LeaseLostError("gone")

    def release(self) -> None:
        self.free = True


@dataclass
class FakeCompute:
    """Holds what it was given; each test says what it answers."""

    answers: dict[str, JobStatus] = field(default_factory=dict)
    submitted: list[Job] = field(default_factory=list)
    canceled: list[str] = field(default_factory=list)
    submit_error: BaseException | None = None
    status_error: Exception | None = None
    faulty: set[str] = field(default_factory=set)
    """Jobs at whose sight the back end falls over."""

    def submit(self, job: Job) -> None:
        if self.submit_error:
            raise self.submit_error
        self.submitted.append(job)
        self.answers.setdefault(job.name, JobStatus(JobState.RUNNING))

    def status(self, job_name: str) -> JobStatus:
        if self.status_error:
            raise self.status_error
        if job_name in self.faulty:
            raise RuntimeError("cannot read the state")
        return self.answers[job_name]

    def cancel(self, job_name: str) -> None:
        self.canceled.append(job_name)

    def close(self) -> None:
        pass


class FakeCatalog:
    def __init__(self) -> None:
        self.blobs, self.folders, self.models = {"table.csv"}, {"in"}, {"net"}
        self.faulty: set[str] = set()
        self.deployed: Deployment | None = None
        self.amounts: dict[str, Amount] = {}
        self.samples: list[RunSample] = []

    def deployment(self) -> Deployment | None:
        return self.deployed

    def amount(self, location: Location, kind: str) -> Amount:
        return self.amounts.get(location.path, Amount())

    def measured(self, workload: str) -> tuple[RunSample, ...]:
        return tuple(self.samples)

    def remember(self, workload: str, sample: RunSample) -> None:
        if workload in self.faulty:
            raise StorageUnavailableError("storage refused it: 400")
        self.samples.append(sample)

    def blob_exists(self, location: Location) -> bool:
        if location.path in self.faulty:
            raise StorageUnavailableError("storage refused it: 400")
        return location.path in self.blobs

    def holds_blobs(self, location: Location) -> bool:
        return location.path in self.folders

    def kept_from_runs(self, model: str) -> str | None:
        return "a model that ships" if model == "arbitrary" else None

    def model(self, reference: str) -> Location:
        if reference not in self.models:
            raise RequestError(f"there is no model {reference!r}.")
        return Location("system", "models", f"{reference}/1")


@dataclass
class FakeLeftovers:
    """Remembers what was noted; each test says how often there is more to remove."""

    noted: list[str] = field(default_factory=list)
    passes: int = 0
    error: Exception | None = None

    def note(self, run_id: str) -> None:
        self.noted.append(run_id)

    def remove(self, now: datetime, keep_lease: Callable[[], None]) -> bool:
        keep_lease()
        if self.error:
            raise self.error
        self.passes += 1
        return self.passes == 1


class FakeHours:
    """Remembers what was published; each test says what it answers."""

    def __init__(self) -> None:
        self.published: list[tuple[str, int]] = []
        self.check_error: Exception | None = None
        self.publish_error: Exception | None = None

    def check(self, run: Run) -> None:
        if self.check_error:
            raise self.check_error

    def publish(self, run: Run, failed_items: int) -> None:
        if self.publish_error:
            raise self.publish_error
        self.published.append((run.id, failed_items))


class World:
    """A reconciler with everything around it faked but the record, and a clock that the test moves."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.settings = Settings.from_environment(
            ENOUGH | {"WORKLOADS_FOLDER": str(write_workloads(folder))} | environment
        )
        self.store, self.lease = MemoryRunStore(), FakeLease()
        self.compute, self.catalog = FakeCompute(), FakeCatalog()
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.receipts: list[bytes] = []
        self.logs: list[bytes] = []
        self.published: list[tuple[str, Location, str]] = []
        self.publish_error: Exception | None = None
        self.leftovers, self.hours = FakeLeftovers(), FakeHours()
        self.reconciler = Reconciler(
            self.settings,
            self.store,
            self.lease,
            Workloads(self.settings.workloads_folder),
            self.catalog,
            lambda: self.compute,
            self._receipts,
            self._publish,
            self.leftovers,
            self.hours,
            lambda: self.now,
        )

    def _receipts(self, location: Location) -> Iterator[bytes]:
        yield from self.receipts if location.path.endswith("/receipts") else self.logs

    def _publish(self, name: str, output: Location, job: str) -> str:
        self.published.append((name, output, job))
        if self.publish_error:
            raise self.publish_error
        return f"{name}:1"

    def accept(self, name: str = "a.json", **inputs: str | float) -> Run:
        self.now += timedelta(seconds=1)
        request = RunRequest("demo/copy", {"files": "in", **inputs})
        return self.store.create(runs.accepted(Cause("trigger_file", name, "1"), request, self.now))[0]

    def tick(self, **then: float) -> None:
        self.reconciler.tick()
        self.now += timedelta(**then) if then else timedelta(seconds=1)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_run_goes_from_accepted_to_succeeded(world: World) -> None:
    run = world.accept(model="net", table="table.csv")
    world.tick()
    running = world.store.get(run.id)
    assert running.state is RunState.RUNNING
    [job] = world.compute.submitted
    assert job == running.job
    assert job.name == f"{run.id}-1"
    assert job.inputs["files"] == Location("data", "data", "in")
    assert job.inputs["model"] == Location("system", "models", "net/1")
    assert job.inputs["strength"] == 1.0
    assert job.outputs["receipts"].account == "system"
    assert running.results == {"list": Location("data", "data", f"runs/{run.id}/list")}

    receipt = {"item": "a", "status": "ok", "ended_at": "2026", "milliseconds": {"total": 5}}
    world.receipts = [json.dumps(receipt).encode()]
    steps = (StepProgress("copy", JobState.SUCCEEDED, 1, 1, 0),)
    world.compute.answers[job.name] = JobStatus(JobState.SUCCEEDED, steps=steps)
    world.tick()
    done = world.store.get(run.id)
    assert done.state is RunState.SUCCEEDED
    assert done.items == (1, 1, 0)
    assert done.summary is not None
    assert done.summary.ok == 1
    assert list(world.store.active()) == []


def test_a_run_whose_receipts_name_failed_items_succeeds_with_errors_and_is_retried(world: World) -> None:
    run = world.accept()
    world.tick()
    world.receipts = [b'{"item": "a", "status": "ok"}', b'{"item": "b", "status": "failed", "error": "torn"}']
    world.compute.answers[f"{run.id}-1"] = JobStatus(JobState.SUCCEEDED)
    world.tick()
    done = world.store.get(run.id)
    assert done.state is RunState.SUCCEEDED_WITH_ERRORS
    assert done.summary is not None
    assert [(failure.item, failure.error) for failure in done.summary.failures] == [("b", "torn")]
    assert list(world.store.active()) == []

    world.store.update(run.id, lambda current: runs.retry(current, world.now))
    world.tick()
    world.receipts.append(b'{"item": "b", "status": "ok", "ended_at": "2026"}')
    world.compute.answers[f"{run.id}-2"] = JobStatus(JobState.SUCCEEDED)
    world.tick()
    assert world.store.get(run.id).state is RunState.SUCCEEDED


def test_a_run_is_noted_before_it_succeeds_and_portions_are_removed_pass_by_pass(world: World) -> None:
    run = world.accept()
    world.tick()
    world.compute.answers[f"{run.id}-1"] = JobStatus(JobState.SUCCEEDED)
    world.lease.lost_after = world.lease.kept + 2  # the pass breaks off after the runs
    assert not world.reconciler.tick().ran
    assert world.leftovers.noted == [run.id]
    assert world.store.get(run.id).state is RunState.SUCCEEDED
    world.lease.lost_after, world.leftovers.passes = None, 0
    assert [world.reconciler.tick().cleaning for _ in range(2)] == [True, False]


@pytest.mark.parametrize("state", [JobState.FAILED, JobState.CANCELED, JobState.LOST])
def test_a_run_that_did_not_succeed_is_not_noted(world: World, state: JobState) -> None:
    run = world.accept()
    world.tick()
    world.compute.answers[f"{run.id}-1"] = JobStatus(state)
    world.tick()
    assert world.leftovers.noted == []


def test_with_keep_intermediates_nothing_is_noted_or_removed(tmp_path: Path) -> None:
    world = World(tmp_path, KEEP_INTERMEDIATES="true")
    run = world.accept()
    world.tick()
    world.compute.answers[f"{run.id}-1"] = JobStatus(JobState.SUCCEEDED)
    world.tick()
    assert (world.leftovers.noted, world.leftovers.passes) == ([], 0)


def test_leftovers_that_cannot_be_removed_hold_up_no_run(world: World) -> None:
    world.leftovers.error = StorageUnavailableError("storage refused it: 403")
    run = world.accept()
    world.tick()
    assert world.store.get(run.id).state is RunState.RUNNING


def test_items_that_left_no_receipt_are_named_from_the_logs(world: World) -> None:
    run = world.accept()
    world.tick()
    world.logs = [b'{"items": ["b"], "items_failed": 1, "error": "the worker was killed by SIGKILL"}']
    world.receipts = [b'{"item": "a", "status": "ok"}']
    steps = (StepProgress("copy", JobState.SUCCEEDED, 2, 1, 1),)
    world.compute.answers[f"{run.id}-1"] = JobStatus(JobState.SUCCEEDED, steps=steps)
    world.tick()
    done = world.store.get(run.id)
    assert done.state is RunState.SUCCEEDED_WITH_ERRORS
    assert done.summary is not None
    assert (done.summary.ok, done.summary.failed) == (1, 1)
    assert done.summary.failures[0] == FailedItem("b", "the worker was killed by SIGKILL")


def test_the_job_is_in_the_record_before_it_is_submitted(world: World) -> None:
    run = world.accept()
    world.compute.submit_error = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        world.reconciler.tick()
    frozen = world.store.get(run.id)
    assert frozen.state is RunState.SUBMITTING
    assert world.lease.free
    world.compute.submit_error = None
    world.tick()
    assert world.compute.submitted == [frozen.job]
    assert len(world.store.get(run.id).attempts) == 1


def test_a_compute_outage_only_delays(world: World) -> None:
    run = world.accept()
    world.compute.submit_error = ComputeUnavailableError("no quota to ask.")
    world.tick()
    held = world.store.get(run.id)
    assert (held.state, held.reason) == (RunState.SUBMITTING, "no quota to ask.")
    world.compute.submit_error = None
    world.compute.status_error = ComputeUnavailableError("down.")
    world.tick()
    held = world.store.get(run.id)
    assert (held.state, held.reason) == (RunState.RUNNING, "down.")
    world.compute.status_error = None
    world.tick()
    assert world.store.get(run.id).reason == ""
    world.compute.answers[f"{run.id}-1"] = JobStatus(JobState.SUCCEEDED)
    world.tick()
    assert world.store.get(run.id).state is RunState.SUCCEEDED


def test_a_job_that_is_refused_fails_with_the_reason(world: World) -> None:
    run = world.accept()
    world.compute.submit_error = JobRefusedError("no such pipeline")
    world.tick()
    failed = world.store.get(run.id)
    assert (failed.state, failed.reason) == (RunState.FAILED, "no such pipeline")


def test_no_more_runs_than_allowed_are_active_and_the_others_wait_in_order(tmp_path: Path) -> None:
    world = World(tmp_path, MAX_ACTIVE_RUNS="2")
    accepted = [world.accept(f"{number}.json") for number in range(4)]
    world.tick()
    world.tick()
    assert [job.run_id for job in world.compute.submitted] == [run.id for run in accepted[:2]]
    world.compute.answers[f"{accepted[0].id}-1"] = JobStatus(JobState.SUCCEEDED)
    world.tick()
    assert [job.run_id for job in world.compute.submitted] == [run.id for run in accepted[:3]]


def test_a_lost_attempt_is_followed_by_another_with_the_same_inputs_and_outputs(world: World) -> None:
    run = world.accept(model="net")
    world.tick()
    world.catalog.models = {"net-2"}  # what a later attempt scores with is what the first one had
    world.compute.answers[f"{run.id}-1"] = JobStatus(JobState.LOST, "the machine died")
    tick = world.reconciler.tick()
    assert (tick.running, tick.lost) == (0, 1)
    world.tick()
    first, second = world.compute.submitted
    assert second == replace(
        first, name=f"{run.id}-2", attempt=2, logs=Location("system", "logs", f"{run.id}/attempt-2")
    )
    record = world.store.get(run.id)
    assert [attempt.outcome for attempt in record.attempts] == ["lost", ""]


def test_while_a_run_is_being_stopped_the_next_look_is_soon(world: World) -> None:
    run = world.accept()
    assert not world.reconciler.tick().stopping
    world.store.update(run.id, lambda current: runs.cancel(current, world.now))
    assert world.reconciler.tick().stopping
    world.compute.answers[f"{run.id}-1"] = JobStatus(JobState.CANCELED)
    assert not world.reconciler.tick().stopping


def test_attempts_are_bounded(world: World) -> None:
    run = world.accept()
    for number in (1, 2, 3):
        world.tick()
        world.compute.answers[f"{run.id}-{number}"] = JobStatus(JobState.LOST, "gone again")
        world.tick()
    failed = world.store.get(run.id)
    assert failed.state is RunState.FAILED
    assert "3 attempts were lost" in failed.reason


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({"files": "nothing"}, "nothing below 'nothing/'"),
        ({"files": "table.csv"}, "input 'files' must be a folder, and 'table.csv' is a file"),
        ({"table": "in"}, "input 'table' must be a file, and 'in/' is a folder"),
        ({"table": "gone.csv"}, "no blob 'gone.csv' in container 'data'"),
        (
            {"sheet": "in"},
            "no blob 'in/MLTable' in container 'data' of the data account, and an mltable is a prefix",
        ),
        ({"model": "nett"}, "input 'model': there is no model 'nett'"),
    ],
)
def test_what_is_not_there_rejects_the_run_with_the_reason(
    world: World, inputs: dict[str, str], said: str
) -> None:
    run = world.accept(**inputs)
    world.tick()
    rejected = world.store.get(run.id)
    assert rejected.state is RunState.REJECTED
    assert said in rejected.reason
    assert world.compute.submitted == []


def test_cancel_reaches_the_compute_and_ends_when_it_says_so(world: World) -> None:
    run = world.accept()
    world.tick()
    world.store.update(run.id, lambda current: runs.cancel(current, world.now))
    world.tick()
    assert world.compute.canceled == [f"{run.id}-1"]
    assert world.store.get(run.id).state is RunState.RUNNING
    world.compute.answers[f"{run.id}-1"] = JobStatus(JobState.CANCELED)
    world.tick()
    assert world.store.get(run.id).state is RunState.CANCELED


def test_a_run_that_goes_silent_is_canceled_and_says_why(tmp_path: Path) -> None:
    world = World(tmp_path, STALLED_AFTER_S="100")
    run = world.accept()
    world.tick(seconds=101)
    world.tick()
    assert world.compute.canceled == [f"{run.id}-1"]
    world.compute.answers[f"{run.id}-1"] = JobStatus(JobState.CANCELED)
    world.tick()
    assert "no progress for 100 s" in world.store.get(run.id).reason


def test_a_run_that_waits_for_machines_is_not_silent_until_its_own_bound(tmp_path: Path) -> None:
    world = World(tmp_path, STALLED_AFTER_S="100", QUEUED_AFTER_S="300")
    run = world.accept()
    name = f"{run.id}-1"
    world.compute.answers[name] = JobStatus(JobState.QUEUED, "waits for nodes: the quota has no room.")
    world.tick(seconds=150)
    world.tick(seconds=150)
    assert world.store.get(run.id).reason == "waits for nodes: the quota has no room."
    assert world.compute.canceled == []
    world.tick(seconds=1)
    assert world.compute.canceled == []
    world.tick()
    assert world.compute.canceled == [name]
    world.compute.answers[name] = JobStatus(JobState.CANCELED)
    world.tick()
    over = world.store.get(run.id)
    assert over.state is RunState.CANCELED
    assert over.reason.startswith(
        "canceled: it waited 300 s for machines (setting QUEUED_AFTER_S): waits for nodes"
    )


def test_a_job_that_is_never_stopped_is_left_so_that_others_start(tmp_path: Path) -> None:
    world = World(tmp_path, STALLED_AFTER_S="100", MAX_ACTIVE_RUNS="1")
    stuck, waiting = world.accept("1.json"), world.accept("2.json")
    for _ in range(5):
        world.tick(seconds=60)
    left = world.store.get(stuck.id)
    assert left.state is RunState.CANCELED
    assert "never confirmed" in left.reason
    assert world.compute.canceled
    assert world.store.get(waiting.id).state is RunState.RUNNING


def test_a_machine_that_slept_saw_no_silence(tmp_path: Path) -> None:
    world = World(tmp_path, STALLED_AFTER_S="1000")
    world.accept()
    world.tick()
    world.now += timedelta(hours=8)
    for _ in range(3):
        world.tick(seconds=500)
    assert world.compute.canceled == []
    world.tick()
    assert len(world.compute.canceled) == 1


def test_a_running_run_that_was_looked_at_just_now_is_let_be_and_still_counts(tmp_path: Path) -> None:
    world = World(tmp_path, MAX_ACTIVE_RUNS="2")
    first = world.accept("1.json")
    world.tick()
    world.compute.answers[f"{first.id}-1"] = JobStatus(JobState.SUCCEEDED)
    second, third = world.accept("2.json"), world.accept("3.json")
    assert world.reconciler.tick(rest_s=4).running == 2  # the second was started, the third has no room
    assert world.store.get(first.id).state is RunState.RUNNING
    assert world.store.get(third.id).state is RunState.ACCEPTED
    world.now += timedelta(seconds=3)
    world.reconciler.tick(rest_s=4)
    assert world.store.get(first.id).state is RunState.SUCCEEDED
    assert world.store.get(second.id).state is RunState.RUNNING
    world.reconciler.tick(rest_s=4)
    assert world.store.get(third.id).state is RunState.RUNNING


def test_what_has_room_is_started_before_what_runs_is_looked_at(tmp_path: Path) -> None:
    world = World(tmp_path, MAX_ACTIVE_RUNS="2")
    slow = world.accept("1.json")
    world.tick()
    seen: list[int] = []
    status = world.compute.status

    def looked(job_name: str) -> JobStatus:
        if job_name == f"{slow.id}-1":
            seen.append(len(world.compute.submitted))
        return status(job_name)

    world.compute.status = looked  # type: ignore[method-assign]
    world.accept("2.json")
    world.tick()
    assert seen == [2]


def test_a_pass_ends_in_time_and_the_next_one_goes_on(tmp_path: Path) -> None:
    world = World(tmp_path, MAX_ACTIVE_RUNS="9")
    accepted = [world.accept(f"{number}.json") for number in range(4)]
    submit = world.compute.submit

    def slowly(job: Job) -> None:
        world.now += timedelta(minutes=3)
        submit(job)

    world.compute.submit = slowly  # type: ignore[method-assign]
    tick = world.reconciler.tick()
    assert (tick.started, tick.waiting) == (2, True)
    assert world.reconciler.tick().started == 2
    assert [job.run_id for job in world.compute.submitted] == [run.id for run in accepted]


def test_a_lost_attempt_keeps_the_place_of_its_run(tmp_path: Path) -> None:
    """Also when another ended in the same pass: who waits gets that one's place, and no more run than may."""
    world = World(tmp_path, MAX_ACTIVE_RUNS="2")
    lost, done, third, fourth = (world.accept(f"{number}.json") for number in range(4))
    world.tick()
    world.compute.answers[f"{lost.id}-1"] = JobStatus(JobState.LOST, "the machine died")
    world.compute.answers[f"{done.id}-1"] = JobStatus(JobState.SUCCEEDED)
    world.tick()
    world.tick()
    under_way = [run for run in (lost, third, fourth) if world.store.get(run.id).state is RunState.RUNNING]
    assert under_way == [lost, third]


def test_who_was_not_looked_at_in_a_long_pass_is_first_in_the_next(tmp_path: Path) -> None:
    world = World(tmp_path, MAX_ACTIVE_RUNS="9")
    names = [f"{world.accept(f'{number}.json').id}-1" for number in range(4)]
    world.tick()
    world.now += timedelta(minutes=20)
    seen: list[str] = []
    status = world.compute.status

    def slowly(job_name: str) -> JobStatus:
        seen.append(job_name)
        world.now += timedelta(minutes=3)
        return status(job_name)

    world.compute.status = slowly  # type: ignore[method-assign]
    world.reconciler.tick()
    world.reconciler.tick()
    assert seen == names


def test_a_run_that_is_to_stop_is_looked_at_however_soon(world: World) -> None:
    run = world.accept()
    world.tick()
    world.store.update(run.id, lambda current: runs.cancel(current, world.now))
    world.reconciler.tick(rest_s=60)
    assert world.compute.canceled == [f"{run.id}-1"]


def test_progress_resets_the_silence(tmp_path: Path) -> None:
    world = World(tmp_path, STALLED_AFTER_S="100")
    run = world.accept()
    world.tick(seconds=90)
    for done in range(3):
        steps = (StepProgress("copy", JobState.RUNNING, 10, done + 1, 0),)
        world.compute.answers[f"{run.id}-1"] = JobStatus(JobState.RUNNING, steps=steps)
        world.tick(seconds=90)
    assert world.compute.canceled == []


def test_without_the_lease_nothing_is_moved(world: World) -> None:
    run = world.accept()
    world.lease.free = False
    assert not world.reconciler.tick().ran
    assert world.store.get(run.id).state is RunState.ACCEPTED


def test_a_lost_lease_stops_the_pass_at_once(world: World) -> None:
    world.accept("1.json")
    second = world.accept("2.json")
    world.lease.lost_after = 4
    assert not world.reconciler.tick().ran
    assert world.store.get(second.id).state is RunState.ACCEPTED
    assert world.lease.free


def test_a_lease_that_is_lost_before_a_change_lets_nothing_be_changed_or_submitted(world: World) -> None:
    run = world.accept()
    before = world.store.get(run.id)

    def tick_that_loses_it_after(looks: int) -> Run:
        world.lease.kept, world.lease.lost_after = 0, looks
        world.reconciler.tick()
        return world.store.get(run.id)

    assert tick_that_loses_it_after(1) == before  # its job was planned, but not frozen into its record
    assert tick_that_loses_it_after(2).state is RunState.SUBMITTING
    assert world.compute.submitted == []
    assert tick_that_loses_it_after(2).state is RunState.SUBMITTING  # submitted, but that was not written
    assert tick_that_loses_it_after(100).state is RunState.RUNNING
    assert {job.name for job in world.compute.submitted} == {f"{run.id}-1"}


def test_a_run_that_could_not_be_planned_goes_behind_so_that_never_more_run_than_may(tmp_path: Path) -> None:
    world = World(tmp_path, MAX_ACTIVE_RUNS="1")
    faulty, good = world.accept("1.json", table="odd.csv"), world.accept("2.json")
    world.catalog.faulty.add("odd.csv")
    world.tick()
    assert world.store.get(good.id).state is RunState.RUNNING
    world.catalog.faulty.clear()
    world.catalog.blobs.add("odd.csv")
    world.tick()
    assert world.store.get(faulty.id).state is RunState.ACCEPTED
    assert len(world.compute.submitted) == 1


def test_a_run_whose_surroundings_fail_again_and_again_waits_and_lets_others_go_first(
    world: World,
) -> None:
    run = world.accept()
    for number in range(1, 4):
        world.tick()
        world.compute.answers[f"{run.id}-{number}"] = JobStatus(JobState.LOST, "cut", blameless=True)
        world.tick()
    waiting = world.store.get(run.id)
    assert waiting.state is RunState.ACCEPTED
    assert "in 5 s" in waiting.reason
    assert world.reconciler.tick().started == 0
    world.now += timedelta(seconds=5)
    assert world.reconciler.tick().started == 1


def test_a_run_whose_job_makes_the_compute_fall_over_holds_up_no_other(world: World) -> None:
    faulty = world.accept("1.json")
    world.tick()
    world.compute.faulty.add(f"{faulty.id}-1")
    good = world.accept("2.json")
    world.tick()
    assert world.store.get(good.id).state is RunState.RUNNING
    held = world.store.get(faulty.id)
    assert held.state is RunState.RUNNING
    assert (
        held.reason == "something is wrong with it, see the host's log: RuntimeError: cannot read the state"
    )


def test_a_run_that_cannot_be_planned_for_now_keeps_nobody_from_starting(tmp_path: Path) -> None:
    world = World(tmp_path, MAX_ACTIVE_RUNS="1")
    faulty, good = world.accept("1.json", table="odd.csv"), world.accept("2.json")
    world.catalog.faulty.add("odd.csv")
    world.tick()
    assert world.store.get(faulty.id).state is RunState.ACCEPTED
    assert world.store.get(good.id).state is RunState.RUNNING
    world.catalog.faulty.clear()
    world.catalog.blobs.add("odd.csv")
    world.compute.answers[f"{good.id}-1"] = JobStatus(JobState.SUCCEEDED)
    world.tick()
    world.tick()
    assert world.store.get(faulty.id).state is RunState.RUNNING


def test_a_pass_does_not_try_every_waiting_run_when_none_can_be_planned(world: World) -> None:
    tried: list[str] = []
    for number in range(20):
        world.accept(f"{number}.json", table=f"{number}.csv")

    def blob_exists(location: Location) -> bool:
        tried.append(location.path)
        raise StorageUnavailableError("storage does not answer")

    world.catalog.blob_exists = blob_exists  # type: ignore[method-assign]
    world.tick()
    assert len(tried) == MOST_UNPLANNED


def test_a_receipt_that_cannot_be_read_is_passed_over(world: World) -> None:
    run = world.accept()
    world.tick()
    world.receipts = [b'{"item": "a", "status": "ok", "milliseconds": [1]}']
    world.compute.answers[f"{run.id}-1"] = JobStatus(JobState.SUCCEEDED)
    world.tick()
    assert world.store.get(run.id).state is RunState.SUCCEEDED


def test_a_compute_that_is_back_after_a_long_outage_does_not_find_its_run_given_up(tmp_path: Path) -> None:
    world = World(tmp_path, STALLED_AFTER_S="100")
    run = world.accept()
    world.compute.submit_error = ComputeUnavailableError("down")
    world.tick(seconds=500)
    world.compute.submit_error = None
    world.tick()
    assert world.compute.canceled == []
    assert not world.store.get(run.id).cancel_requested


@pytest.mark.parametrize("done", [5, 10])
def test_progress_that_was_made_while_nobody_looked_is_no_silence(tmp_path: Path, done: int) -> None:
    world = World(tmp_path, STALLED_AFTER_S="100")
    run = world.accept()
    world.tick(seconds=500)
    state = JobState.SUCCEEDED if done == 10 else JobState.RUNNING
    steps = (StepProgress("copy", state, 10, done, 0),)
    world.compute.answers[f"{run.id}-1"] = JobStatus(state, steps=steps)
    world.tick()
    assert world.compute.canceled == []
    assert not world.store.get(run.id).cancel_requested


def test_a_reconciler_that_was_overtaken_does_not_end_the_attempt_of_another(world: World) -> None:
    run = world.accept()
    world.tick()
    first, second = f"{run.id}-1", f"{run.id}-2"
    world.compute.answers[first] = JobStatus(JobState.LOST, "gone")

    class Overtaken(FakeCompute):
        def status(self, job_name: str) -> JobStatus:
            status = compute.status(job_name)
            if job_name == first and not compute.answers.get(second):  # paused here while another one goes on
                world.compute = compute
                world.lease.free = True
                world.tick()
                world.tick()
            return status

    compute = world.compute
    world.compute = Overtaken()
    world.tick()
    record = world.store.get(run.id)
    assert [attempt.outcome for attempt in record.attempts] == ["lost", ""]
    assert record.state is RunState.RUNNING


def test_a_retry_of_a_workload_that_is_gone_fails_and_can_be_retried_again(world: World) -> None:
    run = world.accept()
    world.tick()
    world.compute.answers[f"{run.id}-1"] = JobStatus(JobState.FAILED, "broken")
    world.tick()
    pipeline = world.settings.workloads_folder / "demo" / "copy.pipeline.yml"
    pipeline.rename(pipeline.with_suffix(".away"))
    world.store.update(run.id, lambda current: runs.retry(current, world.now))
    world.tick()
    failed = world.store.get(run.id)
    assert failed.state is RunState.FAILED
    assert "there is no workload" in failed.reason
    pipeline.with_suffix(".away").rename(pipeline)
    world.store.update(run.id, lambda current: runs.retry(current, world.now))
    world.tick()
    assert world.store.get(run.id).state is RunState.RUNNING


PLACE = "1b2c3d4e-0000-4000-8000-000000000000/rg/scoring"
AZUREML = {
    "COMPUTE": "azureml",
    "AZURE_SUBSCRIPTION_ID": "1b2c3d4e-0000-4000-8000-000000000000",
    "AZURE_RESOURCE_GROUP": "rg",
    "AZUREML_WORKSPACE_NAME": "scoring",
    "AML_COMPUTE_CLUSTER_NAME": "batch-cpu",
}


def test_on_azure_ml_a_run_waits_for_its_workload_to_be_deployed_and_says_so(tmp_path: Path) -> None:
    world = World(tmp_path, **AZUREML)
    run = world.accept(table="table.csv")
    world.tick()
    waiting = world.store.get(run.id)
    assert waiting.state is RunState.ACCEPTED
    assert "'batchscore deploy'" in waiting.reason
    assert waiting.queued_at > run.queued_at
    pipeline = Workloads(world.settings.workloads_folder).pipeline("demo/copy")
    record = deployed(pipeline)
    world.catalog.deployed = Deployment(
        world.now, PLACE, {"demo/copy": replace(record, definition="another")}
    )
    world.tick()
    assert "has changed since it was deployed" in world.store.get(run.id).reason
    world.catalog.deployed = Deployment(world.now, PLACE, {"demo/copy": record})
    world.tick()
    started = world.store.get(run.id)
    assert (started.state, started.reason) == (RunState.RUNNING, "")
    [job] = world.compute.submitted
    assert job == started.job
    assert f"name: {run.id}-1" in job.document
    assert "compute: azureml:batch-cpu" in job.document
    assert job.link.startswith(f"https://ml.azure.com/runs/{run.id}-1?wsid=/subscriptions/1b2c3d4e-")
    assert Chapter("Studio", (job.link,)) in account(started, world.now)


def test_a_cluster_that_there_is_not_rejects_the_run_before_it_is_submitted(tmp_path: Path) -> None:
    world = World(tmp_path, **AZUREML)
    pipeline = Workloads(world.settings.workloads_folder).pipeline("demo/copy")
    world.catalog.deployed = Deployment(world.now, PLACE, {"demo/copy": deployed(pipeline)})
    request = RunRequest("demo/copy", {"files": "in"}, Overrides(compute={"copy": "gpu"}))
    run = world.store.create(runs.accepted(Cause("trigger_file", "a.json", "1"), request, world.now))[0]
    world.tick()
    rejected = world.store.get(run.id)
    assert rejected.state is RunState.REJECTED
    assert "step 'copy' is to run on 'gpu', and there is no such cluster" in rejected.reason


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (Overrides(nodes=9), "asks for 9 nodes, and cluster 'batch-cpu' has at most 4"),
        (
            Overrides(nodes=5, compute="gpu-cluster"),
            "asks for 5 nodes, and cluster 'gpu-cluster' has at most 4",
        ),
    ],
)
def test_what_a_run_asks_for_and_its_clusters_do_not_have_rejects_it(
    tmp_path: Path, overrides: Overrides, said: str
) -> None:
    world = World(tmp_path, **AZUREML)
    pipeline = Workloads(world.settings.workloads_folder).pipeline("demo/copy")
    world.catalog.deployed = Deployment(world.now, PLACE, {"demo/copy": deployed(pipeline)})
    request = RunRequest("demo/copy", {"files": "in"}, overrides)
    run = world.store.create(runs.accepted(Cause("trigger_file", "a.json", "1"), request, world.now))[0]
    world.tick()
    rejected = world.store.get(run.id)
    assert rejected.state is RunState.REJECTED
    assert said in rejected.reason


def test_a_definition_that_azure_ml_would_refuse_rejects_the_run_with_its_file_and_line(
    tmp_path: Path,
) -> None:
    world = World(tmp_path, **AZUREML)
    file = world.settings.workloads_folder / "demo" / "copy.yml"
    file.write_text(file.read_text().replace("instance_count: 1", "instance_count: 40"))
    pipeline = Workloads(world.settings.workloads_folder).pipeline("demo/copy")
    world.catalog.deployed = Deployment(world.now, PLACE, {"demo/copy": deployed(pipeline)})
    run = world.accept(table="table.csv")
    world.tick()
    rejected = world.store.get(run.id)
    assert rejected.state is RunState.REJECTED
    line = next(n for n, text in enumerate(file.read_text().splitlines(), 1) if "instance_count" in text)
    assert f"{file}:{line}: step 'copy' asks for 40 nodes" in rejected.reason


def test_elsewhere_a_job_has_no_document(world: World) -> None:
    world.accept()
    world.tick()
    assert world.compute.submitted[0].document == ""


def with_budget(world: World, **asked: Any) -> Run:
    """A run of a hundred thousand files that says what it may have."""
    world.catalog.amounts["in"] = Amount(100_000, 1_000_000_000)
    request = RunRequest("demo/copy", {"files": "in"}, **asked)
    return world.store.create(runs.accepted(Cause("trigger_file", "a.json", "1"), request, world.now))[0]


def on_azure_ml(folder: Path) -> World:
    world = World(folder, **AZUREML)
    pipeline = Workloads(world.settings.workloads_folder).pipeline("demo/copy")
    world.catalog.deployed = Deployment(world.now, PLACE, {"demo/copy": deployed(pipeline)})
    return world


def test_on_azure_ml_the_planner_s_choice_is_in_the_job_and_its_estimate_in_the_record(
    tmp_path: Path,
) -> None:
    world = on_azure_ml(tmp_path)
    run = with_budget(world, bounds={"nodes": Bounds(2, 3)})
    world.tick()
    started = world.store.get(run.id)
    assert started.job is not None
    assert started.estimate is not None
    assert started.job.overrides.nodes == started.estimate.nodes == 3
    assert "instance_count: 3" in started.job.document
    assert f"mini_batch_size: '{started.estimate.mini_batch_size}'" in started.job.document
    assert started.estimate.cost is not None
    assert started.estimate.prices_of == "2026-11-21"


def test_a_later_attempt_keeps_what_the_planner_chose_for_the_first(tmp_path: Path) -> None:
    world = on_azure_ml(tmp_path)
    run = with_budget(world)
    world.tick()
    first = world.store.get(run.id)
    world.compute.answers[f"{run.id}-1"] = JobStatus(JobState.LOST, "gone")
    world.catalog.amounts["in"] = Amount(1, 1)
    world.tick()
    world.tick()
    second = world.store.get(run.id)
    assert first.job is not None
    assert second.job is not None
    assert second.job.attempt == 2
    assert second.job.overrides == first.job.overrides
    assert second.estimate == first.estimate


def test_a_later_attempt_on_a_cluster_that_has_shrunk_is_planned_anew(tmp_path: Path) -> None:
    """With the nodes of the first one it would wait for ever."""
    world = on_azure_ml(tmp_path)
    run = with_budget(world)
    world.tick()
    first = world.store.get(run.id).job
    assert first is not None
    assert first.overrides.nodes == 4
    world.settings = replace(
        world.settings, clusters={**world.settings.clusters, "AML_COMPUTE_CLUSTER_MAX_NODES": "2"}
    )
    world.reconciler._settings = world.settings
    world.compute.answers[f"{run.id}-1"] = JobStatus(JobState.LOST, "gone")
    world.tick()
    world.tick()
    second = world.store.get(run.id).job
    assert second is not None
    assert second.overrides.nodes == 2
    assert "instance_count: 2" in second.document


def test_a_run_that_would_cost_too_much_is_rejected_with_the_figures(tmp_path: Path) -> None:
    world = on_azure_ml(tmp_path)
    run = with_budget(world, max_cost=0.01)
    world.tick()
    rejected = world.store.get(run.id)
    assert rejected.state is RunState.REJECTED
    assert "USD even at its cheapest" in rejected.reason
    assert "max_cost is 0.01" in rejected.reason
    assert world.compute.submitted == []


def test_on_this_machine_a_run_is_counted_only_when_it_leaves_something_open(world: World) -> None:
    plain = world.accept("plain.json")
    world.tick()
    assert world.store.get(plain.id).estimate is None
    world.compute.answers[f"{plain.id}-1"] = JobStatus(JobState.SUCCEEDED)
    world.tick()
    run = with_budget(world, bounds={"mini_batch_size": Bounds(5, 9)}, max_cost=0)
    world.tick()
    started = world.store.get(run.id)
    assert started.job is not None
    assert started.estimate is not None
    assert 5 <= (started.job.overrides.mini_batch_size or 0) <= 9
    assert started.job.overrides.nodes is None
    assert started.estimate.cost == 0


def test_what_a_run_really_took_is_in_its_record_and_remembered_for_later_ones(world: World) -> None:
    run = world.accept()
    world.tick()
    steps = (
        StepProgress("copy", JobState.SUCCEEDED, 4, 4, seconds=6),
        StepProgress("list", JobState.SUCCEEDED, seconds=2.5),
    )
    world.compute.answers[f"{run.id}-1"] = JobStatus(JobState.SUCCEEDED, steps=steps)
    world.tick()
    over = world.store.get(run.id)
    assert over.took is not None
    assert (over.took.seconds, over.took.node_seconds, over.took.cost) == (1, 8.5, 0)
    [sample] = world.catalog.samples
    assert sample.run_id == run.id
    assert [each.name for each in sample.steps] == ["copy", "list"]


def test_a_run_is_over_also_when_it_cannot_be_remembered(world: World) -> None:
    run = world.accept()
    world.tick()
    world.catalog.faulty.add("demo/copy")
    steps = (
        StepProgress("copy", JobState.SUCCEEDED, 4, 4, seconds=6),
        StepProgress("list", JobState.SUCCEEDED, seconds=2.5),
    )
    world.compute.answers[f"{run.id}-1"] = JobStatus(JobState.SUCCEEDED, steps=steps)
    world.tick()
    assert world.store.get(run.id).state is RunState.SUCCEEDED
    assert world.catalog.samples == []


def test_lost_attempts_are_paid_for_too(world: World) -> None:
    run = world.accept()
    world.tick(seconds=10)
    working = (StepProgress("copy", JobState.RUNNING, 4, 2), StepProgress("list", JobState.QUEUED))
    world.compute.answers[f"{run.id}-1"] = JobStatus(JobState.LOST, "gone", working)
    world.tick()
    world.tick(seconds=20)
    done = (
        StepProgress("copy", JobState.SUCCEEDED, 4, 4, seconds=15),
        StepProgress("list", JobState.SUCCEEDED, seconds=3),
    )
    world.compute.answers[f"{run.id}-2"] = JobStatus(JobState.SUCCEEDED, steps=done)
    world.tick()
    over = world.store.get(run.id)
    assert over.took is not None
    assert over.took.node_seconds == 10 + 18
    assert [attempt.took.node_seconds for attempt in over.attempts if attempt.took] == [10, 18]
    assert world.catalog.samples == []
