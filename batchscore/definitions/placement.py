"""On which cluster each step of a run goes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from batchscore.definitions.compute_targets import ComputeTarget, default_target
from batchscore.definitions.expressions import whole_reference
from batchscore.definitions.model import Pipeline, Step
from batchscore.definitions.reading import Section, nearest
from batchscore.definitions.yamlnodes import Problems, read
from batchscore.errors import DefinitionError, RequestError

FOLDER = "environments"
ACCELERATOR, GPU = "accelerator", "gpu"
"""The tag of an environment's file that says that its steps need a GPU."""


def gpu_environments(workloads_folder: Path) -> frozenset[str]:
    """The names of the environments whose steps need a GPU. DefinitionError when a file cannot be read."""
    problems = Problems()
    names = set()
    for file in sorted((workloads_folder / FOLDER).glob("*.yml")):
        root = read(file, problems)
        section = None if root is None else Section.of(root, f"the environment {file.name!r}", problems)
        if section is not None and section.scalars("tags").get(ACCELERATOR) == GPU:
            names.add(section.text("name") or "")
    if problems.found:
        raise DefinitionError(problems.sorted())
    return frozenset(names)


def needs_gpu(step: Step, environments: Collection[str]) -> bool:
    """Whether the step's environment (`azureml:name@latest`, `azureml:name:2`) is one of those for GPUs."""
    name = (step.environment or "").removeprefix("azureml:").partition("@")[0].partition(":")[0]
    return name in environments


def placed(
    pipeline: Pipeline,
    targets: Mapping[str, ComputeTarget],
    environments: Collection[str],
    asked: str | Mapping[str, str] | None = None,
    inputs: Mapping[str, object] | None = None,
) -> dict[str, ComputeTarget]:
    """The cluster of each step by the step's name: what the run asks for, else what the pipeline says, else the one for
    its environment (`environments`: those for GPUs). `inputs` are the run's, one of which a pipeline may name as the cluster.
    RequestError for a cluster that there is not."""
    found: dict[str, ComputeTarget] = {}
    for step in pipeline.steps:
        of_step = asked if isinstance(asked, str) else (asked or {}).get(step.name)
        name = of_step or _declared(step, inputs or {}) or default_target(needs_gpu(step, environments))
        if name not in targets:
            raise RequestError(
                f"step {step.name!r} is to run on {name!r}, and there is no such cluster. {nearest(name, targets)}"
            )
        found[step.name] = targets[name]
    return found


def _declared(step: Step, inputs: Mapping[str, object]) -> str | None:
    reference = whole_reference(step.compute) if step.compute else None
    if reference is None:
        return step.compute
    return str(inputs.get(reference.parts[-1], "")).removeprefix("azureml:") or None
