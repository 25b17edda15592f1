"""GPU_ENABLED=false: no GPU cluster. What needs none is deployed and runs; what needs one is refused and says why."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from batchscore.application import Application
from batchscore.cli import app
from batchscore.cli.outcome import Exit
from batchscore.deployment import read_deployment
from batchscore.devhost.azureml import AzureMLWorkspace
from batchscore.devhost.azurite import Azurite
from batchscore.doctor import azureml
from batchscore.runs import Run, RunState
from batchscore.settings import Settings
from tests.azureml_client import asked, microsofts_schemas
from tests.unit.workload_folder import write_two_workloads

Cli = Callable[..., Result]
WHY = "step 'copy' runs on the cluster 'gpu-cluster', and there is none here (GPU_ENABLED is false)"
CLUSTER = {
    "location": "westeurope",
    "properties": {
        "computeType": "AmlCompute",
        "properties": {
            "vmSize": "Standard_D16ads_v5",
            "scaleSettings": {"minNodeCount": 0, "maxNodeCount": 4, "nodeIdleTimeBeforeScaleDown": "PT120S"},
        },
    },
}


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A workspace as the infrastructure leaves it without GPUs, and two workloads."""
    with (
        Azurite(tmp_path / "azurite") as azurite,
        AzureMLWorkspace(
            folder=tmp_path / "ws", storage=azurite.connection_string, schemas=microsofts_schemas()
        ) as workspace,
    ):
        assert asked(workspace, "PUT", "computes/cpu-cluster", CLUSTER)[0] == 201
        yield {
            "AzureWebJobsStorage": azurite.connection_string,
            "DATA_STORAGE": azurite.connection_string,
            "COMPUTE": "azureml",
            "WORKLOADS_FOLDER": str(write_two_workloads(tmp_path)),
            "GPU_ENABLED": "false",
            "COLUMNS": "200",
            **workspace.settings(),
        }


@pytest.fixture
def cli(environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner(env=environment).invoke(app, [str(each) for each in arguments])


@pytest.fixture
def control(environment: dict[str, str]) -> Iterator[Application]:
    application = Application(Settings.from_environment(environment))
    settings = application.settings
    data = application.storage.container("data", settings.data_container, create=True)
    data.upload_blob("files/a.txt", b"a")
    application.storage.container("data", settings.trigger_container, create=True)
    yield application
    application.close()


def run_of(control: Application, workload: str) -> Run:
    """The run of a trigger file, after the reconciler has looked at it."""
    triggers = control.storage.container("data", control.settings.trigger_container)
    blob = triggers.get_blob_client(f"{workload.replace('/', '-')}.json")
    blob.upload_blob(json.dumps({"workload": workload, "inputs": {"files": "files"}}).encode())
    run = control.intake.trigger_file(blob)
    assert run is not None
    control.reconciler.tick(wait_s=5)
    return control.store.get(run.id)


def test_what_needs_no_gpu_is_deployed_and_runs_and_the_rest_says_why_not(
    cli: Cli, control: Application, tmp_path: Path
) -> None:
    deployed = cli("deploy", "--compute-by-infra")
    assert deployed.exit_code == 0, deployed.output
    assert "Deployed 1 workload to development" in deployed.output
    assert WHY in " ".join(deployed.stdout.split())

    record = read_deployment(control.storage)
    assert record is not None
    assert (set(record.workloads), set(record.computes)) == ({"demo/copy"}, {"cpu-cluster"})

    refused = run_of(control, "demo/paint")
    assert refused.state is RunState.REJECTED
    assert WHY in refused.reason
    started = run_of(control, "demo/copy")
    assert started.job is not None
    assert "azureml:cpu-cluster" in started.job.document

    file = tmp_path / "trigger.json"
    file.write_text(json.dumps({"workload": "demo/paint", "inputs": {"files": "files"}}))
    planned = cli("plan", file)
    assert planned.exit_code == Exit.USAGE
    assert WHY in " ".join(planned.stderr.split())

    findings = list(azureml.read(control.settings))
    assert not [finding for finding in findings if finding.failed]
    [told] = [finding for finding in findings if "demo/paint" in finding.found]
    assert (told.verdict.value, WHY in told.found) == ("warn", True)
    assert "GPU_ENABLED=true" in told.remedy
