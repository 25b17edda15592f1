"""host.json, local.settings.json and the environment, as the Functions host reads them."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from pathlib import Path

import pytest

from batchscore.devhost import configuration
from batchscore.errors import SettingsError


def _host_json(
    folder: Path, document: object, environment: dict[str, str] | None = None
) -> configuration.HostJson:
    (folder / "host.json").write_text(document if isinstance(document, str) else json.dumps(document))
    return configuration.read_host_json(folder, environment or {})


def test_an_empty_host_json_has_the_defaults_of_azure(tmp_path: Path) -> None:
    read = _host_json(tmp_path, {"version": "2.0"})
    assert read.queues == configuration.QueueOptions()
    assert (read.queues.batch_size, read.queues.new_batch_threshold, read.queues.max_dequeue_count) == (
        16,
        8,
        5,
    )
    assert read.blobs.poison_blob_threshold == 5
    assert read.event_hubs == configuration.EventHubOptions(100, 1, 60.0, 300)
    assert read.route_prefix == "api"


def test_what_host_json_says_is_taken(tmp_path: Path) -> None:
    queues = {
        "batchSize": 1,
        "newBatchThreshold": 0,
        "maxDequeueCount": 2,
        "visibilityTimeout": "00:00:30",
        "maxPollingInterval": "00:00:01.5",
        "messageEncoding": "none",
    }
    event_hubs = {
        "maxEventBatchSize": 50,
        "minEventBatchSize": 20,
        "maxWaitTime": "00:05:00",
        "prefetchCount": 100,
    }
    extensions = {
        "queues": queues,
        "blobs": {"poisonBlobThreshold": 3},
        "http": {"routePrefix": ""},
        "eventHubs": event_hubs,
    }
    read = _host_json(
        tmp_path,
        {"version": "2.0", "extensions": extensions, "logging": {"logLevel": {"default": "Warning"}}},
    )
    assert read.queues == configuration.QueueOptions(1, 0, 2, 30.0, 1.5, base64=False)
    assert read.blobs.poison_blob_threshold == 3
    assert read.event_hubs == configuration.EventHubOptions(50, 20, 300.0, 100)
    assert read.route_prefix == ""
    assert read.log_levels == {"default": "Warning"}


def test_a_setting_overrides_host_json(tmp_path: Path) -> None:
    document = {"version": "2.0", "extensions": {"queues": {"batchSize": 4}}}
    environment = {
        "AzureFunctionsJobHost__extensions__Queues__BatchSize": "7",
        "AzureFunctionsJobHost__logging__logLevel__default": "Error",
    }
    read = _host_json(tmp_path, document, environment)
    assert read.queues.batch_size == 7
    assert read.log_levels == {"default": "Error"}


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ("{", "host.json is not valid JSON"),
        ("[]", "must hold a JSON object"),
        ({}, '"version" is None; it must be "2.0"'),
        ({"version": "2.0", "extensions": {"queues": {"batchSize": 0}}}, "extensions.queues.batchSize is 0"),
        ({"version": "2.0", "extensions": {"queues": {"batchSize": 33}}}, "1 to 32"),
        ({"version": "2.0", "extensions": {"eventHubs": {"minEventBatchSize": 101}}}, "1 to 100"),
        ({"version": "2.0", "extensions": {"eventHubs": {"maxWaitTime": "00:11:00"}}}, "00:10:00"),
        ({"version": "2.0", "extensions": {"queues": {"maxPollingInterval": 2}}}, "must be a time span"),
        ({"version": "2.0", "extensions": {"queues": {"messageEncoding": "utf7"}}}, "base64, none"),
        (
            {"version": "2.0", "extensions": {"blobs": {"poisonBlobThreshold": "5"}}},
            "is '5'; it must be a whole",
        ),
    ],
)
def test_what_is_wrong_in_host_json_is_said(tmp_path: Path, document: object, words: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(words)):
        _host_json(tmp_path, document)


def test_a_folder_without_host_json_is_no_app(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"has no host\.json"):
        configuration.read_host_json(tmp_path, {})


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "local.settings.json"
    file.write_text('{"Values": {"A": "file", "B": "file"}, "Host": {"LocalHttpPort": 7099}}')
    local = configuration.read_local_settings(file)
    assert local.port == 7099
    merged = configuration.merged(local.values, {"A": "environment"})
    assert merged["A"] == "environment"
    assert merged["B"] == "file"
    assert merged["AzureWebJobsStorage"] == "UseDevelopmentStorage=true"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"IsEncrypted": true}', "encrypted"),
        ('{"Values": {"A": 5}}', 'the value of A must be a string, such as "5"'),
        ('{"Values": []}', "object of strings"),
        ("{'A': 1}", "not valid JSON"),
    ],
)
def test_what_is_wrong_in_local_settings_is_said(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "local.settings.json"
    file.write_text(text)
    with pytest.raises(SettingsError, match=re.escape(words)):
        configuration.read_local_settings(file)


def test_development_storage_is_found_however_it_is_written() -> None:
    settings = {"A": "UseDevelopmentStorage=true", "B": "usedevelopmentstorage=TRUE; ", "C": "AccountName=x"}
    assert configuration.development_settings(settings) == ("A", "B")


def test_the_event_hubs_of_this_machine_are_found_however_they_are_written() -> None:
    settings = {
        "A": "UseDevelopmentEventHub=true",
        "B": " usedevelopmenteventhub=TRUE; ",
        "C": "Endpoint=sb://x",
    }
    assert configuration.development_event_hubs(settings) == ("A", "B")


def test_placeholders_are_filled_in_from_settings() -> None:
    settings = {"CONTAINER": "triggers", "Kind": "json"}
    filled = configuration.resolve(
        "%CONTAINER%/{name}.%kind%", settings, "accept", "the path of its blobTrigger"
    )
    assert filled == "triggers/{name}.json"


def test_a_missing_setting_is_named_with_its_function() -> None:
    with pytest.raises(
        SettingsError, match=r"function accept: the path of its blobTrigger is '%NOWHERE%/x', but.*'NOWHERE'"
    ):
        configuration.resolve("%NOWHERE%/x", {}, "accept", "the path of its blobTrigger")


@pytest.mark.parametrize(
    ("name", "settings", "expected"),
    [
        (None, {"AzureWebJobsStorage": "x"}, "AzureWebJobsStorage"),
        ("DATA", {"DATA": "x"}, "DATA"),
        ("DATA", {"AzureWebJobsDATA": "x"}, "AzureWebJobsDATA"),
        ("DATA", {"DATA__blobServiceUri": "https://x"}, "DATA"),
    ],
)
def test_a_connection_is_a_setting(name: str | None, settings: dict[str, str], expected: str) -> None:
    assert configuration.connection_setting(name, settings, "f") == expected


def test_a_connection_that_is_not_there_is_named() -> None:
    with pytest.raises(
        SettingsError, match="function accept: its connection is 'DATA', but there is no such setting"
    ):
        configuration.connection_setting("DATA", {"DATA": " "}, "accept")


def test_time_spans() -> None:
    assert configuration.timespan("00:10:00") == timedelta(minutes=10)
    assert configuration.timespan("2.01:00:00.5") == timedelta(days=2, hours=1, milliseconds=500)
    assert configuration.timespan("0 * * * * *") is None
