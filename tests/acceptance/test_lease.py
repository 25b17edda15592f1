"""The reconciler's lease on Azurite: one holder, given back whatever happens."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress

import pytest
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.storage.blob import BlobClient, BlobLeaseClient

from batchscore import paths
from batchscore.lease import BlobLease, LeaseLostError
from batchscore.process_mark import process_mark
from batchscore.settings import Settings
from batchscore.storage import Storage


@pytest.fixture
def storage(storage: Storage) -> Iterator[Storage]:
    """Nobody has the lease, neither before a test nor after it: reconcilers of other tests want it."""
    blob = storage.container("system", paths.RUNS).get_blob_client(paths.LEASE_BLOB)
    blob.upload_blob(b"", overwrite=True)
    yield storage
    with suppress(HttpResponseError):  # it is leased no more, or gone
        BlobLeaseClient(blob).break_lease(0)


def test_one_holds_the_lease_at_a_time(storage: Storage) -> None:
    mine, theirs = BlobLease(storage), BlobLease(storage)
    assert mine.acquire(0)
    assert not mine.acquire(0)
    assert not theirs.acquire(0)
    mine.keep()
    mine.release()
    assert theirs.acquire(0)
    theirs.release()


def test_a_fault_while_the_lease_is_taken_does_not_keep_it_for_good(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = BlobLease(storage)
    with monkeypatch.context() as patch:
        elsewhere = storage.container("system", "no-such-container").get_blob_client(paths.LEASE_BLOB)
        patch.setattr(lease, "_blob", elsewhere)
        with pytest.raises(ResourceNotFoundError):
            lease.acquire(0)
    assert lease.acquire(0)
    lease.release()


def test_a_holder_that_lost_its_lease_finds_out_before_it_changes_anything(storage: Storage) -> None:
    mine, theirs = BlobLease(storage), BlobLease(storage)
    assert mine.acquire(0)
    blob = storage.container("system", paths.RUNS).get_blob_client(paths.LEASE_BLOB)
    BlobLeaseClient(blob).break_lease(0)
    assert theirs.acquire(0)
    with pytest.raises(LeaseLostError):
        mine.keep(sure_for_s=0)
    mine.release()
    theirs.keep(sure_for_s=0)
    theirs.release()


def test_the_lease_of_a_process_that_was_killed_is_free_at_once(storage: Storage, settings: Settings) -> None:
    script = (
        "import sys; from batchscore.lease import BlobLease; from batchscore.settings import Settings;"
        "from batchscore.storage import Storage;"
        "assert BlobLease(Storage(Settings.from_environment())).acquire(0); print('held', flush=True); sys.stdin.read()"
    )
    connection = settings.system.connection_string or ""
    environment = {**os.environ, "AzureWebJobsStorage": connection, "DATA_STORAGE": connection}
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        lease = BlobLease(storage)
        assert not lease.acquire(0)
        process.kill()
        process.wait()
        assert lease.acquire(0)
        lease.release()


@pytest.fixture
def held_by_the_dead(storage: Storage) -> BlobClient:
    """The lease's blob, leased, with the mark of a process that is no more."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    blob = storage.container("system", paths.RUNS).get_blob_client(paths.LEASE_BLOB)
    blob.set_blob_metadata({**process_mark(), "pid": str(ended.pid)})
    blob.acquire_lease(60)
    return blob


def test_whoever_saw_the_mark_of_the_dead_does_not_break_the_lease_of_the_one_who_came_first(
    storage: Storage, held_by_the_dead: BlobClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = held_by_the_dead.get_blob_properties()
    first, second = BlobLease(storage), BlobLease(storage)
    assert first.acquire(0)
    monkeypatch.setattr(second._blob, "get_blob_properties", lambda: seen)
    assert not second.acquire(0)
    first.keep(sure_for_s=0)
    first.release()


def test_a_lease_that_cannot_be_signed_is_not_held(
    storage: Storage, held_by_the_dead: BlobClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = BlobLease(storage)
    acquire = lease._blob.acquire_lease

    def taken_away(**options: int) -> BlobLeaseClient:
        taken = acquire(**options)
        BlobLeaseClient(held_by_the_dead).break_lease(0)
        return taken

    with monkeypatch.context() as patch:
        patch.setattr(lease._blob, "acquire_lease", taken_away)
        BlobLeaseClient(held_by_the_dead).break_lease(0)
        assert not lease.acquire(0)
    assert lease.acquire(0)
    lease.release()


def test_the_mark_of_another_machine_or_container_tells_nothing(
    storage: Storage, held_by_the_dead: BlobClient
) -> None:
    elsewhere = {**held_by_the_dead.get_blob_properties().metadata, "machine": "another-boot-4026532000"}
    BlobLeaseClient(held_by_the_dead).break_lease(0)
    held_by_the_dead.set_blob_metadata(elsewhere)
    held_by_the_dead.acquire_lease(60)
    assert not BlobLease(storage).acquire(0)
