"""A run's request -> the job that is frozen into its record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from batchscore import paths
from batchscore.catalog import Catalog
from batchscore.compute.azureml.job_document import job_document
from batchscore.compute.base import Job, Location, Overrides, Scalar
from batchscore.definitions import intermediates, resolve_inputs
from batchscore.definitions.compute_targets import load_targets
from batchscore.definitions.mltable import FILE_NAME
from batchscore.definitions.model import Input, ParallelStep, Pipeline
from batchscore.definitions.modes import with_modes
from batchscore.definitions.placement import environments, gpu_environments, with_workers
from batchscore.definitions.suitability import as_asked, unsuitable
from batchscore.deployment import DeployedWorkload, deployed_workload
from batchscore.errors import DefinitionError, RequestError
from batchscore.estimates import Estimate
from batchscore.expectations import expect, given, within_budget
from batchscore.hours import HOUR, HOUR_INPUT, MANIFEST_INPUT, READINGS_INPUT
from batchscore.places import clusters
from batchscore.runs import Run
from batchscore.settings import Settings
from batchscore.triggers import RunRequest
from batchscore.workloads import Workloads

AZUREML = "azureml"


@dataclass(frozen=True)
class Planned:
    """The job of a run's next attempt, where its results will be, and what it is expected to take."""

    job: Job
    results: dict[str, Location]
    estimate: Estimate | None


def plan(run: Run, workloads: Workloads, settings: Settings, catalog: Catalog) -> Planned:
    """What the run's next attempt will be. RequestError when it cannot be done: a workload that is gone, a missing blob,
    an empty folder, an unknown model, an estimate above what it may cost. NotDeployedError when Azure ML, where
    it is to run, does not have the workload as it is here."""
    if run.request is None:
        raise RequestError("the run has no request.")
    request = run.request
    pipeline = workloads.pipeline(request.workload)
    # a later attempt scores what the first one scored
    inputs = run.job.inputs if run.job is not None else bind_inputs(pipeline, request, settings, catalog)
    on_azure = settings.compute == AZUREML
    if on_azure:  # before anything else: it will not be deployed either
        clusters(pipeline, settings, request.overrides, inputs)
    deployed = (
        deployed_workload(
            catalog.deployment(),
            request.workload,
            pipeline,
            settings.workspace.place if settings.workspace else None,
        )
        if on_azure
        else None
    )
    if on_azure:
        check_suitable(pipeline, request.overrides, settings)
    overrides, estimate = _chosen(run, request, pipeline, inputs, settings, catalog)
    attempt = len(run.attempts) + 1
    between = intermediates(pipeline)
    outputs = {
        name: paths.output_location(settings, run.id, name, output.type, intermediate=name in between)
        for name, output in pipeline.outputs.items()
    }
    if run.cause.kind == HOUR:  # which only the control plane records: no request can name a place
        place = paths.predictions_location(settings, run.cause.name, run.cause.version)
        outputs |= {paths.PREDICTIONS: place} if paths.PREDICTIONS in outputs else {}
    job = Job(
        name=paths.job_name(run.id, attempt),
        run_id=run.id,
        attempt=attempt,
        workload=request.workload,
        pipeline=workloads.file(request.workload),
        inputs=inputs,
        outputs=outputs,
        logs=paths.logs_location(run.id, attempt),
        overrides=overrides,
        models=_models_made(pipeline, inputs, catalog),
    )
    if deployed is not None:
        job = documented(job, pipeline, deployed, settings)
    hidden = {*between, paths.RECEIPTS_OUTPUT}
    results = {name: location for name, location in outputs.items() if name not in hidden}
    return Planned(job, results, estimate)


def _chosen(
    run: Run,
    request: RunRequest,
    pipeline: Pipeline,
    inputs: Mapping[str, Location | Scalar],
    settings: Settings,
    catalog: Catalog,
) -> tuple[Overrides, Estimate | None]:
    """What the planner gives the run, and what that should take. A later attempt keeps what the first one had, unless
    its clusters have become too small for that; on this machine nobody looks unless the run leaves something open."""
    if run.job is not None and _has_room(run.job, pipeline, settings):
        return run.job.overrides, run.estimate
    if settings.compute != AZUREML and not request.bounds and request.max_cost is None:
        return request.overrides, None
    proposal = expect(request, pipeline, inputs, settings, catalog, settings.compute)
    estimate = within_budget(proposal, request.max_cost)
    return given(request.overrides, estimate), estimate


def _has_room(job: Job, pipeline: Pipeline, settings: Settings) -> bool:
    """Whether the clusters of a job still have as many nodes as it asks for: it would wait for others for ever."""
    if settings.compute != AZUREML or job.overrides.nodes is None:
        return True
    targets = clusters(pipeline, settings, job.overrides, job.inputs)
    return all(
        job.overrides.nodes <= targets[step.name].max_nodes
        for step in pipeline.steps
        if isinstance(step, ParallelStep)
    )


