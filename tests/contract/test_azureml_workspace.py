"""What azure-ai-ml, unchanged, finds in the stand-in for an Azure ML workspace: resources, refusals, call sequences."""

from __future__ import annotations

import ssl
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError, ResourceNotFoundError

from batchscore.devhost.azureml import AzureMLWorkspace
from batchscore.devhost.azureml.jobs import PAGE
from tests.azureml_assets import Registered
from tests.azureml_client import AZURE_ML, asked, ml_client, requests_of, token
from tests.needed import shared


@pytest.fixture
def client(workspace: AzureMLWorkspace) -> Iterator[Any]:
    workspace.switch(pretend=1)
    with ml_client(workspace) as client:
        yield client


@pytest.fixture
def needs_schemas() -> None:
    shared("azureml")


@pytest.fixture
def registered(client: Any, tmp_path: Path, azurite: str) -> Iterator[Registered]:
    registered = Registered(client, tmp_path, azurite)
    yield registered
    registered.container.close()


def test_a_component_is_registered_with_the_snapshot_of_its_code(
    registered: Registered, client: Any, workspace: AzureMLWorkspace
) -> None:
    found = client.components.get(registered.name, "1")
    assert found.mini_batch_error_threshold == 5
    assert found.retry_settings.max_retries == 3, "the service fills in what the file leaves out"
    assert str(found.task.code).rpartition("/versions/")[2] == "1"


def test_code_that_is_there_already_is_not_uploaded_again(
    registered: Registered, client: Any, workspace: AzureMLWorkspace
) -> None:
    from azure.ai.ml import load_component

    other = load_component(registered.folder / "component.yml")
    other.version = "2"
    with requests_of(workspace) as requests:
        client.components.create_or_update(other)
        assert [line.split()[0] for line in requests()] == ["GET", "GET", "PUT"]


def test_a_version_cannot_change(registered: Registered, client: Any) -> None:
    from azure.ai.ml import load_component

    other = load_component(registered.folder / "component.yml")
    client.components.create_or_update(other)
    other.mini_batch_size = 7
    with pytest.raises(HttpResponseError, match="cannot be changed"):
        client.components.create_or_update(other)


def test_a_job_of_registered_components_is_put_with_one_request(
    registered: Registered, client: Any, workspace: AzureMLWorkspace
) -> None:
    client.jobs.create_or_update(registered.job())
    with requests_of(workspace) as requests:
        job = client.jobs.create_or_update(registered.job("the-job"))
        assert requests() == ["PUT jobs/the-job 201"]
    assert job.status == "Preparing"
    assert job.studio_url.startswith("https://ml.azure.com/runs/the-job?wsid=/subscriptions/")


def test_a_job_that_is_there_is_told_again_and_cannot_change(registered: Registered, client: Any) -> None:
    name = client.jobs.create_or_update(registered.job()).name
    assert client.jobs.create_or_update(registered.job(name)).name == name
    other = registered.job(name)
    other.jobs["score"].mini_batch_size = "1"
    with pytest.raises(HttpResponseError, match="A job with this name already exists"):
        client.jobs.create_or_update(other)


def test_a_job_is_listed_and_its_steps_are_its_children(registered: Registered, client: Any) -> None:
    name = client.jobs.create_or_update(registered.job()).name
    assert name in [job.name for job in client.jobs.list()]
    assert [child.display_name for child in client.jobs.list(parent_job_name=name)] == ["score"]


def test_jobs_are_listed_to_the_last_page(
    registered: Registered, client: Any, workspace: AzureMLWorkspace
) -> None:
    first = client.jobs.create_or_update(registered.job()).name
    told = asked(workspace, "GET", f"jobs/{first}")[1]["properties"]
    body = {"properties": {key: value for key, value in told.items() if key not in ("status", "services")}}
    names = [f"{first}-{number}" for number in range(PAGE)]
    for name in names:
        assert asked(workspace, "PUT", f"jobs/{name}", body)[0] == 201
    listed = [job.name for job in client.jobs.list()]
    assert listed[: PAGE + 1] == [*reversed(names), first]
    assert len(set(listed)) == len(listed)


def test_a_component_that_is_not_there_is_refused(registered: Registered, client: Any) -> None:
    job = registered.job()
    job.jobs["score"]._component = f"azureml:{registered.name}:99"
    with pytest.raises(HttpResponseError, match="99"):
        client.jobs.create_or_update(job)


def test_a_default_compute_that_is_not_there_is_refused(registered: Registered, client: Any) -> None:
    job = registered.job()
    job.settings.default_compute = "no-such-cluster"
    with pytest.raises(HttpResponseError, match="no-such-cluster"):
        client.jobs.create_or_update(job)


@pytest.mark.usefixtures("needs_schemas")
@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"mode": "Sideways"}, "properties/outputs/results/mode"),
        ({"jobOutputType": "uri_drawer"}, "properties/outputs/results"),
    ],
)
def test_a_body_that_breaks_microsofts_schema_is_refused(
    change: dict[str, str], told: str, registered: Registered, client: Any, workspace: AzureMLWorkspace
) -> None:
    name = client.jobs.create_or_update(registered.job()).name
    job = asked(workspace, "GET", f"jobs/{name}")[1]
    body = {
        "properties": {
            key: value for key, value in job["properties"].items() if key not in ("status", "services")
        }
    }
    status, answer = asked(workspace, "PUT", f"jobs/again-{uuid.uuid4().hex}", body)
    assert status == 201, answer
    body["properties"]["outputs"]["results"].update(change)
    status, answer = asked(workspace, "PUT", "jobs/another", body)
    assert status == 400
    assert "breaks Microsoft's schema 2024-01-01-preview" in answer["error"]["message"]
    assert told in answer["error"]["message"]


