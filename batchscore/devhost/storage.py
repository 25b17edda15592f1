"""The host's own clients: blob and queue services by the name of the setting that holds their connection."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from azure.core.exceptions import AzureError, ResourceExistsError, ServiceRequestError
from azure.storage.blob.aio import BlobServiceClient, ContainerClient
from azure.storage.queue.aio import QueueClient, QueueServiceClient

from batchscore.devhost.configuration import HOST_STORAGE
from batchscore.errors import SettingsError
from batchscore.storage import BLOB_API_VERSION

HOSTS_CONTAINER = "azure-webjobs-hosts"

_OPTIONS: dict[str, Any] = {
    "api_version": BLOB_API_VERSION,
    "retry_total": 0,  # listeners have their own patience, and notice sooner that storage is gone
    "connection_timeout": 5,
    "read_timeout": 30,
}


class HostStorage:
    """Clients are made once and shared; they belong to the loop on which they are first used."""

    def __init__(self, settings: Mapping[str, str]) -> None:
        self._settings = settings
        self._blobs: dict[str, BlobServiceClient] = {}
        self._queues: dict[str, QueueServiceClient] = {}
        self._credential: Any = None

    def blobs(self, connection: str) -> BlobServiceClient:
        if connection not in self._blobs:
            text = self._settings.get(connection)
            if text:
                self._blobs[connection] = BlobServiceClient.from_connection_string(text, **_OPTIONS)
            else:
                address = self._settings[f"{connection}__blobServiceUri"]
                self._blobs[connection] = BlobServiceClient(address, self._identity(), **_OPTIONS)
        return self._blobs[connection]

    def queue(self, connection: str, name: str) -> QueueClient:
        if connection not in self._queues:
            text = self._settings.get(connection)
            if text:
                self._queues[connection] = QueueServiceClient.from_connection_string(text, **_OPTIONS)
            else:
                blob = self._settings[f"{connection}__blobServiceUri"]
                address = self._settings.get(
                    f"{connection}__queueServiceUri", blob.replace(".blob.", ".queue.")
                )
                self._queues[connection] = QueueServiceClient(address, self._identity(), **_OPTIONS)
        return self._queues[connection].get_queue_client(name)

    @property
    def hosts(self) -> ContainerClient:
        """The container of receipts, locks and timer states."""
        return self.blobs(HOST_STORAGE).get_container_client(HOSTS_CONTAINER)

    async def create_hosts(self) -> None:
        with suppress(ResourceExistsError):
            await self.hosts.create_container()

    async def check(self) -> None:
        """Make sure that the host's own account answers; SettingsError names the setting where it does not."""
        try:
            await self.create_hosts()
        except AzureError as error:
            address = self.blobs(HOST_STORAGE).url
            raise SettingsError(
                f"The storage account of {HOST_STORAGE} ({address}) does not answer: {reason(error)}."
            ) from error

    async def close(self) -> None:
        for blobs in self._blobs.values():
            await blobs.close()
        for queues in self._queues.values():
            await queues.close()
        if self._credential is not None:
            await self._credential.close()

    def _identity(self) -> Any:
        if self._credential is None:
            from azure.identity.aio import DefaultAzureCredential

            self._credential = DefaultAzureCredential()
        return self._credential


def reason(error: BaseException) -> str:
    """Why storage did not do what was asked, in a line; of several errors the first."""
    if isinstance(error, BaseExceptionGroup):
        return reason(error.exceptions[0])
    if isinstance(error, ServiceRequestError):
        return "no connection"
    return (str(error).splitlines() or [type(error).__name__])[0]
