"""The Function app's settings as Bicep makes them, read by what else reads them on Azure: the library of blob bindings,
and the indexing of every function in a process that has no others."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from typing import Any

import pytest
from azure.identity import ManagedIdentityCredential
from azurefunctions.extensions.bindings.blob import utils

from tests.infra.bicep import Files
from tests.infra.rules.functions import app_settings
from tests.infra.scenarios import ROOT, Infra

CONNECTIONS = ("AzureWebJobsStorage", "DATA_STORAGE")
INDEXING = """
import json
import function_app
print(json.dumps({
    function.get_function_name(): json.loads(str(function))["bindings"]
    for function in function_app.app.get_functions()
}))
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
HOURLY = {
    "as it comes": {"land_readings", "score_hours"},
    "no sensors": set[str](),
    "Stream Analytics": {"score_hours"},
    "private network, people from outside": {"land_readings", "score_hours"},
}
WANTED = {
    "blobTrigger": {"blobServiceUri", "queueServiceUri"},  # the second for what becomes poison
    "queueTrigger": {"queueServiceUri"},
    "eventHubTrigger": {"fullyQualifiedNamespace"},
}


@cache
def settings_of(scenario: str) -> dict[str, str]:
    return app_settings(Infra(Files(ROOT)).deployments[scenario])


@cache
def indexed(scenario: str) -> dict[str, list[dict[str, Any]]]:
    """The bindings of every function, from a process that has these settings and none of this machine."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "SYSTEMROOT") if name in os.environ}
    done = subprocess.run(
        [sys.executable, "-c", INDEXING],
        env={**kept, **settings_of(scenario), "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    found: dict[str, list[dict[str, Any]]] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("scenario", HOURLY)
def test_every_function_is_indexed_and_of_the_hourly_ones_those_that_are_wanted(scenario: str) -> None:
    """With Stream Analytics the hours are scored and the app reads no hub."""
    assert set(indexed(scenario)) == ALWAYS | HOURLY[scenario]


@pytest.mark.parametrize("scenario", HOURLY)
def test_blob_triggers_have_the_only_source_that_the_plan_supports(scenario: str) -> None:
    bindings = [each for found in indexed(scenario).values() for each in found]
    sources = [each["source"] for each in bindings if each["type"] == "blobTrigger"]
    assert sources == ["EventGrid"] * 2


@pytest.mark.parametrize("scenario", HOURLY)
def test_every_connection_of_a_function_has_its_settings(scenario: str) -> None:
    values = settings_of(scenario)
    bindings = [each for found in indexed(scenario).values() for each in found if "connection" in each]
    assert len(bindings) >= 4
    for each in bindings:
        for name in {"credential", "clientId"} | WANTED[each["type"]]:
            assert values[f"{each['connection']}__{name}"]


@pytest.mark.parametrize("connection", CONNECTIONS)
def test_the_library_of_blob_bindings_opens_both_accounts_as_the_identity(
    connection: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reads these settings by itself, and without a client id it would come as the system-assigned identity."""
    values = settings_of("as it comes")
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
