"""A job as ARM describes it -> its steps, and where their items and receipts lie: pure, no I/O.

Whatever the service leaves out, or says in a form that is not known, is taken for not said.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from batchscore import paths
from batchscore.compute.base import Location
from batchscore.definitions.expressions import whole_reference

_DATASTORE_PATH = re.compile(r"azureml://(?:.*/)?datastores/([^/]+)/paths/(.*)", re.IGNORECASE)
_SYSTEM = (paths.RUNS, paths.MODELS, paths.LOGS)


@dataclass(frozen=True)
class StepDescription:
    """A step of a job. `node` is its name there, `name` that in the pipeline."""

    node: str
    name: str
    nodes: int = 1
    cluster: str = ""
    items: Location | None = None
    """Where the files lie that a parallel step splits, when they are files of ours."""
    items_from: str = ""
    """The node that writes them; empty when they are there from the beginning."""
    receipts: Location | None = None


@dataclass(frozen=True)
class JobDescription:
    """A job with its steps in the order of its pipeline."""

    state: str
    link: str
    run_id: str
    steps: tuple[StepDescription, ...]


@dataclass(frozen=True)
class StepRun:
    """What the run history says of a step."""

    id: str
    state: str
    error: object = None
    started_at: datetime | None = None
    ended_at: datetime | None = None

    @property
    def seconds(self) -> float:
        """How long it took; 0 until it has ended."""
        if self.started_at is None or self.ended_at is None:
            return 0
        return max(0.0, (self.ended_at - self.started_at).total_seconds())


def described(document: Mapping[str, Any], data_container: str, run_tag: str) -> JobDescription:
    """The job in an answer of ARM."""
    properties = _mapping(document, "properties")
    nodes = _mapping(properties, "jobs")
    studio = _mapping(_mapping(properties, "services"), "Studio")
    return JobDescription(
        state=_text(properties, "status"),
        link=_text(studio, "endpoint"),
        run_id=_text(_mapping(properties, "tags"), run_tag),
        steps=tuple(_step(name, properties, nodes, data_container) for name in nodes),
    )


def step_runs(children: list[Mapping[str, Any]], steps: tuple[StepDescription, ...]) -> dict[str, StepRun]:
    """The run of each step by the step's node; of several (the service started it again) the newest."""
    found: dict[str, StepRun] = {}
    for child in sorted(children, key=lambda child: _text(child, "createdUtc")):
        names = {_text(child, "displayName"), _text(child, "name")}
        for step in steps:
            if names & {step.node, step.name}:
                found[step.node] = StepRun(
                    _text(child, "runId"),
                    _text(child, "status"),
                    child.get("error"),
                    _time(child, "startTimeUtc"),
                    _time(child, "endTimeUtc"),
                )
    return found


def place_of(uri: str, data_container: str) -> Location | None:
    """Where a datastore's path lies, when the datastore is one of ours."""
    match = _DATASTORE_PATH.fullmatch(uri)
    container = paths.container_of(match[1]) if match else None
    if match is None or container is None:
        return None
    account = "system" if container in _SYSTEM and container != data_container else "data"
    return Location(account, container, match[2].rstrip("/"))


def _step(
    name: str, properties: Mapping[str, Any], nodes: Mapping[str, Any], data_container: str
) -> StepDescription:
    node = _mapping(nodes, name)
    port = _last(_text(node, "input_data"))
    bound = _text(_mapping(_mapping(node, "inputs"), port), "value") if port else ""
    reference = whole_reference(bound)
    parts = reference.parts if reference else ()
    writer = parts[2] if parts[:2] == ("parent", "jobs") and len(parts) == 5 else ""
    if writer:
        uri = _written(_mapping(nodes, writer), parts[4], properties)
    else:
        uri = _text(_mapping(_mapping(properties, "inputs"), parts[-1]), "uri") if parts else ""
    return StepDescription(
        node=name,
        name=_text(node, "display_name") or name,
        nodes=_count(_mapping(node, "resources").get("instance_count")),
        cluster=_text(node, "computeId").rstrip("/").rpartition("/")[2],
        items=place_of(uri, data_container),
        items_from=writer,
        receipts=place_of(_written(node, paths.RECEIPTS_OUTPUT, properties), data_container)
        if port
        else None,
    )


def _written(node: Mapping[str, Any], port: str, properties: Mapping[str, Any]) -> str:
    """The address of what a step writes."""
    output = _mapping(_mapping(node, "outputs"), port)
    target = _last(_text(output, "value"))
    declared = _mapping(_mapping(properties, "outputs"), target) if target else output
    return _text(declared, "uri")


def _last(text: str) -> str:
    """The name at the end of a reference."""
    reference = whole_reference(text)
    return reference.parts[-1] if reference else ""


def _mapping(document: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = document.get(key)
    return value if isinstance(value, Mapping) else {}


def _count(value: object) -> int:
    """A number of nodes, which the service may give as text; 1 where it is none."""
    text = str(value)
    return max(1, int(text)) if text.isascii() and text.isdecimal() and len(text) < 10 else 1


def _text(document: Mapping[str, Any], key: str) -> str:
    value = document.get(key)
    return value if isinstance(value, str) else ""


def _time(document: Mapping[str, Any], key: str) -> datetime | None:
    try:
        time = datetime.fromisoformat(_text(document, key))
    except ValueError:
        return None
    return time if time.tzinfo else None
