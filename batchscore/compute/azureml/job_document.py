"""A run's job as the YAML document of an Azure ML pipeline job, whose nodes are registered components.

Azure ML cannot change what stands inside a registered pipeline component, so the nodes are the pipeline's own steps, those
of pipeline components inside it among them (`outer/inner` as `outer__inner`), each by the version that was deployed. What
decides how they run is said in full, for the defaults of the service differ from place to place.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import TypeAlias, cast

import yaml

from batchscore import paths
from batchscore.compute.base import Job, Location, Overrides, Scalar
from batchscore.definitions.model import (
    Input,
    Literal,
    LocalPath,
    Output,
    ParallelStep,
    ParentInput,
    Pipeline,
    Step,
    StepOutput,
)
from batchscore.deployment import DeployedWorkload
from batchscore.errors import NotDeployedError, RequestError

SCHEMA = "https://azuremlschemas.azureedge.net/latest/pipelineJob.schema.json"
RUN_TAG, ATTEMPT_TAG = "batchscore_run", "batchscore_attempt"
WORKLOAD_TAG, COMPONENT_TAG = "batchscore_workload", "batchscore_component"
INPUT_MODE, TABLE_MODE, OUTPUT_MODE = "ro_mount", "eval_mount", "rw_mount"
"""Where neither the definition nor the run says another."""

_NOT_IN_EXPERIMENTS = re.compile(r"[^A-Za-z0-9_-]")

Value: TypeAlias = "Scalar | list[str] | Mapping[str, Value]"


def job_document(
    job: Job, pipeline: Pipeline, deployed: DeployedWorkload, clusters: Mapping[str, str], between: Location
) -> str:
    """The document, as `az ml job create --file` takes it, too.

    `clusters` gives the cluster of each step by the step's name. `between` is the place under which outputs lie that
    are none of the pipeline's. NotDeployedError when a step is not among the deployed ones; RequestError for a value
    that Azure ML would take for something else, or a path that its machines do not have.
    """
    names = node_names(pipeline)
    nodes: dict[str, Value] = {}
    for step in pipeline.steps:
        component = deployed.steps.get(step.name)
        if component is None:
            raise NotDeployedError(
                f"step {step.name!r} of workload {job.workload!r} is not deployed. Run 'batchscore deploy'."
            )
        nodes[names[step.name]] = {
            "type": "parallel" if isinstance(step, ParallelStep) else "command",
            "component": f"azureml:{component}",
            "display_name": step.name,
            "compute": f"azureml:{clusters[step.name]}",
            **_knobs(step, job.overrides),
            "inputs": _node_inputs(step, job, pipeline, names),
            "outputs": _node_outputs(step, names[step.name], between),
        }
    document: dict[str, Value] = {
        "$schema": SCHEMA,
        "type": "pipeline",
        "name": job.name,
        "display_name": f"{job.workload} {job.run_id[:8]}",
        "experiment_name": _NOT_IN_EXPERIMENTS.sub("_", job.workload),
        "tags": {
            RUN_TAG: job.run_id,
            ATTEMPT_TAG: str(job.attempt),
            WORKLOAD_TAG: job.workload,
            COMPONENT_TAG: deployed.pipeline,
        },
        "settings": {
            "default_compute": f"azureml:{clusters[pipeline.steps[0].name]}",
            "continue_on_step_failure": pipeline.continue_on_step_failure,
            # a step whose result is taken from another job leaves nothing in the outputs of this run
            "force_rerun": True,
        },
        "inputs": {
            name: _input(name, value, pipeline.inputs[name]) for name, value in _given(job, pipeline).items()
        },
        "outputs": {
            name: _output(pipeline.outputs[name], uri(place), _written_mode(name, pipeline))
            for name, place in job.outputs.items()
        },
        "jobs": nodes,
    }
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=1_000_000)


def uri(place: Location) -> str:
    """The place as Azure ML's machines reach it, through the datastore of its container."""
    return f"azureml://datastores/{paths.datastore_name(place.container)}/paths/{place.path}"


def node_names(pipeline: Pipeline) -> dict[str, str]:
    """What the steps are called in the document: `outer/inner` becomes `outer__inner`, or longer where that is taken."""
    names: dict[str, str] = {}
    plain = Counter(step.name for step in pipeline.steps)
    for step in pipeline.steps:
        name = step.name.replace("/", "__")
        while name in names.values() or (name != step.name and name in plain):
            name += "_"
        names[step.name] = name
    return names


