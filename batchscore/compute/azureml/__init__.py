"""Azure Machine Learning as a compute. Light to import: the SDK is loaded when a job is submitted."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from batchscore.compute.base import Compute
    from batchscore.settings import Settings
    from batchscore.storage import Storage


def open_azureml(settings: Settings, storage: Storage) -> Compute:
    """The workspace that the settings name. SettingsError where it is the stand-in and no host has started one."""
    from batchscore.compute.azureml.backend import AzureMLCompute
    from batchscore.errors import SettingsError
    from batchscore.settings import DEVELOPMENT_WORKSPACE

    workspace = settings.workspace
    if workspace is None:
        raise SettingsError("AZUREML_WORKSPACE_NAME is not set, and COMPUTE=azureml needs it.")
    if workspace.name == DEVELOPMENT_WORKSPACE:
        raise SettingsError(
            f"AZUREML_WORKSPACE_NAME is {DEVELOPMENT_WORKSPACE!r}, the stand-in, and none runs here. 'batchscore start' "
            "starts one; for a workspace on Azure give its name."
        )
    return AzureMLCompute(workspace, storage, settings.data_container)
