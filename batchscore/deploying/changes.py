"""What is wanted and what was found -> what is to be done; a decision, without doing any of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from batchscore.definitions.compute_targets import SETTINGS, ComputeTarget
from batchscore.deploying.components import Component
from batchscore.deploying.environments import Environment
from batchscore.deploying.found import AML_COMPUTE, AZURE_BLOB, Found, FoundCluster, FoundDatastore
from batchscore.deploying.wanted import Datastore, LeftOut, Model, Wanted, kind_of


class Action(StrEnum):
    """What is to be done with a thing."""

    CREATE = "create"
    REGISTER = "register"
    CHANGE = "change"
    KEEP = "there"
    LEAVE = "left"
    """Something else of this name is there, and nothing depends on it; or a workload could not run."""
    REFUSE = "refused"
    """It cannot be as it should; a person decides."""


Thing = ComputeTarget | Datastore | Environment | Component | Model | LeftOut


@dataclass(frozen=True)
class Change:
    """One line of the plan."""

    action: Action
    kind: str
    """`cluster`, `datastore`, `environment`, `component`, `pipeline`, `model` or `workload`."""
    name: str
    version: str
    note: str
    thing: Thing = field(compare=False, repr=False)

    @property
    def is_due(self) -> bool:
        return self.action in (Action.CREATE, Action.REGISTER, Action.CHANGE)


def changes(wanted: Wanted, found: Found, *, computes_by_infra: bool) -> tuple[Change, ...]:
    """The plan, in the order in which it is carried out."""
    plan = [
        _cluster(name, target, found.clusters.get(target.name), computes_by_infra)
        for name, target in wanted.clusters.items()
    ]
    plan += [_datastore(datastore, found.datastores.get(datastore.name)) for datastore in wanted.datastores]
    plan += [
        _registered("environment", environment.name, environment.version, environment, found)
        for environment in wanted.environments
    ]
    plan += [_component(component, found) for component in wanted.components]
    plan += [_model(model, found.models.get((model.name, model.version))) for model in wanted.models]
    plan += [Change(Action.LEAVE, "workload", each.name, "", each.why, each) for each in wanted.left_out]
    return tuple(plan)


def _component(component: Component, found: Found) -> Change:
    note = f"{component.kind}" if component.kind != "pipeline" else f"{len(component.document['jobs'])} steps"
    return _registered(kind_of(component), component.name, component.version, component, found, note)


def _registered(kind: str, name: str, version: str, thing: Thing, found: Found, note: str = "") -> Change:
    there = (kind, name, version) in found.registered
    return Change(Action.KEEP if there else Action.REGISTER, kind, name, version, note, thing)


def _cluster(alias: str, target: ComputeTarget, there: FoundCluster | None, by_infra: bool) -> Change:
    def change(action: Action, note: str) -> Change:
        return Change(action, "cluster", target.name, "", note, target)

    size = f"{target.size}, {_nodes(target)}{', low priority' if target.low_priority else ''}"
    if there is None and by_infra:
        return change(
            Action.REFUSE,
            "is not in the workspace. Let the infrastructure make it, or leave out --compute-by-infra.",
        )
    if there is None:
        return change(Action.CREATE, size)
    if there.kind != AML_COMPUTE:
        return change(Action.REFUSE, f"is a compute of type {there.kind}, no cluster. {_another(alias)}")
    fixed = _fixed_differences(target, there)
    if by_infra:
        differing = ", ".join([*fixed, *_differences(target, there)])
        return change(
            Action.KEEP, f"the infrastructure's; {differing}" if differing else "the infrastructure's"
        )
    if there.state.lower() == "failed":
        return change(
            Action.REFUSE,
            f"could not be provisioned. Delete it in the workspace, or look there why. {_another(alias)}",
        )
    if fixed:
        return change(
            Action.REFUSE,
            f"has {', '.join(fixed)}, which cannot be changed. Delete it while nothing runs. {_another(alias)}",
        )
    differing = ", ".join(_differences(target, there))
    return change(Action.CHANGE, differing) if differing else change(Action.KEEP, size)


def _nodes(target: ComputeTarget) -> str:
    return f"{target.min_nodes} to {target.max_nodes} nodes"


def _another(alias: str) -> str:
    prefix = SETTINGS.get(alias)
    return (
        f"Or give it another name: {prefix}_NAME." if prefix else "Or rename it in its file and in the steps."
    )


def _fixed_differences(target: ComputeTarget, there: FoundCluster) -> list[str]:
    found = []
    if there.size.lower() != target.size.lower():
        found.append(f"size {there.size} and not {target.size}")
    if there.low_priority != target.low_priority:
        found.append(f"{_priority(there.low_priority)} nodes and not {_priority(target.low_priority)} ones")
    return found


def _priority(low: bool) -> str:
    return "low priority" if low else "dedicated"


def _differences(target: ComputeTarget, there: FoundCluster) -> list[str]:
    pairs = (
        ("least nodes", there.min_nodes, target.min_nodes),
        ("most nodes", there.max_nodes, target.max_nodes),
        ("idle seconds", there.idle_time_s, target.idle_time_s),
    )
    return [f"{what} {now} → {then}" for what, now, then in pairs if now != then]


def _datastore(datastore: Datastore, there: FoundDatastore | None) -> Change:
    place = f"container {datastore.container!r} of account {datastore.account!r}"
    action, note = Action.KEEP, place
    if there is None:
        action = Action.CREATE
    elif there.kind != AZURE_BLOB:
        action = Action.REFUSE
        note = f"is of type {there.kind} and not of {place}. Delete it in the workspace, or use another workspace."
    elif (there.account, there.container) != (datastore.account, datastore.container):
        action = Action.REFUSE
        note = (
            f"is container {there.container!r} of account {there.account!r} and not {place}: another deployment uses the "
            "workspace. Give this one a workspace of its own, or delete the datastore."
        )
    return Change(action, "datastore", datastore.name, "", note, datastore)


def _model(model: Model, there: str | None) -> Change:
    action, note = Action.KEEP, ""
    if there is None:
        action = Action.REGISTER
    elif not there.endswith(model.path.removeprefix("azureml://")):
        action, note = (
            Action.LEAVE,
            "another model of this name and version is registered; runs read theirs from storage",
        )
    return Change(action, "model", model.name, model.version, note, model)
