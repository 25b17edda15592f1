"""What a pipeline says and a local run does not act on, told to people in one sentence each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from batchscore.definitions import schema
from batchscore.definitions.arguments import misspelt_driver_arguments
from batchscore.definitions.model import Input, ParallelStep, Pipeline, Step
from batchscore.definitions.reading import Section, as_whole
from batchscore.definitions.steps import Draft

_ENVIRONMENTS = "Environments are not built for a local run"


def notices(
    root: Section,
    inputs: Mapping[str, Input],
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
                    f"Input {name!r} is at {declared.path}, which a local run does not fetch: give it a local path."
                    for name, declared in inputs.items()
                    if declared.is_remote
                ),
                *(sentence for draft in drafts.values() for sentence in _of_step(draft)),
                *(sentence for step in steps for sentence in _of_arguments(step)),
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


def _of_step(draft: Draft) -> list[str]:
    result = []
    if draft.kind == "command":
        for layer in draft.below("resources"):
            count = layer.section.get("instance_count")
            if count is not None and (as_whole(count.value) or 1) > 1:
                result.append(
                    f"Step {draft.name!r} asks for {count.value} nodes and runs once on this machine."
                )
                break
    if draft.kind == "pipeline" and isinstance(draft.node.values["component"].value, dict):
        result.append(
            f"Step {draft.name!r} holds its pipeline component in place; Azure ML's own tools want a file of its own."
        )
    if any("model" in task.section for task in draft.below("task")):
        result.append(f"task.model of step {draft.name!r} is not used: hand the model over as an input.")
    for port, output in draft.outputs.items():
        if output.path is not None:
            result.append(
                f"The path of output {port!r} of step {draft.name!r} is not used: a run has its own."
            )
    thresholds = [layer.section.get("mini_batch_error_threshold") for layer in draft.layers]
    if len(thresholds) > 1 and thresholds[0] and thresholds[1] and as_whole(thresholds[0].value) == 0:
        result.append(
            f"mini_batch_error_threshold: 0 of step {draft.name!r} holds here, but Azure ML's SDK sends the "
            f"component's {thresholds[1].value} instead: write 0 into the component."
        )
    return result


def _of_arguments(step: Step) -> list[str]:
    if not isinstance(step, ParallelStep):
        return []
    return [
        f"Step {step.name!r} has the argument --{said}, close to Azure ML's own --{known}. "
        "It is handed to the entry script; correct it if the other was meant."
        for said, known in misspelt_driver_arguments(step.program_arguments)
    ]
