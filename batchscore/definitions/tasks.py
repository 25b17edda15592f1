"""What a step runs: its command or its task, with code, environment and limits -> CommandStep or ParallelStep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from batchscore.definitions import schema
from batchscore.definitions.arguments import check_template, driver_arguments, misspelt_driver_arguments
from batchscore.definitions.expressions import whole_reference
from batchscore.definitions.model import (
    CommandStep,
    Input,
    Output,
    ParallelStep,
    Retry,
    Step,
)
from batchscore.definitions.passed_on import compute_of, passed_on, written
from batchscore.definitions.reading import Section, nearest
from batchscore.definitions.scripts import check_command, mentions
from batchscore.definitions.sources import (
    code_folder,
    entry_script_of,
    environment_of,
    includes_of,
)
from batchscore.definitions.splitting import mini_batch_size, partition_keys
from batchscore.definitions.steps import Bound, Draft, Layer, first, holder


def command_step(draft: Draft, bound: Bound, file: Path) -> Step | None:
    """A command step; None after a problem without which there is none."""
    layers = draft.layers
    code, environment, variables = code_folder(layers), environment_of(layers), _variables(layers)
    _instance_count(draft, bound)
    _refuse_evaluated(draft, bound, None)
    place = holder(layers, "command")
    if place is None:
        layers[-1].section.missing("command", "Say what to run, such as python score.py.")
        return None
    command = place.section.text("command")
    if command is None:
        return None
    if not command.strip():
        place.section.wrong("command", "a command line")
    check_template(place.section, "command", command, bound, for_shell=True)
    includes = includes_of(layers, code)
    check_command(place.section, command, code, bool(includes))
    return CommandStep(
        name=draft.name,
        file=file,
        line=draft.node.node.line,
        command=command,
        inputs=bound.inputs,
        outputs=bound.outputs,
        bindings=bound.bindings,
        output_bindings=bound.output_bindings,
        code=code,
        environment=environment,
        includes=includes,
        environment_variables=variables,
        compute=compute_of(draft),
        passed_on=passed_on(draft),
        written=written(draft),
        timeout_s=_timeout(draft),
    )


def _timeout(draft: Draft) -> int | None:
    found = draft.below("limits")
    for layer in found:
        layer.section.allow(schema.LIMITS)
    return first(found, lambda section: section.whole("timeout", 1))


def parallel_step(draft: Draft, bound: Bound, file: Path) -> Step | None:
    """A parallel step; None after a problem without which there is none."""
    layers = draft.layers
    for layer in layers:
        layer.section.refuse(
            "additional_includes",
            "is dropped by Azure ML for a parallel step. Put the files into the folder that code names.",
        )
    input_data = _port(layers, "input_data", "inputs", bound.inputs)
    _check_input_data(layers, input_data, bound)
    _refuse_evaluated(draft, bound, input_data)
    is_table = input_data is not None and bound.inputs[input_data].type == "mltable"
    size, instance_count = mini_batch_size(layers, is_table), _instance_count(draft, bound)
    columns = partition_keys(layers, is_table)
    concurrency = _whole(layers, "max_concurrency_per_instance", 1)
    error_threshold = _error_threshold(draft)
    mini_batch_error_threshold = _whole(layers, "mini_batch_error_threshold", -1)
    retry, variables = _retry(draft), _variables(layers)
    level = first(layers, lambda section: section.choice("logging_level", schema.LOGGING_LEVELS))
    task = _task(draft, bound)
    if task is None or input_data is None:
        return None
    return replace(
        task,
        file=file,
        input_data=input_data,
        bindings=bound.bindings,
        output_bindings=bound.output_bindings,
        environment_variables=variables,
        compute=compute_of(draft),
        passed_on=passed_on(draft),
        written=written(draft),
        retry=retry,
        logging_level=level or task.logging_level,
        mini_batch_size=size or (None if is_table else task.mini_batch_size),
        partition_keys=columns or (),
        max_concurrency_per_instance=concurrency,
        instance_count=instance_count or task.instance_count,
        error_threshold=task.error_threshold if error_threshold is None else error_threshold,
        mini_batch_error_threshold=(
            task.mini_batch_error_threshold
            if mini_batch_error_threshold is None
            else mini_batch_error_threshold
        ),
    )


def _task(draft: Draft, bound: Bound) -> ParallelStep | None:
    """What `task:` says, in a step of which the rest is still to come."""
    tasks = draft.below("task")
    if not tasks:
        remedy = "Say what runs: task: {type: run_function, code, entry_script, environment}."
        draft.layers[-1].section.missing("task", remedy)
        return None
    for task in tasks:
        task.section.allow(schema.TASK)
    first(tasks, lambda section: section.choice("type", ("run_function", "function")))
    if not holder(tasks, "type"):
        tasks[-1].section.missing("type", "Say type: run_function.")
    code = code_folder(tasks)
    if not holder(tasks, "code"):
        tasks[-1].section.missing("code", "Name the folder that holds the entry script.")
    entry_script = entry_script_of(tasks, code)
    environment = environment_of(tasks)
    arguments = first(tasks, lambda section: section.text("program_arguments")) or ""
    place = holder(tasks, "program_arguments")
    if place is not None:
        check_template(place.section, "program_arguments", arguments, bound, for_shell=False)
        if code is not None:
            _check_driver_arguments(place.section, arguments, code)
    rows = _port(tasks, "append_row_to", "outputs", bound.outputs) if holder(tasks, "append_row_to") else None
    if entry_script is None:
        return None
    return ParallelStep(
        name=draft.name,
        file=draft.layers[0].folder,
        line=draft.node.node.line,
        entry_script=entry_script,
        input_data="",
        program_arguments=arguments,
        inputs=bound.inputs,
        outputs=bound.outputs,
        code=code,
        environment=environment,
        append_row_to=rows,
    )


def _check_driver_arguments(section: Section, arguments: str, code: Path) -> None:
    """Refuse what was meant for Azure ML's driver: it passes over a name that it does not know, and so does a script."""
    for said, known in misspelt_driver_arguments(arguments):
        if not mentions(code, f"--{said}") and not mentions(code, said.replace("-", "_")):
            section.refuse(
                "program_arguments",
                f"says --{said}, which neither Azure ML's driver nor a script in {code} knows. Did you mean --{known}?",
            )


