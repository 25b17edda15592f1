"""The two storage accounts: clients made once, by connection string or by identity."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from azure.core.exceptions import AzureError, HttpResponseError, ResourceExistsError
from azure.storage.blob import BlobClient, BlobServiceClient, ContainerClient

from batchscore.errors import StorageUnavailableError
from batchscore.settings import Connection, Settings

if TYPE_CHECKING:
    from azure.storage.queue import QueueClient

BLOB_API_VERSION = "2025-11-05"
"""The newest version that both the service and the pinned Azurite speak."""


class Storage:
    """Blob and queue clients of the accounts "data" and "system". Clients are thread-safe and shared."""

    def __init__(self, settings: Settings) -> None:
        self._connections = {"data": settings.data, "system": settings.system}
        self._services: dict[str, BlobServiceClient] = {}
        self._ensured: set[tuple[str, str]] = set()

    def service(self, account: str) -> BlobServiceClient:
        if account not in self._services:
            connection = self._connections[account]
            if connection.connection_string is not None:
                service = BlobServiceClient.from_connection_string(
                    connection.connection_string, api_version=BLOB_API_VERSION
                )
            else:
                assert connection.blob_service_uri is not None
                service = BlobServiceClient(
                    connection.blob_service_uri,
                    credential=self._credential(connection),
                    api_version=BLOB_API_VERSION,
                )
            self._services[account] = service
        return self._services[account]

    def container(self, account: str, name: str, *, create: bool = False) -> ContainerClient:
        """The client of a container; with `create` it is made first where it is not there."""
        client = self.service(account).get_container_client(name)
        if create and (account, name) not in self._ensured:
            with translated(f"container {name!r}"), suppress(ResourceExistsError):
                client.create_container()
            self._ensured.add((account, name))
        return client

    def queue(self, account: str, name: str) -> QueueClient:
        """The client of a queue, made first where it is not there."""
        from azure.storage.queue import QueueClient, TextBase64DecodePolicy, TextBase64EncodePolicy

        connection = self._connections[account]
        policies: dict[str, Any] = {
            "message_encode_policy": TextBase64EncodePolicy(),
            "message_decode_policy": TextBase64DecodePolicy(),
            "api_version": BLOB_API_VERSION,
        }
        if connection.connection_string is not None:
            client = QueueClient.from_connection_string(connection.connection_string, name, **policies)
        else:
            assert connection.queue_service_uri is not None
            client = QueueClient(
                connection.queue_service_uri, name, credential=self._credential(connection), **policies
            )
        if (account, f"queue:{name}") not in self._ensured:
            with translated(f"queue {name!r}"), suppress(ResourceExistsError):
                client.create_queue()
            self._ensured.add((account, f"queue:{name}"))
        return client

    def _credential(self, connection: Connection) -> Any:
        return _Credentials.of(connection.client_id)

    def close(self) -> None:
        for service in self._services.values():
            service.close()
        self._services.clear()


class _Credentials:
    """One DefaultAzureCredential per identity; azure-identity is imported only where there is one."""

    _cache: dict[str | None, Any] = {}  # noqa: RUF012

    @classmethod
    def of(cls, client_id: str | None) -> Any:
        if client_id not in cls._cache:
            from azure.identity import DefaultAzureCredential

            cls._cache[client_id] = DefaultAzureCredential(managed_identity_client_id=client_id)
        return cls._cache[client_id]


def bounded_read(blob: BlobClient, most_bytes: int) -> tuple[bytes, str]:
    """The first bytes of a blob and the ETag they belong to, by one GET; an empty blob, of which no range can be
    read, takes a HEAD more."""
    try:
        download = blob.download_blob(offset=0, length=most_bytes)
        return download.readall(), str(download.properties.etag)
    except HttpResponseError as error:
        if error.status_code != 416:
            raise
        return b"", str(blob.get_blob_properties().etag)


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Turn the SDK's faults into StorageUnavailableError. Answers about a blob's state (404, 409, 412) pass."""
    try:
        yield
    except HttpResponseError as error:
        if error.status_code in (404, 409, 412):
            raise
        raise StorageUnavailableError(
            f"storage refused {what}: {error.status_code} {error.reason or ''} ({getattr(error, 'error_code', None) or 'no code'})"
        ) from error
    except AzureError as error:
        raise StorageUnavailableError(f"storage did not answer for {what}: {type(error).__name__}") from error
