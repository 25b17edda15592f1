"""What a pipeline says and a local run does not act on, told to people in one sentence each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from batchscore.definitions import schema
from batchscore.definitions.model import Input, Output, Pipeline, Step
from batchscore.definitions.reading import Section, as_whole, nearest
from batchscore.definitions.steps import Draft

_ENVIRONMENTS = "Environments are not built for a local run"


def notices(
    root: Section,
    inputs: Mapping[str, Input],
    outputs: Mapping[str, Output],
    drafts: Mapping[str, Draft],
    steps: Iterable[Step],
    inside: Iterable[Pipeline],
) -> tuple[str, ...]:
    """Sentences, each once, the ones about everything first, and then those of the pipeline components inside."""
    steps = list(steps)
    return tuple(
        dict.fromkeys(
            [
                *_environments(steps),
                *_unused(root, drafts),
                *(
                    f"Input {name!r} is at {declared.path}, which a local run does not fetch: "
                    f"give --input {name}=PATH or --map {declared.path}=PATH."
                    for name, declared in inputs.items()
                    if declared.is_remote
                ),
                *_settings(root),
                *(
                    sentence
                    for name, output in outputs.items()
                    for sentence in _of_output(output, f"output {name!r} of the pipeline")
                ),
                *(sentence for draft in drafts.values() for sentence in _of_step(draft)),
                *(
                    sentence
                    for each in inside
                    for sentence in each.notices
                    if not sentence.startswith(_ENVIRONMENTS)
                ),
            ]
        )
    )


def _environments(steps: list[Step]) -> list[str]:
    names = sorted({step.environment for step in steps if step.environment})
    if not names:
        return []
    return [f"{_ENVIRONMENTS}; the Python in use stands for {', '.join(names)}."]


def _unused(root: Section, drafts: Mapping[str, Draft]) -> list[str]:
    result = []
    for key, instead in schema.UNUSED.items():
        steps = [
            name for name, draft in drafts.items() if any(key in layer.section for layer in draft.layers)
        ]
        settings = root.values.get("settings")
        default = (
            key == "compute"
            and settings is not None
            and isinstance(settings.value, dict)
            and "default_compute" in settings.value
        )
        if steps or key in root or default:
            where = f" of {', '.join(steps)}" if steps else ""
            result.append(f"{key}{where} is not used: a local run {instead}.")
    return result


def _settings(root: Section) -> list[str]:
    """Azure ML passes over keys of settings that it does not know, and so does a local run, but not in silence."""
    settings = root.section("settings")
    return [
        f"settings.{key} is no key that Azure ML knows, and so is not used. "
        f"{nearest(key, schema.PIPELINE_SETTINGS, 'It knows')}"
        for key in ({} if settings is None else settings.values)
        if key not in schema.PIPELINE_SETTINGS
    ]


def _of_step(draft: Draft) -> list[str]:
    result = []
    if draft.kind == "command":
        counts = [layer.section.get("instance_count") for layer in draft.below("resources")]
        count = next((node.value for node in counts if node is not None), 1)
        if isinstance(count, str) or (as_whole(count) or 1) > 1:
            result.append(f"Step {draft.name!r} asks for {count} nodes and runs once on this machine.")
    for port, given in draft.given.items():
        declared = (draft.inputs or {}).get(port)
        if declared is not None and given.says_otherwise(declared):
            result.append(
                f"Input {port!r} of step {draft.name!r} is given as {given.type}, and the component says "
                f"{declared.type}: the step gets the {given.type}, as on Azure ML."
            )
    if draft.kind == "pipeline" and isinstance(draft.node.values["component"].value, dict):
        result.append(
            f"Step {draft.name!r} holds its pipeline component in place; Azure ML's own tools want a file of its own."
        )
    if any("model" in task.section for task in draft.below("task")):
        result.append(f"task.model of step {draft.name!r} is not used: hand the model over as an input.")
    for port, output in draft.outputs.items():
        result += _of_output(output, f"output {port!r} of step {draft.name!r}")
    thresholds = [layer.section.get("mini_batch_error_threshold") for layer in draft.layers]
    if len(thresholds) > 1 and thresholds[0] and thresholds[1] and as_whole(thresholds[0].value) == 0:
        result.append(
            f"mini_batch_error_threshold: 0 of step {draft.name!r} holds here, but Azure ML's SDK sends the "
            f"component's {thresholds[1].value} instead: write 0 into the component."
        )
    return result


def _of_output(output: Output, what: str) -> list[str]:
    result = []
    if output.path is not None:
        result.append(f"The path of {what} is not used: a run has its own.")
    if output.asset is not None:
        result.append(
            f"{what[0].upper()}{what[1:]} is not registered as {output.asset!r}: only Azure ML does that."
        )
    return result
