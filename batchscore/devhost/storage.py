"""The host's own clients, of blobs, queues and event hubs, by the name of the setting that holds their connection."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from azure.core.exceptions import AzureError, ResourceExistsError, ServiceRequestError
from azure.storage.blob.aio import BlobServiceClient, ContainerClient
from azure.storage.queue.aio import QueueClient, QueueServiceClient

from batchscore.devhost.configuration import (
    BLOB_ADDRESS,
    CHECKPOINTS_CONTAINER,
    EVENT_HUB_ADDRESS,
    HOST_STORAGE,
)
from batchscore.errors import SettingsError
from batchscore.storage import BLOB_API_VERSION

if TYPE_CHECKING:
    from azure.eventhub.aio import EventHubConsumerClient

    from batchscore.devhost.checkpoints import Checkpoints

HOSTS_CONTAINER = "azure-webjobs-hosts"

_PATIENCE: dict[str, Any] = {
    "retry_total": 0,  # listeners have their own patience, and notice sooner that storage is gone
    "connection_timeout": 5,
    "read_timeout": 30,
}
_OPTIONS = {"api_version": BLOB_API_VERSION, **_PATIENCE}


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

    async def checkpoints(self) -> Checkpoints:
        """Who owns which partition, and how far it is read; the container is made where it is not there."""
        from azure.eventhub.extensions.checkpointstoreblobaio import BlobCheckpointStore

        from batchscore.devhost.checkpoints import Checkpoints

        with suppress(ResourceExistsError):
            await self.blobs(HOST_STORAGE).create_container(CHECKPOINTS_CONTAINER)
        text = self._settings.get(HOST_STORAGE)
        if text:
            store = BlobCheckpointStore.from_connection_string(text, CHECKPOINTS_CONTAINER, **_PATIENCE)
        else:
            address = self._settings[f"{HOST_STORAGE}__{BLOB_ADDRESS}"]
            store = BlobCheckpointStore(
                address, CHECKPOINTS_CONTAINER, credential=self._identity(), **_PATIENCE
            )
        return Checkpoints(store, self.blobs(HOST_STORAGE).get_container_client(CHECKPOINTS_CONTAINER))

    def event_hub(
        self, connection: str, name: str, consumer_group: str, **options: Any
    ) -> EventHubConsumerClient:
        """A client of its own: whoever asks closes it. A hub that the connection string names goes before `name`."""
        from azure.eventhub import parse_connection_string
        from azure.eventhub.aio import EventHubConsumerClient

        text = self._settings.get(connection)
        if not text:
            address = self._settings[f"{connection}__{EVENT_HUB_ADDRESS}"]
            return EventHubConsumerClient(address, name, consumer_group, self._identity(), **options)
        try:
            name = parse_connection_string(text).eventhub_name or name
        except ValueError as error:
            raise SettingsError(f"{connection} is no connection string of Event Hubs: {error}") from None
        return EventHubConsumerClient.from_connection_string(
            text, consumer_group, eventhub_name=name, **options
        )

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