def _knobs(step: Step, overrides: Overrides) -> dict[str, Value]:
    """How a step runs: what the run asks for, else what its definition says, all of it."""
    knobs: dict[str, Value] = {key: cast("Value", value) for key, value in step.passed_on.items()}
    variables = {**step.environment_variables, **overrides.environment_variables}
    if variables:
        knobs["environment_variables"] = variables
    if not isinstance(step, ParallelStep):
        if step.timeout_s is not None:
            knobs["limits"] = {"timeout": step.timeout_s}
        return knobs
    machines = cast("Mapping[str, Value]", step.passed_on.get("resources", {}))
    knobs["resources"] = {**machines, "instance_count": _first(overrides.nodes, step.instance_count)}
    knobs["input_data"] = f"${{{{inputs.{step.input_data}}}}}"
    size = overrides.mini_batch_size or step.mini_batch_size
    if step.partition_keys:
        knobs["partition_keys"] = list(step.partition_keys)
    elif size is not None:
        knobs["mini_batch_size"] = str(size)
    concurrency = overrides.max_concurrency_per_instance or step.max_concurrency_per_instance
    if concurrency is not None:
        knobs["max_concurrency_per_instance"] = concurrency
    knobs["error_threshold"] = _first(overrides.error_threshold, step.error_threshold)
    knobs["mini_batch_error_threshold"] = _first(
        overrides.mini_batch_error_threshold, step.mini_batch_error_threshold
    )
    knobs["retry_settings"] = {
        "max_retries": _first(overrides.max_retries, step.retry.max_retries),
        "timeout": _first(overrides.timeout_s, step.retry.timeout_s),
    }
    knobs["logging_level"] = overrides.logging_level or step.logging_level
    return knobs


def _first(asked: int | None, declared: int) -> int:
    """0 is an answer."""
    return declared if asked is None else asked


def _given(job: Job, pipeline: Pipeline) -> dict[str, Location | Scalar]:
    """The inputs that reach Azure ML, defaults among them. An empty text is dropped on the way, which leaves its input
    unset."""
    defaults = {
        name: declared.default for name, declared in pipeline.inputs.items() if declared.default is not None
    }
    return {name: value for name, value in {**defaults, **job.inputs}.items() if value != ""}


def _input(name: str, value: Location | Scalar, declared: Input) -> Value:
    """An input of the pipeline."""
    if not isinstance(value, Location):
        return _plain(value, f"input {name!r}")
    mode: dict[str, Value] = {"mode": declared.mode} if declared.mode else {}
    return {"type": declared.type, "path": uri(value), **mode}


def _node_inputs(step: Step, job: Job, pipeline: Pipeline, names: Mapping[str, str]) -> dict[str, Value]:
    """What a step reads; an input that is bound to an optional one which the run leaves unset is left out, too."""
    inputs: dict[str, Value] = {}
    given = _given(job, pipeline)
    for port, binding in step.bindings.items():
        declared, mode = step.inputs[port], step.inputs[port].mode
        what = f"input {port!r} of step {step.name!r}"
        match binding:
            case Literal(value):
                inputs[port] = _plain(value, what)
                continue
            case ParentInput(name) if name in given:
                reference = f"${{{{parent.inputs.{name}}}}}"
                mode = mode or pipeline.inputs[name].mode
            case ParentInput(name):
                if declared.required:
                    raise RequestError(
                        f"input {name!r} is an empty text, which Azure ML does not hand to step {step.name!r}. Give one."
                    )
                if declared.default is not None and name not in job.inputs:
                    inputs[port] = _plain(declared.default, what)
                continue
            case StepOutput(writer, output):
                reference = f"${{{{parent.jobs.{names[writer]}.outputs.{output}}}}}"
            case LocalPath(_, str(address)):  # for which a path stands here alone
                reference = address
            case _:
                raise RequestError(
                    f"{what} is {binding.path}, a path of this machine, which the nodes of Azure ML do not have. Make it "
                    "an input of the pipeline."
                )
        if not declared.is_data:
            inputs[port] = reference
            continue
        is_split = isinstance(step, ParallelStep) and port == step.input_data and declared.type == "mltable"
        inputs[port] = {
            "type": declared.type,
            "path": reference,
            "mode": mode or (TABLE_MODE if is_split else INPUT_MODE),
        }
    return inputs


def _node_outputs(step: Step, node: str, between: Location) -> dict[str, Value]:
    """What a step writes."""
    outputs: dict[str, Value] = {}
    for port, declared in step.outputs.items():
        target = step.output_bindings.get(port)
        place = Location(between.account, between.container, f"{between.path}/{node}.{port}")
        path = uri(place) if target is None else f"${{{{parent.outputs.{target}}}}}"
        outputs[port] = _output(declared, path, None)
    return outputs


def _output(declared: Output, path: str, mode: str | None) -> Value:
    asset: dict[str, Value] = {"name": declared.asset} if declared.asset else {}
    return {"type": declared.type, "path": path, "mode": declared.mode or mode or OUTPUT_MODE, **asset}


def _written_mode(name: str, pipeline: Pipeline) -> str | None:
    """The mode that the step which writes an output of the pipeline says."""
    for step in pipeline.steps:
        for port, target in step.output_bindings.items():
            if target == name:
                return step.outputs[port].mode
    return None


def _plain(value: Scalar, what: str) -> Scalar:
    """A value as it is, unless Azure ML would take it for a reference."""
    if isinstance(value, str) and "${{" in value:
        raise RequestError(
            f"{what} is {value[:100]!r}; Azure ML would take '${{{{' for a reference. Leave it out."
        )
    return value
