"""The deployment record: what of the workloads Azure ML holds, by version, as `batchscore deploy` left it."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from datetime import datetime

import msgspec

from batchscore import compare_and_swap, paths
from batchscore.definitions.model import Pipeline
from batchscore.errors import NotDeployedError
from batchscore.storage import Storage

VERSION_DIGITS = 16
_HOW = "Run 'batchscore deploy'"


@dataclass(frozen=True)
class DeployedWorkload:
    """A workload's registered components, each as `name:version`."""

    definition: str
    """`definition_hash` of the pipeline that was deployed."""
    pipeline: str
    steps: dict[str, str]
    """By the step's name; of a step inside a pipeline component, `outer/inner`."""


@dataclass(frozen=True)
class Deployment:
    """Everything that a job may refer to in the workspace."""

    deployed_at: datetime
    workspace: str
    """Its subscription, resource group and name, with slashes between."""
    workloads: dict[str, DeployedWorkload]
    environments: dict[str, str] = field(default_factory=dict)
    """Versions by name."""
    computes: dict[str, str] = field(default_factory=dict)
    """Clusters' names in the workspace, by the name that steps use."""
    datastores: dict[str, str] = field(default_factory=dict)
    """Datastores' names by container."""
    models: dict[str, str] = field(default_factory=dict)
    """Registered models, `name:version`, by the model's name in storage."""


_DEPLOYMENT = msgspec.json.Decoder(Deployment)


def content_version(*parts: bytes) -> str:
    """The version of what has this content: the first digits of the SHA-256 of the parts and their lengths."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.hexdigest()[:VERSION_DIGITS]


def definition_hash(pipeline: Pipeline) -> str:
    """What two readings of the same pipeline files have in common, wherever they lie and however their lines end."""
    folder = pipeline.file.resolve().parent
    parts: dict[str, bytes] = {}
    for file in set(pipeline.files) - set(pipeline.maps):
        name = os.path.relpath(file.resolve(), folder).replace(os.sep, "/")
        parts[name] = normalised(file.read_bytes())
    return content_version(*(part for name in sorted(parts) for part in (name.encode(), parts[name])))


def normalised(text: bytes) -> bytes:
    """A text file's content with line feeds for line ends: a checkout on Windows is the same content."""
    return text.replace(b"\r\n", b"\n")


def read_deployment(storage: Storage) -> Deployment | None:
    """What was deployed; None where nothing was. NotDeployedError when the record cannot be read."""
    return read_with_etag(storage)[0]


def read_with_etag(storage: Storage) -> tuple[Deployment | None, str | None]:
    """The record and the ETag by which it may be replaced; None twice where there is none."""
    container = storage.container("system", paths.RUNS, create=True)
    data, etag = compare_and_swap.read(container, paths.DEPLOYMENT_BLOB)
    if data is None:
        return None, None
    try:
        return _DEPLOYMENT.decode(data), etag
    except (ValueError, RecursionError) as error:  # msgspec's, and that of bytes which are no UTF-8
        raise NotDeployedError(
            f"the deployment record {paths.RUNS}/{paths.DEPLOYMENT_BLOB} cannot be read ({error}). Remove the blob. "
            f"{_HOW}, which writes it anew."
        ) from None


def write_deployment(storage: Storage, deployment: Deployment, etag: str | None) -> bool:
    """Replace the record that has this ETag, or make the first (None). False when somebody else was quicker."""
    container = storage.container("system", paths.RUNS, create=True)
    return compare_and_swap.swap(
        container, paths.DEPLOYMENT_BLOB, msgspec.json.format(msgspec.json.encode(deployment)), etag
    )


def deployed_workload(
    deployment: Deployment | None, workload: str, pipeline: Pipeline, workspace: str | None = None
) -> DeployedWorkload:
    """The workload as Azure ML has it. NotDeployedError when it does not, has another than this pipeline, or has it in
    another workspace than `workspace`."""
    if deployment is None:
        raise NotDeployedError(f"nothing is deployed to Azure ML yet. {_HOW}.")
    if workspace is not None and deployment.workspace.lower() != workspace.lower():
        raise NotDeployedError(
            f"what is deployed is in workspace {deployment.workspace!r}, and AZURE_SUBSCRIPTION_ID, AZURE_RESOURCE_GROUP "
            f"and AZUREML_WORKSPACE_NAME name {workspace!r}. {_HOW}, or correct the setting."
        )
    found = deployment.workloads.get(workload)
    if found is None:
        raise NotDeployedError(
            f"workload {workload!r} is not deployed to workspace {deployment.workspace!r}. {_HOW}."
        )
    if found.definition != definition_hash(pipeline):
        raise NotDeployedError(
            f"workload {workload!r} has changed since it was deployed on {deployment.deployed_at:%Y-%m-%d %H:%M} UTC. "
            f"{_HOW} from the files that run here."
        )
    return found
