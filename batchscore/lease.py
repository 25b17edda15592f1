"""The reconciler's lease: the right to move runs, which one process at a time holds."""

from __future__ import annotations

import os
import socket
import threading
import time
from contextlib import suppress
from typing import Protocol

from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.storage.blob import BlobLeaseClient

from batchscore import paths
from batchscore.devhost.address import lives, start_of
from batchscore.errors import BatchscoreError, StorageUnavailableError
from batchscore.storage import Storage, translated

LEASE_S = 60
RENEW_AFTER_S = 15
SURE_FOR_S = 1
"""Before something is changed, a lease that was renewed longer ago than this is renewed again: a process that was
stopped meanwhile finds out that another one carries on."""
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # goes on while the machine sleeps


class LeaseLostError(BatchscoreError):
    """Another reconciler has taken over; this one stops at once."""


class Lease(Protocol):
    """The right to move runs; only one reconciler holds it."""

    def acquire(self, wait_s: float) -> bool: ...

    def keep(self, sure_for_s: float = RENEW_AFTER_S) -> None:
        """Renew unless that was done so lately; LeaseLostError when it is gone."""

    def release(self) -> None: ...


class BlobLease:
    """A 60-second lease on a blob of the system account.

    The blob's metadata name the process that took it last, so that one that was killed does not keep the next one
    of the same machine waiting for a minute."""

    def __init__(self, storage: Storage) -> None:
        container = storage.container("system", paths.RUNS, create=True)
        self._blob = container.get_blob_client(paths.LEASE_BLOB)
        self._threads = threading.Lock()
        self._lease: BlobLeaseClient | None = None
        self._renewed = 0.0
        self._signed = ""
        """The ETag of the blob since this process has put its name there."""

    def acquire(self, wait_s: float) -> bool:
        deadline = time.monotonic() + wait_s
        if not self._threads.acquire(timeout=wait_s if wait_s > 0 else 0.001):
            return False
        try:
            self._lease = self._take(deadline)
        finally:
            if self._lease is None:
                self._threads.release()
        if self._lease is not None:
            self._sign(self._lease)
        return self._lease is not None

    def _take(self, deadline: float) -> BlobLeaseClient | None:
        while True:
            self._renewed = _now()
            try:
                with translated("the reconciler's lease"):
                    return self._blob.acquire_lease(lease_duration=LEASE_S)
            except ResourceNotFoundError:
                with translated("the reconciler's lease"), suppress(ResourceExistsError):
                    self._blob.upload_blob(b"", overwrite=False)
            except HttpResponseError as error:
                if error.status_code != 409:
                    raise
                if self._holder_is_dead():
                    with suppress(HttpResponseError), translated("the reconciler's lease"):
                        BlobLeaseClient(self._blob).break_lease(0)
                    continue
                if time.monotonic() > deadline:
                    return None
                time.sleep(0.2)

    def _sign(self, lease: BlobLeaseClient) -> None:
        """Put this process's name on the blob, unless it is there; leases do not change its ETag."""
        if lease.etag == self._signed:
            return
        name = {"machine": socket.gethostname(), "pid": str(os.getpid()), "started": start_of(os.getpid())}
        with suppress(HttpResponseError, StorageUnavailableError), translated("the reconciler's lease"):
            self._signed = str(self._blob.set_blob_metadata(name, lease=lease)["etag"])

    def _holder_is_dead(self) -> bool:
        with suppress(HttpResponseError, StorageUnavailableError, KeyError, ValueError):
            with translated("the reconciler's lease"):
                holder = self._blob.get_blob_properties().metadata
            return holder["machine"] == socket.gethostname() and not lives(
                int(holder["pid"]), holder["started"]
            )
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
            raise LeaseLostError("the reconciler's lease is lost; another one carries on.") from error
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
