"""What is in a workspace, as its documents say; by plain requests, without Microsoft's SDK."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from batchscore.compute.azureml.api import Document, WorkspaceApi
from batchscore.compute.azureml.errors import is_unknown
from batchscore.compute.azureml.faults import fault_of, said_by
from batchscore.deploying.errors import doing
from batchscore.deploying.wanted import Wanted, kind_of
from batchscore.durations import whole_seconds

LOOKS_AT_ONCE = 8
AML_COMPUTE, AZURE_BLOB = "AmlCompute", "AzureBlob"
_FOLDERS = {"environment": "environments", "component": "components", "pipeline": "components"}

Name = TypeVar("Name")


@dataclass(frozen=True)
class FoundCluster:
    """A compute that is in the workspace."""

    kind: str
    """`AmlCompute`, or what else it is."""
    size: str = ""
    min_nodes: int = 0
    max_nodes: int = 0
    idle_time_s: int = 0
    low_priority: bool = False
    state: str = "Succeeded"
    """Of its provisioning."""
    trouble: str = ""
    """What keeps it from being made or from growing, in the service's words."""


@dataclass(frozen=True)
class FoundDatastore:
    """A datastore that is in the workspace."""

    kind: str
    """`AzureBlob`, or what else it is."""
    account: str = ""
    container: str = ""


@dataclass(frozen=True)
class Found:
    """What of the wanted is in the workspace."""

    clusters: Mapping[str, FoundCluster] = field(default_factory=dict)
    datastores: Mapping[str, FoundDatastore] = field(default_factory=dict)
    registered: frozenset[tuple[str, str, str]] = frozenset()
    """Kind, name and version of environments, components and pipelines."""
    models: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """Where a model's files are, by name and version."""


def look(api: WorkspaceApi, wanted: Wanted) -> Found:
    """What of the wanted is there. BatchscoreError when the workspace cannot be asked."""
    clusters = [target.name for target in wanted.clusters.values()]
    datastores = [datastore.name for datastore in wanted.datastores]
    versions = [("environment", each.name, each.version) for each in wanted.environments]
    versions += [(kind_of(each), each.name, each.version) for each in wanted.components]
    models = [(model.name, model.version) for model in wanted.models]
    with ThreadPoolExecutor(LOOKS_AT_ONCE) as pool:

        def there(
            names: list[Name], say: Callable[[Name], str], get: Callable[[Name], Document]
        ) -> Mapping[Name, Document]:
            found = pool.map(lambda name: _found(f"the {say(name)}", lambda: get(name)), names)
            return {
                name: document for name, document in zip(names, found, strict=True) if document is not None
            }

        return Found(
            {
                name: found_cluster(document)
                for name, document in there(clusters, "cluster {}".format, api.compute).items()
            },
            {
                name: found_datastore(document)
                for name, document in there(datastores, "datastore {}".format, api.datastore).items()
            },
            frozenset(
                there(
                    versions,
                    lambda each: "{} {}:{}".format(*each),
                    lambda each: api.version(_FOLDERS[each[0]], *each[1:]),
                )
            ),
            {
                name: str(_properties(document).get("modelUri") or "")
                for name, document in there(
                    models,
                    lambda each: "model {}:{}".format(*each),
                    lambda each: api.version("models", *each),
                ).items()
            },
        )


def found_cluster(document: Document) -> FoundCluster:
    """A compute by its document."""
    outer = _properties(document)
    kind, state = str(outer.get("computeType") or ""), str(outer.get("provisioningState") or "Succeeded")
    inner = _properties(outer)
    if kind != AML_COMPUTE:
        return FoundCluster(kind, state=state)
    errors = [*(outer.get("provisioningErrors") or ()), *(inner.get("errors") or ())]
    fault = fault_of(errors[0]) if errors else None
    scale = inner.get("scaleSettings") or {}
    return FoundCluster(
        kind,
        str(inner.get("vmSize") or ""),
        int(scale.get("minNodeCount") or 0),
        int(scale.get("maxNodeCount") or 0),
        whole_seconds(str(scale.get("nodeIdleTimeBeforeScaleDown") or "")) or 0,
        "low" in str(inner.get("vmPriority") or "").lower(),
        state,
        said_by(fault) if fault else "",
    )


def found_datastore(document: Document) -> FoundDatastore:
    """A datastore by its document."""
    said = _properties(document)
    return FoundDatastore(
        str(said.get("datastoreType") or ""),
        str(said.get("accountName") or ""),
        str(said.get("containerName") or ""),
    )


def _found(what: str, get: Callable[[], Document]) -> Document | None:
    """What is there; None when it is not."""
    with doing(f"look at {what}"):
        try:
            return get()
        except Exception as error:
            if is_unknown(error):
                return None
            raise


def _properties(document: Document) -> Mapping[str, Any]:
    said = document.get("properties")
    return said if isinstance(said, Mapping) else {}
