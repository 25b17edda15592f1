"""The two storage accounts: clients made once, by connection string or by identity."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    ResourceExistsError,
)
from azure.core.pipeline.transport import RequestsTransport
from azure.storage.blob import (
    AccountSasPermissions,
    BlobClient,
    BlobServiceClient,
    ContainerClient,
    ResourceTypes,
    generate_account_sas,
)

from batchscore.credentials import credential_of
from batchscore.errors import RequestError, StorageUnavailableError
from batchscore.printable import quoted, unsigned
from batchscore.settings import Connection, Settings

if TYPE_CHECKING:
    from azure.storage.queue import QueueClient

BLOB_API_VERSION = "2025-11-05"
"""The newest version that both the service and the pinned Azurite speak."""
_TIMEOUTS: dict[str, Any] = {"connection_timeout": 10, "read_timeout": 30}
_PATIENCE: dict[str, Any] = {
    **_TIMEOUTS,
    "retry_total": 5,
    "initial_backoff": 1,
    "increment_base": 2,
    "random_jitter_range": 1,
}
"""How long a call waits for storage that does not answer: cuts of some twenty seconds pass unnoticed, and a connection
that died silently is given up after half a minute instead of minutes."""


LIST_PAGE = 500
"""Blobs listed at once: the SDK takes some ten kilobytes of memory for each, and 5,000 where it is not told."""
CONNECTIONS = 32
"""Kept open to an account at once; `requests` keeps ten, and opens anew and warns for each thread beyond them."""
ACCESS_FOR = timedelta(hours=2)
TOKEN_SCOPE = "https://storage.azure.com/.default"  # noqa: S105 - an address, no secret


@dataclass(frozen=True)
class Access:
    """What a request needs to reach an account's blobs: its address, and a query or headers that open it."""

    endpoint: str
    query: str = field(default="", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


def _without_signature(record: logging.LogRecord) -> bool:
    """Let a line pass, without the signatures of the addresses in it."""
    record.msg, record.args = unsigned(record.getMessage()), ()
    return True


for _name in ("urllib3.connectionpool", "urllib3.util.retry"):
    # they write the address of every request that is tried again, the first of them as a warning
    logging.getLogger(_name).addFilter(_without_signature)


def check_inside(path: str) -> None:
    """RequestError for an address with a part '.' or '..', which on its way becomes that of another blob."""
    if any(part in (".", "..") for part in path.split("/")):
        raise RequestError(f"{quoted(unquote(path))} is no blob: its name leads out of its container.")


class InsideItsContainer(RequestsTransport):  # type: ignore[misc]  # the SDK exports it lazily, untyped
    """What requests of the SDK go through: none for a blob leaves its container."""

    def open(self) -> None:
        opened = self.session is not None
        super().open()
        if not opened:
            for adapter in self.session.adapters.values():
                adapter.init_poolmanager(CONNECTIONS, CONNECTIONS)

    def send(self, request: Any, **options: Any) -> Any:
        check_inside(urlsplit(request.url).path)
        return super().send(request, **options)


def _make(client: ContainerClient) -> None:
    """Make a container. Whoever has a role on this one alone may be refused that, which is fine where it is there."""
    try:
        client.create_container()
    except HttpResponseError as error:
        if error.status_code != 403 or not client.exists():
            raise


class Storage:
    """Blob and queue clients of the accounts "data" and "system". Clients are thread-safe and shared."""

    def __init__(self, settings: Settings) -> None:
        self._connections = {"data": settings.data, "system": settings.system}
        self._services: dict[str, BlobServiceClient] = {}
        self._containers: dict[tuple[str, str], ContainerClient] = {}
        self._ensured: set[tuple[str, str]] = set()
        self._signed: dict[str, tuple[datetime, str]] = {}

    def service(self, account: str) -> BlobServiceClient:
        if account not in self._services:
            connection = self._connections[account]
            if connection.connection_string is not None:
                service = BlobServiceClient.from_connection_string(
                    connection.connection_string,
                    api_version=BLOB_API_VERSION,
                    transport=InsideItsContainer(**_TIMEOUTS),
                    **_PATIENCE,
                )
            else:
                assert connection.blob_service_uri is not None
                service = BlobServiceClient(
                    connection.blob_service_uri,
                    credential=self._credential(connection),
                    api_version=BLOB_API_VERSION,
                    transport=InsideItsContainer(**_TIMEOUTS),
                    **_PATIENCE,
                )
            self._services[account] = service
        return self._services[account]

    def container(self, account: str, name: str, *, create: bool = False) -> ContainerClient:
        """The client of a container; with `create` it is made first where it is not there."""
        if (account, name) not in self._containers:
            self._containers[account, name] = self.service(account).get_container_client(name)
        client = self._containers[account, name]
        if create and (account, name) not in self._ensured:
            with translated(f"container {name!r}"), suppress(ResourceExistsError):
                _make(client)
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
            **_PATIENCE,
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

    def access(self, account: str) -> Access:
        """How to list, read and write the blobs of an account by plain HTTP, for the next hour at least."""
        connection, service = self._connections[account], self.service(account)
        endpoint, _, query = service.url.partition("?")
        if connection.connection_string is None:
            with translated(f"a token for account {account!r}"):
                token = self._credential(connection).get_token(TOKEN_SCOPE).token
            return Access(endpoint.rstrip("/"), headers={"Authorization": f"Bearer {token}"})
        return Access(endpoint.rstrip("/"), query or self._signature(account, service))

    def _signature(self, account: str, service: BlobServiceClient) -> str:
        now = datetime.now(UTC)
        made, signature = self._signed.get(account, (now - ACCESS_FOR, ""))
        if now - made > ACCESS_FOR / 2:
            signature = generate_account_sas(
                str(service.account_name),
                service.credential.account_key,
                ResourceTypes(object=True, container=True),
                AccountSasPermissions(read=True, write=True, list=True),
                expiry=now + ACCESS_FOR,
            )
            self._signed[account] = (now, signature)
        return signature

    def forget_queue(self, account: str, name: str) -> None:
        """Make the queue again when it is next asked for."""
        self._ensured.discard((account, f"queue:{name}"))

    def _credential(self, connection: Connection) -> Any:
        return credential_of(connection.client_id)

    def close(self) -> None:
        for service in self._services.values():
            service.close()
        self._services.clear()
        self._containers.clear()


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
        if error.status_code is None and isinstance(error, ClientAuthenticationError):
            raise StorageUnavailableError(
                f"no identity could be used for {what}. Sign in with 'az login', or set the client id of a managed identity."
            ) from error
        raise StorageUnavailableError(
            f"storage refused {what}: {error.status_code} {error.reason or ''} ({getattr(error, 'error_code', None) or 'no code'})"
        ) from error
    except AzureError as error:
        raise StorageUnavailableError(f"storage did not answer for {what}: {type(error).__name__}") from error
