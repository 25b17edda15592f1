"""What tests need of an Azure ML workspace: Microsoft's schemas, a client, and the requests that it made."""

from __future__ import annotations

import base64
import json
import os
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from azure.core.credentials import AccessToken

from batchscore.definitions.compute_targets import load_targets
from batchscore.devhost.azureml import AzureMLWorkspace
from batchscore.settings import Settings
from tests.azureml_jobs import SHIPPED
from tests.needed import SHARED, shared

ARM = "https://management.azure.com"
AZURE_ML = "https://ml.azure.com"


def microsofts_schemas() -> Path | None:
    """The folder with Microsoft's schemas, or None on a machine without it; a CI must have it."""
    if not (SHARED / "azureml").is_dir() and not os.environ.get("CI"):
        return None
    return shared("azureml")


def token(expires_in_s: float = 3600, **claims: object) -> AccessToken:
    """A token as Microsoft Entra makes them, without a signature that anybody checked."""

    def part(document: dict[str, object]) -> str:
        return base64.urlsafe_b64encode(json.dumps(document).encode()).decode().rstrip("=")

    expires = int(time.time() + expires_in_s)
    body = {"aud": ARM, "exp": expires, "oid": "someone", "tid": "somewhere", **claims}
    return AccessToken(f"{part({'alg': 'none'})}.{part(body)}.c2ln", expires)


class Credential:
    """Hands out a new token whenever one is asked for."""

    def __init__(self) -> None:
        self.asked = 0

    def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        self.asked += 1
        return token(asked=self.asked, aud=scopes[0].removesuffix("/.default"))


@contextmanager
def ml_client(workspace: AzureMLWorkspace, credential: Credential | None = None) -> Iterator[Any]:
    """Microsoft's own client of the workspace."""
    from azure.ai.ml import MLClient

    said = workspace.settings()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AZUREML_DEV_URL_MFE", workspace.endpoint)
        yield MLClient(
            credential or Credential(),
            said["AZURE_SUBSCRIPTION_ID"],
            said["AZURE_RESOURCE_GROUP"],
            said["AZUREML_WORKSPACE_NAME"],
            connection_verify=str(workspace.ca_file),
            enable_telemetry=False,
        )


@contextmanager
def requests_of(workspace: AzureMLWorkspace) -> Iterator[Callable[[], list[str]]]:
    """The requests since the block began, such as `PUT jobs/x 201`."""
    before = len(workspace.requests())

    def since() -> list[str]:
        return [
            f"{each['method']} {each['path'].rpartition('/workspaces/development')[2].lstrip('/')} {each['status']}"
            for each in workspace.requests()[before:]
        ]

    yield since


def asked(
    workspace: AzureMLWorkspace,
    method: str,
    path: str,
    body: object = None,
    *,
    api_version: str = "2024-01-01-preview",
    headers: dict[str, str] | None = None,
) -> tuple[int, dict[str, Any]]:
    """Status and body of one request below the workspace, made without the client library; bytes go as they are."""
    said = workspace.settings()
    scope = (
        f"/subscriptions/{said['AZURE_SUBSCRIPTION_ID']}/resourceGroups/{said['AZURE_RESOURCE_GROUP']}/providers"
        f"/Microsoft.MachineLearningServices/workspaces/{said['AZUREML_WORKSPACE_NAME']}"
    )
    separator = "&" if "?" in path else "?"
    request = urllib.request.Request(
        f"{workspace.endpoint}{scope}/{path}{separator}api-version={api_version}",
        method=method,
        data=body if isinstance(body, bytes | None) else json.dumps(body).encode(),
        headers={
            "Authorization": f"Bearer {token().token}",
            "x-azureml-token": token(aud=AZURE_ML).token,
            "Content-Type": "application/json",
            **(headers or {}),
        },
    )
    trust = ssl.create_default_context(cafile=str(workspace.ca_file))
    try:
        with urllib.request.urlopen(request, timeout=30, context=trust) as response:
            return response.status, json.loads(response.read() or b"{}")
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read() or b"{}")


def put_for(workspace: AzureMLWorkspace, steps: dict[str, str]) -> None:
    """The shipped clusters, and components (`name:version`, by the name of a step) that hold no more than a name: enough
    to submit."""
    for target in load_targets(SHIPPED, {}).values():
        inner = {"vmSize": target.size, "scaleSettings": {"minNodeCount": 0, "maxNodeCount": 4}}
        cluster = {"location": "westeurope", "properties": {"computeType": "AmlCompute", "properties": inner}}
        status, answer = asked(workspace, "PUT", f"computes/{target.name}", cluster)
        assert status in (200, 201), answer
    for component in steps.values():
        name, _, version = component.partition(":")
        spec = {"name": name, "version": version, "type": "command", "command": "true"}
        body = {"properties": {"componentSpec": spec}}
        status, answer = asked(workspace, "PUT", f"components/{name}/versions/{version}", body)
        assert status in (200, 201), answer


def azureml_settings(settings: Settings, workspace: AzureMLWorkspace, **environment: str) -> Settings:
    """The settings of a test, its containers among them, with the stand-in as compute."""
    return Settings.from_environment(
        {
            "AzureWebJobsStorage": settings.system.connection_string or "",
            "DATA_STORAGE": settings.data.connection_string or "",
            "TRIGGER_CONTAINER": settings.trigger_container,
            "DATA_CONTAINER": settings.data_container,
            "COMPUTE": "azureml",
            **workspace.settings(),
            **environment,
        }
    )
