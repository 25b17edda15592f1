"""Drop a trigger file, get the result, with Azure ML in between: host, Microsoft's SDK, the stand-in, and real work."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from batchscore.compute.base import JobState
from batchscore.devhost.azureml import AzureMLWorkspace
from batchscore.runs import Run, RunState
from tests.acceptance.hosts import ROOT, User, user_of_a_host
from tests.azureml_client import microsofts_schemas

PATIENCE_S = 120.0
TORN = "torn.png"


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[User]:
    """A user of `batchscore start --compute azureml`, with digits to classify."""
    folder = tmp_path_factory.mktemp("product")
    schemas = microsofts_schemas()
    known = {} if schemas is None else {"AZUREML_SCHEMAS": str(schemas)}
    with user_of_a_host(folder, "--compute", "azureml", **known) as user:
        sampler = ROOT / "scoring" / "digits" / "samples.py"
        command = [sys.executable, str(sampler), str(folder / "images"), "--count", "12"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        for image in sorted((folder / "images").rglob("*.png")):
            user.upload(f"digits/{image.name}", image.read_bytes())
        user.upload(f"digits/{TORN}", b"no image")
        yield user


def command(user: User, *arguments: str) -> str:
    """What a command prints beside the host."""
    done = subprocess.run(
        [sys.executable, "-m", "batchscore.cli", *arguments],
        env={**os.environ, **user.host.environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode in (0, 5), done.stdout + done.stderr
    return done.stdout


def body(**more: Any) -> dict[str, Any]:
    return {"workload": "digits/classify", "inputs": {"images": "digits"}, "mini_batch_size": 5, **more}


@pytest.fixture(scope="module")
def run(user: User) -> Run:
    """A run whose trigger file was dropped before anything was deployed."""
    run_id = user.drop(body(nodes=2), "early.json")
    waiting = user.wait(run_id, lambda run: bool(run.reason), PATIENCE_S)
    assert waiting.state is RunState.ACCEPTED
    assert "'batchscore deploy'" in waiting.reason
    command(user, "deploy")
    return user.wait(run_id, patience_s=PATIENCE_S)


@pytest.mark.slow
def test_a_trigger_file_becomes_a_job_on_azure_ml_and_its_results(user: User, run: Run) -> None:
    assert run.state is RunState.SUCCEEDED_WITH_ERRORS, run.reason
    assert len(run.attempts) == 1
    results = user.results(run, "predictions")
    rows = list(csv.DictReader(io.StringIO(results["predictions.csv"].decode())))
    assert len(rows) == 12
    assert run.summary is not None
    assert (run.summary.ok, run.summary.failed) == (12, 1)
    assert [failure.item for failure in run.summary.failures] == [TORN]


@pytest.mark.slow
def test_its_record_holds_what_was_submitted_and_how_the_steps_went(run: Run) -> None:
    assert run.job is not None
    assert f"name: {run.id}-1" in run.job.document
    assert "mini_batch_size: '5'" in run.job.document
    assert "instance_count: 2" in run.job.document
    classify, collect = run.steps
    assert (classify.name, classify.state, classify.nodes) == ("classify", JobState.SUCCEEDED, 2)
    assert (classify.items_total, classify.items_done, classify.items_failed) == (13, 12, 1)
    assert (collect.name, collect.state) == ("collect", JobState.SUCCEEDED)
    assert min(classify.seconds, collect.seconds) > 0


@pytest.mark.slow
def test_a_person_sees_it_by_the_same_commands(user: User, run: Run) -> None:
    shown = json.loads(command(user, "show", run.id, "--json"))
    assert shown["state"] == "succeeded_with_errors"
    logs = command(user, "logs", run.id)
    assert "classify/" in logs
    assert "collect/std_log.txt" in logs


@pytest.mark.slow
def test_a_retry_does_what_is_missing_and_nothing_twice(user: User, run: Run, tmp_path: Path) -> None:
    image = next(
        name
        for name in user.application.storage.container(
            "data", user.application.settings.data_container
        ).list_blob_names(name_starts_with="digits/")
        if not name.endswith(TORN)
    )
    container = user.application.storage.container("data", user.application.settings.data_container)
    user.upload(f"digits/{TORN}", container.download_blob(image).readall())
    command(user, "retry", run.id)
    again = user.wait(run.id, lambda run: run.state.ended and len(run.attempts) == 2, PATIENCE_S)
    assert again.state is RunState.SUCCEEDED, again.reason
    assert again.job is not None
    assert again.job.name == f"{run.id}-2"
    assert again.summary is not None
    assert (again.summary.ok, again.summary.skipped) == (13, 12)


@pytest.mark.slow
def test_a_run_that_waits_for_machines_says_for_which_and_is_canceled(user: User, run: Run) -> None:
    environment = user.host.environment
    workspace = AzureMLWorkspace(
        folder=Path(environment["AZUREML_CA_FILE"]).parent,
        storage="",
        port=int(environment["AZUREML_ENDPOINT"].rpartition(":")[2]),
    )
    workspace.switch(queued_s=3_600)
    run_id = user.drop(body(), "canceled.json")
    waiting = user.wait(run_id, lambda run: bool(run.waits), PATIENCE_S)
    assert waiting.state is RunState.RUNNING
    assert "'cpu-cluster'" in waiting.reason
    command(user, "cancel", run_id)
    canceled = user.wait(run_id, patience_s=PATIENCE_S)
    assert canceled.state is RunState.CANCELED
    assert canceled.reason == "canceled on request."
