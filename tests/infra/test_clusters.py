"""What `batchscore deploy --compute-by-infra` finds in a workspace that the infrastructure made."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("tree_sitter_bicep", reason="make infra-check installs it")

import yaml

from batchscore import paths
from batchscore.definitions.compute_targets import load_targets
from batchscore.definitions.vm_sizes import gpus_of
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
from tests.infra.deployments import ROOT, app_settings, deployed
from tests.unit.workload_folder import write_two_workloads

CHOICES: dict[str, dict[str, Any]] = {
    "as shipped": {},
    "in a private network": {"vnetEnabled": True},
    "cheap and many": {
        "cpuClusterTier": "low_priority",
        "cpuClusterSize": "Standard_D4ads_v5",
        "cpuClusterMaxNodes": 40,
        "gpuClusterTier": "low_priority",
        "gpuClusterSize": "Standard_NC64as_T4_v3",
        "gpuClusterMinNodes": 1,
    },
    "without GPUs": {"gpuEnabled": False},
}


def clusters(**parameters: Any) -> dict[str, dict[str, Any]]:
    bodies = deployed(**parameters).module("clusters").resource("cluster")
    return {body["name"]: body for body in bodies}


def aml_settings(**parameters: Any) -> dict[str, str]:
    """What the app, and a workstation by azd's variables, are told of the clusters."""
    told = app_settings(deployed(**parameters))
    return {
        name: str(value) for name, value in told.items() if name.startswith("AML_") or name == "GPU_ENABLED"
    }


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
    main = deployed()
    identity = main.module("identity").outputs
    for body in clusters().values():
        assert body["identity"]["type"] == "UserAssigned"
        assert list(body["identity"]["userAssignedIdentities"]) == [identity["clustersIdentityId"]]
    workspace = main.module("machineLearning").resource("workspace")
    assert list(workspace["identity"]["userAssignedIdentities"]) == [identity["workspaceIdentityId"]]
    assert workspace["properties"]["systemDatastoresAuthMode"] == "Identity"


@pytest.mark.parametrize("network", [False, True])
def test_nodes_have_public_addresses_only_without_a_network(network: bool) -> None:
    for body in clusters(vnetEnabled=network).values():
        inner = body["properties"]["properties"]
        assert inner["enableNodePublicIp"] is not network
        assert (inner["subnet"] is not None) is network


def test_images_are_built_on_nodes_where_the_registry_is_in_the_network() -> None:
    for network in (False, True):
        main = deployed(vnetEnabled=network)
        properties = main.module("machineLearning").resource("workspace")["properties"]
        registry = main.module("containerRegistry").resource("registry")
        assert (properties["imageBuildCompute"] in clusters(vnetEnabled=network)) is network
        assert registry["sku"]["name"] == ("Premium" if network else "Basic")
        assert registry["properties"]["adminUserEnabled"] is False


@pytest.mark.parametrize("parameter", ["cpuClusterSize", "gpuClusterSize"])
def test_every_size_that_can_be_chosen_has_a_price_and_is_what_its_cluster_is_for(parameter: str) -> None:
    prices = load_prices()
    sizes = allowed(parameter)
    assert len(sizes) > 3
    for size in sizes:
        assert (gpus_of(size) > 0) is (parameter == "gpuClusterSize"), size
        assert all(prices.price(size, low_priority=low) for low in (False, True)), size


def test_the_tiers_that_can_be_chosen_are_those_of_the_files() -> None:
    for parameter in ("cpuClusterTier", "gpuClusterTier"):
        for tier in allowed(parameter):
            said = aml_settings(**{parameter: tier})
            targets = load_targets(ROOT / "scoring", said)
            assert [target.low_priority for target in targets.values()].count(tier == "low_priority") > 0


