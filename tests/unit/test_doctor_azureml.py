"""What doctor says of an Azure ML workspace: whether jobs could run there, and what to do when not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from batchscore import paths
from batchscore.definitions.compute_targets import ComputeTarget
from batchscore.deploying.changes import Action, Change
from batchscore.deploying.components import components_of
from batchscore.deploying.deploy import deploy_all
from batchscore.deploying.found import Found, FoundCluster
from batchscore.deployment import DeployedWorkload, Deployment, definition_hash
from batchscore.devhost.azureml import AzureMLWorkspace
from batchscore.doctor import azureml
from batchscore.doctor.findings import Finding
from batchscore.settings import Settings
from batchscore.settings import Workspace as Address
from batchscore.storage import Storage
from batchscore.workloads import Workloads
from tests.azureml_client import microsofts_schemas
from tests.unit.workload_folder import COPY, LIST, write_workloads

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
CPU = ComputeTarget("cpu-cluster", "Standard_F4s_v2")


@pytest.mark.parametrize(
    ("action", "there", "verdict", "said"),
    [
        (Action.KEEP, FoundCluster("AmlCompute"), "ok", "cluster cpu-cluster: a note"),
        (Action.CREATE, None, "fail", "cluster cpu-cluster is not in the workspace"),
        (Action.CHANGE, FoundCluster("AmlCompute"), "warn", "is not as it should be: a note"),
        (Action.REFUSE, FoundCluster("AmlCompute"), "warn", "cluster cpu-cluster a note"),
        (Action.REFUSE, FoundCluster("AmlCompute", state="Failed"), "fail", "cluster cpu-cluster a note"),
        (Action.REFUSE, FoundCluster("Kubernetes"), "fail", "cluster cpu-cluster a note"),
    ],
)
def test_what_a_difference_means_for_runs(
    action: Action, there: FoundCluster | None, verdict: str, said: str
) -> None:
    found = Found(clusters={"cpu-cluster": there} if there else {})
    change = Change(action, "cluster", "cpu-cluster", "", "a note", CPU)
    [finding] = azureml.of_change(change, found, Finding.fail)
    assert (finding.verdict, said in finding.found) == (verdict, True)
    assert bool(finding.remedy) is (verdict != "ok")


def test_what_keeps_a_cluster_from_growing_is_told_in_the_services_words() -> None:
    there = FoundCluster("AmlCompute", trouble="The specified subscription has a total vCPU quota of 0.")
    change = Change(Action.KEEP, "cluster", "cpu-cluster", "", "", CPU)
    first, _ = azureml.of_change(change, Found(clusters={"cpu-cluster": there}), Finding.fail)
    assert first.verdict == "warn"
    assert "vCPU quota of 0" in first.found
    assert "quota" in first.remedy


def test_whether_workloads_are_deployed_as_they_are_here(tmp_path: Path) -> None:
    workloads = Workloads(write_workloads(tmp_path))
    pipeline = workloads.pipeline("demo/copy")
    found = components_of("demo/copy", pipeline, {}, {})
    here = DeployedWorkload(definition_hash(pipeline), found.pipeline.label, dict(found.steps))

    def told(deployment: Deployment | None, workspace: str = "ml") -> tuple[str, str]:
        [finding] = azureml.of_deployment(deployment, workloads, workspace, {}, Finding.fail)
        return finding.verdict.value, finding.found

    good = Deployment(NOW, "ml", {"demo/copy": here})
    assert told(good) == ("ok", "1 workload deployed as they are here, 2026-11-21 12:00:00 UTC")
    assert told(None) == ("fail", "nothing is deployed to Azure ML yet.")
    assert "is not deployed to workspace 'ml'" in told(replace(good, workloads={}))[1]
    changed = {"demo/copy": replace(here, definition="another")}
    assert "has changed since it was deployed" in told(replace(good, workloads=changed))[1]
    assert (
        "is in workspace 'ml', and AZURE_SUBSCRIPTION_ID, AZURE_RESOURCE_GROUP and AZUREML_WORKSPACE_NAME name 'other'"
        in told(good, "other")[1]
    )
    script = sorted(workloads.folder.rglob("*.py"))[0]
    script.write_text(script.read_text() + "# another\n")
    assert told(good) == (
        "warn",
        "code or environments are others here than were deployed of demo/copy; runs take what was deployed",
    )


@pytest.fixture
def workspace(azurite: str, tmp_path: Path) -> Iterator[AzureMLWorkspace]:
    with AzureMLWorkspace(folder=tmp_path / "ws", storage=azurite, schemas=microsofts_schemas()) as workspace:
        yield workspace


def test_a_workspace_from_empty_to_deployed_to_gone(
    workspace: AzureMLWorkspace, settings: Settings, storage: Storage, tmp_path: Path
) -> None:
    record = storage.container("system", paths.RUNS).get_blob_client(paths.DEPLOYMENT_BLOB)
    if record.exists():
        record.delete_blob()
    folder = write_workloads(tmp_path)
    (folder / "environments").mkdir()
    (folder / "environments" / "demo.yml").write_text("name: demo\nimage: ubuntu\n")
    for name, text in (("copy", COPY), ("list", LIST)):
        (folder / "demo" / f"{name}.yml").write_text(text.replace("azureml:any:1", "azureml:demo@latest"))
    said = workspace.settings()
    address = Address(
        said["AZURE_SUBSCRIPTION_ID"],
        said["AZURE_RESOURCE_GROUP"],
        said["AZUREML_WORKSPACE_NAME"],
        endpoint=said["AZUREML_ENDPOINT"],
        ca_file=Path(said["AZUREML_CA_FILE"]),
    )
    known = replace(settings, compute="azureml", workspace=address, workloads_folder=folder)

    empty = list(azureml.read(known))
    assert empty[0].found.startswith("workspace development answers, in ")
    assert [finding.verdict.value for finding in empty] == ["ok"] + ["fail"] * 6
    assert {finding.verdict.value for finding in azureml.read(replace(known, compute="local"))} == {
        "ok",
        "warn",
    }

    deploy_all(known, storage)
    assert {finding.verdict.value for finding in azureml.read(known)} == {"ok"}

    workspace.fault(kind="refuse", method="GET", path="", times=50, status=403)
    [refused] = azureml.read(known)
    assert refused.failed
    assert "cannot look at the workspace development: Azure ML answered 403" in refused.found
    workspace.kill()
    [gone] = azureml.read(known)
    assert gone.failed
    assert "did not answer" in gone.found


def test_nothing_is_said_where_no_workspace_is_named(settings: Settings) -> None:
    assert list(azureml.read(settings)) == []


def test_a_workspace_that_a_dev_host_would_start_is_no_failure(settings: Settings) -> None:
    placeholder = Address("", "", "UseDevelopmentWorkspace=true")
    [finding] = azureml.read(replace(settings, compute="azureml", workspace=placeholder))
    assert finding.verdict == "warn"
    assert "'make start' starts it" in finding.remedy
