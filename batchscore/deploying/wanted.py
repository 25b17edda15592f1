"""Everything that should be in the workspace, read from the folder of workloads, the settings and the models in storage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from batchscore import paths
from batchscore.definitions.compute_targets import ComputeTarget, load_targets
from batchscore.definitions.placement import environments as gpu_by_environment
from batchscore.definitions.suitability import unsuitable, without_cluster
from batchscore.deploying.components import Component, components_of
from batchscore.deploying.environments import Environment, read_environments
from batchscore.deployment import DeployedWorkload, definition_hash
from batchscore.errors import DefinitionError, Problem, RequestError, SettingsError
from batchscore.models import ModelStore
from batchscore.settings import Settings
from batchscore.storage import Storage
from batchscore.workloads import Workloads


@dataclass(frozen=True)
class Datastore:
    """A container as the workspace knows it; nothing of its content."""

    name: str
    account: str
    container: str
    endpoint: str
    """What follows the account's name and `.blob.`; of an account on this machine its host and port."""
    protocol: str = "https"


@dataclass(frozen=True)
class Model:
    """The current version of a model in storage."""

    name: str
    version: str
    path: str
    """Its folder, as Azure ML names it."""


@dataclass(frozen=True)
class LeftOut:
    """A workload that is not deployed, for it could not run."""

    name: str
    why: str


@dataclass(frozen=True)
class Wanted:
    """What a deployment brings."""

    clusters: Mapping[str, ComputeTarget]
    """By the name that steps use."""
    datastores: tuple[Datastore, ...]
    environments: tuple[Environment, ...]
    components: tuple[Component, ...]
    """Each after those that it names."""
    models: tuple[Model, ...]
    workloads: Mapping[str, DeployedWorkload]
    left_out: tuple[LeftOut, ...] = ()


def kind_of(component: Component) -> str:
    """What people call it: a pipeline component is a pipeline."""
    return "pipeline" if component.kind == "pipeline" else "component"


def wanted(settings: Settings, storage: Storage, workloads: Workloads, *, bring_models: bool) -> Wanted:
    """What should be there. With `bring_models`, models that ship are stored first where they are not yet; without, those
    are left out. DefinitionError and SettingsError say what is wrong with files and settings."""
    targets = load_targets(workloads.folder, settings.clusters)
    _check_suitable(workloads, targets)
    left_out = workloads_without_cluster(workloads, targets)
    clusters = present(targets)
    environments = read_environments(workloads.folder)
    known = {environment.reference: environment for environment in environments.values()}
    components: dict[str, Component] = {}
    deployed: dict[str, DeployedWorkload] = {}
    real_names = {name: target.name for name, target in clusters.items()}
    for name in workloads.names():
        if name in left_out:
            continue
        pipeline = workloads.pipeline(name)
        found = components_of(name, pipeline, environments, real_names)
        known |= {environment.reference: environment for environment in found.environments}
        for component in found.components:
            components.setdefault(component.label, component)
        deployed[name] = DeployedWorkload(definition_hash(pipeline), found.pipeline.label, dict(found.steps))
    _check_kinds(components)
    return Wanted(
        clusters,
        datastores(settings, storage),
        tuple(known.values()),
        tuple(components.values()),
        _models(ModelStore(storage, workloads.models), bring_models),
        deployed,
        tuple(LeftOut(name, why) for name, why in left_out.items()),
    )


def present(targets: Mapping[str, ComputeTarget]) -> dict[str, ComputeTarget]:
    """The clusters that are to be there."""
    return {name: target for name, target in targets.items() if not target.is_absent}


def workloads_without_cluster(workloads: Workloads, targets: Mapping[str, ComputeTarget]) -> dict[str, str]:
    """The workloads with a step for a cluster that the settings rule out, and why each cannot run. Those whose files are
    wrong are not among them."""
    known = gpu_by_environment(workloads.folder)
    found: dict[str, str] = {}
    for name in workloads.names():
        try:
            why = without_cluster(workloads.pipeline(name), targets, known)
        except DefinitionError:
            continue
        if why is not None:
            found[name] = why
    return found


def _check_suitable(workloads: Workloads, clusters: Mapping[str, ComputeTarget]) -> None:
    """The mistakes of every workload that Azure ML would only tell of when a job is sent, or an hour later."""
    problems: list[Problem] = []
    known = gpu_by_environment(workloads.folder)
    for name in workloads.names():
        try:
            problems += unsuitable(workloads.pipeline(name), clusters, known)
        except DefinitionError as error:
            problems += error.problems
    if problems:
        raise DefinitionError(tuple(dict.fromkeys(problems)))


def _check_kinds(components: Mapping[str, Component]) -> None:
    """A name is that of components of one kind: the workspace refuses the second."""
    kinds: dict[str, str] = {}
    for component in components.values():
        kind = kinds.setdefault(component.name, component.kind)
        if kind != component.kind:
            raise DefinitionError(
                (
                    Problem(
                        component.name,
                        1,
                        f"a {kind} component and a {component.kind} component are both called {component.name!r}. "
                        "Rename one of them.",
                    ),
                )
            )


def datastores(settings: Settings, storage: Storage) -> tuple[Datastore, ...]:
    """Those of the containers that jobs read and write."""
    if settings.data_container in (paths.MODELS, paths.LOGS):
        raise SettingsError(
            f"DATA_CONTAINER is {settings.data_container!r}, which is the name of a container of the system account; "
            "its datastore could not be told from that one's. Choose another."
        )
    places = (("data", settings.data_container), ("system", paths.MODELS), ("system", paths.LOGS))
    return tuple(_datastore(storage, account, container) for account, container in places)


def _datastore(storage: Storage, account: str, container: str) -> Datastore:
    service = storage.service(account)
    address = urlsplit(service.url)
    name = str(service.account_name)
    _, _, endpoint = address.netloc.partition(".blob.")
    return Datastore(
        paths.datastore_name(container), name, container, endpoint or address.netloc, address.scheme
    )


def _models(store: ModelStore, bring: bool) -> tuple[Model, ...]:
    names = {name for name in store.names() if store.versions(name)}
    if bring:
        names |= set(store.shipped())
    found = []
    for name in sorted(names):
        try:
            place = store.resolve(name)
        except RequestError:
            continue  # the version that was promoted is gone, which 'batchscore models' says
        version = place.path.split("/")[1]
        path = f"azureml://datastores/{paths.datastore_name(place.container)}/paths/{place.path}"
        found.append(Model(name, version, path))
    return tuple(found)
