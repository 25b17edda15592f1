"""The outputs of the deployment are settings: `set -a; eval "$(azd env get-values)"; set +a` makes the command line work."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from tests.infra.bicep import Files
from tests.infra.hook_world import ROOT, SUBSCRIPTION
from tests.infra.scenarios import Infra

OF_AZD = {"AZURE_ENV_NAME": "my env", "AZURE_LOCATION": "eastus", "AZURE_SUBSCRIPTION_ID": SUBSCRIPTION}


@cache
def outputs() -> dict[str, str]:
    """The outputs of main.bicep as azd writes them down."""
    return {name: str(value) for name, value in Infra(Files(ROOT)).deployments["as it comes"].outputs.items()}


def values() -> dict[str, str]:
    return {**OF_AZD, **outputs()}


READING = """
import json
from batchscore.cli.environment import settings
from batchscore.definitions.compute_targets import load_targets
found = settings()
print(json.dumps({
    "compute": found.compute,
    "place": found.workspace.place,
    "data": found.data.blob_service_uri,
    "system": found.system.queue_service_uri,
    "hub": [found.event_hub.namespace, found.event_hub.name],
    "clients": [found.data.client_id, found.system.client_id, found.workspace.client_id, found.event_hub.client_id],
    "nodes": load_targets(found.workloads_folder, found.clusters)["cpu-cluster"].max_nodes,
}))
"""


def workstation(folder: Path, values: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """What a person types, in a shell that knows nothing else."""
    (folder / "azd").write_text(
        "\n".join(['#!/bin/sh\ncat <<"TEXT"', *(f'{k}="{v}"' for k, v in values.items()), "TEXT"])
    )
    (folder / "azd").chmod(0o755)
    return subprocess.run(
        [
            "sh",
            "-c",
            f'set -a; eval "$(azd env get-values)"; set +a; exec "{sys.executable}" -c "$0"',
            READING,
        ],
        cwd=folder,
        env={"PATH": f"{folder}:/usr/bin:/bin", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )


def test_the_values_of_azd_are_settings_of_the_command_line(tmp_path: Path) -> None:
    said = values()
    done = workstation(tmp_path, said)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "compute": "azureml",
        "place": f"{SUBSCRIPTION}/{said['AZURE_RESOURCE_GROUP']}/{said['AZUREML_WORKSPACE_NAME']}",
        "data": said["DATA_STORAGE__blobServiceUri"],
        "system": said["AzureWebJobsStorage__queueServiceUri"],
        "hub": [said["EVENT_HUB__fullyQualifiedNamespace"], "readings"],
        "clients": [None] * 4,  # whoever is signed in
        "nodes": 4,
    }


@pytest.mark.parametrize(
    ("missing", "told"),
    [
        ("DATA_STORAGE__", "DATA_STORAGE is not set. Give a connection string"),
        ("AzureWebJobsStorage__", "AzureWebJobsStorage is not set. Give a connection string"),
        ("AZURE_RESOURCE_GROUP", "AZURE_RESOURCE_GROUP is not set, and COMPUTE=azureml needs it"),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, missing: str, told: str) -> None:
    done = workstation(
        tmp_path, {name: value for name, value in values().items() if not name.startswith(missing)}
    )
    assert done.returncode != 0
    assert told in done.stderr


def test_what_the_hooks_need_is_an_output_of_the_deployment() -> None:
    text = (ROOT / "infra" / "hooks" / "postdeploy.sh").read_text()
    listed = re.search(r"for name in (.*?); do", text, re.DOTALL)
    assert listed
    wanted = set(re.findall(r"\w+", listed[1])) | {"STREAM_ANALYTICS_JOB_NAME"}
    assert wanted <= values().keys()
