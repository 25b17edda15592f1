"""What a definition says to Azure ML alone: a step's compute, and legal keys that nothing here acts upon."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from batchscore.definitions.model import Step, Written
from batchscore.definitions.reading import Section
from batchscore.definitions.steps import Draft, Layer, holder
from batchscore.definitions.yamlnodes import plain

KEYS = ("identity", "services", "queue_settings", "distribution", "properties", "tags", "comment")
"""Keys of a step that go to Azure ML as they are written."""
_PREFIX = "azureml:"
_INSTANCES = "instance_count"


def compute_of(draft: Draft) -> str | None:
    """What a step says of its own, without `azureml:`; a reference to one of the pipeline's inputs as it is."""
    return _named(draft.node, "compute")


def default_of(root: Section) -> str | None:
    """What a pipeline job says for every step that says nothing."""
    settings = root.section("settings")
    return _named(root, "compute") or (None if settings is None else _named(settings, "default_compute"))


def with_default(step: Step, default: str | None) -> Step:
    return step if default is None or step.compute is not None else replace(step, compute=default)


def passed_on(draft: Draft) -> dict[str, object]:
    """What the step's node says to Azure ML alone; its `resources` with those of its component, as a node's replace
    them, and without the number of nodes where it is the parallel step's own."""
    found = {key: plain(draft.node.values[key]) for key in KEYS if key in draft.node}
    resources: dict[str, object] = {}
    for layer in reversed(draft.below("resources")):
        resources |= {
            key: plain(node) for key, node in layer.section.values.items() if node.value is not None
        }
    if draft.kind == "parallel":
        resources.pop(_INSTANCES, None)
    return found | ({"resources": resources} if resources else {})


def written(draft: Draft) -> dict[str, Written]:
    """Where a step, or its component, says what is compared with other files."""
    places: Mapping[str, tuple[Layer, ...]] = {
        "compute": draft.layers[:1],
        _INSTANCES: draft.below("resources"),
        "environment": draft.below("task") if draft.kind == "parallel" else draft.layers,
    }
    found = {}
    for key, layers in places.items():
        place = holder(layers, key)
        if place is not None:
            node = place.section.values[key]
            found[key] = Written(node.file, node.line)
    return found


def _named(section: Section, key: str) -> str | None:
    text = section.text(key)
    return text.strip().removeprefix(_PREFIX) or None if text is not None else None