@pytest.mark.usefixtures("needs_schemas")
@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "jobs?$top=3", 400),
        ("GET", "jobs/x/steps", 404),
        ("PATCH", "jobs/x", 405),
        ("GET", "job/x", 404),
    ],
)
def test_what_is_not_among_microsofts_operations_is_refused(
    method: str, path: str, status: int, workspace: AzureMLWorkspace
) -> None:
    assert asked(workspace, method, path)[0] == status


@pytest.mark.parametrize(
    "bearer", ["", "Bearer ", "Bearer nonsense", "Basic abc", f"Bearer {token(-60).token}"]
)
def test_a_request_needs_a_token_that_is_good(bearer: str, workspace: AzureMLWorkspace) -> None:
    assert asked(workspace, "GET", "jobs", headers={"Authorization": bearer})[0] == 401


def test_a_token_must_be_made_out_to_those_who_are_asked(workspace: AzureMLWorkspace) -> None:
    of_ml, of_storage = token(aud=AZURE_ML).token, token(aud="https://storage.azure.com").token
    assert asked(workspace, "GET", "jobs", headers={"Authorization": f"Bearer {of_ml}"})[0] == 401
    assert asked(workspace, "GET", "jobs", headers={"Authorization": f"Bearer {of_storage}"})[0] == 401


def test_a_pipeline_job_needs_a_token_for_those_who_run_it(workspace: AzureMLWorkspace) -> None:
    other = token().token
    status, answer = asked(workspace, "PUT", "jobs/x", {"properties": {}}, headers={"x-azureml-token": other})
    assert (status, "x-azureml-token" in answer["error"]["message"]) == (400, True)


@pytest.mark.parametrize(
    "path",
    [
        "computes/..%2f..%2fx",
        "datastores/%2e%2e",
        "codes/../versions/1",
        "codes/a/versions/%2e",
        "jobs/a.b",
        "jobs/%00",
    ],
)
def test_a_name_that_leads_elsewhere_is_refused(path: str, workspace: AzureMLWorkspace) -> None:
    body = {"properties": {"computeType": "AmlCompute", "jobType": "Pipeline"}}
    assert 400 <= asked(workspace, "PUT", path, body)[0] < 500


@pytest.mark.parametrize(
    "body", [b"", b"[1]", b"{", b"\xff\xfe", b'{"properties": 7}', b'{"properties": {"jobs": 1}}']
)
def test_a_body_that_is_none_is_refused(body: bytes, workspace: AzureMLWorkspace) -> None:
    assert asked(workspace, "PUT", "jobs/x", body)[0] == 400


def test_only_this_machine_is_served_and_changes_come_as_json(workspace: AzureMLWorkspace) -> None:
    assert asked(workspace, "GET", "jobs", headers={"Host": "attacker.example"})[0] == 403
    request = urllib.request.Request(
        f"{workspace.endpoint}/stand-in/clear", data=b"{}", headers={"Content-Type": "text/plain"}
    )
    trust = ssl.create_default_context(cafile=str(workspace.ca_file))
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=30, context=trust)
    with refused.value as answer:
        assert answer.code == 415


@pytest.mark.parametrize("wrong", [{"preempt": 1}, {"queued_s": -1}, {"state": 5}, {"queued_s": "long"}])
def test_a_switch_that_is_none_is_told(wrong: dict[str, Any], workspace: AzureMLWorkspace) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        workspace.switch(**wrong)


def test_a_compute_that_is_not_there_is_answered_with_nothing(client: Any) -> None:
    with pytest.raises(ResourceNotFoundError) as error:
        client.compute.get("nowhere")
    assert error.value.response.text() == ""


def test_a_job_that_is_not_there_is_not_found(client: Any) -> None:
    with pytest.raises(ResourceNotFoundError, match="Not found"):
        client.jobs.get("nowhere")


def test_another_workspace_is_not_found(client: Any) -> None:
    client.jobs._operation_scope._workspace_name = "another"
    with pytest.raises(ResourceNotFoundError, match="workspaces/another"):
        client.jobs.get("nowhere")


def test_what_is_refused_for_a_while_is_tried_again(client: Any, workspace: AzureMLWorkspace) -> None:
    workspace.fault(status=429, times=2, path="/jobs")
    with requests_of(workspace) as requests:
        list(client.jobs.list())
        assert requests()[:3] == ["GET jobs 429", "GET jobs 429", "GET jobs 200"]


def test_a_token_that_is_over_is_refused(client: Any, workspace: AzureMLWorkspace) -> None:
    list(client.jobs.list())
    workspace.switch(expire_tokens=1)
    with pytest.raises(ClientAuthenticationError, match="Acquire a new token"):
        list(client.jobs.list())


def test_what_was_put_outlives_the_process(azurite: str, tmp_path: Path) -> None:
    with (
        AzureMLWorkspace(folder=tmp_path / "azureml", storage=azurite) as workspace,
        ml_client(workspace) as client,
    ):
        registered = Registered(client, tmp_path / "files", azurite)
        name = client.jobs.create_or_update(registered.job()).name
        endpoint = workspace.endpoint
        workspace.kill()
        workspace.start()
        assert workspace.endpoint == endpoint
        assert client.jobs.get(name).name == name
        assert client.components.get(registered.name, "1").name == registered.name
        registered.container.close()