@pytest.fixture
def workspace(azurite: str, tmp_path: Path) -> Iterator[AzureMLWorkspace]:
    """A workspace in which nothing is registered yet."""
    with AzureMLWorkspace(folder=tmp_path / "ws", storage=azurite, schemas=microsofts_schemas()) as workspace:
        yield workspace


def make(workspace: AzureMLWorkspace, parameters: dict[str, Any], **places: str) -> None:
    """Put into the workspace what the infrastructure would."""
    main = deployed(**parameters)
    for name, body in clusters(**parameters).items():
        sent = {key: body[key] for key in ("location", "tags", "identity", "properties")}
        assert asked(workspace, "PUT", f"computes/{name}", sent)[0] in (200, 201)
    learning = main.module("machineLearning")
    here = type(learning)(learning.path, {**learning.parameters, **places})
    for body in here.resource("datastore"):
        sent = {"properties": body["properties"]}
        assert asked(workspace, "PUT", f"datastores/{body['name']}", sent)[0] in (200, 201)


@pytest.mark.parametrize("choice", CHOICES)
def test_a_deployment_finds_clusters_and_datastores_as_it_wants_them(
    choice: str, workspace: AzureMLWorkspace, settings: Settings, storage: Storage, tmp_path: Path
) -> None:
    folder = write_two_workloads(tmp_path)
    account = str(storage.service("system").account_name)
    make(
        workspace,
        CHOICES[choice],
        dataAccountName=account,
        systemAccountName=account,
        dataContainer=settings.data_container,
    )
    told = aml_settings(**CHOICES[choice])
    known = azureml_settings(settings, workspace, WORKLOADS_FOLDER=str(folder), **told)
    assert known.workspace is not None
    edge = Workspace(known.workspace, storage)
    try:
        plan = Deploying(known, storage, Workloads(folder), edge).plan(computes_by_infra=True, dry_run=True)
    finally:
        edge.close()
    found = [change for change in plan if change.kind in ("cluster", "datastore")]
    assert {change.name for change in found if change.kind == "cluster"} == set(clusters(**CHOICES[choice]))
    assert len(found) == len(clusters(**CHOICES[choice])) + 3
    assert {change.action for change in found} == {Action.KEEP}
    assert {change.note for change in found if change.kind == "cluster"} == {"the infrastructure's"}
    left = [change.name for change in plan if change.action is Action.LEAVE]
    assert left == ([] if told["GPU_ENABLED"] == "true" else ["demo/paint"])


def test_the_datastores_are_those_of_the_accounts(storage: Storage, settings: Settings) -> None:
    main = deployed()
    made = {
        body["name"]: found_datastore({"properties": body["properties"]})
        for body in main.module("machineLearning").resource("datastore")
    }
    accounts = main.module("storage").outputs
    shipped = replace(settings, data_container=app_settings(main)["DATA_CONTAINER"])
    assert made.keys() == {each.name for each in datastores(shipped, storage)}
    assert {name: place.account for name, place in made.items()} == {
        paths.datastore_name(shipped.data_container): accounts["dataAccountName"],
        paths.datastore_name(paths.MODELS): accounts["systemAccountName"],
        paths.datastore_name(paths.LOGS): accounts["systemAccountName"],
    }


def test_outputs_are_no_other_values_than_what_was_chosen() -> None:
    """azd writes outputs over the variables of the same name: the next deployment gets them as parameters."""
    parameters = json.loads((ROOT / "infra" / "main.parameters.json").read_text())["parameters"]
    variables = {
        re.match(r"\$\{(\w+)", str(each["value"]))[1]: name  # type: ignore[index]
        for name, each in parameters.items()
    }
    for choice in CHOICES.values():
        main = deployed(**choice)
        for name in main.outputs.keys() & variables.keys():
            parameter = variables[name]
            default = main.defaults[parameter]
            chosen = (
                main.parameters[parameter] if default is None else choice.get(parameter, main.value(default))
            )
            assert str(main.outputs[name]).lower() == str(chosen).lower(), name
