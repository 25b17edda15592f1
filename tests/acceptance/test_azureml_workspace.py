"""Jobs on the stand-in for an Azure ML workspace: real work by the local engine, nodes, misfortunes, an end by force."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from azure.core.exceptions import ResourceNotFoundError

from batchscore.devhost.azureml import AzureMLWorkspace
from tests.azureml_assets import Registered
from tests.azureml_client import asked, microsofts_schemas, ml_client

PATIENCE_S = 60.0


@pytest.fixture(scope="module")
def world(azurite: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[AzureMLWorkspace, Any]]:
    folder = tmp_path_factory.mktemp("azureml")
    with (
        AzureMLWorkspace(folder=folder, storage=azurite, schemas=microsofts_schemas()) as workspace,
        ml_client(workspace) as client,
    ):
        yield workspace, client


@pytest.fixture
def workspace(world: tuple[AzureMLWorkspace, Any]) -> Iterator[AzureMLWorkspace]:
    yield world[0]
    world[0].clear()


@pytest.fixture
def client(world: tuple[AzureMLWorkspace, Any], workspace: AzureMLWorkspace) -> Any:
    return world[1]


@pytest.fixture
def registered(client: Any, tmp_path: Path, azurite: str) -> Iterator[Registered]:
    registered = Registered(client, tmp_path, azurite)
    yield registered
    registered.container.close()


def until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"not within {PATIENCE_S:.0f} s: {what}"
        time.sleep(0.05)


def ended(client: Any, name: str) -> str:
    """The state with which a job ends."""
    until(lambda: client.jobs.get(name).status in ("Completed", "Failed", "Canceled"), f"the end of {name}")
    return str(client.jobs.get(name).status.value)


def step_of(client: Any, name: str) -> Any:
    """The run of a job's only step, as run history tells it."""
    child = next(iter(client.jobs.list(parent_job_name=name)))
    return client.jobs._runs_operations.get_run_details(child.name)


def submitted(client: Any, registered: Registered, **options: Any) -> str:
    return str(client.jobs.create_or_update(registered.job(**options)).name)


def test_a_job_does_its_work(client: Any, registered: Registered) -> None:
    registered.put(one="a", two="b", three="c")
    name = submitted(client, registered)
    assert ended(client, name) == "Completed"
    assert registered.results() == {"one": "A", "two": "B", "three": "C"}
    step = step_of(client, name)
    assert (step.status, step.error) == ("Completed", None)
    assert step.start_time_utc <= step.end_time_utc


def test_the_logs_of_a_step_can_be_fetched(client: Any, registered: Registered) -> None:
    registered.put(one="a")
    name = submitted(client, registered)
    ended(client, name)
    logs = step_of(client, name).log_files
    assert set(logs) == {
        "user_logs/std_log.txt",
        "logs/user/stdout/10.0.0.4/process000.stdout.txt",
        "logs/sys/mini_batches.jsonl",
    }
    from urllib.request import urlopen

    with urlopen(logs["user_logs/std_log.txt"]) as answer:
        assert b"1 items in 1 mini-batches" in answer.read()


def test_a_job_is_followed_to_its_end(
    client: Any, registered: Registered, capsys: pytest.CaptureFixture[str]
) -> None:
    registered.put(one="a")
    name = submitted(client, registered)
    ended(client, name)
    client.jobs.stream(name)
    assert f"RunId: {name}\nWeb View: https://ml.azure.com/runs/{name}?" in capsys.readouterr().out


def test_a_script_that_fails_fails_its_step_and_the_job(client: Any, registered: Registered) -> None:
    registered.put(**{f"item{number}": "fail" for number in range(7)})
    name = submitted(client, registered)
    assert ended(client, name) == "Failed"
    step = step_of(client, name)
    assert step.status == "Failed"
    assert "more than mini_batch_error_threshold 5 allows" in step.error.error.message
    root = client.jobs._runs_operations.get_run_details(name)
    assert root.error.error.message.startswith("Pipeline has failed child jobs. Failed nodes: /score")


def test_a_running_job_is_cancelled(client: Any, registered: Registered) -> None:
    registered.put(one="wait")
    name = submitted(client, registered)
    until(lambda: step_of(client, name).status == "Running", "a running step")
    client.jobs.begin_cancel(name).result()
    assert ended(client, name) == "Canceled"
    assert step_of(client, name).status == "Canceled"


