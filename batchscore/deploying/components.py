"""A workload's YAML files -> the components to register, each with a version made of its content.

A component's version is made of its document, the version of its environment and that of its code; a pipeline component's
of the versions of its steps, too. So what is unchanged keeps its version, and what changed cannot be taken for what it was.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from batchscore.definitions import schema
from batchscore.definitions.model import LocalPath, Pipeline, Step, is_remote
from batchscore.deploying.environments import Environment, inline_environment, pinned, read_environment
from batchscore.deploying.snapshots import Snapshot, code_snapshot
from batchscore.deployment import content_version
from batchscore.errors import DefinitionError, Problem

Document = dict[str, Any]
AZUREML = "azureml:"
_FOR_PEOPLE = ("$schema", "type", "name", "version", "display_name", "description", "tags", "properties")
_PORTS = ("inputs", "outputs")
_OF_NODE = ("resources", "environment_variables")
"""What an inline step says of itself may stand on the node as well, where it goes before the component's."""


@dataclass(frozen=True)
class Component:
    """A component to register."""

    name: str
    kind: str
    """`command`, `parallel` or `pipeline`."""
    document: Document = field(hash=False)
    """Without version and code; references to environments and components name versions."""
    code: Snapshot | None = None

    @cached_property
    def version(self) -> str:
        told = json.dumps(self.document, sort_keys=True, default=str).encode()
        return content_version(told, self.code.version.encode() if self.code else b"")

    @property
    def label(self) -> str:
        return f"{self.name}:{self.version}"

    @property
    def reference(self) -> str:
        return f"{AZUREML}{self.label}"

    def document_with(self, code: Path | None) -> Document:
        """The whole document, its code in this folder."""
        document = {**self.document, "version": self.version}
        if code is None:
            return document
        if self.kind == "parallel":
            return {**document, "task": {**document["task"], "code": str(code)}}
        return {**document, "code": str(code)}


@dataclass(frozen=True)
class WorkloadComponents:
    """What a workload consists of in the workspace."""

    pipeline: Component
    steps: Mapping[str, str]
    """`name:version` by step, as the deployment record holds it."""
    components: tuple[Component, ...]
    """The pipeline's own among them, each after those that it names."""
    environments: tuple[Environment, ...]
    """Those that the files hold or name by a path."""


def components_of(
    workload: str, pipeline: Pipeline, environments: Mapping[str, Environment], clusters: Mapping[str, str]
) -> WorkloadComponents:
    """The components of a workload. `environments` are those of the folder by name, `clusters` the real names of clusters.
    DefinitionError for what cannot be registered."""
    reading = _Reading(pipeline, environments, clusters)
    document = _load(pipeline.file)
    if "component" in document or any(key in document for key in schema.PIPELINE_JOB_ONLY):
        reading.refuse(
            pipeline.file,
            1,
            "is a pipeline job, of which no component can be made. Declare its inputs as those of a pipeline component "
            "(type: pipeline, inputs with type and default), without settings.",
        )
    whole = reading.pipeline_component(document, pipeline.file, workload.replace("/", "_"), "")
    return WorkloadComponents(
        whole, reading.steps, tuple(reading.components.values()), tuple(reading.environments.values())
    )


