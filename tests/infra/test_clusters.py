"""What `batchscore deploy --compute-by-infra` finds in a workspace that the infrastructure made."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from batchscore import paths
from batchscore.definitions.compute_targets import SETTINGS, load_targets
from batchscore.definitions.vm_sizes import cores_of, gpus_of
from batchscore.deploying.changes import Action
from batchscore.deploying.deploy import Deploying
from batchscore.deploying.found import found_cluster, found_datastore
from batchscore.deploying.wanted import datastores
from batchscore.deploying.workspace import Workspace
from batchscore.devhost.azureml import AzureMLWorkspace
from batchscore.prices import load_prices
from batchscore.settings import Settings
from batchscore.storage import Storage
from batchscore.workloads import Workloads
from tests.azureml_client import asked, azureml_settings, microsofts_schemas
from tests.infra.bicep import Files
from tests.infra.deployment import Deployment, deploy
from tests.infra.rules.functions import app_settings
from tests.infra.scenarios import ASKED, MAIN, ROOT, Infra
from tests.unit.workload_folder import write_two_workloads

ML = "Microsoft.MachineLearningServices/workspaces"
GPUS = {
    "Standard_NC4as_T4_v3": 1,
    "Standard_NC8as_T4_v3": 1,
    "Standard_NC64as_T4_v3": 4,
    "Standard_NC24ads_A100_v4": 1,
    "Standard_NC48ads_A100_v4": 2,
    "Standard_NC96ads_A100_v4": 4,
}
"""Of a node, as Azure's documentation lists them. NCv3 is retired."""
CHOICES: dict[str, dict[str, str]] = {
    "as shipped": {},
    "in a private network": {"VNET_ENABLED": "true"},
    "cheap and many": {
        "AML_COMPUTE_CLUSTER_TIER": "low_priority",
        "AML_COMPUTE_CLUSTER_SKU": "Standard_D4ads_v5",
        "AML_COMPUTE_CLUSTER_MAX_NODES": "40",
        "AML_GPU_COMPUTE_CLUSTER_TIER": "low_priority",
        "AML_GPU_COMPUTE_CLUSTER_SKU": "Standard_NC64as_T4_v3",
        "AML_GPU_COMPUTE_CLUSTER_MIN_NODES": "1",
    },
    "without GPUs": {"GPU_ENABLED": "false"},
}


@cache
def infra() -> Infra:
    return Infra(Files(ROOT))


@cache
def deployed(choice: str = "as shipped") -> Deployment:
    """What the infrastructure comes to with these variables of azd."""
    return deploy(infra().files, MAIN, infra().parameters({**ASKED, **CHOICES[choice]}))


def clusters(choice: str = "as shipped") -> dict[str, dict[str, Any]]:
    return {each.body["name"]: each.body for each in deployed(choice).of(f"{ML}/computes")}


def aml_settings(choice: str) -> dict[str, str]:
    """What the app is told of the clusters."""
    told = app_settings(deployed(choice))
    return {name: value for name, value in told.items() if name.startswith("AML_") or name == "GPU_ENABLED"}


def allowed(parameter: str) -> list[str]:
    """The values of an `@allowed` list of main.bicep."""
    text = (ROOT / "infra" / "main.bicep").read_text()
    found = re.search(rf"@allowed\(\[([^]]*)]\)\nparam {parameter} ", text)
    assert found is not None
    return re.findall(r"'([^']*)'", found[1])


def test_the_clusters_that_ship_are_those_of_the_files() -> None:
    made = clusters()
    for file in (ROOT / "scoring" / "computes").glob("*.yml"):
        said = yaml.safe_load(file.read_text())
        body = made.pop(said["name"])
        inner = body["properties"]["properties"]
        assert body["properties"]["description"] == said["description"]
        assert body["properties"]["disableLocalAuth"] is True
        assert inner["remoteLoginPortPublicAccess"] == "Disabled"
        assert found_cluster({"properties": {**body["properties"], "provisioningState": "Succeeded"}}) == (
            found_cluster(
                {
                    "properties": {
                        "computeType": "AmlCompute",
                        "provisioningState": "Succeeded",
                        "properties": {
                            "vmSize": said["size"],
                            "vmPriority": {"dedicated": "Dedicated", "low_priority": "LowPriority"}[
                                said["tier"]
                            ],
                            "scaleSettings": {
                                "minNodeCount": said["min_instances"],
                                "maxNodeCount": said["max_instances"],
                                "nodeIdleTimeBeforeScaleDown": f"PT{said['idle_time_before_scale_down']}S",
                            },
                        },
                    }
                }
            )
        )
    assert not made


def test_nodes_run_as_one_identity_that_is_not_the_workspaces() -> None:
    identities = {
        each.symbol: each.id for each in deployed().of("Microsoft.ManagedIdentity/userAssignedIdentities")
    }
    for body in clusters().values():
        assert body["identity"]["type"] == "UserAssigned"
        assert list(body["identity"]["userAssignedIdentities"]) == [identities["clustersIdentity"]]
    workspace = deployed().one(ML)
    assert list(workspace.body["identity"]["userAssignedIdentities"]) == [identities["workspaceIdentity"]]
    assert workspace.properties["systemDatastoresAuthMode"] == "Identity"