def _error_threshold(draft: Draft) -> int | None:
    """The step's own threshold, or the one that Azure ML's driver is told; they must not contradict each other."""
    said = _whole(draft.layers, "error_threshold", -1)
    place = holder(draft.below("task"), "program_arguments")
    told = None if place is None else driver_arguments(place.section).get("error_threshold")
    if place is None or told is None:
        return said
    if said not in (None, int(told)):
        place.section.refuse(
            "program_arguments",
            f"says --error_threshold {told:g}, and error_threshold is {said}. Keep one of them.",
        )
    return int(told)


def _whole(layers: tuple[Layer, ...], key: str, least: int) -> int | None:
    return first(layers, lambda section: section.whole(key, least))


def _variables(layers: tuple[Layer, ...]) -> dict[str, str]:
    result: dict[str, str] = {}
    for layer in reversed(layers):
        result.update(layer.section.scalars("environment_variables"))
    return result


def _instance_count(draft: Draft, bound: Bound) -> int | None:
    found = draft.below("resources")
    for layer in found:
        layer.section.allow(schema.RESOURCES)
        for key in ("instance_type", "docker_args"):
            layer.section.label(key)
    return first(found, lambda section: _count_of_nodes(section, bound))


def _count_of_nodes(section: Section, bound: Bound) -> int | None:
    """The number of nodes, of which a local run uses one; it may be one of the pipeline's inputs."""
    text = section.get("instance_count")
    reference = whole_reference(text.value) if text is not None and isinstance(text.value, str) else None
    if reference is None:
        return section.whole("instance_count", 1)
    if reference.parts[:2] != ("parent", "inputs") or reference.parts[2:] not in {
        (name,) for name in bound.parent
    }:
        section.refuse(
            "instance_count",
            f"is {reference.text}, which is no input of the pipeline. "
            f"{nearest(reference.parts[-1], bound.parent, 'The inputs are')}",
        )
    return None


def _retry(draft: Draft) -> Retry:
    found = draft.below("retry_settings")
    for layer in found:
        layer.section.allow(schema.RETRY)
    timeout = first(found, lambda section: section.whole("timeout", 1, schema.LONGEST_TIMEOUT_S))
    retries = first(found, lambda section: section.whole("max_retries", 0))
    plain = Retry()
    return Retry(
        plain.timeout_s if timeout is None else timeout, plain.max_retries if retries is None else retries
    )


def _port(
    layers: tuple[Layer, ...], key: str, kind: str, ports: Mapping[str, Input] | Mapping[str, Output]
) -> str | None:
    """The name in `input_data: ${{inputs.x}}` or `append_row_to: ${{outputs.x}}`."""
    place = holder(layers, key)
    if place is None:
        layers[-1].section.missing(key, f"Say which of the {kind}: {key}: ${{{{{kind}.<name>}}}}.")
        return None
    text = place.section.text(key)
    if text is None:
        return None
    reference = whole_reference(text)
    if reference is None or len(reference.parts) != 2 or reference.parts[0] != kind:
        place.section.wrong(key, f"${{{{{kind}.<name>}}}}, one of the step's own {kind}")
        return None
    name = reference.parts[1]
    if name not in ports:
        place.section.refuse(
            key, f"names {reference.text}, and the step has no such {kind[:-1]}. {nearest(name, ports)}"
        )
        return None
    return name


def _refuse_evaluated(draft: Draft, bound: Bound, input_data: str | None) -> None:
    """The files that an mltable names are handed over one by one as items of a parallel step, and nowhere else."""
    for name, declared in bound.inputs.items():
        if name != input_data and declared.mode in ("eval_mount", "eval_download"):
            draft.node.problems.add_at(
                draft.node.node.file,
                draft.node.node.line,
                f"{draft.what}: mode {declared.mode!r} of input {name!r} {schema.NOT_YET} but for the input_data of "
                "a parallel step. Use ro_mount or download, and read the MLTable file in the step.",
            )


def _check_input_data(layers: tuple[Layer, ...], name: str | None, bound: Bound) -> None:
    place = holder(layers, "input_data")
    declared = bound.inputs.get(name) if name else None
    if place is None or declared is None or not declared.type:
        return
    if declared.type not in ("uri_folder", "uri_file", "mltable"):
        place.section.refuse(
            "input_data", f"names input {name!r} of type {declared.type}. Items are files: use a uri_folder."
        )
    elif declared.optional:
        place.section.refuse(
            "input_data",
            f"names input {name!r}, which is optional. Without it there are no items: make it required.",
        )
