"""The Function app's settings as Bicep makes them, read by all that reads them on Azure."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

pytest.importorskip("tree_sitter_bicep", reason="make infra-check installs it")

from azure.identity import ManagedIdentityCredential
from azurefunctions.extensions.bindings.blob import utils

from batchscore.settings import Settings
from tests.infra.deployments import CHOICES, ROOT, app_settings, deployed, deployment

CONNECTIONS = ("AzureWebJobsStorage", "DATA_STORAGE")
INDEXING = """
import json
import function_app
print(json.dumps({each.get_function_name(): json.loads(str(each))["bindings"] for each in function_app.app.get_functions()}))
"""
ALWAYS = {
    "accept_trigger_file",
    "accept_inbox_file",
    "keep_poison",
    "reconcile_when_kicked",
    "reconcile_by_timer",
    "start_run",
    "list_runs",
    "get_run",
    "failed_items",
    "cancel_run",
    "retry_run",
    "list_hours",
}


def indexed(settings: dict[str, str]) -> dict[str, list[dict[str, Any]]]:
    """The bindings of every function, from a process that has these settings and none of this machine."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "SYSTEMROOT") if name in os.environ}
    done = subprocess.run(
        [sys.executable, "-c", INDEXING],
        env={**kept, **settings, "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    found: dict[str, list[dict[str, Any]]] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module", params=CHOICES)
def choice(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def functions(choice: str) -> dict[str, list[dict[str, Any]]]:
    return indexed(app_settings(deployment(choice)))


def test_batchscore_takes_them(choice: str) -> None:
    values = app_settings(deployment(choice))
    settings = Settings.from_environment(values)
    assert settings.compute == "azureml"
    assert settings.blob_trigger_source == "EventGrid"
    for connection in (settings.system, settings.data):
        assert connection.connection_string is None
        assert connection.client_id == values["AzureWebJobsStorage__clientId"]
        assert connection.blob_service_uri != connection.queue_service_uri
    assert settings.system.blob_service_uri != settings.data.blob_service_uri
    assert settings.workspace is not None
    assert settings.workspace.resource_group == deployment(choice).outputs["AZURE_RESOURCE_GROUP"]
    assert settings.workspace.client_id == values["AZUREML_CLIENT_ID"]


@pytest.mark.parametrize(
    ("choice", "reads", "scores"),
    [("as shipped", True, True), ("without sensors", False, False), ("with Stream Analytics", False, True)],
)
def test_the_hub_is_read_unless_stream_analytics_does_and_hours_are_scored_in_both_cases(
    choice: str, reads: bool, scores: bool
) -> None:
    values = app_settings(deployment(choice))
    settings = Settings.from_environment(values)
    assert (settings.event_hub is not None) is reads
    assert settings.scores_hours is scores
    assert any(name.startswith("EVENT_HUB") for name in values) is reads
    if settings.event_hub:
        assert settings.event_hub.client_id == values["EVENT_HUB__clientId"]
        assert (
            settings.event_hub.namespace == deployment(choice).outputs["EVENT_HUB__fullyQualifiedNamespace"]
        )
    indexed_ones = set(indexed(values))
    assert ("land_readings" in indexed_ones, "score_hours" in indexed_ones) == (reads, scores)


@pytest.mark.parametrize("connection", CONNECTIONS)
def test_the_library_of_blob_bindings_opens_both_accounts_as_the_identity(
    connection: str, choice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reads these settings by itself, and takes an address without an identity for that of the system."""
    values = app_settings(deployment(choice))
    for name in list(os.environ):
        if name.startswith(connection):
            monkeypatch.delenv(name)
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    assert utils.get_connection_string(connection) == values[f"{connection}__blobServiceUri"]
    assert utils.using_user_managed_identity(connection)
    client = utils.service_client_factory(connection)
    assert client.url == values[f"{connection}__blobServiceUri"]
    assert isinstance(client.credential, ManagedIdentityCredential)


def test_every_function_is_indexed(functions: dict[str, list[dict[str, Any]]]) -> None:
    assert set(functions) >= ALWAYS
    assert set(functions) - ALWAYS <= {"land_readings", "score_hours"}


def test_blob_triggers_have_the_only_source_that_the_plan_supports(
    functions: dict[str, list[dict[str, Any]]],
) -> None:
    triggers = [each for bindings in functions.values() for each in bindings if each["type"] == "blobTrigger"]
    assert len(triggers) == 2
    assert {each["source"] for each in triggers} == {"EventGrid"}


def test_every_connection_of_a_function_has_its_settings(
    choice: str, functions: dict[str, list[dict[str, Any]]]
) -> None:
    values = app_settings(deployment(choice))
    wanted = {
        "blobTrigger": {"blobServiceUri", "queueServiceUri"},  # the second for what becomes poison
        "queueTrigger": {"queueServiceUri"},
        "eventHubTrigger": {"fullyQualifiedNamespace"},
    }
    seen = 0
    for bindings in functions.values():
        for each in bindings:
            if "connection" not in each:
                continue
            seen += 1
            for name in {"credential", "clientId"} | wanted[each["type"]]:
                assert values[f"{each['connection']}__{name}"]
            assert f"{each['connection']}__serviceUri" not in values
    assert seen >= 4


def test_a_setting_of_the_user_wins() -> None:
    main = deployed(appSettings={"MAX_ACTIVE_RUNS": 7, "INBOX_RULES": "{}"})
    settings = Settings.from_environment(app_settings(main))
    assert (settings.max_active_runs, settings.inbox_rules) == (7, ())


def test_the_code_lies_in_a_container_that_is_there() -> None:
    main = deployment()
    site = main.module("functions").resource("app")["properties"]
    address = site["functionAppConfig"]["deployment"]["storage"]["value"]
    system = main.module("storage").module("system")
    assert address.startswith(system.outputs["blobEndpoint"])
    assert address.removeprefix(system.outputs["blobEndpoint"]) in system.parameters["containers"]


def test_the_outputs_are_settings_of_a_workstation() -> None:
    outputs = {name: str(value) for name, value in deployment().outputs.items()}
    settings = Settings.from_environment(
        {**outputs, "AZURE_SUBSCRIPTION_ID": "1b2c3d4e-0000-4000-8000-000000000000"}
    )
    values = Settings.from_environment(app_settings(deployment()))
    assert settings.system.blob_service_uri == values.system.blob_service_uri
    assert settings.data.queue_service_uri == values.data.queue_service_uri
    assert settings.clusters == values.clusters
    assert settings.workspace is not None
    assert settings.workspace.client_id is None  # whoever is signed in


def test_in_a_private_network_only_event_grid_and_named_addresses_get_in() -> None:
    config = (
        deployment("in a private network").module("functions").resource("app")["properties"]["siteConfig"]
    )
    rules = config["ipSecurityRestrictions"]
    assert [rule["ipAddress"] for rule in rules] == ["AzureEventGrid", "203.0.113.7/32", "198.51.100.0/24"]
    assert config["ipSecurityRestrictionsDefaultAction"] == "Deny"
    assert "AzureEventGrid" not in [rule["ipAddress"] for rule in config["scmIpSecurityRestrictions"]]
    assert config["scmIpSecurityRestrictionsDefaultAction"] == "Deny"
