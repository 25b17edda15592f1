"""Listener locks: a lease on a blob, so that one of several hosts runs a timer."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from azure.core import MatchConditions
from azure.core.exceptions import AzureError, HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.storage.blob.aio import BlobLeaseClient

from batchscore.devhost.storage import HostStorage
from batchscore.process_mark import is_mark_of_a_dead_process, process_mark

LEASE_S = 15
_RENEW_EVERY_S = 5.0
_TRY_EVERY_S = 2.0


class ListenerLock:
    """The lock of one listener. A dead process of this machine does not keep it: its lease is broken at once."""

    def __init__(self, storage: HostStorage, path: str) -> None:
        self._storage = storage
        self._path = path
        self._lease: BlobLeaseClient | None = None
        self._renewal: asyncio.Task[None] | None = None

    @property
    def held(self) -> bool:
        return self._renewal is not None and not self._renewal.done()

    async def acquire(self) -> None:
        """Wait until the lock is ours; then keep it until `release` or until storage is gone for too long."""
        await self.release()
        while not await self._try_patiently():
            await asyncio.sleep(_TRY_EVERY_S)
        self._renewal = asyncio.create_task(self._renew())

    async def release(self) -> None:
        renewal, self._renewal = self._renewal, None
        lease, self._lease = self._lease, None
        if renewal is not None:
            renewal.cancel()
            with suppress(asyncio.CancelledError):
                await renewal
        if lease is not None:
            with suppress(AzureError):
                await lease.release()

    async def _try_patiently(self) -> bool:
        try:
            return await self._try()
        except AzureError:
            return False  # storage is gone; it may come back

    async def _try(self) -> bool:
        blob = self._storage.hosts.get_blob_client(self._path)
        try:
            self._lease = await blob.acquire_lease(LEASE_S)
            await blob.set_blob_metadata(process_mark(), lease=self._lease)
            return True
        except ResourceNotFoundError:
            await self._storage.create_hosts()
            with suppress(ResourceExistsError):
                await blob.upload_blob(b"", overwrite=False)
        except HttpResponseError:
            owner = await blob.get_blob_properties()
            if is_mark_of_a_dead_process(owner.metadata or {}):
                # not the lease of one who came meanwhile and has put its own mark there
                await BlobLeaseClient(blob).break_lease(
                    0, etag=owner.etag, match_condition=MatchConditions.IfNotModified
                )
        return False

    async def _renew(self) -> None:
        """Renew until that is refused or has failed for as long as the lease lasts; then the lock is lost."""
        left = LEASE_S
        while left > _RENEW_EVERY_S:
            await asyncio.sleep(_RENEW_EVERY_S)
            try:
                assert self._lease is not None
                await self._lease.renew()
                left = LEASE_S
            except HttpResponseError:
                return
            except AzureError:
                left -= int(_RENEW_EVERY_S)
