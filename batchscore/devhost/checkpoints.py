"""Who reads which partition, and how far: in Blob, as the client libraries keep it. The dead own nothing.

An ownership ends when it was not renewed for some seconds. Of a process of this machine it is known at once that it is
dead: whoever owns a partition leaves a mark beside the ownerships, by which others of the machine can tell.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from azure.core.exceptions import AzureError, ResourceNotFoundError
from azure.eventhub.aio import CheckpointStore
from azure.eventhub.extensions.checkpointstoreblobaio import BlobCheckpointStore
from azure.storage.blob.aio import ContainerClient

from batchscore.process_mark import is_mark_of_a_dead_process, process_mark

MARKS = "owners/"
Ownership = dict[str, Any]


class Checkpoints(CheckpointStore):
    """A checkpoint store of the client library, in front of the one that keeps them in this container."""

    def __init__(self, store: BlobCheckpointStore, container: ContainerClient) -> None:
        self._store = store
        self._container = container
        self._own: set[str] = set()
        self._marks: dict[str, Mapping[str, str]] = {}

    async def list_ownership(
        self, fully_qualified_namespace: str, eventhub_name: str, consumer_group: str, **options: Any
    ) -> Iterable[Ownership]:
        """All ownerships; those of the dead are given up."""
        found = await self._store.list_ownership(
            fully_qualified_namespace, eventhub_name, consumer_group, **options
        )
        ownerships = list(found)
        for ownership in ownerships:
            owner = ownership["owner_id"]
            if owner and owner not in self._own and await self._is_dead(owner):
                ownership["owner_id"] = ""
        return ownerships

    async def claim_ownership(
        self, ownership_list: Iterable[Ownership], **options: Any
    ) -> Iterable[Ownership]:
        ownerships = list(ownership_list)
        for owner in {ownership["owner_id"] for ownership in ownerships} - self._own - {""}:
            await self._container.upload_blob(f"{MARKS}{owner}", b"", metadata=process_mark(), overwrite=True)
            self._own.add(owner)
        return await self._store.claim_ownership(ownerships, **options)

    async def update_checkpoint(self, checkpoint: dict[str, Any], **options: Any) -> None:
        await self._store.update_checkpoint(checkpoint, **options)

    async def list_checkpoints(
        self, fully_qualified_namespace: str, eventhub_name: str, consumer_group: str, **options: Any
    ) -> Iterable[dict[str, Any]]:
        found: Iterable[dict[str, Any]] = await self._store.list_checkpoints(
            fully_qualified_namespace, eventhub_name, consumer_group, **options
        )
        return found

    async def close(self) -> None:
        for owner in self._own:
            with suppress(AzureError):
                await self._container.delete_blob(f"{MARKS}{owner}")
        await self._store.close()

    async def _is_dead(self, owner: str) -> bool:
        blob = self._container.get_blob_client(f"{MARKS}{owner}")
        if owner not in self._marks:
            try:
                self._marks[owner] = (await blob.get_blob_properties()).metadata or {}
            except ResourceNotFoundError:
                return False  # another kind of host
        if not is_mark_of_a_dead_process(self._marks[owner]):
            return False
        with suppress(AzureError):
            await blob.delete_blob()
        return True
