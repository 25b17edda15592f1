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
