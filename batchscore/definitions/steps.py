"""The steps of a pipeline as they are written: inline or with a component file, before references are followed."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from batchscore.definitions import schema
from batchscore.definitions.given import Given, GivenOutput, given_input, given_output
from batchscore.definitions.interface import declared_inputs, declared_outputs
from batchscore.definitions.labels import check_labels, check_registered, check_schema
from batchscore.definitions.local_files import Place, remedy
from batchscore.definitions.model import Binding, Input, Output, is_remote
from batchscore.definitions.reading import Section, nearest
from batchscore.definitions.service import NODE_NAME
from batchscore.definitions.yamlnodes import Node, Problems, read

Value = TypeVar("Value")


@dataclass(frozen=True)
class Layer:
    """One mapping that says something about a step, and what its paths and references mean."""

    section: Section
    place: Place

    @property
    def folder(self) -> Path:
        """The folder that its paths are relative to."""
        return self.place.folder

    def below(self, key: str) -> Layer | None:
        inner = self.section.section(key)
        return None if inner is None else Layer(inner, self.place)


@dataclass(frozen=True)
class Draft:
    """A step as written. `inputs` is None where the step is inline and so declares none."""

    name: str
    kind: str
    layers: tuple[Layer, ...]
    """What the pipeline file says first, then the component file."""
    inputs: dict[str, Input] | None
    outputs: dict[str, Output]
    given: dict[str, Given]
    given_outputs: dict[str, GivenOutput]

    @property
    def node(self) -> Section:
        return self.layers[0].section

    @property
    def what(self) -> str:
        return f"step {self.name!r}"

    @property
    def file(self) -> Path:
        """The file that decides what the step does: its component's, or the pipeline's where it is inline."""
        return Path(self.layers[-1].section.node.file)

    @property
    def named_inputs(self) -> frozenset[str]:
        """Inputs that the pipeline file names for this step, rightly or wrongly."""
        return frozenset(name for name, _ in self.node.entries("inputs"))

    def below(self, key: str) -> tuple[Layer, ...]:
        """The mapping below `key` in every place that has one."""
        inner = [layer.below(key) for layer in self.layers]
        return tuple(layer for layer in inner if layer is not None)


@dataclass(frozen=True)
class Bound:
    """A step's inputs and outputs after references were followed."""

    inputs: dict[str, Input]
    outputs: dict[str, Output]
    bindings: dict[str, Binding]
    output_bindings: dict[str, str]
    parent: frozenset[str] = frozenset()
    """The names of the pipeline's inputs."""


def first(layers: tuple[Layer, ...], getter: Callable[[Section], Value | None]) -> Value | None:
    """The first value that is there; every place is read, so that each mistake is found."""
    found = [getter(layer.section) for layer in layers]
    return next((value for value in found if value is not None), None)


def holder(layers: tuple[Layer, ...], key: str) -> Layer | None:
    """The place that decides a key."""
    return next((layer for layer in layers if key in layer.section), None)


def draft(name: str, node: Node, place: Place, problems: Problems) -> Draft | None:
    """One entry of `jobs:`; None when it cannot be gone on with."""
    what = f"step {name!r}"
    if not NODE_NAME.fullmatch(name):
        problems.add(
            node, f"{what} is not a name. Use lower-case letters, digits and _, beginning with a letter or _."
        )
    section = Section.of(node, what, problems)
    if section is None:
        return None
    kind = _kind(section)
    layers = [Layer(section, place)]
    if kind is not None and "component" in section:
        component = component_of(section, kind, place)
        kind = None if component is None else component.section.text("type")
    if kind is None:
        return None
    section.allow(schema.NODE[kind])
    check_labels(section)
    if kind == "pipeline" and "component" not in section:
        section.missing("component", "Name the file of a pipeline component: component: ./part.yml.")
        return None
    if "component" in section:
        assert component is not None
        layers.append(component)
        for key in ("command", "code", "additional_includes"):
            section.refuse(key, "comes from the component here. Change the component, or leave it out.")
    given = {}
    for port, value in section.entries("inputs"):
        found = given_input(port, value, place, problems)
        if found is not None:
            given[port] = found
    given_outputs = {}
    for port, value in section.entries("outputs"):
        found_output = given_output(port, value, problems)
        if found_output is not None:
            given_outputs[port] = found_output
    return _with_outputs(name, kind, tuple(layers), given, given_outputs)


