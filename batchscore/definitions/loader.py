"""A pipeline file -> a checked Pipeline, or a DefinitionError with every mistake in it and its components."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from batchscore.definitions import schema
from batchscore.definitions.given import job_inputs, job_outputs, with_values
from batchscore.definitions.graph import Wiring
from batchscore.definitions.interface import declared_inputs, declared_outputs
from batchscore.definitions.labels import check_labels, check_registered, check_schema
from batchscore.definitions.local_files import MAP_NAME, LocalFiles, Place, read_map
from batchscore.definitions.model import Pipeline
from batchscore.definitions.nesting import MOST_STEPS, Steps
from batchscore.definitions.notices import notices
from batchscore.definitions.order import ordered
from batchscore.definitions.passed_on import default_of, with_default
from batchscore.definitions.reading import Section, nearest
from batchscore.definitions.service import check_default_compute
from batchscore.definitions.steps import Bound, Draft, component_of, draft
from batchscore.definitions.tasks import command_step, parallel_step
from batchscore.definitions.yamlnodes import Problems, read
from batchscore.errors import DefinitionError


def load_pipeline(
    path: Path, local_map: Path | None = None, local: Mapping[str, Path] | None = None
) -> Pipeline:
    """Read a pipeline component or a pipeline job with the components it names; DefinitionError lists every mistake.

    What stands on this machine for what Azure ML knows by name is said by `local`, else by the file `local_map`, else
    by the map beside the pipeline.
    """
    problems = Problems()
    path = Path(path)
    files = LocalFiles(local or {})
    beside = path.parent / MAP_NAME
    maps = [
        file for file in (local_map, beside) if file is not None and (file == local_map or file.is_file())
    ]
    for file in maps:
        files = files.over(read_map(file, problems))
    pipeline = _Loader(problems).file(path, Place(path.parent, files))
    if problems.found or pipeline is None:
        raise DefinitionError(problems.sorted())
    return replace(
        pipeline, unregistrable=tuple(problems.registering), files=tuple(problems.files), maps=tuple(maps)
    )


class _Loader:
    """Reads one pipeline and, step by step, the pipeline components in it."""

    def __init__(self, problems: Problems) -> None:
        self._problems = problems
        self._open: list[Path] = []
        """The files being read, the outermost first."""
        self._read: dict[Path, Pipeline] = {}

    def file(self, path: Path, place: Place) -> Pipeline | None:
        node = read(path, self._problems)
        root = None if node is None else Section.of(node, "the pipeline", self._problems)
        if root is None or not _is_pipeline(root):
            return None
        self._open.append(path.resolve())
        job = _is_job(root)
        if job and "component" in root and "jobs" not in root:
            return self._job_of_component(root, place, path)
        return self._pipeline(root, place, path, job)

    def _job_of_component(self, root: Section, place: Place, path: Path) -> Pipeline | None:
        """A pipeline job that runs a pipeline component: its steps, with the job's values as defaults."""
        _check_top(root, job=True)
        layer = component_of(root, "pipeline", place)
        if layer is None:
            return None
        inner = self._pipeline(layer.section, layer.place, Path(layer.section.node.file), job=False)
        inputs = with_values(inner.inputs, job_inputs(root, place), self._problems, root.node)
        outputs = dict(inner.outputs)
        for name, given in job_outputs(root).items():
            if name not in outputs:
                remedy = nearest(name, outputs, "Its outputs are")
                self._problems.add(root.node, f"the component has no output {name!r}. {remedy}")
                continue
            outputs[name] = replace(outputs[name], mode=given.mode or outputs[name].mode, asset=given.asset)
        return replace(
            inner,
            name=root.label("name") or inner.name,
            file=path,
            inputs=inputs,
            outputs=outputs,
            steps=tuple(with_default(step, default_of(root)) for step in inner.steps),
            continue_on_step_failure=_continues(root),
            display_name=root.label("display_name") or inner.display_name,
            tags=root.scalars("tags"),
            notices=tuple(dict.fromkeys((*notices(root, inputs, outputs, {}, (), ()), *inner.notices))),
        )

    def _pipeline(self, root: Section, place: Place, path: Path, job: bool) -> Pipeline:
        _check_top(root, job)
        inputs = job_inputs(root, place) if job else declared_inputs(root)
        outputs = job_outputs(root) if job else declared_outputs(root)
        jobs = dict(root.entries("jobs"))
        if not jobs and not ("jobs" in root and not isinstance(root.values["jobs"].value, dict)):
            root.missing("jobs", "Add jobs: with a step of type command, parallel or pipeline in it.")
        drafts: dict[str, Draft] = {}
        for name, entry in jobs.items():
            found = draft(name, entry, place, self._problems)
            if found is not None:
                drafts[name] = found
        broken = frozenset(jobs) - frozenset(drafts)
        wiring = Wiring(str(path), inputs, outputs, drafts, broken, self._problems)
        bound = wiring.wire()
        found_steps = Steps()
        inside: list[Pipeline] = []
        for name in ordered(bound, drafts, self._problems):
            inside += self._add(drafts[name], found_steps.followed(bound[name]), found_steps, path)
        if len(found_steps.steps) > MOST_STEPS:
            root.refuse(
                "jobs", f"makes {len(found_steps.steps):,} steps. More than {MOST_STEPS:,} cannot run."
            )
        return Pipeline(
            name=root.label("name") or path.name.removesuffix(".pipeline.yml").removesuffix(path.suffix),
            file=path,
            inputs=inputs,
            outputs=wiring.outputs,
            steps=tuple(with_default(step, default_of(root)) for step in found_steps.steps),
            version=root.label("version"),
            display_name=root.label("display_name") or "",
            description=root.label("description") or "",
            tags=root.scalars("tags"),
            nested=tuple(found_steps.nested),
            continue_on_step_failure=_continues(root),
            notices=notices(root, inputs, wiring.outputs, drafts, found_steps.steps, inside),
        )

    def _add(self, draft: Draft, bound: Bound, steps: Steps, path: Path) -> list[Pipeline]:
        """Add what a draft runs to the steps; the pipeline component that it is, if it is one."""
        if draft.kind != "pipeline":
            build = command_step if draft.kind == "command" else parallel_step
            step = build(draft, bound, path)
            if step is not None:
                steps.steps.append(step)
            return []
        inner = self._component(draft)
        if inner is None or len(steps.steps) > MOST_STEPS:
            return []
        steps.add_inside(draft, inner, bound)
        return [inner]

    def _component(self, draft: Draft) -> Pipeline | None:
        """The pipeline component of a step, read once for each file; None when it contains itself."""
        root, place = draft.layers[-1].section, draft.layers[-1].place
        if root.node is draft.node.values["component"]:  # written in place
            return self._pipeline(root, place, draft.file, job=False)
        path = draft.file.resolve()
        if path in self._open:
            circle = [*self._open[self._open.index(path) :], path]
            draft.node.refuse(
                "component",
                f"contains itself: {' → '.join(each.name for each in circle)}. Break the circle.",
            )
            return None
        if path not in self._read:
            self._open.append(path)
            self._read[path] = self._pipeline(root, place, draft.file, job=False)
            self._open.pop()
        return self._read[path]


def _continues(root: Section) -> bool:
    settings = root.section("settings")
    return bool(settings is not None and settings.flag("continue_on_step_failure"))


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
    if not job:
        check_registered(root)
    check_schema(root, ("pipelineJob", "pipelineComponent"))
    if "jobs" in root:
        root.refuse("component", "and jobs exclude each other. Keep one of them.")
    check_labels(root)
    settings = root.section("settings")
    if settings is None:
        return
    for key in ("on_init", "on_finalize"):
        settings.refuse(
            key,
            "is in Azure ML's private preview, and a local run does not do it. Make it a step of its own.",
        )
    settings.text("default_datastore")
    check_default_compute(settings)
    for key in ("continue_on_step_failure", "force_rerun"):
        settings.flag(key)
