"""The workspace itself, its compute targets and its datastores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from batchscore.devhost.azureml.address import Scope
from batchscore.devhost.azureml.answers import (
    Answer,
    Document,
    ServiceError,
    not_found,
    object_of,
    text_of,
)
from batchscore.devhost.azureml.resources import check_name, now, resource
from batchscore.devhost.azureml.storage import ARTIFACTS_CONTAINER, DEFAULT_CONTAINER, WorkspaceStorage
from batchscore.devhost.azureml.store import Store

DEFAULT_DATASTORE = "workspaceblobstore"
ARTIFACTS_DATASTORE = "workspaceartifactstore"
_WORKSPACE_ID = "5ba1ab1e-0000-4000-8000-000000000001"


@dataclass(frozen=True)
class NodeUse:
    """The nodes of a cluster that jobs have, those that are coming, and whether jobs wait for quota."""

    running: int = 0
    coming: int = 0
    without_quota: bool = False


class Infrastructure:
    """What stands before the first job: workspace, computes, datastores."""

    def __init__(self, scope: Scope, store: Store, storage: WorkspaceStorage) -> None:
        self._scope = scope
        self._store = store
        self._storage = storage

    def prepare(self) -> None:
        """Make the datastores that every workspace has."""
        for name, container in (
            (DEFAULT_DATASTORE, DEFAULT_CONTAINER),
            (ARTIFACTS_DATASTORE, ARTIFACTS_CONTAINER),
        ):
            self._storage.make(container)
            self.put_datastore(
                name,
                {
                    "properties": {
                        "datastoreType": "AzureBlob",
                        "accountName": self._storage.account,
                        "containerName": container,
                        "endpoint": "core.windows.net",
                        "protocol": "https",
                        "credentials": {"credentialsType": "None"},
                    }
                },
            )

    def workspace(self, endpoint: str) -> Answer:
        scope = self._scope
        storage = f"/subscriptions/{scope.subscription}/resourceGroups/{scope.group}/providers"
        storage += f"/Microsoft.Storage/storageAccounts/{self._storage.account}"
        properties: Document = {
            "friendlyName": scope.workspace,
            "description": "A stand-in on this machine",
            "storageAccount": storage,
            "keyVault": None,
            "applicationInsights": None,
            "containerRegistry": None,
            "hbiWorkspace": False,
            "workspaceId": _WORKSPACE_ID,
            "publicNetworkAccess": "Enabled",
            "discoveryUrl": f"{endpoint}/discovery",
            "mlFlowTrackingUri": f"azureml://{endpoint.removeprefix('https://')}/mlflow/v1.0{scope.arm_id}",
            "provisioningState": "Succeeded",
            "v1LegacyMode": False,
        }
        return Answer(
            200,
            {
                "id": scope.arm_id,
                "name": scope.workspace,
                "type": "Microsoft.MachineLearningServices/workspaces",
                "location": scope.location,
                "kind": "Default",
                "sku": {"name": "Basic", "tier": "Basic"},
                "identity": {
                    "type": "SystemAssigned",
                    "principalId": _WORKSPACE_ID,
                    "tenantId": _WORKSPACE_ID,
                },
                "tags": {},
                "etag": None,
                "properties": properties,
            },
        )

    def put_compute(self, name: str, body: Document) -> Answer:
        """Make a cluster, or change its scale."""
        check_name("compute name", name)
        given = object_of(body, "properties")
        if given.get("computeType") != "AmlCompute":
            raise ServiceError(
                400,
                "UserError",
                f"The stand-in has clusters (AmlCompute) only, not {given.get('computeType')!r}.",
            )
        inner = object_of(given, "properties")
        scale = object_of(inner, "scaleSettings")
        least, most = scale.get("minNodeCount") or 0, scale.get("maxNodeCount")
        if not isinstance(most, int) or not isinstance(least, int) or not 0 <= least <= most:
            raise ServiceError(400, "UserError", f"The scale of the cluster {name!r} is not legal: {scale}")
        there = self._store.get("computes", name)
        if there is not None:
            before = text_of(object_of(object_of(there, "properties"), "properties"), "vmSize")
            if before.lower() != text_of(inner, "vmSize").lower():
                raise ServiceError(
                    400, "UserError", f"The vmSize of the compute {name!r} is {before} and cannot be changed."
                )
        at = now()
        counts = ("preparing", "running", "idle", "unusable", "leaving", "preempted")
        document = resource(
            self._scope,
            ("computes", name),
            {
                "createdOn": at if there is None else object_of(there, "properties").get("createdOn"),
                "modifiedOn": at,
                "disableLocalAuth": False,
                "description": None,
                "resourceId": None,
                "computeLocation": self._scope.location,
                "provisioningErrors": None,
                "provisioningWarnings": None,
                "isAttachedCompute": False,
                **given,
                "provisioningState": "Succeeded",
                "properties": {
                    "vmPriority": "Dedicated",
                    "subnet": None,
                    "currentNodeCount": least,
                    "targetNodeCount": least,
                    "nodeStateCounts": {f"{each}NodeCount": 0 for each in counts},
                    "allocationState": "Steady",
                    "allocationStateTransitionTime": at,
                    "errors": None,
                    "remoteLoginPortPublicAccess": "Disabled",
                    "osType": "Linux",
                    "virtualMachineImage": None,
                    "isolatedNetwork": False,
                    "propertyBag": {},
                    **inner,
                    "scaleSettings": {"nodeIdleTimeBeforeScaleDown": "PT2M", **scale},
                },
            },
        )
        document |= {
            "location": self._scope.location,
            "tags": body.get("tags") or {},
            "identity": body.get("identity"),
        }
        self._store.put("computes", name, document=document)
        creating = {
            **document,
            "properties": {**object_of(document, "properties"), "provisioningState": "Creating"},
        }
        return Answer(200 if there else 201, creating)

    def compute(self, name: str, use: NodeUse | None = None) -> Answer:
        """A cluster, with the nodes that it has and gets."""
        found = self._store.get("computes", name)
        if found is None:
            raise ServiceError(404)  # the recorded service says nothing more
        return Answer(200, found if use is None else _in_use(found, use))

    def most_nodes(self) -> dict[str, int]:
        """How many nodes each cluster can have."""
        found = {}
        for name, document in self._store.below("computes").items():
            scale = object_of(object_of(object_of(document, "properties"), "properties"), "scaleSettings")
            found[name] = int(scale.get("maxNodeCount") or 0)
        return found

    def computes(self) -> Answer:
        return _list(list(self._store.below("computes").values()))

    def put_datastore(self, name: str, body: Document) -> Answer:
        """Make a datastore of a blob container; every container is in the workspace's one account."""
        check_name("datastore name", name)
        given = object_of(body, "properties")
        if given.get("datastoreType") != "AzureBlob" or not text_of(given, "containerName"):
            raise ServiceError(
                400,
                "UserError",
                f"The stand-in has blob datastores only, not {given.get('datastoreType')!r}.",
            )
        there = self._store.get("datastores", name)
        credentials = object_of(given, "credentials")
        properties: Document = {
            "description": None,
            "tags": {},
            "properties": None,
            "isDefault": name == DEFAULT_DATASTORE,
            "subscriptionId": None,
            "resourceGroup": None,
            "serviceDataAccessAuthIdentity": "None",
            **given,
            "credentials": {"credentialsType": credentials.get("credentialsType", "None")},  # never a secret
        }
        document = resource(self._scope, ("datastores", name), properties)
        self._store.put("datastores", name, document=document)
        return Answer(200 if there else 201, document)

    def datastore(self, name: str) -> Answer:
        found = self._store.get("datastores", name)
        if found is None:
            raise not_found(f"datastore {name}")
        return Answer(200, found)

    def container(self, datastore: str) -> str:
        """The container of a datastore."""
        return text_of(object_of(self.datastore(datastore).body or {}, "properties"), "containerName")

    def datastores(self, query: Mapping[str, str]) -> Answer:
        found = list(self._store.below("datastores").values())
        if query.get("isDefault", "").lower() == "true":
            found = [each for each in found if object_of(each, "properties").get("isDefault")]
        return _list(found)

    def secrets(self, name: str) -> Answer:
        """Datastores here go by identity; ServiceError, as there for such."""
        self.datastore(name)
        raise ServiceError(400, "UserError", "No secrets for credentials of type None.")


def _list(found: list[Document]) -> Answer:
    return Answer(200, {"value": [*found], "nextLink": None})


def _in_use(document: Document, use: NodeUse) -> Document:
    properties = object_of(document, "properties")
    inner = object_of(properties, "properties")
    least = object_of(inner, "scaleSettings").get("minNodeCount") or 0
    current = max(use.running, least)
    quota: Document = {
        "error": {
            "code": "ClusterCoreQuotaReached",
            "message": "Operation results in exceeding quota limits of Core. Maximum allowed: 0, Current in use: 0.",
        }
    }
    counts = {
        **object_of(inner, "nodeStateCounts"),
        "runningNodeCount": use.running,
        "idleNodeCount": current - use.running,
        "preparingNodeCount": use.coming,
    }
    now_so = {
        "currentNodeCount": current,
        "targetNodeCount": max(current, use.running + use.coming),
        "allocationState": "Resizing" if use.coming else "Steady",
        "nodeStateCounts": counts,
        "errors": [quota] if use.without_quota else None,
    }
    return {**document, "properties": {**properties, "properties": {**inner, **now_so}}}
