"""The workspace, its clusters and its datastores, as `batchscore deploy --compute-by-infra` wants to find them."""

from __future__ import annotations

from collections.abc import Iterator

import yaml

from batchscore import paths
from batchscore.definitions.vm_sizes import cores_of, gpus_of, is_vm_size
from batchscore.prices import shipped_prices
from tests.infra.scenarios import ROOT, SCENARIOS, Infra

# Current series (November 2026); NCv3, NCv2, NC and NV were retired, the older D series are being so.
_CURRENT = {
    "cpuClusterSize": {f"Standard_D{cores}ads_v5" for cores in (2, 4, 8, 16, 32, 48, 64, 96)},
    "gpuClusterSize": {
        *(f"Standard_NC{cores}as_T4_v3" for cores in (4, 8, 16, 64)),
        *(f"Standard_NC{cores}ads_A100_v4" for cores in (24, 48, 96)),
        "Standard_NC40ads_H100_v5",
        "Standard_NC80adis_H100_v5",
    },
}


def sizes_are_current(infra: Infra) -> Iterator[str]:
    """Only VM sizes that Azure still has, whose cores and GPUs batchscore knows; defaults are those that ship."""
    for name, current in _CURRENT.items():
        parameter = infra.main.parameters[name]
        if "allowed" not in parameter.decorators:
            yield f"{name} takes any size"
            continue
        for size in (str(part.literal) for part in parameter.decorators["allowed"][0].parts):
            if size not in current:
                yield f"{name}: {size} is no current size"
            if not is_vm_size(size) or cores_of(size) < 1 or (gpus_of(size) > 0) != name.startswith("gpu"):
                yield f"{name}: batchscore does not know {size}"
    for kind, file in (("cpu", "cpu-cluster.yml"), ("gpu", "gpu-cluster.yml")):
        shipped = yaml.safe_load((ROOT / "scoring/computes" / file).read_text(encoding="utf-8"))
        values = infra.parameters({"AZURE_ENV_NAME": "x", "AZURE_LOCATION": "x"})
        told = (
            values[f"{kind}ClusterSize"],
            values[f"{kind}ClusterMinNodes"],
            values[f"{kind}ClusterMaxNodes"],
        )
        if told != (shipped["size"], shipped["min_instances"], shipped["max_instances"]):
            yield f"{file} says {shipped['size']} and the deployment {told}"
        if shipped_prices().price(told[0], low_priority=False) is None:
            yield f"nobody knows what a node of {told[0]} costs"


def clusters_cost_nothing_while_idle(infra: Infra) -> Iterator[str]:
    """They go to zero nodes after the idle time that ships, and nobody gets in by key or SSH."""
    for name, deployment in infra.deployments.items():
        made = {
            each.name: each for each in deployment.of("Microsoft.MachineLearningServices/workspaces/computes")
        }
        wanted = (
            {"cpu-cluster"}
            if SCENARIOS[name].get("GPU_ENABLED") == "false"
            else {"cpu-cluster", "gpu-cluster"}
        )
        if made.keys() != wanted:
            yield f"{name}: the clusters are {', '.join(made)}"
        low = SCENARIOS[name].get("AML_COMPUTE_CLUSTER_TIER") == "low_priority"
        for cluster in made.values():
            outer = cluster.properties
            inner = outer["properties"]
            scale = inner["scaleSettings"]
            if scale["minNodeCount"] != 0 or scale["nodeIdleTimeBeforeScaleDown"] != "PT120S":
                yield f"{name}: {cluster.name} keeps nodes: {scale}"
            if inner["vmPriority"] != (
                "LowPriority" if low and cluster.name == "cpu-cluster" else "Dedicated"
            ):
                yield f"{name}: {cluster.name} is {inner['vmPriority']}"
            if (
                outer.get("disableLocalAuth") is not True
                or inner["remoteLoginPortPublicAccess"] != "Disabled"
            ):
                yield f"{name}: {cluster.name} lets somebody in by key"
            identity = deployment.one("Microsoft.ManagedIdentity/userAssignedIdentities", "clusters")
            if cluster.body.get("identity") != {
                "type": "UserAssigned",
                "userAssignedIdentities": {identity.id: {}},
            }:
                yield f"{name}: {cluster.name} runs as {cluster.body.get('identity')}"


def workspace_hangs_together(infra: Infra) -> Iterator[str]:
    """Identity instead of keys, the system account, vault, registry and telemetry of this deployment."""
    for name, deployment in infra.deployments.items():
        workspace = deployment.one("Microsoft.MachineLearningServices/workspaces")
        properties = workspace.properties
        identity = deployment.one("Microsoft.ManagedIdentity/userAssignedIdentities", "workspace").id
        wanted = {
            "storageAccount": deployment.one("Microsoft.Storage/storageAccounts", "system").id,
            "keyVault": deployment.one("Microsoft.KeyVault/vaults").id,
            "containerRegistry": deployment.one("Microsoft.ContainerRegistry/registries").id,
            "applicationInsights": deployment.one("Microsoft.Insights/components").id,
            "primaryUserAssignedIdentity": identity,
            "systemDatastoresAuthMode": "Identity",
            "imageBuildCompute": "cpu-cluster" if SCENARIOS[name].get("VNET_ENABLED") == "true" else "",
        }
        for key, value in wanted.items():
            if (properties.get(key) or "") != value:
                yield f"{name}: {key} of the workspace is {properties.get(key)}"
        if workspace.body["identity"] != {"type": "UserAssigned", "userAssignedIdentities": {identity: {}}}:
            yield f"{name}: the workspace runs as {workspace.body['identity']}"
        vault = deployment.one("Microsoft.KeyVault/vaults").properties
        if vault.get("enableRbacAuthorization") is not True or vault.get("enablePurgeProtection") is not True:
            yield f"{name}: the key vault is open or can be purged"
        if (
            deployment.one("Microsoft.ContainerRegistry/registries").properties.get("adminUserEnabled")
            is not False
        ):
            yield f"{name}: the registry has a password"


def datastores_are_those_of_jobs(infra: Infra) -> Iterator[str]:
    """By the names that batchscore submits jobs with, each leading to its container in its account, without keys."""
    for name, deployment in infra.deployments.items():
        accounts = {
            part: deployment.one("Microsoft.Storage/storageAccounts", part).name
            for part in ("data", "system")
        }
        wanted = {
            paths.datastore_name("data"): (accounts["data"], "data"),
            paths.datastore_name(paths.MODELS): (accounts["system"], paths.MODELS),
            paths.datastore_name(paths.LOGS): (accounts["system"], paths.LOGS),
        }
        made = {}
        for each in deployment.of("Microsoft.MachineLearningServices/workspaces/datastores"):
            properties = each.properties
            made[each.name] = (properties["accountName"], properties["containerName"])
            if properties["datastoreType"] != "AzureBlob" or properties["credentials"] != {
                "credentialsType": "None"
            }:
                yield f"{name}: the datastore {each.name} has {properties['credentials']}"
            if (properties["endpoint"], properties["protocol"]) != ("core.windows.net", "https"):
                yield f"{name}: the datastore {each.name} is at {properties['endpoint']}"
        for datastore in sorted(wanted.keys() | made.keys()):
            if wanted.get(datastore) != made.get(datastore):
                yield f"{name}: the datastore {datastore} leads to {made.get(datastore)}, not {wanted.get(datastore)}"
