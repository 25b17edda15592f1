"""`batchscore deploy` against the stand-in: Microsoft's SDK, Microsoft's schemas, uploads in Azurite."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from batchscore import paths
from batchscore.cli import app
from batchscore.deploying.deploy import deploy_all
from batchscore.deployment import Deployment, deployed_workload, read_deployment
from batchscore.devhost.azureml import AzureMLWorkspace
from batchscore.errors import BatchscoreError, ComputeUnavailableError, DefinitionError, RequestError
from batchscore.settings import Settings
from batchscore.storage import Storage
from batchscore.workloads import Workloads
from tests.azureml_client import asked, microsofts_schemas, requests_of
from tests.unit.workload_folder import COPY, LIST, write_workloads

ROOT = Path(__file__).parents[2]
ENVIRONMENT = "name: demo\ntags: {accelerator: none}\nbuild: {path: ., dockerfile_path: demo.Dockerfile}\n"


@pytest.fixture
def workspace(azurite: str, tmp_path: Path) -> Iterator[AzureMLWorkspace]:
    """A workspace in which nothing is registered yet."""
    with AzureMLWorkspace(folder=tmp_path / "ws", storage=azurite, schemas=microsofts_schemas()) as workspace:
        yield workspace


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = write_workloads(tmp_path)
    (folder / "environments").mkdir()
    (folder / "environments" / "demo.yml").write_text(ENVIRONMENT)
    (folder / "environments" / "demo.Dockerfile").write_text("FROM ubuntu\nCOPY demo.txt /tmp/\n")
    (folder / "environments" / "demo.txt").write_text("numpy\n")
    for name, text in (("copy", COPY), ("list", LIST)):
        (folder / "demo" / f"{name}.yml").write_text(text.replace("azureml:any:1", "azureml:demo@latest"))
    return folder


@pytest.fixture
def environment(
    workspace: AzureMLWorkspace, folder: Path, settings: Settings, storage: Storage, azurite: str
) -> dict[str, str]:
    """What the environment says to a command, and no deployment before."""
    record = storage.container("system", paths.RUNS).get_blob_client(paths.DEPLOYMENT_BLOB)
    if record.exists():
        record.delete_blob()
    return {
        "AzureWebJobsStorage": azurite,
        "DATA_STORAGE": azurite,
        "DATA_CONTAINER": settings.data_container,
        "COMPUTE": "azureml",
        "WORKLOADS_FOLDER": str(folder),
        **workspace.settings(),
    }


@pytest.fixture
def known(environment: dict[str, str]) -> Settings:
    return Settings.from_environment(environment)


def changed(requests: list[str]) -> list[str]:
    """The requests that change something."""
    return [each for each in requests if not each.startswith("GET ")]


def test_what_is_deployed_once_is_not_registered_again(
    workspace: AzureMLWorkspace, known: Settings, storage: Storage
) -> None:
    with requests_of(workspace) as requests:
        first = deploy_all(known, storage)
        assert len([each for each in changed(requests()) if each.startswith("PUT components/")]) == 3
    assert read_deployment(storage) == first
    with requests_of(workspace) as requests:
        assert deploy_all(known, storage) == first
        assert changed(requests()) == []
    pipeline = Workloads(known.workloads_folder).pipeline("demo/copy")
    assert set(deployed_workload(first, "demo/copy", pipeline).steps) == {"copy", "list"}


def test_a_changed_entry_script_gives_new_versions_and_leaves_the_old_ones_to_running_jobs(
    workspace: AzureMLWorkspace, known: Settings, storage: Storage
) -> None:
    before = deploy_all(known, storage).workloads["demo/copy"]
    script = known.workloads_folder / "demo" / "copy_files.py"
    script.write_text(script.read_text() + "\n# changed\n")
    with requests_of(workspace) as requests:
        after = deploy_all(known, storage).workloads["demo/copy"]
        kinds = [each.split("/")[0] for each in changed(requests()) if each.startswith("PUT ")]
    assert kinds.count("PUT components") == 3
    assert kinds.count("PUT codes") == 1
    assert set(kinds) == {"PUT components", "PUT codes"}
    assert after.pipeline != before.pipeline
    for step in ("copy", "list"):
        assert after.steps[step] != before.steps[step]
        codes = {code_of(workspace, each.steps[step]) for each in (before, after)}
        assert len(codes) == 2


def code_of(workspace: AzureMLWorkspace, label: str) -> str:
    name, _, version = label.partition(":")
    status, document = asked(workspace, "GET", f"components/{name}/versions/{version}")
    assert status == 200
    spec = document["properties"]["componentSpec"]
    return str(spec.get("code") or spec["task"]["code"])


def test_an_image_is_built_from_the_files_that_were_uploaded(
    workspace: AzureMLWorkspace, known: Settings, storage: Storage
) -> None:
    version = deploy_all(known, storage).environments["demo"]
    status, document = asked(workspace, "GET", f"environments/demo/versions/{version}")
    assert status == 200
    build = document["properties"]["build"]
    assert build["dockerfilePath"] == "demo.Dockerfile"
    address = f"{storage.service('system').url.rstrip('/')}/azureml-blobstore/"
    assert build["contextUri"].startswith(address)
    prefix = build["contextUri"].removeprefix(address)
    container = storage.service("system").get_container_client("azureml-blobstore")
    assert {blob.removeprefix(prefix) for blob in container.list_blob_names(name_starts_with=prefix)} == {
        "demo.Dockerfile",
        "demo.txt",
    }


def test_models_and_datastores_point_to_where_the_product_keeps_things(
    workspace: AzureMLWorkspace, known: Settings, storage: Storage, tmp_path: Path
) -> None:
    from batchscore.models import ModelStore

    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.onnx").write_bytes(b"onnx")
    ModelStore(storage).publish("deployed-here", tmp_path / "model")
    deployment = deploy_all(known, storage)
    assert deployment.models["deployed-here"] == "deployed-here:1"
    _, model = asked(workspace, "GET", "models/deployed-here/versions/1")
    assert model["properties"]["modelUri"].endswith("/datastores/batchscore_models/paths/deployed-here/1")
    assert model["properties"]["modelType"] == "custom_model"
    assert set(deployment.datastores) == {known.data_container, "models", "logs"}
    for container, name in deployment.datastores.items():
        _, datastore = asked(workspace, "GET", f"datastores/{name}")
        assert datastore["properties"]["containerName"] == container
        assert datastore["properties"]["credentials"] == {"credentialsType": "None"}


def test_a_cluster_is_made_as_its_file_and_settings_say_and_changed_when_they_change(
    workspace: AzureMLWorkspace, known: Settings, storage: Storage
) -> None:
    small = replace(
        known, clusters={"AML_COMPUTE_CLUSTER_NAME": "small", "AML_COMPUTE_CLUSTER_MAX_NODES": "2"}
    )
    assert deploy_all(small, storage).computes == {"cpu-cluster": "small", "gpu-cluster": "gpu-cluster"}
    _, found = asked(workspace, "GET", "computes/small")
    assert found["identity"]["type"] == "SystemAssigned"
    cluster = found["properties"]["properties"]
    assert (cluster["vmSize"], cluster["vmPriority"]) == ("Standard_D16ads_v5", "Dedicated")
    assert cluster["scaleSettings"] == {
        "minNodeCount": 0,
        "maxNodeCount": 2,
        "nodeIdleTimeBeforeScaleDown": "PT2M",
    }
    larger = replace(small, clusters=dict(small.clusters) | {"AML_COMPUTE_CLUSTER_MAX_NODES": "6"})
    with requests_of(workspace) as requests:
        deploy_all(larger, storage)
        assert changed(requests()) == ["PUT computes/small 200"]
    other = replace(small, clusters=dict(small.clusters) | {"AML_COMPUTE_CLUSTER_SKU": "Standard_F4s_v2"})
    with requests_of(workspace) as requests:
        with pytest.raises(
            RequestError, match=r"nothing was changed\. cluster small has size Standard_D16ads_v5"
        ):
            deploy_all(other, storage)
        assert changed(requests()) == []


def test_a_deployment_that_broke_off_goes_on_where_it_stopped(
    workspace: AzureMLWorkspace, known: Settings, storage: Storage
) -> None:
    workspace.fault(kind="refuse", method="PUT", path="/components/list_files", times=1, status=403)
    with pytest.raises(ComputeUnavailableError) as caught:
        deploy_all(known, storage)
    assert "cannot register the component list_files: Azure ML answered 403" in str(caught.value)
    assert "AzureML Data Scientist" in str(caught.value)
    assert read_deployment(storage) is None
    with requests_of(workspace) as requests:
        deploy_all(known, storage)
        again = [each.rpartition("/versions/")[0] for each in changed(requests())]
    assert [each for each in again if each.startswith("PUT") and not each.startswith("PUT models/")] == [
        "PUT components/list_files",
        "PUT components/copy",
    ]


def test_a_service_that_does_not_answer_is_said_with_what_to_do(
    workspace: AzureMLWorkspace, known: Settings, storage: Storage
) -> None:
    workspace.fault(kind="refuse", method="GET", path="/computes/", times=50, status=500)
    with pytest.raises(
        ComputeUnavailableError, match=r"cannot look at the cluster .* answered 500.*Deploy again"
    ):
        deploy_all(known, storage)


def test_what_the_service_refuses_is_said_in_its_words(
    workspace: AzureMLWorkspace, known: Settings, storage: Storage
) -> None:
    text = (known.workloads_folder / "demo" / "list.yml").read_text()
    (known.workloads_folder / "demo" / "list.yml").write_text(
        text.replace("azureml:demo@latest", "azureml:gone:7")
    )
    with pytest.raises(BatchscoreError, match=r"cannot register the component list_files.*gone:7"):
        deploy_all(known, storage)


def test_a_workload_that_could_not_run_there_stops_a_deployment_before_it_begins(
    workspace: AzureMLWorkspace, known: Settings, storage: Storage
) -> None:
    file = known.workloads_folder / "environments" / "demo.yml"
    file.write_text(file.read_text().replace("none", "gpu"))
    pipeline = known.workloads_folder / "demo" / "copy.pipeline.yml"
    pipeline.write_text(
        pipeline.read_text().replace("./list.yml", "./list.yml\n    compute: azureml:cpu-cluster")
    )
    with requests_of(workspace) as requests:
        with pytest.raises(DefinitionError, match=r"copy\.pipeline\.yml:\d+: step 'list' needs a GPU"):
            deploy_all(known, storage)
        assert requests() == []


def invoked(environment: dict[str, str], *arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["deploy", *arguments], env=environment)
    return result.exit_code, result.stdout


def test_a_dry_run_says_what_would_be_done_and_changes_nothing(
    workspace: AzureMLWorkspace, environment: dict[str, str], storage: Storage
) -> None:
    with requests_of(workspace) as requests:
        code, said = invoked(environment, "--dry-run")
        assert (code, changed(requests())) == (0, [])
    assert read_deployment(storage) is None
    assert "Nothing was changed (--dry-run)." in said
    for word in ("create", "cpu-cluster", "register", "copy_files", "pipeline", "batchscore_models"):
        assert word in said
    lines = said.splitlines()
    assert max(len(line) for line in lines) <= 80
    assert any(line.startswith("register  component    copy_files  ") for line in lines)


def test_the_command_says_what_it_did_and_that_there_is_nothing_more_to_do(
    environment: dict[str, str], storage: Storage
) -> None:
    code, said = invoked(environment)
    assert code == 0
    assert "Deployed 1 workload to development" in said
    assert "builds the image of a new environment when a step first needs it" in said
    code, said = invoked(environment)
    assert code == 0
    assert "Everything is there: nothing was registered" in said
    code, said = invoked(environment, "--json")
    told = json.loads(said)
    assert {change["action"] for change in told["changes"]} == {"there"}
    assert told["deployment"]["workloads"].keys() == {"demo/copy"}


def test_clusters_that_infrastructure_owns_must_be_there(
    workspace: AzureMLWorkspace, environment: dict[str, str]
) -> None:
    code, said = invoked(environment, "--compute-by-infra", "--dry-run")
    assert code == 1
    assert "is not in the workspace. Let the infrastructure make it" in " ".join(said.split())
    with requests_of(workspace) as requests:
        assert invoked(environment, "--compute-by-infra")[0] == 2
        assert changed(requests()) == []
    assert invoked(environment)[0] == 0
    bigger = environment | {"AML_COMPUTE_CLUSTER_MAX_NODES": "9"}
    with requests_of(workspace) as requests:
        assert invoked(bigger, "--compute-by-infra")[0] == 0
        assert [each for each in changed(requests()) if "computes" in each] == []


def test_without_a_workspace_the_settings_are_named(environment: dict[str, str]) -> None:
    alone = environment | {"AZUREML_WORKSPACE_NAME": "", "COMPUTE": "local"}
    result = CliRunner().invoke(app, ["deploy"], env=alone)
    assert result.exit_code == 2
    assert "AZUREML_WORKSPACE_NAME is not set" in result.stderr


@pytest.mark.slow
def test_the_shipped_workloads_are_registered_as_microsofts_schemas_want_them(
    workspace: AzureMLWorkspace, known: Settings, storage: Storage
) -> None:
    shipped = replace(known, workloads_folder=ROOT / "scoring")
    with requests_of(workspace) as requests:
        deployment = deploy_all(shipped, storage)
        puts = [each for each in changed(requests()) if each.startswith("PUT ")]
    assert len([each for each in puts if each.startswith("PUT codes/")]) == 1
    assert all(each.endswith((" 200", " 201")) for each in puts)
    assert set(deployment.workloads) == set(Workloads(ROOT / "scoring").names())
    assert {"digits", "starry-night"} <= deployment.models.keys()
    with requests_of(workspace) as requests:
        assert deploy_all(shipped, storage) == deployment
        assert changed(requests()) == []


def test_of_two_deployments_at_once_the_later_one_is_told(
    known: Settings, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def outdone(*_: object) -> bool:
        return False

    monkeypatch.setattr("batchscore.deploying.deploy.write_deployment", outdone)
    with pytest.raises(RequestError, match="another deployment ended meanwhile"):
        deploy_all(known, storage)
    assert read_deployment(storage) is None


def test_a_record_holds_what_a_job_needs(known: Settings, storage: Storage) -> None:
    deployment = deploy_all(known, storage)
    assert isinstance(deployment, Deployment)
    assert deployment.workspace.endswith("/development/development")
    assert deployment.environments.keys() == {"demo"}
    assert deployment.workloads["demo/copy"].pipeline.startswith("copy:")
