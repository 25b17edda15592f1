"""Inputs and outputs: what a component declares, what a pipeline job gives, what a step is handed."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from batchscore.definitions import schema
from batchscore.definitions.expressions import Reference, references, whole_reference
from batchscore.definitions.model import DATA_TYPES, SCALAR_TYPES, Input, Output, Scalar, is_remote
from batchscore.definitions.reading import Section, nearest, shown
from batchscore.definitions.values import fault, literal
from batchscore.definitions.yamlnodes import Node, Problems

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ASSET = re.compile(r"azureml:[\w.-]+(:[\w.-]+|@[\w.-]+)(?!/)")
_DATASTORE = re.compile(
    r"azureml://(?:subscriptions/[^/]+/resource[gG]roups/[^/]+/(?:providers/[^/]+/)?workspaces/[^/]+/)?"
    r"datastores/[\w${}.-]+/paths/.*"
)
_REGISTRY = re.compile(r"azureml://registries/[^/]+/(data|models)/[^/]+/(versions|labels)/[^/]+")
_SCHEMES = ("azureml", "https", "http", "wasbs", "abfss", "adl")


@dataclass(frozen=True)
class Given:
    """What a step's input is given: exactly one of `value`, `path` and `reference`."""

    node: Node
    type: str | None = None
    mode: str | None = None
    value: Scalar | None = None
    path: str | None = None
    reference: Reference | None = None


@dataclass(frozen=True)
class GivenOutput:
    """What a step's output is given: perhaps a pipeline output that it becomes."""

    node: Node
    type: str | None = None
    mode: str | None = None
    path: str | None = None
    reference: Reference | None = None


def named(entries: Iterable[tuple[str, Node]], what: str, problems: Problems) -> list[tuple[str, Node]]:
    """The entries, after refusing names that an expression cannot hold."""
    entries = list(entries)
    for name, node in entries:
        if not NAME.fullmatch(name):
            problems.add(
                node, f"{what} {name!r} is not a name. Use letters, digits and _, not a digit first."
            )
    return entries


def data_type(section: Section, legal: tuple[str, ...]) -> str | None:
    """The `type` of an input or output, refusing by name those that come later."""
    kind = section.text("type")
    if kind in schema.LATER_DATA_TYPES:
        section.refuse("type", f"{kind!r} {schema.NOT_YET}. Use uri_folder or uri_file.")
        return None
    if kind is not None and kind not in legal:
        section.wrong("type", f"one of {', '.join(legal)}. {nearest(kind, legal)}".removesuffix("."))
        return None
    return kind


def declared_inputs(owner: Section) -> dict[str, Input]:
    """The `inputs:` of a component."""
    result = {}
    for name, node in named(owner.entries("inputs"), f"{owner.what}: input", owner.problems):
        section = Section.of(node, f"input {name!r}", owner.problems)
        if section is not None:
            result[name] = _declared_input(name, section)
    return result


def _declared_input(name: str, section: Section) -> Input:
    section.allow(schema.DECLARED_INPUT)
    if "type" not in section.values or section.get("type") is None:
        section.missing("type", f"Say one of {', '.join((*DATA_TYPES, *SCALAR_TYPES))}.")
    kind = data_type(section, (*DATA_TYPES, *SCALAR_TYPES)) or ""
    is_data = kind in DATA_TYPES
    for key in ("default", "min", "max", "enum"):
        if is_data:
            section.refuse(key, "is for numbers and text only; a file or folder has none. Remove it.")
    if kind in ("string", "boolean"):
        for key in ("min", "max"):
            section.refuse(key, f"is for numbers only, and this is a {kind}. Remove it.")
    if kind in SCALAR_TYPES:
        section.refuse("mode", "is for files and folders only. Remove it.")
    numeric = kind in ("integer", "number")
    declared = Input(
        name=name,
        type=kind,
        line=section.node.line,
        optional=section.flag("optional") or False,
        min=_bound(section, "min") if numeric else None,
        max=_bound(section, "max") if numeric else None,
        enum=_enum(section, kind) if kind in SCALAR_TYPES else (),
        mode=_mode(section, schema.INPUT_MODES),
        description=section.label("description") or "",
    )
    if declared.min is not None and declared.max is not None and declared.min > declared.max:
        section.refuse(
            "min", f"is {declared.min:g}, more than max {declared.max:g}. Then no value is right; swap them."
        )
        return declared
    default = section.get("default")
    if default is None or kind not in SCALAR_TYPES:
        return declared
    if not isinstance(default.value, Scalar):
        section.wrong("default", "a single value")
        return declared
    value = literal(declared, default.value)
    wrong = fault(declared, value)
    if wrong:
        section.problems.add(default, f"{section.what}: default {wrong}.")
        return declared
    return replace(declared, default=value)


