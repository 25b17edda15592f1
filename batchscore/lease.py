"""The reconciler's lease: the right to move runs, which one process at a time holds."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import Protocol

from azure.core import MatchConditions
from azure.core.exceptions import AzureError, HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.storage.blob import BlobLeaseClient

from batchscore import paths
from batchscore.errors import BatchscoreError, StorageUnavailableError
from batchscore.process_mark import is_mark_of_a_dead_process, process_mark
from batchscore.storage import Storage, translated

LEASE_S = 60
RENEW_AFTER_S = 15
SURE_FOR_S = 1
"""Before something is changed, a lease that was renewed longer ago than this is renewed again: a process that was
stopped meanwhile finds out that another one carries on."""
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # goes on while the machine sleeps


class LeaseLostError(BatchscoreError):
    """Another reconciler has taken over, or may have; this one stops at once."""


class Lease(Protocol):
    """The right to move runs; only one reconciler holds it."""

    def acquire(self, wait_s: float) -> bool: ...

    def keep(self, sure_for_s: float = RENEW_AFTER_S) -> None:
        """Renew unless that was done so lately; LeaseLostError when it is gone."""

    def release(self) -> None: ...


class BlobLease:
    """A 60-second lease on a blob of the system account.

    The blob's metadata are the mark of the process that took it last, so that one that was killed does not keep the
    next one of the same machine waiting for a minute."""

    def __init__(self, storage: Storage) -> None:
        container = storage.container("system", paths.RUNS, create=True)
        self._blob = container.get_blob_client(paths.LEASE_BLOB)
        self._threads = threading.Lock()
        self._lease: BlobLeaseClient | None = None
        self._renewed = 0.0
        self._signed = ""
        """The ETag of the blob since this process has put its mark there."""

    def acquire(self, wait_s: float) -> bool:
        deadline = time.monotonic() + wait_s
        if not self._threads.acquire(timeout=wait_s if wait_s > 0 else 0.001):
            return False
        try:
            self._lease = self._take(deadline)
        finally:
            if self._lease is None:
                self._threads.release()
        return self._lease is not None

    def _take(self, deadline: float) -> BlobLeaseClient | None:
        while True:
            self._renewed = _now()
            try:
                with translated("the reconciler's lease"):
                    lease = self._blob.acquire_lease(lease_duration=LEASE_S)
                    if self._sign(lease):
                        return lease
            except ResourceNotFoundError:
                with translated("the reconciler's lease"), suppress(ResourceExistsError):
                    self._blob.upload_blob(b"", overwrite=False)
                continue
            except HttpResponseError as error:
                if error.status_code != 409:
                    raise
                if self._taken_from_the_dead():
                    continue
            if time.monotonic() > deadline:
                return None
            time.sleep(0.2)

    def _sign(self, lease: BlobLeaseClient) -> bool:
        """Put this process's mark on the blob, unless it is there (leases do not change its ETag). Without it the
        lease is worth nothing: others would still see the mark of a dead one, and break it."""
        if lease.etag == self._signed:
            return True
        try:
            self._signed = str(self._blob.set_blob_metadata(process_mark(), lease=lease)["etag"])
        except AzureError as error:
            with suppress(AzureError):
                lease.release()
            if isinstance(error, HttpResponseError) and error.status_code in (409, 412):
                return False
            raise
        return True

    def _taken_from_the_dead(self) -> bool:
        """Break the lease if a dead process holds it, and none that came after it."""
        with suppress(HttpResponseError), translated("the reconciler's lease"):
            holder = self._blob.get_blob_properties()
            if is_mark_of_a_dead_process(holder.metadata or {}):
                BlobLeaseClient(self._blob).break_lease(
                    0, etag=holder.etag, match_condition=MatchConditions.IfNotModified
                )
                return True
        return False

    def keep(self, sure_for_s: float = RENEW_AFTER_S) -> None:
        if _now() - self._renewed < sure_for_s:
            return
        assert self._lease is not None
        asked = _now()
        try:
            with translated("the reconciler's lease"):
                self._lease.renew()
        except (HttpResponseError, StorageUnavailableError) as error:
            raise LeaseLostError(
                f"the reconciler's lease could not be kept ({_why(error)}): whoever holds it next carries on."
            ) from error
        self._renewed = asked

    def release(self) -> None:
        try:
            if self._lease is not None:
                with (
                    suppress(HttpResponseError, StorageUnavailableError),
                    translated("the reconciler's lease"),
                ):
                    self._lease.release()
        finally:
            self._lease = None
            self._threads.release()


def _now() -> float:
    return time.clock_gettime(_CLOCK)


def _why(error: HttpResponseError | StorageUnavailableError) -> str:
    return str(error) if isinstance(error, StorageUnavailableError) else "another one has taken it"
