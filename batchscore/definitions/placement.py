"""On which cluster each step of a run goes, and with how many workers on a node."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from batchscore.definitions.compute_targets import GPU_ENABLED, ComputeTarget, default_target
from batchscore.definitions.expressions import whole_reference
from batchscore.definitions.model import ParallelStep, Pipeline, Step
from batchscore.definitions.reading import Section, nearest
from batchscore.definitions.yamlnodes import Problems, Stamps, read, stamps
from batchscore.errors import DefinitionError, RequestError

FOLDER = "environments"
ACCELERATOR, GPU = "accelerator", "gpu"
"""The tag of an environment's file that says that its steps need a GPU."""
THREADS = "OMP_NUM_THREADS"
"""The variable that tells libraries how many threads they may use."""


def gpu_environments(workloads_folder: Path) -> frozenset[str]:
    """The names of the environments whose steps need a GPU. DefinitionError when a file cannot be read."""
    return frozenset(name for name, is_gpu in environments(workloads_folder).items() if is_gpu)


def environments(workloads_folder: Path) -> dict[str, bool]:
    """The names of the environments, and whether their steps need a GPU. DefinitionError when a file cannot be read."""
    return dict(_environments(stamps((workloads_folder / FOLDER).glob("*.yml"))))


@lru_cache(maxsize=8)
def _environments(files: Stamps) -> Mapping[str, bool]:
    """Every run that is planned asks, and the files hardly ever change."""
    problems = Problems()
    names = {}
    for file, _, _ in files:
        root = read(file, problems)
        section = None if root is None else Section.of(root, f"the environment {file.name!r}", problems)
        name = None if section is None else section.text("name")
        if section is not None and name:
            names[name] = section.scalars("tags").get(ACCELERATOR) == GPU
    if problems.found:
        raise DefinitionError(problems.sorted())
    return names


def needs_gpu(step: Step, environments: Collection[str]) -> bool:
    """Whether the step's environment (`azureml:name@latest`, `azureml:name:2`) is one of those for GPUs."""
    return environment_name(step) in environments


def environment_name(step: Step) -> str:
    """The name of the step's registered environment; empty where it is described in place."""
    environment = step.environment or ""
    if not environment.startswith("azureml:") or environment.startswith("azureml:/"):
        return ""
    return environment.removeprefix("azureml:").partition("@")[0].partition(":")[0]


def placed(
    pipeline: Pipeline,
    targets: Mapping[str, ComputeTarget],
    environments: Collection[str],
    asked: str | Mapping[str, str] | None = None,
    inputs: Mapping[str, object] | None = None,
) -> dict[str, ComputeTarget]:
    """The cluster of each step by the step's name: what the run asks for, else what the pipeline says, else the one for
    its environment (`environments`: those for GPUs). `inputs` are the run's, one of which a pipeline may name as the cluster.
    RequestError for a cluster that there is not, or is not to be."""
    found: dict[str, ComputeTarget] = {}
    for step in pipeline.steps:
        of_step = asked if isinstance(asked, str) else (asked or {}).get(step.name)
        name = of_step or _declared(step, inputs or {}) or default_target(needs_gpu(step, environments))
        if name not in targets:
            raise RequestError(
                f"step {step.name!r} is to run on {name!r}, and there is no such cluster. {nearest(name, targets)}"
            )
        if targets[name].is_absent:
            raise RequestError(absence(step.name, targets[name]))
        found[step.name] = targets[name]
    return found


def absence(step: str, target: ComputeTarget) -> str:
    """Why a step cannot run whose cluster the settings rule out."""
    return (
        f"step {step!r} runs on the cluster {target.name!r}, and there is none here ({GPU_ENABLED} is false). Where it is "
        f"wanted, set {GPU_ENABLED} to true and deploy infrastructure and workloads again."
    )


def with_workers(
    pipeline: Pipeline,
    clusters: Mapping[str, ComputeTarget],
    environments: Collection[str],
    asked: int | None = None,
) -> Pipeline:
    """The pipeline whose parallel steps all say how many workers a node has: what they say, else one for each of its GPUs
    where the step needs them, one for each core elsewhere. Azure ML's own number on a node with GPUs is 1, however many it
    has. A worker is told its part of the cores (`OMP_NUM_THREADS`), as on this machine: each would take all of them.
    `clusters` are those of the steps (`placed`), `asked` the number of workers that the run asks for."""
    steps = tuple(_with_workers(step, clusters[step.name], environments, asked) for step in pipeline.steps)
    return replace(pipeline, steps=steps)


def _with_workers(
    step: Step, target: ComputeTarget, environments: Collection[str], asked: int | None
) -> Step:
    if not isinstance(step, ParallelStep):
        return step
    gpus = target.gpus if needs_gpu(step, environments) else 0
    workers = step.max_concurrency_per_instance or gpus or target.cores
    threads = max(1, target.cores // (asked or workers))
    return replace(
        step,
        max_concurrency_per_instance=workers,
        environment_variables={THREADS: str(threads), **step.environment_variables},
    )


def _declared(step: Step, inputs: Mapping[str, object]) -> str | None:
    reference = whole_reference(step.compute) if step.compute else None
    if reference is None:
        return step.compute
    return str(inputs.get(reference.parts[-1], "")).removeprefix("azureml:") or None