def _bound(section: Section, key: str) -> float | None:
    node = section.get(key)
    if node is None:
        return None
    if (
        isinstance(node.value, bool)
        or not isinstance(node.value, (int, float))
        or not math.isfinite(node.value)
    ):
        section.wrong(key, "a number")
        return None
    return node.value


def _enum(section: Section, kind: str) -> tuple[Scalar, ...]:
    node = section.get("enum")
    if node is None:
        return ()
    if not isinstance(node.value, list) or not node.value:
        section.wrong("enum", "a list of the values that are allowed")
        return ()
    plain = Input(name="", type=kind, line=node.line)
    result: list[Scalar] = []
    for item in node.value:
        wrong = fault(plain, item.value)
        if wrong:
            section.problems.add(item, f"{section.what}: a value of enum {wrong}.")
        elif isinstance(item.value, Scalar):
            result.append(item.value)
    return tuple(result)


def _mode(section: Section, legal: tuple[str, ...]) -> str | None:
    mode = section.choice("mode", legal)
    if mode in ("eval_mount", "eval_download"):
        section.refuse("mode", f"{mode!r} {schema.NOT_YET}. Use ro_mount or download.")
    return mode


def declared_outputs(owner: Section) -> dict[str, Output]:
    """The `outputs:` of a component."""
    result = {}
    for name, node in named(owner.entries("outputs"), f"{owner.what}: output", owner.problems):
        section = Section.of(node, f"output {name!r}", owner.problems)
        if section is None:
            continue
        section.allow(schema.DECLARED_OUTPUT)
        if section.get("type") is None:
            section.missing("type", f"Say one of {', '.join(DATA_TYPES)}.")
        result[name] = Output(
            name=name,
            type=data_type(section, DATA_TYPES) or "uri_folder",
            line=node.line,
            mode=_mode(section, schema.OUTPUT_MODES),
            description=section.label("description") or "",
        )
    return result


def job_inputs(owner: Section, folder: Path) -> dict[str, Input]:
    """The `inputs:` of a pipeline *job*: values, files and folders instead of declarations."""
    result = {}
    for name, node in named(owner.entries("inputs"), f"{owner.what}: input", owner.problems):
        given = given_input(name, node, folder, owner.problems, job=True)
        if given is None:
            continue
        if given.value is not None:
            kind = {bool: "boolean", int: "integer", float: "number", str: "string"}[type(given.value)]
            result[name] = Input(name=name, type=kind, line=node.line, default=given.value)
        else:
            result[name] = Input(
                name=name,
                type=given.type or "uri_folder",
                line=node.line,
                mode=given.mode,
                path=given.path,
            )
    return result


def job_outputs(owner: Section) -> dict[str, Output]:
    """The `outputs:` of a pipeline *job*; a type that is not said is empty, for the step to decide."""
    result = {}
    for name, node in named(owner.entries("outputs"), f"{owner.what}: output", owner.problems):
        given = given_output(name, node, owner.problems)
        if given is not None and given.reference is not None:
            owner.problems.add(
                node,
                f"output {name!r} cannot be {given.reference.text}. "
                f"Let the step say ${{{{parent.outputs.{name}}}}}.",
            )
        if given is not None:
            result[name] = Output(
                name=name, type=given.type or "", line=node.line, mode=given.mode, path=given.path
            )
    return result


def given_input(
    name: str, node: Node, folder: Path, problems: Problems, *, job: bool = False
) -> Given | None:
    """One entry of a step's (or a pipeline job's) `inputs:`; None after a problem."""
    what = f"input {name!r}"
    if isinstance(node.value, list) or node.value is None:
        problems.add(
            node,
            f"{what} is {shown(node.value)}; it must be a value, a reference or a mapping with type and path.",
        )
        return None
    if isinstance(node.value, dict):
        section = Section(node, node.value, what, problems)
        section.allow((*schema.GIVEN_INPUT, *(_refuse_declarations(section) if job else ())))
        kind = data_type(section, DATA_TYPES)
        mode = _mode(section, schema.INPUT_MODES)
        path = section.text("path")
        if path is None:
            if section.get("path") is None:
                section.missing("path", "Say where the file or folder is.")
            return None
        reference = _reference(path, section.values["path"], what, problems)
        if reference is not None:
            return Given(node, kind, mode, reference=reference)
        place = _input_path(path, section.values["path"], folder, kind or "uri_folder", what, problems)
        return None if place is None else Given(node, kind, mode, path=place)
    if isinstance(node.value, str):
        reference = _reference(node.value, node, what, problems)
        if reference is not None:
            return Given(node, reference=reference)
        if "${{" in node.value:
            return None
    return Given(node, value=node.value)


