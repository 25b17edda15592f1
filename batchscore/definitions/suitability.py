"""Whether Azure ML can run a pipeline on the clusters that there are: what a workload's files say, taken together.

The files may be right one by one, and their job fail all the same: a cluster that nobody made, a GPU environment on
machines without one, more nodes than the cluster has. The service finds that when the job is sent, or an hour later.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from difflib import get_close_matches

from batchscore.definitions.compute_targets import SETTINGS, ComputeTarget, default_target
from batchscore.definitions.expressions import whole_reference
from batchscore.definitions.model import LocalPath, ParallelStep, Pipeline, Step, Written
from batchscore.definitions.placement import absence, environment_name, needs_gpu
from batchscore.definitions.reading import nearest
from batchscore.errors import Problem

WATCHED = "receipts"
"""The output that is read while its step runs."""


def unsuitable(
    pipeline: Pipeline, targets: Mapping[str, ComputeTarget], environments: Mapping[str, bool]
) -> tuple[Problem, ...]:
    """What is wrong, with the file and line that say it. `targets` are the clusters by the name that steps use,
    `environments` the names of those that are deployed, and whether their steps need a GPU."""
    found = list(pipeline.unregistrable)
    for step in pipeline.steps:
        found += _of_step(step, pipeline, targets, environments)
    watched = pipeline.outputs.get(WATCHED)
    modes = [watched.mode if watched else None]
    for step in pipeline.steps:
        modes += [
            step.outputs[port].mode for port, target in step.output_bindings.items() if target == WATCHED
        ]
    if watched is not None and "upload" in modes:
        found.append(
            Problem(
                str(pipeline.file),
                watched.line,
                f"output {WATCHED!r} has the mode 'upload', and it is read while its step runs, for the progress and for "
                "what need not be done again. Make it rw_mount, here and in the component.",
            )
        )
    return tuple(dict.fromkeys(found))


def without_cluster(
    pipeline: Pipeline, targets: Mapping[str, ComputeTarget], environments: Mapping[str, bool]
) -> str | None:
    """Why a pipeline cannot run here although nothing is wrong with it: a step's cluster is ruled out by the settings."""
    for step in pipeline.steps:
        target = targets.get(_cluster(step, pipeline, environments) or "")
        if target is not None and target.is_absent:
            return absence(step.name, target)
    return None


def too_many_nodes(step: Step, nodes: int, name: str, target: ComputeTarget) -> str | None:
    """What is wrong with a number of nodes, as the end of a sentence; `name` is what steps call the cluster."""
    if nodes <= target.max_nodes:
        return None
    setting = f", setting {SETTINGS[name]}_MAX_NODES" if name in SETTINGS else ""
    where = f"max_instances in {target.file}{setting}" if target.file else f"max_instances{setting}"
    return (
        f"step {step.name!r} asks for {nodes:,} nodes, and cluster {target.name!r} has at most {target.max_nodes:,} "
        f"({where}): it would wait for ever. Ask for fewer, or give the cluster more."
    )


def without_gpu(step: Step, target: ComputeTarget, environments: Mapping[str, bool]) -> str | None:
    """Why a step that needs a GPU cannot run on a cluster."""
    if target.is_gpu or not needs_gpu(step, [name for name, gpu in environments.items() if gpu]):
        return None
    return (
        f"step {step.name!r} needs a GPU (its environment {step.environment} has the tag accelerator: gpu), and cluster "
        f"{target.name!r} has machines of size {target.size}, without one. Name a cluster with GPUs."
    )


def _of_step(
    step: Step, pipeline: Pipeline, targets: Mapping[str, ComputeTarget], environments: Mapping[str, bool]
) -> Iterator[Problem]:
    def problem(key: str, message: str) -> Problem:
        place = step.written.get(key) or Written(str(step.file), step.line)
        return Problem(place.file, place.line, message)

    for port, binding in step.bindings.items():
        if isinstance(binding, LocalPath) and binding.address is None:
            yield problem(
                "",
                f"step {step.name!r}: input {port!r} is {binding.path}, a path of this machine, which the nodes of Azure ML "
                "do not have. Make it an input of the pipeline, or an address in a datastore.",
            )
    environment = environment_name(step)
    near = get_close_matches(environment, list(environments), n=1, cutoff=0.8)
    if environment and environment not in environments and near:
        yield problem(
            "environment",
            f"step {step.name!r}: there is no environment {environment!r} to deploy. Did you mean {near[0]!r}?",
        )
    name = _cluster(step, pipeline, environments)
    if name is None:
        return
    target = targets.get(name)
    if target is None:
        yield problem(
            "compute",
            f"step {step.name!r} is to run on {name!r}, and there is no such cluster. {nearest(name, targets, 'There are')}",
        )
        return
    if target.is_absent:
        return  # nothing of it is wrong; it is not deployed, and its runs are refused
    gpu = without_gpu(step, target, environments)
    if gpu is not None:
        yield problem("compute", gpu)
    asked = step.instance_count if isinstance(step, ParallelStep) else _instances(step)
    nodes = too_many_nodes(step, asked, name, target)
    if nodes is not None:
        yield problem("instance_count", nodes)


def _cluster(step: Step, pipeline: Pipeline, environments: Mapping[str, bool]) -> str | None:
    """The cluster that a step names, else the one for its environment; None where only a run says it."""
    reference = whole_reference(step.compute) if step.compute else None
    if reference is not None:
        declared = pipeline.inputs.get(reference.parts[-1])
        return (
            None
            if declared is None or not declared.default
            else str(declared.default).removeprefix("azureml:")
        )
    gpu = [name for name, is_gpu in environments.items() if is_gpu]
    return step.compute or default_target(needs_gpu(step, gpu))


def _instances(step: Step) -> int:
    resources = step.passed_on.get("resources")
    count = resources.get("instance_count", 1) if isinstance(resources, dict) else 1
    return count if isinstance(count, int) else 1


def as_asked(
    pipeline: Pipeline, compute: str | Mapping[str, str] | None = None, nodes: int | None = None
) -> Pipeline:
    """The pipeline with the clusters and the number of nodes that a run asks for in its steps."""
    return replace(pipeline, steps=tuple(_as_asked(step, compute, nodes) for step in pipeline.steps))


def _as_asked(step: Step, compute: str | Mapping[str, str] | None, nodes: int | None) -> Step:
    name = compute if isinstance(compute, str) else (compute or {}).get(step.name)
    if name is not None:
        step = replace(step, compute=name)
    return replace(step, instance_count=nodes) if nodes and isinstance(step, ParallelStep) else step
