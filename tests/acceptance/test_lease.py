"""The reconciler's lease on Azurite: one holder, given back whatever happens."""

from __future__ import annotations

import pytest
from azure.core.exceptions import ResourceNotFoundError

from batchscore import paths
from batchscore.reconciler import BlobLease
from batchscore.storage import Storage


@pytest.fixture
def storage(storage: Storage) -> Storage:
    storage.container("system", paths.RUNS).get_blob_client(paths.LEASE_BLOB).upload_blob(b"", overwrite=True)
    return storage


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
