"""What the environment says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from batchscore.errors import SettingsError
from batchscore.settings import Settings

ENOUGH = {"AzureWebJobsStorage": "UseDevelopmentStorage=true", "DATA_STORAGE": "UseDevelopmentStorage=true"}
ROOT = Path(__file__).parents[2]


def test_two_connections_are_enough() -> None:
    settings = Settings.from_environment(ENOUGH)
    assert settings.compute == "local"
    assert settings.trigger_container == "triggers"
    assert (settings.workloads_folder / "style_transfer").is_dir()


def test_a_connection_by_identity_needs_no_secret() -> None:
    uri = "https://acc.blob.core.windows.net"
    settings = Settings.from_environment(ENOUGH | {"DATA_STORAGE": "", "DATA_STORAGE__blobServiceUri": uri})
    assert settings.data.connection_string is None
    assert settings.data.queue_service_uri == "https://acc.queue.core.windows.net"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("AzureWebJobsStorage", "", "AzureWebJobsStorage is not set"),
        ("DATA_STORAGE", " ", "DATA_STORAGE is not set"),
        ("COMPUTE", "batch", "'batch'; it must be one of local, azureml"),
        ("MAX_ACTIVE_RUNS", "0", "'0'; it must be a whole number, 1 or more"),
        ("MAX_ATTEMPTS", "many", "'many'"),
        ("BLOB_TRIGGER_SOURCE", "eventgrid", "EventGrid"),
        ("WORKLOADS_FOLDER", "/nowhere/at/all", "is not a folder"),
        ("INBOX_RULES", "{", "is not JSON"),
        ("INBOX_RULES", "[]", "must be a JSON object"),
        ("CATCH_UP_HOURS", "-1", "'-1'; it must be a whole number, from 0 to 744"),
        ("LATE_HOURS", "745", "from 0 to 744"),
        ("SCORING_INPUTS", "[]", "must be a JSON object"),
        ("SCORING_INPUTS", '{"models": ["a"]}', "must be a JSON object"),
        ("SCORING_INPUTS", '{"hour": "2026-11-21T17"}', "gives 'hour'"),
        ("LOCAL_PYTHON", "python3.11", "JSON object"),
        ("LOCAL_PYTHON", '{"a": 1}', "JSON object"),
    ],
)
def test_a_wrong_setting_is_named_with_what_would_be_right(name: str, value: str, said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_environment(ENOUGH | {name: value})
    assert name in str(caught.value)
    assert said in str(caught.value)


WORKSPACE = {
    "COMPUTE": "azureml",
    "AZURE_SUBSCRIPTION_ID": "1b2c3d4e-0000-4000-8000-000000000000",
    "AZURE_RESOURCE_GROUP": "rg-scoring.(test)",
    "AZUREML_WORKSPACE_NAME": "ml-scoring",
}


def test_a_workspace_is_named_by_three_settings_and_perhaps_an_identity() -> None:
    workspace = Settings.from_environment(ENOUGH | WORKSPACE).workspace
    assert workspace is not None
    assert workspace.client_id is workspace.endpoint is workspace.ca_file is None
    assert workspace.resource_id == (
        "/subscriptions/1b2c3d4e-0000-4000-8000-000000000000/resourceGroups/rg-scoring.(test)"
        "/providers/Microsoft.MachineLearningServices/workspaces/ml-scoring"
    )
    client = "9b2c3d4e-0000-4000-8000-000000000000"
    named = Settings.from_environment(ENOUGH | WORKSPACE | {"AZUREML_CLIENT_ID": client}).workspace
    assert named is not None
    assert named.client_id == client


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({"COMPUTE": "local", "AZUREML_WORKSPACE_NAME": "ml-scoring"}, "ml-scoring"),
        ({"COMPUTE": "local", "AZUREML_WORKSPACE_NAME": ""}, None),
        (
            {"AZUREML_WORKSPACE_NAME": "UseDevelopmentWorkspace=true", "AZURE_SUBSCRIPTION_ID": ""},
            "UseDevelopmentWorkspace=true",
        ),
    ],
)
def test_a_workspace_is_there_where_one_is_named(given: dict[str, str], name: str | None) -> None:
    workspace = Settings.from_environment(ENOUGH | WORKSPACE | given).workspace
    assert (workspace.name if workspace else None) == name


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("AZURE_SUBSCRIPTION_ID", "", "is not set, and COMPUTE=azureml needs it"),
        ("AZURE_SUBSCRIPTION_ID", "my subscription", "'my subscription'; it must be the subscription's id"),
        ("AZURE_RESOURCE_GROUP", "", "is not set"),
        ("AZURE_RESOURCE_GROUP", "a/b", "'a/b'"),
        ("AZUREML_WORKSPACE_NAME", "", "is not set"),
        ("AZUREML_WORKSPACE_NAME", "../other", "'../other'"),
        ("AZUREML_CLIENT_ID", "me", "'me'; it must be the client id"),
        ("AZUREML_ENDPOINT", "https://management.azure.com", "for the stand-in on this machine alone"),
        ("AZUREML_ENDPOINT", "http://localhost:1", "for the stand-in on this machine alone"),
        ("AZUREML_ENDPOINT", "https://localhost:1/elsewhere", "for the stand-in on this machine alone"),
        ("AZUREML_ENDPOINT", "https://[::1:1", "for the stand-in on this machine alone"),
        ("AZUREML_CA_FILE", "/nowhere/ca.pem", "not a file. Name the certificate authority"),
    ],
)
def test_a_workspace_that_cannot_be_is_refused_with_the_setting_s_name(
    name: str, value: str, said: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_environment(ENOUGH | WORKSPACE | {name: value})
    assert str(caught.value).startswith(f"{name} is")
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("given", "there"),
    [
        ({}, False),
        ({"SCORING_SCHEDULE": "*/10 * * * * *"}, True),
        ({"EVENT_HUB__fullyQualifiedNamespace": "sensors.servicebus.windows.net"}, True),
    ],
)
def test_the_hourly_timer_is_there_with_the_sensors_half(given: dict[str, str], there: bool) -> None:
    settings = Settings.from_environment(ENOUGH | given)
    assert settings.scores_hours is there
    assert settings.scoring_schedule == given.get("SCORING_SCHEDULE", "0 5 * * * *")
    assert settings.scoring_inputs == {"models": "sensors"}


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({"EVENT_HUB": "Endpoint=sb://x/;SharedAccessKey=s="}, "readings"),
        ({"EVENT_HUB": "Endpoint=sb://x/;SharedAccessKey=s=", "EVENT_HUB_NAME": "one"}, "one"),
        ({"EVENT_HUB": "Endpoint=sb://x/;SharedAccessKey=s=;EntityPath=two", "EVENT_HUB_NAME": "one"}, "two"),
        ({"EVENT_HUB": "entitypath=two;Endpoint=sb://x/"}, "two"),
        ({"EVENT_HUB__fullyQualifiedNamespace": "x.servicebus.windows.net", "EVENT_HUB_NAME": "one"}, "one"),
    ],
)
def test_the_event_hub_is_the_one_of_the_connection_string_if_it_names_one(
    given: dict[str, str], name: str
) -> None:
    hub = Settings.from_environment(ENOUGH | given).event_hub
    assert hub is not None
    assert hub.name == name


def test_a_python_given_by_a_relative_path_is_found_from_every_folder(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(ROOT)
    given = {"torch": ".venv-torch/bin/python", "old": "python3.11", "gpu": "/opt/gpu/bin/python"}
    settings = Settings.from_environment(ENOUGH | {"LOCAL_PYTHON": json.dumps(given)})
    assert settings.local_python == given | {"torch": str(ROOT / ".venv-torch" / "bin" / "python")}


def test_a_connection_string_is_never_printed() -> None:
    settings = Settings.from_environment(ENOUGH | {"DATA_STORAGE": "AccountKey=secret"})
    assert "secret" not in repr(settings)


def test_the_example_file_holds_every_setting_and_works_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    values = json.loads((ROOT / "local.settings.example.json").read_text())["Values"]
    monkeypatch.chdir(ROOT)
    Settings.from_environment(values)
    source = (ROOT / "batchscore" / "settings.py").read_text()
    read = {
        word
        for word in source.replace("(", " ").replace(",", " ").split()
        if word.isupper() or "_STORAGE" in word
    }
    named = {word.strip('"') for word in read if word.startswith('"') and word.endswith('"')}
    assert named <= set(values)


def test_the_docs_explain_every_setting() -> None:
    values = json.loads((ROOT / "local.settings.example.json").read_text())["Values"]
    explained = (ROOT / "docs" / "settings.md").read_text()
    assert [name for name in values if f"`{name}`" not in explained] == []
