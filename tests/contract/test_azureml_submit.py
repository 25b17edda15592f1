"""What a job's document becomes on the wire: sent by Microsoft's SDK, checked by the stand-in against Microsoft's schemas."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from azure.core.credentials import AccessToken

import batchscore.compute.azureml.api
import batchscore.compute.azureml.client
from batchscore import paths
from batchscore.compute.azureml.development import DevelopmentCredential
from batchscore.compute.base import Job, JobState, Overrides
from batchscore.compute.registry import open_compute
from batchscore.definitions import load_pipeline
from batchscore.devhost.azureml import AzureMLWorkspace
from batchscore.errors import ComputeUnavailableError, JobRefusedError, SettingsError
from batchscore.settings import Settings
from batchscore.storage import Storage
from batchscore.workloads import Workloads
from tests.azureml_client import asked, azureml_settings, put_for, requests_of
from tests.azureml_jobs import SHIPPED, deployed, documented, given, job_of
from tests.local_workloads import write_workload

WORKLOADS = Workloads(SHIPPED).names()


class Asked(DevelopmentCredential):
    """Notes for whom tokens are asked."""

    def __init__(self) -> None:
        self.scopes: set[str] = set()

    def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        self.scopes.update(scopes)
        return super().get_token(*scopes, **options)


@pytest.fixture
def azureml(settings: Settings, workspace: AzureMLWorkspace) -> Settings:
    """Settings of the test's containers with the stand-in as compute."""
    return azureml_settings(settings, workspace)


@pytest.fixture
def compute(azureml: Settings, storage: Storage) -> Iterator[Any]:
    compute = open_compute(azureml, storage)
    yield compute
    compute.close()


def planned(
    workspace: AzureMLWorkspace,
    workload: str,
    *optional: str,
    overrides: Overrides = Overrides(),  # noqa: B008 - frozen
    folder: Path = SHIPPED,
) -> Job:
    """A job of a run of its own, everything that it refers to in the workspace."""
    pipeline = load_pipeline(folder / f"{workload}.pipeline.yml")
    put_for(workspace, deployed(pipeline).steps)
    job = job_of(pipeline, workload, given(pipeline, *optional), overrides)
    run = uuid.uuid4().hex[:20]
    named = replace(job, name=paths.job_name(run, 1), run_id=run, logs=paths.logs_location(run, 1))
    return documented(named, folder)


def sent(workspace: AzureMLWorkspace, job: Job) -> dict[str, Any]:
    """The properties of the job as they came."""
    status, document = asked(workspace, "GET", f"jobs/{job.name}")
    assert status == 200, document
    properties: dict[str, Any] = document["properties"]
    return properties


@pytest.mark.parametrize("workload", WORKLOADS)
def test_the_service_takes_every_workload(workload: str, workspace: AzureMLWorkspace, compute: Any) -> None:
    job = planned(workspace, workload)
    compute.submit(job)
    body = sent(workspace, job)
    assert set(body["jobs"]) == {
        step.name for step in load_pipeline(SHIPPED / f"{workload}.pipeline.yml").steps
    }
    for node in body["jobs"].values():
        assert node["componentId"].endswith("/versions/fedcba9876543210")
        assert node["computeId"].endswith("-cluster")


def test_a_submit_takes_two_requests_the_first_time_and_one_afterwards(
    workspace: AzureMLWorkspace, azureml: Settings, storage: Storage
) -> None:
    first, second = (planned(workspace, "style_transfer/video") for _ in range(2))
    compute = open_compute(azureml, storage)
    with requests_of(workspace) as requests:
        compute.submit(first)
        assert requests() == ["GET  200", f"PUT jobs/{first.name} 201"]
    with requests_of(workspace) as requests:
        compute.submit(second)
        assert requests() == [f"PUT jobs/{second.name} 201"]
    compute.close()


def test_every_override_is_on_the_wire_and_zero_stays_zero(workspace: AzureMLWorkspace, compute: Any) -> None:
    overrides = Overrides(
        nodes=3,
        mini_batch_size=7,
        max_concurrency_per_instance=5,
        error_threshold=0,
        mini_batch_error_threshold=0,
        timeout_s=90,
        max_retries=0,
        logging_level="DEBUG",
        environment_variables={"OMP_NUM_THREADS": "1"},
        compute={"classify": "gpu-cluster"},
    )
    job = planned(workspace, "digits/classify", overrides=overrides)
    compute.submit(job)
    nodes = sent(workspace, job)["jobs"]
    classify = nodes["classify"]
    assert classify["resources"] == {"instance_count": 3}
    assert (classify["mini_batch_size"], classify["max_concurrency_per_instance"]) == (7, 5)
    assert (classify["error_threshold"], classify["mini_batch_error_threshold"]) == (0, 0)
    assert classify["retry_settings"] == {"timeout": 90, "max_retries": 0}
    assert classify["logging_level"] == "DEBUG"
    assert classify["input_data"] == "${{inputs.images}}"
    assert classify["computeId"].endswith("/gpu-cluster")
    assert nodes["collect"]["computeId"].endswith("/cpu-cluster")
    assert {node["environment_variables"]["OMP_NUM_THREADS"] for node in nodes.values()} == {"1"}


