"""The deployment record: what Azure ML holds, and whether it is what runs here."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from batchscore import paths
from batchscore.definitions import load_pipeline
from batchscore.deployment import (
    DeployedWorkload,
    Deployment,
    definition_hash,
    deployed_workload,
    read_deployment,
    read_with_etag,
    write_deployment,
)
from batchscore.errors import NotDeployedError
from batchscore.storage import Storage
from tests.unit.workload_folder import COPY, PIPELINE, write_workloads

PIPELINE_FILE = "demo/copy.pipeline.yml"
DEPLOYMENT = Deployment(
    datetime(2026, 11, 21, 12, tzinfo=UTC),
    "ml",
    {
        "demo/copy": DeployedWorkload(
            "0" * 16, "copy:0123456789abcdef", {"copy": "copy_files:0123456789abcdef"}
        )
    },
    {"batchscore-cpu": "fedcba9876543210"},
    {"cpu-cluster": "batch-cpu"},
    {"data": "batchscore_data"},
    {"digits": "digits:1"},
)


@pytest.fixture(autouse=True)
def _no_record(storage: Storage) -> None:
    blob = storage.container("system", paths.RUNS).get_blob_client(paths.DEPLOYMENT_BLOB)
    if blob.exists():
        blob.delete_blob()


def test_nothing_is_deployed_at_first(storage: Storage) -> None:
    assert read_deployment(storage) is None


def test_a_record_comes_back_as_it_was_written(storage: Storage) -> None:
    assert write_deployment(storage, DEPLOYMENT, None)
    assert read_deployment(storage) == DEPLOYMENT


def test_of_two_deployments_at_once_one_is_told_that_it_was_too_late(storage: Storage) -> None:
    assert write_deployment(storage, DEPLOYMENT, None)
    _, etag = read_with_etag(storage)
    assert write_deployment(storage, replace(DEPLOYMENT, workspace="first"), etag)
    assert not write_deployment(storage, replace(DEPLOYMENT, workspace="second"), etag)
    assert not write_deployment(storage, replace(DEPLOYMENT, workspace="third"), None)
    found = read_deployment(storage)
    assert found
    assert found.workspace == "first"


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b'{"workspace": 1}', b"[" * 100_000])
def test_a_torn_record_says_what_to_do(storage: Storage, content: bytes) -> None:
    storage.container("system", paths.RUNS).upload_blob(paths.DEPLOYMENT_BLOB, content)
    with pytest.raises(
        NotDeployedError, match=r"runs/deployments/azureml\.json cannot be read .*batchscore deploy"
    ):
        read_deployment(storage)


def test_the_hash_is_of_the_definition_wherever_it_lies_and_however_its_lines_end(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for folder in (one, other):
        write_workloads(folder)
    for file in other.rglob("*.yml"):
        file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
    first = definition_hash(load_pipeline(one / "workloads" / PIPELINE_FILE))
    assert definition_hash(load_pipeline(other / "workloads" / PIPELINE_FILE)) == first
    assert len(first) == 16


def test_the_hash_changes_with_a_component(tmp_path: Path) -> None:
    file = write_workloads(tmp_path) / PIPELINE_FILE
    before = definition_hash(load_pipeline(file))
    (file.parent / "copy.yml").write_text(COPY + "# a comment\n")
    assert definition_hash(load_pipeline(file)) != before


def test_the_hash_does_not_change_with_what_stands_for_things_on_this_machine(tmp_path: Path) -> None:
    file = write_workloads(tmp_path) / PIPELINE_FILE
    before = definition_hash(load_pipeline(file))
    (file.parent / "azureml-local.yml").write_text("azureml:my_data: ./copy.yml\n")
    mine = tmp_path / "mine.yml"
    mine.write_text("azureml:other_data: .\n")
    assert definition_hash(load_pipeline(file)) == before
    assert definition_hash(load_pipeline(file, mine)) == before


def test_a_workload_is_deployed_as_it_is_here_or_the_reason_is_told(tmp_path: Path) -> None:
    file = write_workloads(tmp_path) / PIPELINE_FILE
    pipeline = load_pipeline(file)
    as_here = replace(DEPLOYMENT.workloads["demo/copy"], definition=definition_hash(pipeline))
    deployment = replace(DEPLOYMENT, workloads={"demo/copy": as_here})
    assert deployed_workload(deployment, "demo/copy", pipeline) is as_here
    with pytest.raises(
        NotDeployedError, match=r"nothing is deployed to Azure ML yet\. Run 'batchscore deploy'"
    ):
        deployed_workload(None, "demo/copy", pipeline)
    assert deployed_workload(deployment, "demo/copy", pipeline, "ml") is as_here
    with pytest.raises(
        NotDeployedError,
        match="is in workspace 'ml', and AZURE_SUBSCRIPTION_ID, AZURE_RESOURCE_GROUP and AZUREML_WORKSPACE_NAME name 'other'",
    ):
        deployed_workload(deployment, "demo/copy", pipeline, "other")
    assert (
        deployed_workload(deployment, "demo/copy", pipeline, "ML") is as_here
    )  # names of Azure have no case
    with pytest.raises(NotDeployedError, match="workload 'demo/other' is not deployed to workspace 'ml'"):
        deployed_workload(deployment, "demo/other", pipeline)
    file.write_text(PIPELINE + "# a comment\n")
    with pytest.raises(NotDeployedError, match="has changed since it was deployed on 2026-11-21 12:00 UTC"):
        deployed_workload(deployment, "demo/copy", load_pipeline(file))
