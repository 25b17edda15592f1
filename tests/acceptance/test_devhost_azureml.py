"""The Azure ML stand-in beside a dev host: started, shown, brought back, ended."""

from __future__ import annotations

import json
import os
import signal
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from batchscore.devhost.launch import DevHostProcess
from batchscore.process_mark import lives
from tests.azureml_client import token

APP = """
import azure.functions as func

app = func.FunctionApp()


@app.route("hello")
def hello(req: func.HttpRequest) -> str:
    return "hello"
"""
SETTINGS = {"COMPUTE": "azureml", "AZUREML_WORKSPACE_NAME": "UseDevelopmentWorkspace=true"}
CLUSTER = {
    "location": "westeurope",
    "properties": {
        "computeType": "AmlCompute",
        "properties": {"vmSize": "STANDARD_DS3_V2", "scaleSettings": {"minNodeCount": 0, "maxNodeCount": 4}},
    },
}


def eventually(look: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + 40
    while not look():
        assert time.monotonic() < deadline, f"{what} did not happen"
        time.sleep(0.03)


def host_in(folder: Path) -> DevHostProcess:
    app = folder / "app"
    app.mkdir(exist_ok=True)
    (app / "host.json").write_text('{"version": "2.0"}')
    (app / "function_app.py").write_text(APP)
    return DevHostProcess(app, folder=folder / "data", environment=SETTINGS)


def asked(host: DevHostProcess, method: str, path: str, body: object = None) -> tuple[int, dict[str, Any]]:
    """One request to the workspace that the host's settings name."""
    said = host.environment
    request = urllib.request.Request(
        f"{said['AZUREML_ENDPOINT']}/subscriptions/{said['AZURE_SUBSCRIPTION_ID']}"
        f"/resourceGroups/{said['AZURE_RESOURCE_GROUP']}/providers/Microsoft.MachineLearningServices"
        f"/workspaces/{said['AZUREML_WORKSPACE_NAME']}/{path}?api-version=2024-01-01-preview",
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {token().token}", "Content-Type": "application/json"},
    )
    trust = ssl.create_default_context(cafile=said["AZUREML_CA_FILE"])
    try:
        with urllib.request.urlopen(request, timeout=30, context=trust) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, {}


def stand_in(pid: int) -> int:
    """The process below the host that is the stand-in; 0 where there is none."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            if b"batchscore.devhost.azureml" in Path(f"/proc/{child}/cmdline").read_bytes():
                return int(child)
    return 0


def test_a_workspace_outlives_the_stand_in_and_the_host(tmp_path: Path) -> None:
    host = host_in(tmp_path)
    with host:
        endpoint = host.environment["AZUREML_ENDPOINT"]
        assert f"Azure ML: a stand-in at {endpoint}" in host.log
        assert asked(host, "PUT", "computes/cpu-cluster", CLUSTER)[0] == 201

        os.kill(stand_in(host.pid), signal.SIGKILL)
        eventually(lambda: "Azure ML runs again" in host.log, "a new stand-in")
        assert asked(host, "GET", "computes/cpu-cluster")[0] == 200

        second = stand_in(host.pid)
        host.kill()
    eventually(lambda: not lives(second, ""), "the end of the stand-in, for its host is gone")
    with host:
        assert host.environment["AZUREML_ENDPOINT"] == endpoint
        status, cluster = asked(host, "GET", "computes/cpu-cluster")
        assert (status, cluster["name"]) == (200, "cpu-cluster")
        third = stand_in(host.pid)
    assert third
    assert not lives(third, "")
