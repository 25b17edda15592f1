"""What a succeeded run left over is removed in portions, also after a crash in the middle; nothing else is."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from batchscore import leftovers, paths, runs
from batchscore.compute.base import Job, Location
from batchscore.errors import RunConflictError, StorageUnavailableError
from batchscore.leftovers import BlobLeftovers, intermediates
from batchscore.run_store import BlobRunStore
from batchscore.runs import Cause, Run, RunState
from batchscore.settings import Settings
from batchscore.storage import Storage
from batchscore.triggers import RunRequest
from tests.azurite import blob_names

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Shelf:
    """Runs whose outputs are in storage: `result`, `stylized` and `plan` (a file), which another step reads."""

    def __init__(self, settings: Settings, storage: Storage) -> None:
        self.settings, self.storage = settings, storage
        self.store = BlobRunStore(storage)
        self.leftovers = BlobLeftovers(storage, lambda: self.store)
        self.lease_kept = 0

    def run(self, state: RunState, count: int = 3) -> Run:
        run = runs.accepted(Cause("cli", uuid.uuid4().hex), RunRequest("w/p", {}), NOW)
        names = ("result", "stylized", "plan", paths.RECEIPTS_OUTPUT)
        outputs = {
            name: paths.output_location(
                self.settings, run.id, name, intermediate=name in ("stylized", "plan")
            )
            for name in names
        }
        logs = paths.logs_location(run.id, 1)
        job = Job(f"{run.id}-1", run.id, 1, "w/p", "w/p.pipeline.yml", {}, outputs, logs)
        run = runs.planned(run, job, {"result": outputs["result"]}, NOW)
        run = self.store.create(replace(run, state=state))[0]
        for number in range(count):
            self.put(outputs["stylized"], f"/a/{number}.png")
        self.put(outputs["plan"], "")
        self.put(outputs["plan"], "-of-somebody-else.txt")
        for place in (outputs["result"], outputs["receipts"], logs):
            self.put(place, "/kept")
        self.leftovers.note(run.id)
        return run

    def put(self, place: Location, name: str) -> None:
        container = self.storage.container(place.account, place.container)
        container.upload_blob(place.path + name, b"x", overwrite=True)

    def sweep(self) -> bool:
        return self.leftovers.remove(NOW, self.keep_lease)

    def keep_lease(self) -> None:
        self.lease_kept += 1

    def files(self, run: Run) -> list[str]:
        return sorted(
            name.removeprefix(prefix)
            for prefix in (f"{paths.between_path(run.id)}/", f"{paths.RUN_RESULTS}{run.id}/")
            for name in blob_names(self.storage, "data", self.settings.data_container, prefix)
        )

    def noted(self, run: Run) -> bool:
        return run.id in [
            name.removeprefix(paths.LEFTOVERS)
            for name in blob_names(self.storage, "system", paths.RUNS, paths.LEFTOVERS)
        ]


@pytest.fixture
def shelf(settings: Settings, storage: Storage) -> Shelf:
    shelf = Shelf(settings, storage)
    container = storage.container("system", paths.RUNS)
    for name in blob_names(storage, "system", paths.RUNS, paths.LEFTOVERS):
        container.delete_blob(name)
    return shelf


KEPT = ["plan-of-somebody-else.txt", "result/kept"]
EVERYTHING = sorted(["plan", "stylized/a/0.png", "stylized/a/1.png", "stylized/a/2.png", *KEPT])


def test_intermediates_of_a_success_go_and_everything_else_stays(shelf: Shelf) -> None:
    run = shelf.run(RunState.SUCCEEDED)
    assert shelf.sweep() is False
    assert shelf.files(run) == KEPT
    assert blob_names(shelf.storage, "system", "logs", run.id) == [
        f"{run.id}/attempt-1/kept",
        f"{run.id}/receipts/kept",
    ]
    assert not shelf.noted(run)
    assert shelf.store.get(run.id).cleaned_at == NOW
    with pytest.raises(RunConflictError):  # so a retry cannot miss what is gone
        runs.retry(shelf.store.get(run.id), NOW)


def test_what_azure_ml_keeps_between_steps_goes_as_well(shelf: Shelf) -> None:
    run = shelf.run(RunState.SUCCEEDED)
    between = paths.between_location(shelf.settings, run.id)
    shelf.put(between, "/split.segments/0.mp4")
    assert run.job is not None
    document = f"path: azureml://datastores/batchscore_data/paths/{between.path}/split.segments"
    changed = replace(run.job, document=document)
    shelf.store.update(run.id, lambda current: replace(current, job=changed))
    shelf.sweep()
    assert shelf.files(run) == ["result/kept"]


@pytest.mark.parametrize("state", [RunState.FAILED, RunState.CANCELED, RunState.SUCCEEDED_WITH_ERRORS])
def test_a_run_that_may_be_retried_keeps_everything(shelf: Shelf, state: RunState) -> None:
    run = shelf.run(state)
    shelf.sweep()
    assert shelf.files(run) == EVERYTHING
    assert not shelf.noted(run)


def test_a_run_that_is_not_over_is_looked_into_later(shelf: Shelf) -> None:
    """The host died after the note and before the record."""
    run = shelf.run(RunState.RUNNING)
    shelf.sweep()
    assert shelf.files(run) == EVERYTHING
    shelf.store.update(run.id, lambda current: replace(current, state=RunState.SUCCEEDED))
    shelf.sweep()
    assert shelf.files(run) == KEPT


def test_a_pass_removes_a_portion_and_the_next_one_goes_on(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leftovers, "MOST_PER_PASS", 4)
    monkeypatch.setattr(leftovers, "PORTION", 2)
    run = shelf.run(RunState.SUCCEEDED, count=9)
    assert shelf.sweep() is True
    assert len(shelf.files(run)) == 9 + 1 + len(KEPT) - 4
    assert shelf.noted(run)
    assert shelf.lease_kept >= 3  # before each portion
    while shelf.sweep():
        pass
    assert shelf.files(run) == KEPT


def test_a_crash_in_the_middle_leaves_the_rest_to_the_next_pass(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = shelf.run(RunState.SUCCEEDED)
    deleted = []

    def fragile(container: object, name: str) -> bool:
        if deleted:
            raise StorageUnavailableError("gone")
        deleted.append(name)
        return delete(container, name)  # type: ignore[arg-type]

    delete = leftovers._delete
    with monkeypatch.context() as patched:
        patched.setattr(leftovers, "_delete", fragile)
        with pytest.raises(StorageUnavailableError):
            shelf.sweep()
    assert shelf.noted(run)
    shelf.sweep()
    assert shelf.files(run) == KEPT


def test_nothing_outside_the_runs_own_folder_counts_as_its_intermediate(shelf: Shelf) -> None:
    run = shelf.run(RunState.SUCCEEDED, count=0)
    assert run.job is not None
    elsewhere = {
        "a": Location("data", "data", "videos/clip.mp4"),
        "b": Location("system", "models", f"between/{run.id}/b"),
        "c": Location("data", "data", f"between/{run.id}"),
        "d": Location("data", "data", f"runs/{run.id}/d"),
    }
    assert intermediates(replace(run, job=replace(run.job, outputs=elsewhere))) == {}
    assert intermediates(replace(run, job=None)) == {}


def test_blobs_that_somebody_holds_keep_no_other_from_being_removed(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leftovers, "PORTION", 2)
    monkeypatch.setattr(leftovers, "MOST_PER_PASS", 2)
    run = shelf.run(RunState.SUCCEEDED, count=5)
    container = shelf.storage.container("data", shelf.settings.data_container)
    held = [f"stylized/a/{number}.png" for number in range(3)]
    leases = [container.get_blob_client(f"between/{run.id}/{name}").acquire_lease() for name in held]
    passes = 1
    while shelf.sweep() and passes < 10:
        passes += 1
    assert passes < 10
    assert shelf.files(run) == sorted([*KEPT, *held])
    assert not shelf.noted(run)
    for lease in leases:
        lease.release()
