"""The contract of a RunStore, which every back end passes."""

from __future__ import annotations

import re
import threading
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from azure.storage.blob import ContainerClient

from batchscore import paths, runs
from batchscore.errors import RunConflictError, RunNotFoundError, RunUnreadableError
from batchscore.run_store import BlobRunStore, MemoryRunStore, RunStore
from batchscore.runs import Cause, Run, RunState
from batchscore.storage import Storage
from batchscore.triggers import RunRequest


def new_run(after_s: float = 0) -> Run:
    now = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=after_s)
    return runs.accepted(Cause("cli", uuid.uuid4().hex), RunRequest("w/p", {"n": 1}), now)


class RunStoreContract:
    @pytest.fixture
    def store(self) -> RunStore:
        raise NotImplementedError

    def test_a_record_is_claimed_once(self, store: RunStore) -> None:
        run = new_run()
        assert store.create(run) == (run, True)
        again = replace(run, reason="a second delivery")
        assert store.create(again) == (run, False)
        assert store.get(run.id) == run

    def test_of_many_claims_at_once_one_wins(self, store: RunStore) -> None:
        run, won = new_run(), []

        def claim(number: int) -> None:
            if store.create(replace(run, reason=str(number)))[1]:
                won.append(str(number))

        threads = [threading.Thread(target=claim, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [store.get(run.id).reason] == won

    def test_an_unknown_run_is_said_so(self, store: RunStore) -> None:
        with pytest.raises(RunNotFoundError, match="no run"):
            store.get("0" * 20)
        with pytest.raises(RunNotFoundError, match="no run"):
            store.update("0" * 20, lambda run: run)

    def test_changes_from_many_sides_are_all_kept(self, store: RunStore) -> None:
        run = store.create(new_run())[0]

        def count() -> None:
            for _ in range(4):
                store.update(run.id, lambda current: replace(current, reason=current.reason + "x"))

        threads = [threading.Thread(target=count) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert store.get(run.id).reason == "x" * 16

    def test_what_a_change_raises_passes_through_and_writes_nothing(self, store: RunStore) -> None:
        run = store.create(replace(new_run(), state=RunState.SUCCEEDED))[0]
        with pytest.raises(RunConflictError):
            store.update(run.id, lambda current: runs.cancel(current, datetime.now(UTC)))
        assert store.get(run.id) == run

    def test_active_lists_what_is_not_over_in_the_order_of_queueing(self, store: RunStore) -> None:
        late, early, over = (
            store.create(new_run(2))[0],
            store.create(new_run())[0],
            store.create(new_run(1))[0],
        )
        store.update(over.id, lambda run: runs.cancel(run, datetime.now(UTC)))
        mine = [run.id for run in store.active() if run.id in (late.id, early.id, over.id)]
        assert mine == [early.id, late.id]

    def test_a_retried_run_is_active_again_behind_the_others(self, store: RunStore) -> None:
        first, second = store.create(new_run())[0], store.create(new_run(1))[0]
        store.update(first.id, lambda run: runs.cancel(run, datetime.now(UTC)))
        store.update(first.id, lambda run: runs.retry(run, datetime.now(UTC) + timedelta(seconds=5)))
        assert [run.id for run in store.active() if run.id in (first.id, second.id)] == [second.id, first.id]

    def test_a_rejected_run_is_never_active(self, store: RunStore) -> None:
        cause = Cause("cli", uuid.uuid4().hex)
        run = store.create(runs.rejected(cause, "no", datetime.now(UTC)))[0]
        assert run.id not in [active.id for active in store.active()]

    def test_recent_lists_the_newest_first_up_to_the_limit(self, store: RunStore) -> None:
        ahead = 2.5e8  # newer than whatever else is in the store
        made = [store.create(new_run(ahead + number))[0].id for number in range(4)]
        assert [run.id for run in store.recent(3)] == made[:0:-1]
        store.update(made[3], lambda run: runs.cancel(run, datetime.now(UTC)))
        assert made[3] not in [run.id for run in store.recent(3, RunState.ACCEPTED)]
        assert store.recent(1, RunState.CANCELED)[0].id == made[3]

    def test_runs_are_listed_by_the_state_that_they_are_in_now(self, store: RunStore) -> None:
        run = store.create(new_run(3e8))[0]

        def listed() -> list[RunState]:
            return [state for state in RunState if run.id in [one.id for one in store.recent(5, state)]]

        seen = [listed()]
        for state in (
            RunState.SUBMITTING,
            RunState.RUNNING,
            RunState.FAILED,
            RunState.ACCEPTED,
            RunState.SUCCEEDED,
        ):
            store.update(run.id, lambda current, state=state: replace(current, state=state))
            seen.append(listed())
        assert seen == [
            [RunState.ACCEPTED],
            [RunState.SUBMITTING],
            [RunState.RUNNING],
            [RunState.FAILED],
            [RunState.ACCEPTED],
            [RunState.SUCCEEDED],
        ]

    def test_a_run_is_found_by_the_beginning_of_its_id(self, store: RunStore) -> None:
        run = store.create(new_run())[0]
        assert run.id in [found.id for found in store.find(run.id[:12])]
        assert store.find(run.id + "0") == []


class TestMemoryRunStore(RunStoreContract):
    @pytest.fixture
    def store(self) -> RunStore:
        return MemoryRunStore()


class TestBlobRunStore(RunStoreContract):
    @pytest.fixture
    def store(self, storage: Storage) -> RunStore:
        return BlobRunStore(storage)

    def test_markers_without_a_record_mean_nothing_and_old_ones_go(self, storage: Storage) -> None:
        store, container = BlobRunStore(storage), storage.container("system", paths.RUNS)
        fresh, old = new_run(), new_run(-3600)
        for run in (fresh, old):
            container.upload_blob(paths.active_blob(run.id, run.queued_at), b"")
            container.upload_blob(paths.by_time_blob(run.id, run.created_at), b"")
        assert not {fresh.id, old.id} & {run.id for run in store.active()}
        assert not {fresh.id, old.id} & {run.id for run in store.recent(100)}
        left = {
            (paths.marked_run(name) or ("", 0))[0]
            for name in container.list_blob_names(name_starts_with=paths.ACTIVE)
        }
        assert fresh.id in left  # its record may be about to be written
        assert old.id not in left

    def test_a_process_that_slept_between_marker_and_record_marks_its_run_again(
        self, storage: Storage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        slept = [timedelta()]
        store = BlobRunStore(storage, lambda: datetime.now(UTC) + slept[0])
        container = storage.container("system", paths.RUNS)
        index = store._index

        def sleep(run: Run) -> None:
            """Meanwhile another process takes the marker for one that means nothing."""
            slept[0] = timedelta(hours=1)
            index(run)
            container.delete_blob(paths.active_blob(run.id, run.queued_at))

        monkeypatch.setattr(store, "_index", sleep)
        run = store.create(new_run())[0]
        monkeypatch.setattr(store, "_index", index)
        assert run.id in [active.id for active in store.active()]

    def test_a_marker_that_comes_to_mean_something_while_it_is_looked_at_stays(
        self, storage: Storage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The other side of that sleep: the reader has seen no record, and removes the marker after it was written."""
        store, sleeper, slow = BlobRunStore(storage), BlobRunStore(storage), new_run(-3600)
        storage.container("system", paths.RUNS).upload_blob(paths.active_blob(slow.id, slow.queued_at), b"")
        looked = store._active

        def look(run_id: str, queued_ms: int) -> Run | None:
            found = looked(run_id, queued_ms)
            if run_id == slow.id and found is None:
                sleeper.create(slow)
            return found

        monkeypatch.setattr(store, "_active", look)
        list(store.active())
        monkeypatch.setattr(store, "_active", looked)
        assert slow.id in [run.id for run in store.active()]
        store.update(slow.id, lambda run: runs.cancel(run, datetime.now(UTC)))

    @pytest.mark.parametrize("content", [b"", b'{"id": 1}', b"\xff"])
    def test_a_record_that_cannot_be_read_hides_no_other(self, storage: Storage, content: bytes) -> None:
        store, container = BlobRunStore(storage), storage.container("system", paths.RUNS)
        torn, good = store.create(new_run(2e8))[0], store.create(new_run(2e8 + 1))[0]
        container.upload_blob(paths.record_blob(torn.id), content, overwrite=True)
        with pytest.raises(RunUnreadableError, match=torn.id):
            store.get(torn.id)
        for listed in (store.active(), store.recent(100), store.find("")):
            ids = [run.id for run in listed]
            assert torn.id not in ids
        assert good.id in [run.id for run in store.active()]
        assert good.id in [run.id for run in store.recent(100)]
        container.delete_blob(paths.record_blob(torn.id))

    def test_the_runs_of_one_state_are_listed_without_reading_the_others(
        self, storage: Storage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store = BlobRunStore(storage)
        for number in range(20):
            store.create(new_run(4e8 + number))
        started = store.create(new_run(4e8 - 1))[0]
        store.update(started.id, lambda run: replace(run, state=RunState.RUNNING))
        read: list[str] = []
        get = store.get
        monkeypatch.setattr(store, "get", lambda run_id: read.append(run_id) or get(run_id))
        assert store.recent(1, RunState.RUNNING)[0].id == started.id
        assert len(read) == 1
        assert len(store.recent(3, RunState.ACCEPTED)) == 3
        assert len(read) == 4
        store.update(started.id, lambda run: replace(run, state=RunState.SUCCEEDED))

    def test_planted_markers_are_passed_over(self, storage: Storage) -> None:
        store, container = BlobRunStore(storage), storage.container("system", paths.RUNS)
        run = store.create(new_run())[0]
        planted = [
            f"{folder}{name}" for folder in (paths.ACTIVE, paths.BY_TIME) for name in ("x", "9-..", "0/a")
        ]
        for name in planted:
            container.upload_blob(name, b"", overwrite=True)
        assert run.id in [active.id for active in store.active()]
        assert store.recent(1)
        for name in planted:
            container.delete_blob(name)

    def test_a_copy_of_what_was_rejected_is_kept(self, storage: Storage) -> None:
        BlobRunStore(storage).keep_rejected("ab" * 10, b"{bad")
        kept = storage.container("system", paths.RUNS).download_blob(paths.rejected_blob("ab" * 10)).readall()
        assert kept == b"{bad"

    def test_a_change_whose_answer_was_lost_on_the_way_is_no_conflict(
        self, storage: Storage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The SDK then sends it again by itself, and is told that the record has changed: by this very change."""
        store = BlobRunStore(storage)
        run = store.create(new_run())[0]
        store.update(run.id, lambda current: replace(current, state=RunState.CANCELED))
        upload = ContainerClient.upload_blob

        def sent_twice(client: ContainerClient, name: str, *arguments: object, **options: object) -> object:
            answer = upload(client, name, *arguments, **options)  # type: ignore[arg-type]
            if "match_condition" in options:
                return upload(client, name, *arguments, **options)  # type: ignore[arg-type]
            return answer

        monkeypatch.setattr(ContainerClient, "upload_blob", sent_twice)
        now = datetime.now(UTC)
        assert store.update(run.id, lambda current: runs.retry(current, now)).state is RunState.ACCEPTED
        assert [each.id for each in store.active() if each.id == run.id] == [run.id]


def test_every_type_is_made_known_to_msgspec_while_modules_are_imported() -> None:
    """Threads that meet a type for the first time together crash the process: a host that had just started died so."""
    product = Path(__file__).parents[2] / "batchscore"
    late = r"msgspec\.\w+\.decode\([^)]*type=|msgspec\.convert\("
    assert [file.name for file in product.rglob("*.py") if re.search(late, file.read_text(), re.DOTALL)] == []
