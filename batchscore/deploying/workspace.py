"""The edge: looking into the workspace by plain requests, and acting through Microsoft's SDK, which is loaded for that alone."""

from __future__ import annotations

import io
import json
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stderr
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchscore.compute.azureml.api import WorkspaceApi
from batchscore.compute.azureml.client import credential_for, open_client
from batchscore.definitions.compute_targets import ComputeTarget
from batchscore.deploying.build_contexts import BuildContexts
from batchscore.deploying.changes import Change
from batchscore.deploying.components import Component
from batchscore.deploying.environments import Environment
from batchscore.deploying.errors import doing
from batchscore.deploying.found import Found, found_cluster, look
from batchscore.deploying.snapshots import Snapshot
from batchscore.deploying.wanted import Datastore, Model, Wanted
from batchscore.errors import BatchscoreError, ComputeUnavailableError
from batchscore.settings import Workspace as Address
from batchscore.storage import Storage

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

PROVISIONED_WITHIN_S = 900.0
_POLL_S = 2.0


class Workspace:
    """An Azure ML workspace. Code that is to be uploaded lies in a folder of its own until `close`. What the service refuses is
    a BatchscoreError that says what was being done."""

    def __init__(self, address: Address, storage: Storage) -> None:
        self._address, self._storage = address, storage
        self._api = WorkspaceApi(address)
        self._scratch = tempfile.TemporaryDirectory(prefix="batchscore-deploy-")
        self._copies: dict[str, Path] = {}

    @property
    def place(self) -> str:
        return self._address.place

    @cached_property
    def _client(self) -> MLClient:
        return open_client(self._address)

    @cached_property
    def _contexts(self) -> BuildContexts:
        return BuildContexts(self._client, self._storage, credential_for(self._address))

    def close(self) -> None:
        self._api.close()
        self._scratch.cleanup()

    def look(self, wanted: Wanted) -> Found:
        """What of the wanted is there; changes nothing."""
        return look(self._api, wanted)

    def carry_out(self, change: Change) -> None:
        """Do what is due; a cluster is waited for until it is there."""
        acts: dict[type, Callable[[Any], None]] = {
            ComputeTarget: self._make_cluster,
            Datastore: self._make_datastore,
            Environment: self._register_environment,
            Component: self._register_component,
            Model: self._register_model,
        }
        with doing(f"{change.action} the {change.kind} {change.name}"), redirect_stderr(io.StringIO()):
            acts[type(change.thing)](change.thing)  # the SDK writes colours and blank lines there

    def _make_cluster(self, target: ComputeTarget) -> None:
        from azure.ai.ml import load_compute

        assert target.file is not None
        overrides: list[dict[str, Any]] = [
            {"name": target.name},
            {"size": target.size},
            {"tier": "low_priority" if target.low_priority else "dedicated"},
            {"min_instances": target.min_nodes},
            {"max_instances": target.max_nodes},
            {"idle_time_before_scale_down": target.idle_time_s},
        ]
        self._client.compute.begin_create_or_update(load_compute(target.file, params_override=overrides))
        deadline = time.monotonic() + PROVISIONED_WITHIN_S
        while True:
            there = found_cluster(self._api.compute(target.name))
            state = there.state.lower()
            if state == "succeeded":
                return
            if state in ("failed", "canceled"):
                raise BatchscoreError(
                    f"the cluster {target.name} could not be provisioned: {there.trouble or state}. Look at the "
                    "quota for its VM size in the workspace's region, or choose another size; then delete the cluster in the "
                    "workspace and deploy again."
                )
            if time.monotonic() > deadline:
                raise ComputeUnavailableError(
                    f"the cluster {target.name} is still {state} after {PROVISIONED_WITHIN_S / 60:.0f} minutes. Deploy "
                    "again later; what is there by then stays."
                )
            time.sleep(_POLL_S)

    def _make_datastore(self, datastore: Datastore) -> None:
        from azure.ai.ml.entities import AzureBlobDatastore

        self._client.datastores.create_or_update(
            AzureBlobDatastore(
                name=datastore.name,
                description="Made by batchscore deploy; reached by identity.",
                account_name=datastore.account,
                container_name=datastore.container,
                endpoint=datastore.endpoint,
                protocol=datastore.protocol,
            )
        )

    def _register_environment(self, environment: Environment) -> None:
        from azure.ai.ml import load_environment

        document = {**environment.document, "version": environment.version}
        if environment.context is not None:
            folder = f"batchscore/environments/{environment.name}/{environment.version}"
            document["build"] = {
                "path": self._contexts.upload(environment.context, folder),
                "dockerfile_path": environment.dockerfile,
            }
        conda = document.get("conda_file")
        if isinstance(conda, str):
            document["conda_file"] = str((environment.file.parent / conda).resolve())
        file = self._written(f"environment-{environment.name}", document)
        self._client.environments.create_or_update(load_environment(file))

    def _register_component(self, component: Component) -> None:
        from azure.ai.ml import load_component

        code = self._copied(component.code) if component.code is not None else None
        file = self._written(f"component-{component.name}", component.document_with(code))
        self._client.components.create_or_update(load_component(file))

    def _register_model(self, model: Model) -> None:
        from azure.ai.ml.entities import Model as RegisteredModel

        self._client.models.create_or_update(
            RegisteredModel(
                name=model.name,
                version=model.version,
                path=model.path,
                type="custom_model",
                description="Kept in batchscore's models container.",
            )
        )

    def _copied(self, code: Snapshot) -> Path:
        """A folder with the snapshot's files, the same for the same snapshot, so that the SDK uploads it once."""
        if code.version not in self._copies:
            self._copies[code.version] = code.copy_to(Path(self._scratch.name) / code.version / "code")
        return self._copies[code.version]

    def _written(self, name: str, document: dict[str, Any]) -> Path:
        """The document as a file that the SDK loads; JSON is YAML, too."""
        file = Path(self._scratch.name) / f"{name}.yml"
        file.write_text(json.dumps(document, default=str), "utf-8")
        return file