def _refuse_declarations(section: Section) -> list[str]:
    declaring: list[str] = [
        key for key in ("default", "min", "max", "enum", "optional") if key in section.values
    ]
    scalar = section.get("type")
    if scalar is not None and scalar.value in SCALAR_TYPES:
        declaring.insert(0, "type")
    for key in declaring:
        section.refuse(
            key,
            "declares, and a pipeline job gives values. Write the value alone, or make the file a pipeline "
            "component ($schema: https://azuremlschemas.azureedge.net/latest/pipelineComponent.schema.json).",
        )
    return declaring


def given_output(name: str, node: Node, problems: Problems) -> GivenOutput | None:
    """One entry of a step's (or a pipeline job's) `outputs:`; an empty one takes every default."""
    what = f"output {name!r}"
    if node.value is None:
        return GivenOutput(node)
    if isinstance(node.value, str):
        reference = _reference(node.value, node, what, problems)
        if reference is None and "${{" not in node.value:
            problems.add(
                node,
                f"{what} is {shown(node.value)}; it must be ${{{{parent.outputs.name}}}} or a mapping "
                "with type, mode and path.",
            )
        return None if reference is None else GivenOutput(node, reference=reference)
    section = Section.of(node, what, problems)
    if section is None:
        return None
    section.allow(schema.GIVEN_OUTPUT)
    kind = data_type(section, DATA_TYPES)
    mode = _mode(section, schema.OUTPUT_MODES)
    path = section.text("path")
    if path is None:
        return GivenOutput(node, kind, mode)
    reference = whole_reference(path)
    if reference is not None and reference.parts[0] == "parent":
        return GivenOutput(node, kind, mode, reference=reference)
    for each in references(path):
        if each.parts not in (("name",), ("default_datastore",)):
            problems.add(
                section.values["path"],
                f"{what}: path holds {each.text}; only ${{{{name}}}} and ${{{{default_datastore}}}} can stand there.",
            )
    if not is_remote(path):
        section.wrong("path", "an address in a datastore (azureml://datastores/<name>/paths/<path>)")
    else:
        _check_address(path, section.values["path"], what, problems)
    return GivenOutput(node, kind, mode, path=path)


def _reference(text: str, node: Node, what: str, problems: Problems) -> Reference | None:
    """The reference that a text is; a reference inside a longer text is refused, unless it is a path's."""
    reference = whole_reference(text)
    if reference is not None:
        return reference
    if "${{" in text:
        found = references(text)
        if not found:
            problems.add(node, f"{what} is {shown(text)}, in which '${{{{' has no '}}}}'. Close it.")
        elif any(each.parts[0] == "parent" for each in found) or not is_remote(text):
            problems.add(
                node,
                f"{what} is {shown(text)}; a reference must stand alone, as in ${{{{parent.inputs.name}}}}.",
            )
    return None


def _input_path(path: str, node: Node, folder: Path, kind: str, what: str, problems: Problems) -> str | None:
    if is_remote(path):
        _check_address(path, node, what, problems)
        return path
    if "${{" in path:
        return None
    place = folder / path.removeprefix("file:")
    if not place.exists():
        problems.add(node, f"{what}: path {path!r} is not there (looked for {place}). Correct it.")
        return None
    if kind == "uri_folder" and not place.is_dir():
        problems.add(node, f"{what}: path {path!r} is a file, and the type is uri_folder. Use uri_file.")
    if kind == "uri_file" and place.is_dir():
        problems.add(node, f"{what}: path {path!r} is a folder, and the type is uri_file. Use uri_folder.")
    return str(place.resolve())


def _check_address(path: str, node: Node, what: str, problems: Problems) -> None:
    scheme = path.partition(":")[0]
    if scheme not in _SCHEMES:
        problems.add(
            node, f"{what}: path {path!r} begins with {scheme!r}; it must be one of {', '.join(_SCHEMES)}."
        )
    elif scheme == "azureml" and not any(
        pattern.fullmatch(path) for pattern in (_ASSET, _DATASTORE, _REGISTRY)
    ):
        problems.add(
            node,
            f"{what}: path {path!r} is no address that Azure ML knows. Write azureml:<name>:<version> or "
            "azureml://datastores/<name>/paths/<path>.",
        )