@pytest.mark.parametrize(("choice", "network"), [("as shipped", False), ("in a private network", True)])
def test_nodes_have_public_addresses_and_images_are_built_elsewhere_without_a_network(
    choice: str, network: bool
) -> None:
    for body in clusters(choice).values():
        inner = body["properties"]["properties"]
        assert inner["enableNodePublicIp"] is not network
        assert (inner["subnet"] is not None) is network
    workspace = deployed(choice).one(ML)
    registry = deployed(choice).one("Microsoft.ContainerRegistry/registries")
    assert (workspace.properties["imageBuildCompute"] in clusters()) is network
    assert registry.body["sku"]["name"] == ("Premium" if network else "Basic")
    assert registry.properties["adminUserEnabled"] is False


def test_every_size_that_can_be_chosen_has_a_price_and_is_known_with_its_gpus() -> None:
    prices = load_prices()
    cpu, gpu = allowed("cpuClusterSize"), allowed("gpuClusterSize")
    assert {size: gpus_of(size) for size in gpu} == GPUS
    assert {size: gpus_of(size) for size in cpu} == dict.fromkeys(cpu, 0)
    assert {cores_of(size) for size in cpu} == {4, 8, 16, 32}
    for size in (*cpu, *gpu):
        assert all(prices.price(size, low_priority=low) for low in (False, True)), size


def test_the_tiers_that_can_be_chosen_are_those_of_the_files() -> None:
    for parameter, setting in SETTINGS.items():
        for tier in allowed(f"{parameter[:3]}ClusterTier"):
            target = load_targets(ROOT / "scoring", {f"{setting}_TIER": tier})[parameter]
            assert target.low_priority is (tier == "low_priority")


@pytest.fixture
def workspace(azurite: str, tmp_path: Path) -> Iterator[AzureMLWorkspace]:
    """A workspace in which nothing is registered yet."""
    with AzureMLWorkspace(folder=tmp_path / "ws", storage=azurite, schemas=microsofts_schemas()) as workspace:
        yield workspace


def make(workspace: AzureMLWorkspace, choice: str, account: str, data_container: str) -> None:
    """Put into the workspace what the infrastructure would, with the account and the container of a test."""
    for name, body in clusters(choice).items():
        sent = {key: body[key] for key in ("location", "tags", "identity", "properties")}
        assert asked(workspace, "PUT", f"computes/{name}", sent)[0] in (200, 201)
    for datastore in deployed(choice).of(f"{ML}/datastores"):
        properties = {**datastore.properties, "accountName": account}
        name = datastore.body["name"]
        if name == paths.datastore_name("data"):
            name, properties["containerName"] = paths.datastore_name(data_container), data_container
        assert asked(workspace, "PUT", f"datastores/{name}", {"properties": properties})[0] in (200, 201)


@pytest.mark.parametrize("choice", CHOICES)
def test_a_deployment_finds_clusters_and_datastores_as_it_wants_them(
    choice: str, workspace: AzureMLWorkspace, settings: Settings, storage: Storage, tmp_path: Path
) -> None:
    folder = write_two_workloads(tmp_path)
    make(workspace, choice, str(storage.service("system").account_name), settings.data_container)
    told = aml_settings(choice)
    known = azureml_settings(settings, workspace, WORKLOADS_FOLDER=str(folder), **told)
    assert known.workspace is not None
    edge = Workspace(known.workspace, storage)
    try:
        plan = Deploying(known, storage, Workloads(folder), edge).plan(computes_by_infra=True, dry_run=True)
    finally:
        edge.close()
    found = [change for change in plan if change.kind in ("cluster", "datastore")]
    assert {change.name for change in found if change.kind == "cluster"} == set(clusters(choice))
    assert len(found) == len(clusters(choice)) + 3
    assert {change.action for change in found} == {Action.KEEP}
    assert {change.note for change in found if change.kind == "cluster"} == {"the infrastructure's"}
    left = [change.name for change in plan if change.action is Action.LEAVE]
    assert left == ([] if told["GPU_ENABLED"] == "true" else ["demo/paint"])


def test_the_datastores_are_those_of_the_accounts(storage: Storage, settings: Settings) -> None:
    main = deployed()
    made = {
        each.body["name"]: found_datastore({"properties": each.properties})
        for each in main.of(f"{ML}/datastores")
    }
    data, system = (
        main.one("Microsoft.Storage/storageAccounts", which).body["name"] for which in ("stdata", "stsystem")
    )
    shipped = replace(settings, data_container=app_settings(main)["DATA_CONTAINER"])
    assert made.keys() == {each.name for each in datastores(shipped, storage)}
    assert {name: place.account for name, place in made.items()} == {
        paths.datastore_name(shipped.data_container): data,
        paths.datastore_name(paths.MODELS): system,
        paths.datastore_name(paths.LOGS): system,
    }


@pytest.mark.parametrize("choice", CHOICES)
def test_outputs_are_no_other_values_than_what_was_chosen(choice: str) -> None:
    """azd writes outputs over the variables of the same name, and the next deployment gets them as parameters."""
    said = {name: str(value) for name, value in deployed(choice).outputs.items()}
    before, after = (infra().parameters({**ASKED, **CHOICES[choice], **more}) for more in ({}, said))
    assert after == {**after, **before}
    again = deploy(infra().files, MAIN, after)
    assert again.outputs == deployed(choice).outputs
    assert {each.id: each.body for each in again.resources} == {
        each.id: each.body for each in deployed(choice).resources
    }
