"""A submitted pipeline job as files that the local engine runs: pure, no I/O.

The engine reads pipeline files; the service is sent documents in which components are ids, literals are texts and modes
have other names. Each step becomes a component file of its own, with what the step says over what its component says.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from batchscore.compute.base import Location, Scalar
from batchscore.definitions import schema
from batchscore.definitions.model import DATA_TYPES, Input
from batchscore.definitions.values import from_text
from batchscore.devhost.azureml.answers import Document, object_of, text_of
from batchscore.durations import whole_seconds
from batchscore.errors import RequestError
from batchscore.printable import quoted

PIPELINE_FILE: Final = "pipeline.yml"
JOB_FILE: Final = "job.yml"
_SCHEMAS: Final = "https://azuremlschemas.azureedge.net/latest"
_MODES: Final = {
    "ReadOnlyMount": "ro_mount",
    "ReadWriteMount": "rw_mount",
    "Download": "download",
    "Upload": "upload",
    "Direct": "direct",
    "EvalMount": "eval_mount",
    "EvalDownload": "eval_download",
}
_PARENT: Final = re.compile(r"\$\{\{\s*parent\.(?P<what>inputs|outputs)\.(?P<name>\w+)\s*\}\}")
_ASSET: Final = re.compile(r"(?:azureml:)?/.*/(?P<name>[^/]+)/versions/(?P<version>[^/]+)")


@dataclass(frozen=True)
class Step:
    """A step of a job: what the job says of it, and its component's specification."""

    node: Document
    spec: Document
    code: str | None
    """Where its code is on this machine, relative to the files."""


@dataclass(frozen=True)
class Translation:
    """Files by name, of which JOB_FILE is the one to run, and what the run is given."""

    files: Mapping[str, Document]
    inputs: dict[str, Location | Scalar]
    outputs: dict[str, Location]


def translated(
    properties: Document,
    steps: Mapping[str, Step],
    place: Callable[[str], Location],
    default_output: Callable[[str], Location],
) -> Translation:
    """The files and values of a job. `place` finds what an address means; it and this raise RequestError for what
    cannot be run. `default_output` is where an output goes for which the job names no place."""
    literals = _literal_types(steps)
    declared: dict[str, Document] = {}
    inputs: dict[str, Location | Scalar] = {}
    for name, given in object_of(properties, "inputs").items():
        kind = text_of(given, "jobInputType")
        if kind == "literal":
            declared[name] = {"type": literals.get(name, "string")}
            inputs[name] = _scalar(name, declared[name]["type"], given.get("value"))
        else:
            declared[name] = _with_mode({"type": kind}, given)
            inputs[name] = place(text_of(given, "uri"))
    outputs: dict[str, Location] = {}
    made: dict[str, Document] = {}
    for name, given in object_of(properties, "outputs").items():
        made[name] = _with_mode({"type": text_of(given, "jobOutputType", "uri_folder")}, given)
        outputs[name] = place(given["uri"]) if given.get("uri") else default_output(name)
    nodes: dict[str, Document] = {}
    files: dict[str, Document] = {}
    for name, step in steps.items():
        files[f"{name}.yml"] = _component(step)
        nodes[name] = _node(name, step, place, (declared, inputs), (made, outputs))
    settings = object_of(properties, "settings")
    files[PIPELINE_FILE] = {
        "$schema": f"{_SCHEMAS}/pipelineComponent.schema.json",
        "type": "pipeline",
        "inputs": declared,
        "outputs": made,
        "jobs": nodes,
    }
    files[JOB_FILE] = {
        "$schema": f"{_SCHEMAS}/pipelineJob.schema.json",
        "type": "pipeline",
        "component": f"./{PIPELINE_FILE}",
        "settings": {"continue_on_step_failure": bool(settings.get("continue_on_step_failure"))},
    }
    return Translation(files, inputs, outputs)


def instance_count(step: Step) -> int:
    """How many nodes a step asks for."""
    resources = {**object_of(step.spec, "resources"), **object_of(step.node, "resources")}
    count = str(resources.get("instance_count") or 1)
    return int(count) if count.isdecimal() else 1


def _component(step: Step) -> Document:
    """What the step says over what its component says, in the words of a component file."""
    spec, node = step.spec, step.node
    kind = text_of(spec, "type")
    known = schema.COMPONENT.get(kind, ())
    document = {key: value for key, value in spec.items() if key in known and key not in ("name", "version")}
    for key in known:
        if key in node and key not in ("type", "name", "inputs", "outputs", "task", "code", "environment"):
            both = isinstance(node[key], dict) and isinstance(document.get(key), dict)
            document[key] = {**document[key], **node[key]} if both else node[key]
    document["$schema"] = f"{_SCHEMAS}/{kind}Component.schema.json"
    document["inputs"] = {name: _declared(given) for name, given in object_of(spec, "inputs").items()}
    document["outputs"] = {
        name: _picked(given, schema.DECLARED_OUTPUT) for name, given in object_of(spec, "outputs").items()
    }
    document.pop("environment", None)
    document.pop("code", None)
    owner = document
    if kind == "parallel":
        owner = _picked(object_of(spec, "task"), schema.TASK)
        document["task"] = owner
        if "mini_batch_size" in document:
            document["mini_batch_size"] = str(document["mini_batch_size"])
    environment = object_of(spec, "task") if kind == "parallel" else spec
    owner["environment"] = _short(text_of(environment, "environment"))
    owner.pop("code", None)
    if step.code is not None:
        owner["code"] = step.code
    return document


