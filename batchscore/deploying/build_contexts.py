"""Where an image is built from: files in the workspace's default datastore, put there as azure-ai-ml would.

The SDK's own upload reaches the accounts of Azure's clouds alone. This one goes by the product's own connection where the
workspace keeps its files in one of the product's accounts, and so reaches Azurite, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from azure.core.exceptions import HttpResponseError
from azure.storage.blob import ContainerClient

from batchscore.deploying.snapshots import Snapshot
from batchscore.storage import BLOB_API_VERSION, Storage, translated

if TYPE_CHECKING:
    from azure.ai.ml import MLClient
    from azure.core.credentials import TokenCredential

DEFAULT_DATASTORE = "workspaceblobstore"


class BuildContexts:
    """The build contexts of a workspace's environments."""

    def __init__(self, client: MLClient, storage: Storage, identity: TokenCredential) -> None:
        self._client, self._storage, self._identity = client, storage, identity
        self._container: ContainerClient | None = None

    def upload(self, context: Snapshot, folder: str) -> str:
        """Put the files below `folder` and give their address, as an environment's build wants it."""
        if self._container is None:
            self._container = self._found()
        with translated(f"the files below {folder}"):
            for name, path in context.files.items():
                with path.open("rb") as stream:
                    self._container.upload_blob(f"{folder}/{name}", stream, overwrite=True)
        return f"{self._container.url.partition('?')[0]}/{quote(folder)}/"

    def _found(self) -> ContainerClient:
        datastore: Any = self._client.datastores.get(DEFAULT_DATASTORE)
        for account in ("system", "data"):
            service = self._storage.service(account)
            if service.account_name == datastore.account_name:
                return service.get_container_client(datastore.container_name)
        return ContainerClient(
            f"{datastore.protocol}://{datastore.account_name}.blob.{datastore.endpoint}",
            datastore.container_name,
            credential=self._credential(datastore),
            api_version=BLOB_API_VERSION,
        )

    def _credential(self, datastore: Any) -> Any:
        """The signature or key that the datastore keeps; the identity where it keeps none, or does not tell it."""
        from azure.ai.ml.entities import NoneCredentialConfiguration

        if datastore.credentials is None or isinstance(datastore.credentials, NoneCredentialConfiguration):
            return self._identity
        try:
            secrets: Any = self._client.datastores.get(DEFAULT_DATASTORE, include_secrets=True).credentials
        except HttpResponseError:
            return self._identity
        return getattr(secrets, "sas_token", None) or getattr(secrets, "account_key", None) or self._identity