def _with_outputs(
    name: str,
    kind: str,
    layers: tuple[Layer, ...],
    given: dict[str, Given],
    given_outputs: dict[str, GivenOutput],
) -> Draft:
    component = layers[1].section if len(layers) > 1 else None
    inputs = None if component is None else declared_inputs(component)
    if component is None:
        outputs = {
            port: Output(port, value.type or "", value.node.line, value.mode, value.path, asset=value.asset)
            for port, value in given_outputs.items()
        }
        return Draft(name, kind, layers, inputs, outputs, given, given_outputs)
    outputs = declared_outputs(component)
    for port, value in given_outputs.items():
        declared = outputs.get(port)
        if declared is None:
            remedy = nearest(port, outputs, "Its outputs are")
            component.problems.add(
                value.node, f"step {name!r}: the component has no output {port!r}. {remedy}"
            )
            continue
        if value.type not in (None, declared.type):
            component.problems.add(
                value.node,
                f"step {name!r}: output {port!r} is {value.type} here and {declared.type} in the component. "
                "Make the two agree.",
            )
        outputs[port] = Output(
            port,
            declared.type,
            declared.line,
            value.mode or declared.mode,
            value.path,
            declared.description,
            value.asset,
        )
    return Draft(name, kind, layers, inputs, outputs, given, given_outputs)


def _kind(section: Section) -> str | None:
    """The step's type, `command` where it only has a command, as on Azure ML; empty when its component decides;
    None after a problem."""
    kind = section.text("type")
    if kind is None:
        if "type" in section:
            return None
        component = section.get("component")
        if component is None and "command" in section:
            return "command"
        if component is None:
            section.missing("type", "Say type: command or type: parallel.")
            return None
        return ""
    if kind in schema.LATER_STEP_TYPES:
        section.refuse(
            "type", f"{kind!r} {schema.NOT_YET}. It runs steps of type command, parallel and pipeline."
        )
        return None
    if kind not in schema.STEP_TYPES:
        section.refuse(
            "type",
            f"is {kind!r}; it must be command, parallel or pipeline. {nearest(kind, schema.STEP_TYPES, 'There are')}",
        )
        return None
    return kind


def component_of(section: Section, kind: str, place: Place) -> Layer | None:
    """The component that a step (or a pipeline job) names or holds; None after a problem."""
    node = section.values["component"]
    problems = section.problems
    if isinstance(node.value, dict):
        inner = Section(node, node.value, f"{section.what}: component", problems)
        return _checked(inner, kind, place, section)
    if not isinstance(node.value, str):
        section.wrong("component", "the path of a component file, such as ./score.yml")
        return None
    reference = node.value
    if is_remote(reference):
        found = place.files.find(reference)
        if found is None:
            section.refuse("component", f"{reference!r} is registered with Azure ML. {remedy(reference)}")
            return None
        path = found
    else:
        path = place.folder / reference.removeprefix("file:")
    path = Path(os.path.normpath(path))  # one name for one file
    if not path.is_file():
        problems.add(
            node,
            f"{section.what}: the component file {reference!r} is not there (looked for {path}). Correct the path.",
        )
        return None
    root = read(path, problems)
    if root is None:
        return None
    inner_section = Section.of(root, f"the component {path.name!r}", problems)
    return None if inner_section is None else _checked(inner_section, kind, place.at(path.parent), section)


def _checked(component: Section, kind: str, place: Place, section: Section) -> Layer | None:
    said = component.text("type")
    if said is None and "type" not in component:
        component.missing("type", f"Say type: {kind or 'command'}.")
        return None
    if said in schema.LATER_STEP_TYPES:
        section.refuse("component", f"is of type {said!r}, which {schema.NOT_YET}.")
        return None
    if said not in schema.STEP_TYPES or kind not in ("", said):
        component.wrong("type", f"{kind or 'command, parallel or pipeline'}, as in {section.what}")
        return None
    component.allow(schema.COMPONENT[said])
    check_schema(component, (f"{said}Component", f"{said}Job"))
    check_labels(component)
    check_registered(component)
    return Layer(component, place)
