"""A pipeline file -> a checked Pipeline, or a DefinitionError with every mistake in it and its components."""

from __future__ import annotations

from pathlib import Path

from batchscore.definitions import schema
from batchscore.definitions.given import job_inputs, job_outputs
from batchscore.definitions.graph import Wiring
from batchscore.definitions.interface import declared_inputs, declared_outputs
from batchscore.definitions.model import Pipeline, Step
from batchscore.definitions.notices import notices
from batchscore.definitions.order import ordered
from batchscore.definitions.reading import Section
from batchscore.definitions.steps import Draft, check_labels, check_schema, draft
from batchscore.definitions.tasks import command_step, parallel_step
from batchscore.definitions.yamlnodes import Problems, read
from batchscore.errors import DefinitionError


def load_pipeline(path: Path) -> Pipeline:
    """Read a pipeline component or a pipeline job with the components it names; DefinitionError lists every mistake."""
    problems = Problems()
    pipeline = _pipeline(Path(path), problems)
    if problems.found or pipeline is None:
        raise DefinitionError(problems.sorted())
    return pipeline


def _pipeline(path: Path, problems: Problems) -> Pipeline | None:
    node = read(path, problems)
    root = None if node is None else Section.of(node, "the pipeline", problems)
    if root is None or not _is_pipeline(root):
        return None
    job = _is_job(root)
    _check_top(root, job)
    folder = path.parent
    inputs = job_inputs(root, folder) if job else declared_inputs(root)
    outputs = job_outputs(root) if job else declared_outputs(root)
    jobs = dict(root.entries("jobs"))
    if not jobs and not ("jobs" in root and not isinstance(root.values["jobs"].value, dict)):
        root.missing("jobs", "Add jobs: with a step of type command or parallel in it.")
    drafts: dict[str, Draft] = {}
    for name, entry in jobs.items():
        found = draft(name, entry, folder, problems)
        if found is not None:
            drafts[name] = found
    wiring = Wiring(str(path), inputs, outputs, drafts, frozenset(jobs) - frozenset(drafts), problems)
    bound = wiring.wire()
    steps: list[Step] = []
    for name in ordered(bound, drafts, problems):
        build = command_step if drafts[name].kind == "command" else parallel_step
        step = build(drafts[name], bound[name], path)
        if step is not None:
            steps.append(step)
    return Pipeline(
        name=root.label("name") or path.name.removesuffix(".pipeline.yml").removesuffix(path.suffix),
        file=path,
        inputs=inputs,
        outputs=wiring.outputs,
        steps=tuple(steps),
        version=root.label("version"),
        display_name=root.label("display_name") or "",
        description=root.label("description") or "",
        tags=root.scalars("tags"),
        notices=notices(root, inputs, drafts, steps),
    )


def _is_pipeline(root: Section) -> bool:
    kind = root.text("type")
    if kind == "pipeline":
        return True
    if kind is None and "type" not in root:
        root.missing("type", "Say type: pipeline.")
    elif kind is not None:
        root.wrong("type", "pipeline: this is the file of one step, and a pipeline names it under jobs")
    return False


def _is_job(root: Section) -> bool:
    """A pipeline job gives its inputs values; a pipeline component declares them."""
    said = root.get("$schema")
    if said is not None and isinstance(said.value, str):
        if "pipelineJob" in said.value:
            return True
        if "pipelineComponent" in said.value:
            return False
    if any(key in root for key in schema.PIPELINE_JOB_ONLY):
        return True
    inputs = root.values.get("inputs")
    entries = inputs.value.values() if inputs is not None and isinstance(inputs.value, dict) else ()
    return any(not isinstance(entry.value, dict) or "path" in entry.value for entry in entries)


def _check_top(root: Section, job: bool) -> None:
    root.allow(schema.PIPELINE_JOB if job else schema.PIPELINE_COMPONENT)
    check_schema(root, ("pipelineJob", "pipelineComponent"))
    root.refuse("component", f"of a whole pipeline {schema.NOT_YET}. Name that file itself.")
    check_labels(root)
    root.text("compute")
    settings = root.section("settings")
    if settings is None:
        return
    settings.allow(schema.PIPELINE_SETTINGS)
    for key in ("on_init", "on_finalize"):
        settings.refuse(key, f"{schema.NOT_YET}. Make it a step that others read from.")
    for key in ("default_compute", "default_datastore"):
        settings.text(key)
    for key in ("continue_on_step_failure", "force_rerun"):
        settings.flag(key)
