"""The one thing for which Microsoft's SDK is loaded in the app: a document becomes a job of the workspace."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from batchscore.errors import JobRefusedError
from batchscore.printable import shortened

if TYPE_CHECKING:
    from azure.ai.ml import MLClient
    from azure.ai.ml.entities import Job

    from batchscore.settings import Workspace


class Submitter:
    """Loads the SDK at the first job, which takes seconds."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._client: MLClient | None = None

    def submit(self, document: str) -> None:
        """PUT the job under the name in the document: one request, and at the first time one for the workspace.
        JobRefusedError for a document that is none; else what the SDK raises."""
        from batchscore.compute.azureml.client import open_client

        if self._client is None:
            self._client = open_client(self._workspace)
        job = _read(document)
        # validation asks for the cluster of every node: a request each, for what planning has checked
        self._client.jobs.create_or_update(job, skip_validation=True)


def _read(document: str) -> Job:
    from azure.ai.ml import load_job
    from marshmallow.exceptions import ValidationError

    try:
        return load_job(source=io.StringIO(document))
    except ValidationError as error:  # the one of the SDK's errors that is not of Azure's family
        raise JobRefusedError(f"the SDK does not take the job's document: {shortened(str(error))}") from error
