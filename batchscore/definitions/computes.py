"""Where steps run on Azure ML: the compute target that a step names, or its pipeline for all that name none."""

from __future__ import annotations

from dataclasses import replace

from batchscore.definitions.model import Step
from batchscore.definitions.reading import Section
from batchscore.definitions.steps import Draft

_PREFIX = "azureml:"


def compute_of(draft: Draft) -> str | None:
    """What a step says of its own, without `azureml:`; a reference to one of the pipeline's inputs as it is."""
    return _named(draft.node, "compute")


def default_of(root: Section) -> str | None:
    """What a pipeline job says for every step that says nothing."""
    settings = root.section("settings")
    return _named(root, "compute") or (None if settings is None else _named(settings, "default_compute"))


def with_default(step: Step, default: str | None) -> Step:
    return step if default is None or step.compute is not None else replace(step, compute=default)


def _named(section: Section, key: str) -> str | None:
    text = section.text(key)
    return text.strip().removeprefix(_PREFIX) or None if text is not None else None