def test_jobs_wait_for_the_nodes_of_their_cluster(
    client: Any, registered: Registered, workspace: AzureMLWorkspace
) -> None:
    workspace.switch(pretend=1, pretend_s=1_000)
    first, second = submitted(client, registered, nodes=2), submitted(client, registered)
    until(lambda: step_of(client, first).status == "Running", "the first one running")
    until(lambda: step_of(client, second).status == "Queued", "the second one waiting")
    client.jobs.begin_cancel(first).result()
    until(lambda: step_of(client, second).status == "Running", "nodes for the second one")


def test_nodes_take_their_time_to_come(
    client: Any, registered: Registered, workspace: AzureMLWorkspace
) -> None:
    workspace.switch(pretend=1, queued_s=1_000)
    name = submitted(client, registered)
    until(lambda: step_of(client, name).status == "Queued", "a queued step")
    cluster = asked(workspace, "GET", f"computes/{registered.name}")[1]["properties"]["properties"]
    assert cluster["errors"][0]["error"]["code"] == "ClusterCoreQuotaReached"
    workspace.switch(queued_s=0, provisioning_s=1_000)
    until(lambda: step_of(client, name).status == "Provisioning", "nodes under way")
    cluster = asked(workspace, "GET", f"computes/{registered.name}")[1]["properties"]["properties"]
    assert (cluster["currentNodeCount"], cluster["targetNodeCount"], cluster["errors"]) == (0, 1, None)
    workspace.switch(provisioning_s=0, finalizing_s=1_000)
    until(lambda: client.jobs.get(name).status == "Finalizing", "outputs on their way")
    workspace.switch(finalizing_s=0)
    assert ended(client, name) == "Completed"


def test_more_nodes_than_the_cluster_has_fail(client: Any, registered: Registered) -> None:
    name = submitted(client, registered, nodes=3)
    assert ended(client, name) == "Failed"
    assert "only has 2 maximum nodes" in step_of(client, name).error.error.message


def test_a_preempted_job_leaves_what_it_had_finished(
    client: Any, registered: Registered, workspace: AzureMLWorkspace
) -> None:
    registered.put(a="first", b="second", c="wait")
    workspace.switch(preempt_jobs=1, preempt_after=2)
    name = submitted(client, registered)
    assert ended(client, name) == "Failed"
    assert "pre-empted" in step_of(client, name).error.error.message
    registered.put(c="third")
    again = submitted(client, registered)
    assert ended(client, again) == "Completed", "only one job was to be preempted"
    assert registered.results() == {"a": "FIRST", "b": "SECOND", "c": "THIRD"}


def test_a_job_fails_at_the_step_that_is_named(
    client: Any, registered: Registered, workspace: AzureMLWorkspace
) -> None:
    workspace.switch(fail_jobs=1, fail_step="score", fail_code="SystemError", fail_message="lightning struck")
    name = submitted(client, registered)
    assert ended(client, name) == "Failed"
    error = step_of(client, name).error.error
    assert (error.code, "lightning struck" in error.message) == ("SystemError", True)


def test_a_job_vanishes(client: Any, registered: Registered, workspace: AzureMLWorkspace) -> None:
    workspace.switch(pretend=1, pretend_s=1_000, vanish_jobs=1)
    name = submitted(client, registered)
    with pytest.raises(ResourceNotFoundError):
        client.jobs.get(name)
    assert name not in [job.name for job in client.jobs.list()]


def test_a_job_says_what_it_is_told_to_say(
    client: Any, registered: Registered, workspace: AzureMLWorkspace
) -> None:
    workspace.switch(pretend=1, pretend_s=1_000, state="NotResponding")
    name = submitted(client, registered)
    assert client.jobs.get(name).status == "NotResponding"


def test_a_job_goes_on_when_the_workspace_is_killed(azurite: str, tmp_path: Path) -> None:
    with (
        AzureMLWorkspace(folder=tmp_path / "azureml", storage=azurite) as workspace,
        ml_client(workspace) as client,
    ):
        registered = Registered(client, tmp_path / "files", azurite)
        registered.put(**{f"item{number}": "slow" for number in range(20)})
        name = submitted(client, registered, name=f"job-{uuid.uuid4().hex[:8]}")
        until(lambda: step_of(client, name).status == "Running", "a running step")
        workspace.kill()
        workspace.start()
        assert ended(client, name) == "Completed"
        assert len(registered.results()) == 20
        registered.container.close()