def documented(job: Job, pipeline: Pipeline, deployed: DeployedWorkload, settings: Settings) -> Job:
    """The job with what is submitted to Azure ML: its steps by the versions that were deployed, each on its cluster."""
    pipeline = with_modes(pipeline, job.overrides.modes)
    targets = clusters(pipeline, settings, job.overrides, job.inputs)
    gpu = gpu_environments(settings.workloads_folder)
    pipeline = with_workers(pipeline, targets, gpu, job.overrides.max_concurrency_per_instance)
    names = {step: target.name for step, target in targets.items()}
    between = paths.between_location(settings, job.run_id)
    document = job_document(job, pipeline, deployed, names, between)
    return replace(
        job, document=document, link=settings.workspace.studio(job.name) if settings.workspace else ""
    )


def check_suitable(pipeline: Pipeline, overrides: Overrides, settings: Settings) -> None:
    """RequestError for what the run asks for and its clusters do not have, DefinitionError where the files are wrong."""
    targets = load_targets(settings.workloads_folder, settings.clusters)
    known = environments(settings.workloads_folder)
    problems = unsuitable(as_asked(pipeline, overrides.compute, overrides.nodes), targets, known)
    own = unsuitable(pipeline, targets, known) if problems else ()
    of_run = [problem.message for problem in problems if problem not in own]
    if of_run:
        raise RequestError(" ".join(of_run))
    if problems:
        raise DefinitionError(problems)


def obstacle(request: RunRequest, workloads: Workloads, catalog: Catalog) -> str | None:
    """What keeps an hour from being scored for now: a workload that is not there or not made for hours, wrong inputs,
    a model that nobody has published. None when it can be."""
    try:
        pipeline = workloads.pipeline(request.workload)
        for name in (READINGS_INPUT, MANIFEST_INPUT, HOUR_INPUT):
            if name not in pipeline.inputs:
                return (
                    f"workload {request.workload!r} has no input {name!r}, which every hour's run is given."
                )
        if paths.PREDICTIONS not in pipeline.outputs:
            return (
                f"workload {request.workload!r} has no output {paths.PREDICTIONS!r}, which an hour publishes."
            )
        for name, value in resolve_inputs(pipeline, request.inputs).items():
            if pipeline.inputs[name].is_model:
                catalog.model(str(value))
    except (RequestError, DefinitionError) as error:
        return str(error)
    return None


def _models_made(
    pipeline: Pipeline, inputs: Mapping[str, Location | Scalar], catalog: Catalog
) -> dict[str, str]:
    """The names of the models that a run makes, by output: each is what the input `<output>_name` says."""
    found = {}
    for output in pipeline.outputs.values():
        given = f"{output.name}_name"
        if output.type != "custom_model" or given not in inputs:
            continue
        name = str(inputs[given])
        if not paths.is_model_name(name):
            raise RequestError(
                f"input {given!r} is {name[:100]!r}, which cannot be a model's name: use letters, digits, '-', '_' "
                "and '.', a letter or digit first."
            )
        kept = catalog.kept_from_runs(name)
        if kept:
            raise RequestError(f"input {given!r} is {name!r}, {kept}. Choose another name.")
        found[output.name] = name
    return found


def bind_inputs(
    pipeline: Pipeline, request: RunRequest, settings: Settings, catalog: Catalog
) -> dict[str, Location | Scalar]:
    """The inputs of a run, defaults filled in, data by its place in storage. RequestError names what is not there."""
    values = resolve_inputs(pipeline, request.inputs)
    bound: dict[str, Location | Scalar] = {}
    problems: list[str] = []
    for name, value in values.items():
        declared = pipeline.inputs[name]
        if not declared.is_data:
            bound[name] = value
            continue
        try:
            if declared.is_model:
                bound[name] = catalog.model(str(value))
                continue
            location = paths.input_location(settings, paths.user_path(str(value), f"input {name!r}"))
        except RequestError as error:
            problems.append(f"input {name!r}: {error}" if declared.is_model else str(error))
            continue
        bound[name] = location
        problems += _absent(name, declared, location, catalog)
    if problems:
        raise RequestError(" ".join(problems))
    return bound


def _absent(name: str, declared: Input, location: Location, catalog: Catalog) -> list[str]:
    """What is wrong with the place of a data input, when nothing of its kind is there."""
    what = f"input {name!r}"
    account = f"in container {location.container!r} of the data account"
    if declared.type == "uri_file" and not catalog.blob_exists(location):
        if catalog.holds_blobs(location):
            return [f"{what} must be a file, and {location.path + '/'!r} is a folder. Name one file in it."]
        return [f"{what}: there is no blob {location.path!r} {account}. Upload it before the trigger file."]
    if declared.type == "mltable" and not catalog.blob_exists(_mltable(location)):
        return [
            f"{what}: there is no blob {_mltable(location).path!r} {account}, and an mltable is a prefix with one. "
            "Upload it before the trigger file."
        ]
    if declared.type == "uri_folder" and not catalog.holds_blobs(location):
        if catalog.blob_exists(location):
            return [f"{what} must be a folder, and {location.path!r} is a file. Name the folder it lies in."]
        return [
            f"{what}: there is nothing below {location.path + '/'!r} {account}. Upload the files before the trigger "
            "file."
        ]
    return []


def _mltable(location: Location) -> Location:
    """Where the file is that makes a prefix a table."""
    return replace(location, path=f"{location.path}/{FILE_NAME}")