class _Reading:
    """Goes through a pipeline file and what it names, and gathers components and environments."""

    def __init__(
        self, pipeline: Pipeline, environments: Mapping[str, Environment], clusters: Mapping[str, str]
    ) -> None:
        self._steps = {step.name: step for step in pipeline.steps}
        self._environments = environments
        self._clusters = clusters
        self._snapshots: dict[tuple[Path, tuple[Path, ...]], Snapshot] = {}
        self.steps: dict[str, str] = {}
        self.components: dict[str, Component] = {}
        self.environments: dict[str, Environment] = {}

    def refuse(self, file: Path, line: int, message: str) -> None:
        raise DefinitionError((Problem(str(file), line, message),))

    def pipeline_component(self, document: Document, file: Path, name: str, prefix: str) -> Component:
        nodes = {
            step: self._node(step, node, file, document.get("name") or name, prefix)
            for step, node in document["jobs"].items()
        }
        told = {key: value for key, value in document.items() if key != "version"}
        return self._add(
            Component(
                document.get("name") or name,
                "pipeline",
                {**told, "name": told.get("name") or name, "jobs": nodes},
            )
        )

    def _node(self, step: str, node: Document, file: Path, pipeline: str, prefix: str) -> Document:
        """The node as the registered pipeline component has it."""
        full = prefix + step
        inner, place = node.get("component"), file
        if isinstance(inner, str) and is_remote(inner):
            if full not in self._steps:
                self.refuse(
                    file,
                    1,
                    f"step {full!r} is the registered pipeline component {inner}, whose steps deploy does not know. "
                    "Name its file.",
                )
            self.steps[full] = inner.removeprefix(AZUREML)
            return self._placed(node)
        if isinstance(inner, str):
            place = Path(file.parent / inner.removeprefix("file:"))
            inner = _load(place)
        if isinstance(inner, dict) and inner.get("type") == "pipeline":
            component = self.pipeline_component(inner, place, f"{pipeline}_{step}", f"{full}/")
        else:
            found = self._steps[full]
            self._check_inputs(found, file)
            if inner is None:
                inner, node = _taken_apart(node, found)
            else:
                inner, node = _merged(inner, node)
            component = self._step_component(inner, place, f"{pipeline}_{step}", found)
            self.steps[full] = component.label
        return self._placed({**node, "component": component.reference})

    def _step_component(self, document: Document, file: Path, name: str, step: Step) -> Component:
        kind = document.get("type") or "command"
        said = document.get("name") or re.sub(r"\W", "_", name)
        told = {
            key: value
            for key, value in document.items()
            if key not in ("version", "code", "additional_includes")
        }
        told |= {"type": kind, "name": said}
        if kind == "parallel":
            task = {key: value for key, value in document["task"].items() if key != "code"}
            told["task"] = {**task, "environment": self._environment(task.get("environment"), file, said)}
        else:
            told["environment"] = self._environment(document.get("environment"), file, said)
        return self._add(Component(said, kind, told, self._snapshot(step)))

    def _environment(self, said: object, file: Path, component: str) -> str | None:
        """The environment of a step as a reference to a version; one that its file holds or names by a path becomes one
        to register."""
        if isinstance(said, str) and is_remote(said):
            return pinned(said, self._environments)
        if isinstance(said, str):
            found = read_environment(file.parent / said.removeprefix("file:"))
        elif isinstance(said, dict):
            found = inline_environment(said, file, component)
        else:
            return None
        self.environments[found.reference] = found
        return found.reference

    def _snapshot(self, step: Step) -> Snapshot | None:
        if step.code is None:
            return None
        includes: tuple[Path, ...] = getattr(step, "includes", ())
        key = (step.code, includes)
        if key not in self._snapshots:
            self._snapshots[key] = code_snapshot(*key)
        return self._snapshots[key]

    def _check_inputs(self, step: Step, file: Path) -> None:
        for port, binding in step.bindings.items():
            if isinstance(binding, LocalPath) and binding.address is None:
                self.refuse(
                    file,
                    step.line,
                    f"input {port!r} of step {step.name!r} is {binding.path!r}, a file of this machine. Upload it, and make "
                    "it an input of the pipeline.",
                )

    def _placed(self, node: Document) -> Document:
        """The node with the real name of its cluster."""
        said = node.get("compute")
        if not isinstance(said, str) or said.removeprefix(AZUREML) not in self._clusters:
            return node
        return {**node, "compute": f"{AZUREML}{self._clusters[said.removeprefix(AZUREML)]}"}

    def _add(self, component: Component) -> Component:
        return self.components.setdefault(component.label, component)


def _merged(component: Document, node: Document) -> tuple[Document, Document]:
    """A component with what the node says instead of its environment and its task, and the node without that: the nodes of
    a run's job name components and cannot say it."""
    said: Document = {key: node[key] for key in ("environment", "task") if key in node}
    if "task" in said and "task" in component:
        said["task"] = {**component["task"], **said["task"]}
    return {**component, **said}, {key: value for key, value in node.items() if key not in said}


def _taken_apart(node: Document, step: Step) -> tuple[Document, Document]:
    """A step that is written in place -> its component, and what is left on the node."""
    kind = node.get("type") or "command"
    moved = [key for key in schema.COMPONENT[kind] if key in node and key not in (*_FOR_PEOPLE, *_PORTS)]
    component: Document = {"type": kind, **{key: node[key] for key in moved}}
    component["inputs"] = {
        port: {"type": declared.type, **({"optional": True} if declared.optional else {})}
        for port, declared in step.inputs.items()
    }
    component["outputs"] = {port: {"type": declared.type} for port, declared in step.outputs.items()}
    left = {key: value for key, value in node.items() if key not in moved or key in _OF_NODE}
    return component, left


def _load(file: Path) -> Document:
    """The content of a file that was found to be good."""
    document: Document = yaml.safe_load(file.read_text("utf-8-sig"))
    return document
