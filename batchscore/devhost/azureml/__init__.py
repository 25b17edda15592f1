"""A stand-in for an Azure Machine Learning workspace: an HTTPS server that azure-ai-ml talks to unchanged."""

from __future__ import annotations

from batchscore.devhost.azureml.faults import Fault, Switches
from batchscore.devhost.azureml.process import AzureMLWorkspace

__all__ = ["AzureMLWorkspace", "Fault", "Switches"]