def _node(
    name: str,
    step: Step,
    place: Callable[[str], Location],
    given_to: tuple[dict[str, Document], dict[str, Location | Scalar]],
    made_by: tuple[dict[str, Document], dict[str, Location]],
) -> Document:
    """The step in the pipeline file. Inputs and outputs with places of their own become ones of the pipeline, which are
    added to its declarations and places."""
    (declared, inputs), (made, outputs) = given_to, made_by
    types = {each: text_of(given, "type") for each, given in object_of(step.spec, "inputs").items()}
    given: dict[str, Any] = {}
    for each, said in object_of(step.node, "inputs").items():
        value = said.get("value") if isinstance(said, dict) else said
        if isinstance(said, dict) and said.get("uri"):
            target = f"{name}__{each}"
            declared[target] = {"type": text_of(said, "job_input_type") or types.get(each, "uri_folder")}
            inputs[target] = place(said["uri"])
            value = f"${{{{parent.inputs.{target}}}}}"
        if isinstance(value, str) and "${{" in value:
            given[each] = _with_mode({"path": value}, said) if types.get(each) in DATA_TYPES else value
        else:
            given[each] = _scalar(each, types.get(each, "string"), value)
    bound: dict[str, Any] = {}
    for each, said in object_of(step.node, "outputs").items():
        value = text_of(said, "value")
        if not value and said.get("uri"):
            target = f"{name}__{each}"
            spec = object_of(object_of(step.spec, "outputs"), each)
            made[target] = _with_mode({"type": text_of(spec, "type", "uri_folder")}, said)
            outputs[target] = place(said["uri"])
            value = f"${{{{parent.outputs.{target}}}}}"
        if value:
            bound[each] = _with_mode({"path": value}, said)
    node: Document = {
        "type": text_of(step.spec, "type"),
        "component": f"./{name}.yml",
        "inputs": given,
        "outputs": bound,
    }
    limit = object_of(step.node, "limits").get("timeout")
    if limit is not None:
        node["limits"] = {"timeout": _seconds(name, str(limit))}
    return node


def _seconds(step: str, limit: str) -> int:
    """A time limit in seconds: a number, or a duration such as PT1M30S, as which the client library sends it."""
    seconds = int(limit) if limit.isdecimal() else whole_seconds(limit)
    if seconds is None:
        raise RequestError(
            f"step {step!r}: its limit is {quoted(limit)}, which is no duration such as PT1M30S."
        )
    return seconds


def _literal_types(steps: Mapping[str, Step]) -> dict[str, str]:
    """The types of the pipeline's literals: those of the component inputs that they are bound to."""
    types: dict[str, str] = {}
    for step in steps.values():
        declared = object_of(step.spec, "inputs")
        for each, said in object_of(step.node, "inputs").items():
            value = said.get("value") if isinstance(said, dict) else said
            found = _PARENT.fullmatch(value) if isinstance(value, str) else None
            kind = text_of(object_of(declared, each), "type")
            if found is not None and kind and kind not in DATA_TYPES:
                types.setdefault(found["name"], kind)
    return types


def _declared(given: Document) -> Document:
    """A component's input in the types that its file would have."""
    declared = _picked(given, schema.DECLARED_INPUT)
    kind = text_of(declared, "type")
    for key in ("default", "min", "max"):
        if declared.get(key) is None:
            declared.pop(key, None)
        elif kind in ("integer", "number", "boolean"):
            declared[key] = _scalar(key, kind, declared[key])
    if "optional" in declared:
        declared["optional"] = str(declared["optional"]).lower() == "true"
    return {key: value for key, value in declared.items() if value is not None}


def _scalar(name: str, kind: str, value: object) -> Scalar:
    """A literal, which comes as text, in its type."""
    if isinstance(value, str) and kind != "string":
        return from_text(Input(name, kind, 0), value)
    if not isinstance(value, str | int | float | bool):
        raise RequestError(f"input {name!r} has no value.")
    return value


def _with_mode(document: Document, said: object) -> Document:
    mode = _MODES.get(text_of(said, "mode")) if isinstance(said, dict) else None
    return {**document, **({"mode": mode} if mode else {})}


def _picked(document: Document, keys: tuple[str, ...]) -> Document:
    return {key: document[key] for key in keys if document.get(key) is not None}


def _short(reference: str) -> str:
    """An asset's ARM id as a file would name it."""
    found = _ASSET.fullmatch(reference)
    return f"azureml:{found['name']}:{found['version']}" if found else reference
