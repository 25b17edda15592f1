"""Looks at a job whose service tells less than usual, or something odd."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from azure.core.exceptions import ServiceResponseError

from batchscore.compute.azureml.backend import AzureMLCompute
from batchscore.compute.base import Job, JobState, Location
from batchscore.errors import ComputeUnavailableError
from batchscore.settings import Connection, Settings, Workspace
from batchscore.storage import Storage
from tests.unit.test_azureml_errors import answered

JOB = "0123456789abcdef0123-1"
NOWHERE = Connection(
    "x", "DefaultEndpointsProtocol=http;AccountName=a;AccountKey=eA==;BlobEndpoint=http://127.0.0.1:9/a"
)


class FakeApi:
    """A service that says what a test wrote down."""

    def __init__(self, state: str, root: Mapping[str, Any], children: list[Mapping[str, Any]]) -> None:
        self.state, self.root, self.steps = state, root, children
        self.asked: list[str] = []
        self.broken: Exception | None = None

    def job(self, name: str) -> Mapping[str, Any]:
        self.asked.append("job")
        if self.broken:
            raise self.broken
        nodes = {"score": {"computeId": "/computes/cpu-cluster"}}
        studio = {"Studio": {"endpoint": "https://ml.azure.com/runs/x"}}
        return {"name": name, "properties": {"status": self.state, "jobs": nodes, "services": studio}}

    def run(self, name: str) -> Mapping[str, Any]:
        self.asked.append("run")
        return self.root

    def children(self, name: str) -> list[Mapping[str, Any]]:
        return self.steps

    def logs(self, run: str) -> dict[str, str]:
        return {}

    def compute(self, name: str) -> Mapping[str, Any]:
        raise answered(404, body="")

    def close(self) -> None:
        pass


class Refusing:
    """An SDK whose submit is refused because something is there already."""

    def submit(self, document: str) -> None:
        raise answered(409, "UserError", "Blob already exists")


def looked(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> AzureMLCompute:
    storage = Storage(Settings(NOWHERE, NOWHERE))
    monkeypatch.setattr("batchscore.compute.azureml.backend.copy_logs", lambda *_: "")
    compute = AzureMLCompute(Workspace("s", "g", "w"), storage, "data")
    monkeypatch.setattr(compute, "_api", lambda: api)
    return compute


def test_a_job_that_failed_before_any_step_tells_the_fault_of_its_own_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    error = {"error": {"code": "UserError", "message": "the snapshot is too large"}}
    status = looked(FakeApi("Failed", {"error": error}, []), monkeypatch).status(JOB)
    assert status.state is JobState.FAILED
    assert status.message == (
        "the job failed: the snapshot is too large. In the studio: https://ml.azure.com/runs/x"
    )


def test_a_step_that_tells_its_fault_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    step = {"name": "score", "runId": "r", "status": "Failed", "error": {"error": {"code": "NodeLost"}}}
    api = FakeApi("Failed", {}, [step])
    status = looked(api, monkeypatch).status(JOB)
    assert (status.state, status.blameless) == (JobState.LOST, True)
    assert api.asked == ["job"]


@pytest.mark.parametrize(("end", "state"), [("", JobState.RUNNING), ("2026-01-01T00:00:00Z", JobState.LOST)])
def test_a_state_that_nobody_knows_is_an_end_when_the_run_has_one(
    monkeypatch: pytest.MonkeyPatch, end: str, state: JobState
) -> None:
    status = looked(FakeApi("Dreaming", {"endTimeUtc": end}, []), monkeypatch).status(JOB)
    assert status.state is state
    assert "'Dreaming', which is no state that is known" in status.message


def test_a_cluster_that_is_gone_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    status = looked(FakeApi("Running", {}, []), monkeypatch).status(JOB)
    assert status.state is JobState.QUEUED
    assert "'cpu-cluster', which is not in the workspace. Run 'batchscore deploy'" in status.message


def test_what_is_there_already_may_be_another_thing_than_the_job(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    api = FakeApi("", {}, [])
    compute = looked(api, monkeypatch)
    monkeypatch.setattr(compute, "_submitter", Refusing)
    job = Job(
        JOB, JOB[:20], 1, "w", "w.yml", {}, {}, Location("system", "logs", "x"), document="type: pipeline"
    )
    compute.submit(job)
    api.broken = answered(404, body="")
    with pytest.raises(ComputeUnavailableError, match=f"cannot submit job {JOB}: .* knows no such job"):
        compute.submit(job)


def test_no_answer_is_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    api = FakeApi("Running", {}, [])
    api.broken = ServiceResponseError("reset")
    with pytest.raises(ComputeUnavailableError, match=f"cannot look at job {JOB}: .* did not answer"):
        looked(api, monkeypatch).status(JOB)
