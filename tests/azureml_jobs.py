"""Jobs as Azure ML documents, for the tests of what is submitted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from batchscore import paths, planning
from batchscore.compute.base import Job, Location, Overrides, Scalar
from batchscore.definitions import load_pipeline, resolve_inputs
from batchscore.definitions.model import Input, Pipeline
from batchscore.deployment import DeployedWorkload, definition_hash
from batchscore.settings import Connection, Settings

SHIPPED = Path(__file__).parents[1] / "scoring"
SETTINGS = Settings(Connection("AzureWebJobsStorage"), Connection("DATA_STORAGE"))
RUN = "0123456789abcdef0123"
VERSION = "fedcba9876543210"


def deployed(pipeline: Pipeline) -> DeployedWorkload:
    """Every step of the pipeline as if it had been registered."""
    steps = {step.name: f"{step.name.replace('/', '.')}:{VERSION}" for step in pipeline.steps}
    return DeployedWorkload(definition_hash(pipeline), f"{pipeline.name}:{VERSION}", steps)


def given(pipeline: Pipeline, *optional: str) -> dict[str, Location | Scalar]:
    """A value for every required input, for the named optional ones, and the defaults."""
    wanted = {
        name: _value(declared)
        for name, declared in pipeline.inputs.items()
        if declared.required or name in optional
    }
    exclusive = pipeline.tags.get("exactly_one_of", "").partition(",")[0].strip()
    if exclusive and not any(name in wanted for name in pipeline.tags["exactly_one_of"].split(", ")):
        wanted[exclusive] = _value(pipeline.inputs[exclusive])
    resolved = resolve_inputs(pipeline, wanted)
    return {
        name: _place(pipeline.inputs[name], str(value)) if pipeline.inputs[name].is_data else value
        for name, value in resolved.items()
    }


def _value(declared: Input) -> Scalar:
    if declared.is_data or declared.type == "string":
        return declared.name
    return True if declared.type == "boolean" else int(declared.min or 16)


def _place(declared: Input, name: str) -> Location:
    if declared.is_model:
        return paths.model_location(name, "1")
    return Location("data", "in-put", f"{name}/there")


def job_of(
    pipeline: Pipeline,
    workload: str,
    inputs: dict[str, Location | Scalar],
    overrides: Overrides = Overrides(),  # noqa: B008 - frozen
) -> Job:
    """The first attempt of a run of the workload."""
    outputs = {
        name: Location("system", "logs", f"{RUN}/{name}")
        if name == "receipts"
        else Location("data", "data", f"runs/{RUN}/{name}")
        for name in pipeline.outputs
    }
    return Job(
        name=paths.job_name(RUN, 1),
        run_id=RUN,
        attempt=1,
        workload=workload,
        pipeline=f"{workload}.pipeline.yml",
        inputs=inputs,
        outputs=outputs,
        logs=paths.logs_location(RUN, 1),
        overrides=overrides,
    )


def documented(job: Job, workloads: Path = SHIPPED) -> Job:
    """The job with its document, everything in it deployed."""
    pipeline = load_pipeline(workloads / job.pipeline)
    return planning.documented(
        job, pipeline, deployed(pipeline), replace(SETTINGS, workloads_folder=workloads)
    )
