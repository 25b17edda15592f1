"""The edge: what of the wanted is in the workspace, and bringing there what is not. All of it through azure-ai-ml."""

from __future__ import annotations

import io
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from batchscore.compute.azureml.errors import answer_to, is_unknown, translated
from batchscore.definitions.compute_targets import ComputeTarget
from batchscore.deploying.build_contexts import BuildContexts
from batchscore.deploying.changes import Change, Found, FoundCluster, FoundDatastore, kind_of
from batchscore.deploying.components import Component
from batchscore.deploying.environments import Environment
from batchscore.deploying.snapshots import Snapshot
from batchscore.deploying.wanted import Datastore, Model, Wanted
from batchscore.errors import BatchscoreError, ComputeUnavailableError
from batchscore.settings import Workspace as Address
from batchscore.storage import Storage

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

LOOKS_AT_ONCE = 8
PROVISIONED_WITHIN_S = 900.0
_POLL_S = 2.0

_AGAIN = "Deploy again; what was registered stays."

Answer = TypeVar("Answer")


class Workspace:
    """An Azure ML workspace through its SDK's client. Code that is to be uploaded lies in a folder of its own until `close`.
    What the service refuses is a BatchscoreError that says what was being done."""

    def __init__(self, client: MLClient, contexts: BuildContexts) -> None:
        self._client, self._contexts = client, contexts
        self._scratch = tempfile.TemporaryDirectory(prefix="batchscore-deploy-")
        self._copies: dict[str, Path] = {}

    @classmethod
    def open(cls, address: Address, storage: Storage) -> Workspace:
        """The workspace at this address; nothing is sent to it yet."""
        from batchscore.compute.azureml.client import credential_for, open_client

        client = open_client(address)
        return cls(client, BuildContexts(client, storage, credential_for(address)))

    def close(self) -> None:
        self._scratch.cleanup()

    def look(self, wanted: Wanted) -> Found:
        """What of the wanted is there; changes nothing."""
        clusters = {target.name for target in wanted.clusters.values()}
        versions = [
            ("environment", each.name, each.version, self._client.environments)
            for each in wanted.environments
        ] + [(kind_of(each), each.name, each.version, self._client.components) for each in wanted.components]
        with ThreadPoolExecutor(LOOKS_AT_ONCE) as pool:
            computes = pool.map(self._cluster, clusters)
            datastores = pool.map(self._datastore, [each.name for each in wanted.datastores])
            registered = pool.map(lambda each: self._is_there(*each), versions)
            models = pool.map(self._model_path, wanted.models)
            return Found(
                {name: cluster for name, cluster in zip(clusters, computes, strict=True) if cluster},
                {
                    each.name: there
                    for each, there in zip(wanted.datastores, datastores, strict=True)
                    if there is not None
                },
                frozenset(each[:3] for each, there in zip(versions, registered, strict=True) if there),
                {
                    (each.name, each.version): path
                    for each, path in zip(wanted.models, models, strict=True)
                    if path is not None
                },
            )

    def carry_out(self, change: Change) -> None:
        """Do what is due; a cluster is waited for until it is there."""
        acts: dict[type, Callable[[Any], None]] = {
            ComputeTarget: self._make_cluster,
            Datastore: self._make_datastore,
            Environment: self._register_environment,
            Component: self._register_component,
            Model: self._register_model,
        }
        with self._doing(f"{change.action} the {change.kind} {change.name}"), redirect_stderr(io.StringIO()):
            acts[type(change.thing)](change.thing)  # the SDK writes colours and blank lines there

    def _cluster(self, name: str) -> FoundCluster | None:
        there = self._look(f"the cluster {name}", lambda: self._client.compute.get(name))
        if there is None:
            return None
        kind, state = _text(there.type).lower(), _text(there.provisioning_state) or "Succeeded"
        if kind != "amlcompute":
            return FoundCluster(kind, state=state)
        cluster = cast("Any", there)
        return FoundCluster(
            kind,
            str(cluster.size),
            int(cluster.min_instances or 0),
            int(cluster.max_instances or 0),
            int(cluster.idle_time_before_scale_down or 0),
            "low" in _text(cluster.tier).lower(),
            state,
        )

    def _datastore(self, name: str) -> FoundDatastore | None:
        there = self._look(f"the datastore {name}", lambda: self._client.datastores.get(name))
        if there is None:
            return None
        # AzureBlob in some answers, azure_blob in others
        kind = (
            "azure_blob" if _text(there.type).lower().replace("_", "") == "azureblob" else _text(there.type)
        )
        return FoundDatastore(
            kind, str(getattr(there, "account_name", "")), str(getattr(there, "container_name", ""))
        )

    def _is_there(self, kind: str, name: str, version: str, operations: Any) -> bool:
        return (
            self._look(f"the {kind} {name}:{version}", lambda: operations.get(name=name, version=version))
            is not None
        )

    def _model_path(self, model: Model) -> str | None:
        there = self._look(
            f"the model {model.name}:{model.version}",
            lambda: self._client.models.get(name=model.name, version=model.version),
        )
        return None if there is None else str(there.path)

    def _look(self, what: str, get: Callable[[], Answer]) -> Answer | None:
        """What is there; None when it is not."""
        with self._doing(f"look at {what}"):
            try:
                return get()
            except Exception as error:  # the SDK wraps the service's answers in errors of its own
                if is_unknown(error):
                    return None
                raise

    def _make_cluster(self, target: ComputeTarget) -> None:
        from azure.ai.ml import load_compute

        assert target.file is not None
        overrides: list[dict[str, Any]] = [
            {"name": target.name},
            {"size": target.size},
            {"min_instances": target.min_nodes},
            {"max_instances": target.max_nodes},
            {"idle_time_before_scale_down": target.idle_time_s},
        ]
        self._client.compute.begin_create_or_update(load_compute(target.file, params_override=overrides))
        deadline = time.monotonic() + PROVISIONED_WITHIN_S
        while True:
            there = self._client.compute.get(target.name)
            state = _text(there.provisioning_state).lower()
            if state == "succeeded":
                return
            if state in ("failed", "canceled"):
                raise BatchscoreError(
                    f"the cluster {target.name} could not be provisioned: {there.provisioning_errors or state}. Look at "
                    "the quota for its VM size in the workspace's region, or choose another size."
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

    @contextmanager
    def _doing(self, what: str) -> Iterator[None]:
        """What comes out of the SDK meanwhile, in words for whoever deploys."""
        try:
            yield
        except BatchscoreError:
            raise
        except Exception as error:
            known = translated(error, what)
            if known is None:
                raise
            answer = answer_to(error)
            if answer is None:
                told = str(known).removesuffix(" The run waits.").removesuffix(" It is tried again.")
                raise type(known)(f"{told} {_AGAIN}") from error
            status, said = answer
            raise type(known)(
                f"cannot {what}: Azure ML answered {status}, {said}. {_remedy(status)}"
            ) from error


def _text(value: object) -> str:
    """What the SDK gives as text in one place and as a member of an enumeration in another."""
    return str(getattr(value, "value", value) or "")


def _remedy(status: int) -> str:
    if status in (401, 403):
        return (
            "Log in with 'az login' as someone who has the roles 'AzureML Data Scientist' and, for clusters, 'AzureML Compute "
            f"Operator' on the workspace. {_AGAIN}"
        )
    if status == 404:
        return "Look at AZURE_SUBSCRIPTION_ID, AZURE_RESOURCE_GROUP and AZUREML_WORKSPACE_NAME."
    if status in (408, 409, 429) or status >= 500:
        return _AGAIN
    return f"Correct it. {_AGAIN}"