def test_the_definitions_own_values_are_on_the_wire_where_a_run_says_nothing(
    workspace: AzureMLWorkspace, compute: Any
) -> None:
    job = planned(workspace, "style_transfer/frames")
    compute.submit(job)
    body = sent(workspace, job)
    stylize = body["jobs"]["stylize"]
    assert stylize["resources"] == {"instance_count": 1}
    assert stylize["mini_batch_size"] == 50
    assert (stylize["error_threshold"], stylize["mini_batch_error_threshold"]) == (-1, -1)
    assert stylize["retry_settings"] == {"timeout": 3600, "max_retries": 2}
    assert stylize["logging_level"] == "INFO"
    assert stylize["max_concurrency_per_instance"] == 1, "the cluster's nodes have one GPU"
    assert body["settings"]["force_rerun"] is True
    assert body["settings"]["continue_on_step_failure"] is False


def test_places_modes_and_models_are_on_the_wire_and_unset_options_are_not(
    workspace: AzureMLWorkspace, compute: Any
) -> None:
    job = planned(workspace, "style_transfer/video")
    compute.submit(job)
    body = sent(workspace, job)
    assert body["inputs"]["style"] == {
        "jobInputType": "custom_model",
        "uri": "azureml://datastores/batchscore_models/paths/style/1",
    }
    assert body["inputs"]["strength"] == {"jobInputType": "literal", "value": "1.0"}
    assert "style_image" not in body["inputs"]
    assert body["outputs"]["result"]["mode"] == "Upload"
    assert body["outputs"]["receipts"]["mode"] == "ReadWriteMount"
    assert body["jobs"]["stylize"]["inputs"]["segments"] == {
        "job_input_type": "literal",
        "value": "${{parent.jobs.split.outputs.segments}}",
        "mode": "ReadOnlyMount",
    }
    assert "style_image" not in body["jobs"]["stylize"]["inputs"]


def test_modes_that_a_run_asks_for_are_on_the_wire(workspace: AzureMLWorkspace, compute: Any) -> None:
    modes = {"video": "download", "stylized": "upload"}
    job = planned(workspace, "style_transfer/video", overrides=Overrides(modes=modes))
    compute.submit(job)
    body = sent(workspace, job)
    assert body["inputs"]["video"]["mode"] == "Download"
    assert body["jobs"]["split"]["inputs"]["video"]["mode"] == "Download"
    assert body["outputs"]["stylized"]["mode"] == "Upload"
    assert body["jobs"]["stylize"]["outputs"]["stylized"]["mode"] == "Upload"


def test_an_output_between_steps_has_its_place_on_the_wire(
    workspace: AzureMLWorkspace, compute: Any, tmp_path: Path
) -> None:
    folder = write_workload(tmp_path)
    file = folder / "sample" / "score.pipeline.yml"
    text = file.read_text().replace("  scored: {type: uri_folder, mode: rw_mount}\n", "", 1)
    file.write_text(text.replace("      scored: ${{parent.outputs.scored}}\n", ""))
    job = planned(workspace, "sample/score", folder=folder)
    compute.submit(job)
    output = sent(workspace, job)["jobs"]["score"]["outputs"]["scored"]
    assert output["uri"].endswith(f"/between/{job.run_id}/score.scored")
    assert output["mode"] == "ReadWriteMount"


def test_a_job_is_known_by_its_run_and_found_again_by_its_name(
    workspace: AzureMLWorkspace, compute: Any
) -> None:
    job = planned(workspace, "digits/classify")
    compute.submit(job)
    assert sent(workspace, job)["tags"]["batchscore_run"] == job.run_id
    compute.submit(job)
    other = replace(job, document=job.document.replace("mini_batch_size: '100'", "mini_batch_size: '3'"))
    assert other.document != job.document
    compute.submit(other)
    assert sent(workspace, job)["jobs"]["classify"]["mini_batch_size"] == 100
    stolen = replace(other, document=other.document.replace(job.run_id, "f" * 20, 1), run_id="f" * 20)
    with pytest.raises(JobRefusedError, match=f"of another run, {job.run_id}"):
        compute.submit(replace(stolen, document=other.document))


