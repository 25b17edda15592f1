"""Who asks the workspace, and Microsoft's SDK for what only it can do. Imported where it is needed: it takes seconds."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from batchscore.compute.azureml.development import DevelopmentCredential
from batchscore.compute.azureml.patience import ShortWaits
from batchscore.credentials import credential_of
from batchscore.settings import Workspace

if TYPE_CHECKING:
    from azure.ai.ml import MLClient
    from azure.core.credentials import TokenCredential

STAND_IN = "AZUREML_DEV_URL_MFE"
"""The SDK's own variable for another address than that of Azure."""


def credential_for(workspace: Workspace) -> TokenCredential:
    """The identity that the workspace is asked with."""
    return DevelopmentCredential() if workspace.endpoint else credential_of(workspace.client_id)


def transport_for(workspace: Workspace) -> ShortWaits:
    """What requests to the workspace go through."""
    return ShortWaits(connection_verify=str(workspace.ca_file) if workspace.ca_file else True)


def quiet() -> None:
    """Let the SDK log errors alone, by way of the app's own log. It gives itself a handler and a level when it is imported,
    so this counts afterwards only: else it tells of experimental classes of its own and of each call's begin and end."""
    sdk = logging.getLogger("azure.ai.ml")
    sdk.handlers.clear()
    sdk.setLevel(logging.ERROR)
    sdk.propagate = True
    logging.getLogger("azure.ai.ml._telemetry").propagate = False


def open_client(workspace: Workspace) -> MLClient:
    """The SDK's client of the workspace. Nothing is sent before it is used."""
    from azure.ai.ml import MLClient

    quiet()
    if workspace.endpoint:
        os.environ[STAND_IN] = workspace.endpoint
    return MLClient(
        credential_for(workspace),
        workspace.subscription_id,
        workspace.resource_group,
        workspace.name,
        enable_telemetry=False,
        show_progress=False,
        transport=transport_for(workspace),
    )
