"""Every shipped workload, deployed to the Azure ML stand-in and submitted: its jobs are such as the stand-in can run."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from batchscore.compute.azureml.backend import AzureMLCompute
from batchscore.compute.azureml.job_document import job_document
from batchscore.compute.base import Job, JobState, JobStatus, Location
from batchscore.definitions import load_pipeline
from batchscore.definitions.compute_targets import load_targets
from batchscore.definitions.placement import gpu_environments, placed
from batchscore.deploying.deploy import deploy_all
from batchscore.deployment import Deployment
from batchscore.devhost.azureml import AzureMLWorkspace
from batchscore.settings import Settings
from batchscore.storage import Storage
from tests.azureml_client import microsofts_schemas
from tests.azureml_jobs import SHIPPED, given, job_of
from tests.azurite import settings_for

PATIENCE_S = 60.0
WORKLOADS = sorted(
    str(file.relative_to(SHIPPED)).removesuffix(".pipeline.yml") for file in SHIPPED.rglob("*.pipeline.yml")
)


@pytest.fixture(scope="module")
def deployed(
    azurite: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Settings, Storage, Deployment]]:
    """The shipped workloads in a workspace of their own."""
    folder = tmp_path_factory.mktemp("shipped")
    with AzureMLWorkspace(
        folder=folder / "azureml", storage=azurite, schemas=microsofts_schemas()
    ) as workspace:
        settings = settings_for(azurite, folder / "work", COMPUTE="azureml", **workspace.settings())
        storage = Storage(settings)
        for account, container in (
            ("data", settings.data_container),
            ("system", "runs"),
            ("system", "models"),
            ("system", "logs"),
        ):
            storage.container(account, container, create=True)
        yield settings, storage, deploy_all(settings, storage)
        storage.close()


@pytest.mark.parametrize("workload", WORKLOADS)
def test_a_shipped_workloads_job_is_one_that_runs(
    workload: str, deployed: tuple[Settings, Storage, Deployment]
) -> None:
    """There is nothing at its inputs, and that is all it can complain of."""
    settings, storage, deployment = deployed
    job = _job(workload, settings, deployment)
    assert settings.workspace is not None
    compute = AzureMLCompute(settings.workspace, storage, settings.data_container)
    try:
        compute.submit(job)
        status = _ended(compute, job.name)
    finally:
        compute.close()
    assert status.state is JobState.FAILED
    assert "input " in status.message
    assert "there is no blob" in status.message or "there is nothing below" in status.message


def _job(workload: str, settings: Settings, deployment: Deployment) -> Job:
    pipeline = load_pipeline(SHIPPED / f"{workload}.pipeline.yml")
    inputs = {
        name: replace(value, container=settings.data_container)
        if isinstance(value, Location) and value.container == "in-put"
        else value
        for name, value in given(pipeline).items()
    }
    job = job_of(pipeline, workload, inputs)
    outputs = {name: replace(place, container=settings.data_container) for name, place in job.outputs.items()}
    job = replace(job, name=f"{uuid.uuid4().hex[:20]}-1", outputs=outputs)
    targets = load_targets(Path(settings.workloads_folder), settings.clusters)
    clusters = placed(pipeline, targets, gpu_environments(settings.workloads_folder), None, job.inputs)
    names = {step: target.name for step, target in clusters.items()}
    between = Location("data", settings.data_container, f"between/{job.run_id}")
    document = job_document(job, pipeline, deployment.workloads[workload], names, between)
    return replace(job, document=document)


def _ended(compute: AzureMLCompute, name: str) -> JobStatus:
    deadline = time.monotonic() + PATIENCE_S
    while not (status := compute.status(name)).state.ended:
        assert time.monotonic() < deadline, f"{name} is still {status} after {PATIENCE_S:.0f} s"
        time.sleep(0.1)
    return status