def test_an_answer_that_got_lost_does_not_start_a_second_job(
    workspace: AzureMLWorkspace, compute: Any
) -> None:
    job = planned(workspace, "digits/classify")
    compute.submit(planned(workspace, "digits/classify"))
    workspace.fault(kind="lose_answer", method="PUT", path="/jobs/")
    with requests_of(workspace) as requests:
        compute.submit(job)
    assert requests()[-1] in (f"PUT jobs/{job.name} 200", f"GET jobs/{job.name} 200")
    assert sent(workspace, job)["tags"]["batchscore_run"] == job.run_id


def test_a_component_that_is_not_registered_refuses_the_job_for_good(
    workspace: AzureMLWorkspace, compute: Any
) -> None:
    job = planned(workspace, "digits/classify")
    gone = replace(job, document=job.document.replace("fedcba9876543210", "0000000000000000"))
    with pytest.raises(JobRefusedError, match="component"):
        compute.submit(gone)


@pytest.mark.parametrize("document", ["", "type: pipeline\njobs: {a: {type: nothing}}\n", "a: [", "[]"])
def test_a_job_without_a_document_that_can_be_read_is_refused_for_good(
    document: str, workspace: AzureMLWorkspace, compute: Any
) -> None:
    job = replace(planned(workspace, "digits/classify"), document=document)
    with pytest.raises(JobRefusedError, match=r"document|planned for another compute|cannot submit"):
        compute.submit(job)


def test_before_nodes_come_the_steps_are_known_and_wait(workspace: AzureMLWorkspace, compute: Any) -> None:
    workspace.switch(queued_s=600)
    job = planned(workspace, "digits/classify", overrides=Overrides(nodes=2))
    compute.submit(job)
    status = compute.status(job.name)
    assert status.state is JobState.QUEUED
    assert "waits for nodes of 'cpu-cluster'" in status.message
    assert [(step.name, step.state, step.nodes) for step in status.steps] == [
        ("classify", JobState.QUEUED, 2),
        ("collect", JobState.QUEUED, 1),
    ]
    compute.cancel(job.name)


def test_the_run_history_is_asked_with_the_tokens_that_the_sdk_sends_it(
    workspace: AzureMLWorkspace, azureml: Settings, compute: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace.switch(queued_s=600)
    job = planned(workspace, "digits/classify")
    compute.submit(job)
    assert azureml.workspace is not None
    for who in (batchscore.compute.azureml.api, batchscore.compute.azureml.client):
        monkeypatch.setattr(who, "credential_for", lambda _: asked_for)
    asked_for = Asked()
    api = batchscore.compute.azureml.api.WorkspaceApi(azureml.workspace)
    ours = [child["runId"] for child in api.children(job.name)]
    scopes = asked_for.scopes.copy()
    api.close()
    asked_for.scopes.clear()
    client = batchscore.compute.azureml.client.open_client(azureml.workspace)
    assert [run.name for run in client.jobs._runs_operations.get_run_children(job.name)] == ours
    assert scopes == asked_for.scopes == {"https://management.azure.com/.default"}
    compute.cancel(job.name)


def test_the_stand_in_of_a_host_that_does_not_run_is_named(settings: Settings, storage: Storage) -> None:
    environment = {
        "AzureWebJobsStorage": "UseDevelopmentStorage=true",
        "DATA_STORAGE": "UseDevelopmentStorage=true",
        "COMPUTE": "azureml",
        "AZUREML_WORKSPACE_NAME": "UseDevelopmentWorkspace=true",
    }
    with pytest.raises(SettingsError, match="'batchscore start'"):
        open_compute(Settings.from_environment(environment), storage)


def test_looking_after_jobs_does_not_load_the_sdk() -> None:
    code = (
        "import sys\n"
        "import batchscore.application\n"
        "assert 'azure.identity' not in sys.modules\n"
        "from batchscore.compute.azureml.backend import AzureMLCompute\n"
        "from batchscore.settings import Workspace\n"
        "AzureMLCompute(Workspace('s', 'g', 'w'), None, 'data').status('no-such-job')\n"
        "assert not [name for name in sys.modules if name.startswith(('azure.ai', 'azure.identity', 'marshmallow'))]\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ})
    assert done.returncode == 0, done.stderr


def test_a_job_of_a_workspace_that_is_not_there_is_no_lost_job(
    workspace: AzureMLWorkspace, azureml: Settings, storage: Storage
) -> None:
    """A wrong setting must not let every run begin another attempt beside the job that it has."""
    assert azureml.workspace is not None
    elsewhere = replace(azureml, workspace=replace(azureml.workspace, name="elsewhere"))
    compute = open_compute(elsewhere, storage)
    for ask in (compute.status, compute.cancel):
        with pytest.raises(ComputeUnavailableError, match="AZUREML_WORKSPACE_NAME"):
            ask("0123456789abcdef0123-1")
    compute.close()
