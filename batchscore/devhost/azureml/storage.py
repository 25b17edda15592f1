"""The storage of the workspace, in an Azurite: its containers, and addresses of them that are signed."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

from azure.core.exceptions import AzureError, ResourceExistsError
from azure.storage.blob import (
    BlobSasPermissions,
    BlobServiceClient,
    ContainerSasPermissions,
    generate_blob_sas,
    generate_container_sas,
)

from batchscore.errors import SettingsError, StorageUnavailableError
from batchscore.storage import BLOB_API_VERSION

DEFAULT_CONTAINER = "azureml-blobstore"
ARTIFACTS_CONTAINER = "azureml"
_SIGNED_FOR = timedelta(hours=6)


class WorkspaceStorage:
    """One account, given by a connection string with its key."""

    def __init__(self, connection_string: str) -> None:
        self.connection_string = connection_string
        try:
            self._client = BlobServiceClient.from_connection_string(
                connection_string, api_version=BLOB_API_VERSION, retry_total=2
            )
        except ValueError as error:
            raise SettingsError(f"The storage of the workspace is no connection string: {error}") from None
        self._key = getattr(self._client.credential, "account_key", "")
        if not self._key:
            raise SettingsError("The storage of the workspace needs a connection string with an AccountKey.")

    @property
    def account(self) -> str:
        return str(self._client.account_name)

    @property
    def endpoint(self) -> str:
        """The address of the blob service, without a slash at the end."""
        return str(self._client.url).rstrip("/")

    def make(self, container: str) -> None:
        """Make a container that may be there. StorageUnavailableError where storage does not answer."""
        try:
            with suppress(ResourceExistsError):
                self._client.create_container(container)
        except AzureError as error:
            raise StorageUnavailableError(
                f"the storage of the workspace did not make {container}: {error}"
            ) from error

    def container_url(self, container: str) -> str:
        return f"{self.endpoint}/{container}"

    def writable_url(self, container: str) -> str:
        """The address of a container, signed for reading, writing and listing."""
        token = generate_container_sas(
            self.account,
            container,
            account_key=self._key,
            permission=ContainerSasPermissions(read=True, write=True, create=True, add=True, list=True),
            expiry=datetime.now(UTC) + _SIGNED_FOR,
        )
        return f"{self.container_url(container)}?{token}"

    def readable_url(self, container: str, blob: str) -> str:
        """The address of a blob, signed for reading."""
        token = generate_blob_sas(
            self.account,
            container,
            blob,
            account_key=self._key,
            permission=BlobSasPermissions(read=True),
            expiry=datetime.now(UTC) + _SIGNED_FOR,
        )
        return f"{self.container_url(container)}/{quote(blob)}?{token}"

    def names(self, container: str, prefix: str) -> list[str]:
        """The names of the blobs below a prefix."""
        try:
            return list(self._client.get_container_client(container).list_blob_names(name_starts_with=prefix))
        except AzureError as error:
            raise StorageUnavailableError(f"{container}/{prefix} cannot be listed: {error}") from error

    def read(self, container: str, blob: str) -> bytes:
        try:
            client = self._client.get_blob_client(container, blob)
            return client.download_blob().readall()
        except AzureError as error:
            raise StorageUnavailableError(f"{container}/{blob} cannot be read: {error}") from error

    def close(self) -> None:
        self._client.close()
