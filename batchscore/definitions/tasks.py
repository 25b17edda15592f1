"""What a step runs: its command or its task, with code, environment and limits -> CommandStep or ParallelStep."""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from batchscore.definitions import schema
from batchscore.definitions.expressions import references, template_faults, whole_reference
from batchscore.definitions.model import (
    Binding,
    CommandStep,
    Input,
    Output,
    ParallelStep,
    Retry,
    Step,
    is_remote,
)
from batchscore.definitions.reading import Section, nearest
from batchscore.definitions.steps import Draft, Layer, first, holder

_TABLE_SIZE = re.compile(r"\d+\s*([kmg]b?|b)+", re.IGNORECASE)


@dataclass(frozen=True)
class Bound:
    """A step's inputs and outputs after references were followed."""

    inputs: dict[str, Input]
    outputs: dict[str, Output]
    bindings: dict[str, Binding]
    output_bindings: dict[str, str]


def command_step(draft: Draft, bound: Bound, file: Path) -> Step | None:
    layers = draft.layers
    place = holder(layers, "command")
    _code_and_environment_checks(draft)
    if place is None:
        layers[-1].section.missing("command", "Say what to run, such as command: python score.py")
        return None
    command = place.section.text("command")
    code = _code(layers)
    _resources(draft)
    if command is None:
        return None
    if not command.strip():
        place.section.wrong("command", "a command line")
        return None
    _check_template(place.section, "command", command, bound, for_shell=True)
    if code is not None:
        _check_script(place.section, command, code)
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
        environment=environment(layers),
        environment_variables=_variables(layers),
    )


def parallel_step(draft: Draft, bound: Bound, file: Path) -> Step | None:
    layers, tasks = draft.layers, draft.below("task")
    _code_and_environment_checks(draft)
    input_data = _port(layers, "input_data", "inputs", bound.inputs)
    _check_input_data(layers, input_data, bound)
    mini_batch_size = _mini_batch_size(layers)
    error_threshold = first(layers, lambda section: section.whole("error_threshold", -1))
    if not tasks:
        layers[-1].section.missing(
            "task", "Say what runs: task: {type: run_function, code, entry_script, …}."
        )
        return None
    for task in tasks:
        task.section.allow(schema.TASK)
    _check_task_type(tasks)
    code = _code(tasks)
    if code is None and holder(tasks, "code") is None:
        tasks[-1].section.missing("code", "Name the folder that holds the entry script.")
    entry_script = _entry_script(tasks, code)
    arguments = first(tasks, lambda section: section.text("program_arguments")) or ""
    driver: dict[str, float | str] = {}
    place = holder(tasks, "program_arguments")
    if place is not None and _check_template(
        place.section, "program_arguments", arguments, bound, for_shell=False
    ):
        driver = _driver_arguments(place.section, arguments)
    if "error_threshold" in driver:
        said = int(float(driver["error_threshold"]))
        if error_threshold is not None and error_threshold != said and place is not None:
            place.section.refuse(
                "program_arguments",
                f"says --error_threshold {said}, and error_threshold is {error_threshold}. Keep one of them.",
            )
        error_threshold = said
    append_row_to = (
        _port(tasks, "append_row_to", "outputs", bound.outputs) if holder(tasks, "append_row_to") else None
    )
    environment_name = environment(tasks)
    settings = {
        "max_concurrency_per_instance": first(
            layers, lambda section: section.whole("max_concurrency_per_instance", 1)
        ),
        "instance_count": _resources(draft),
    }
    retry = _retry(draft)
    mini_batch_threshold = first(layers, lambda section: section.whole("mini_batch_error_threshold", -1))
    level = first(layers, lambda section: section.choice("logging_level", schema.LOGGING_LEVELS))
    if entry_script is None or input_data is None:
        return None
    return ParallelStep(
        name=draft.name,
        file=file,
        line=draft.node.node.line,
        entry_script=entry_script,
        input_data=input_data,
        program_arguments=arguments,
        inputs=bound.inputs,
        outputs=bound.outputs,
        bindings=bound.bindings,
        output_bindings=bound.output_bindings,
        code=code,
        environment=environment_name,
        environment_variables=_variables(layers),
        append_row_to=append_row_to,
        mini_batch_size=10 if mini_batch_size is None else mini_batch_size,
        max_concurrency_per_instance=settings["max_concurrency_per_instance"],
        instance_count=settings["instance_count"] or 1,
        retry=retry,
        error_threshold=-1 if error_threshold is None else error_threshold,
        mini_batch_error_threshold=-1 if mini_batch_threshold is None else mini_batch_threshold,
        logging_level=level or "INFO",
        driver_arguments=driver,
    )


def _code_and_environment_checks(draft: Draft) -> None:
    for layer in draft.layers:
        if draft.kind == "parallel":
            layer.section.refuse(
                "additional_includes",
                "is dropped by Azure ML for a parallel step. Put the files into the folder that code names.",
            )
            layer.section.refuse("partition_keys", f"is for tables, which {schema.NOT_YET}.")
        else:
            layer.section.refuse(
                "additional_includes", f"{schema.NOT_YET}. Put the files into the code folder."
            )


def _code(layers: tuple[Layer, ...]) -> Path | None:
    place = holder(layers, "code")
    code = None if place is None else place.section.text("code")
    if place is None or code is None:
        return None
    if is_remote(code) or code.startswith("git+"):
        place.section.refuse(
            "code", f"{code!r} is not on this machine, which {schema.NOT_YET}. Name a local folder."
        )
        return None
    folder = place.folder / code.removeprefix("file:")
    if not folder.is_dir():
        reason = "is a file; name the folder that holds it" if folder.is_file() else "is not there"
        place.section.refuse("code", f"{code!r} {reason} (looked for {folder}).")
        return None
    return folder.resolve()


def _entry_script(tasks: tuple[Layer, ...], code: Path | None) -> str | None:
    place = holder(tasks, "entry_script")
    if place is None:
        tasks[-1].section.missing("entry_script", "Name the Python file with init() and run(mini_batch).")
        return None
    script = place.section.text("entry_script")
    if script is None:
        return None
    parts = PurePosixPath(script)
    if parts.is_absolute() or ".." in parts.parts:
        place.section.wrong("entry_script", "a path inside the code folder, without '..'")
        return None
    if parts.suffix != ".py":
        place.section.wrong("entry_script", "a Python file (.py)")
        return None
    if code is not None and not (code / script).is_file():
        there = sorted(path.relative_to(code).as_posix() for path in code.glob("**/*.py"))[:200]
        place.section.refuse(
            "entry_script",
            f"{script!r} is not in the code folder {code}. {nearest(script, there[:20], 'There are')}",
        )
        return None
    return script


def _check_script(section: Section, command: str, code: Path) -> None:
    """`python x.py …` names a file of the code folder; anything more complicated is left to the run."""
    match = re.match(r"\s*python[\d.]*\s+([\w./-]+\.py)(?=\s|$)", command)
    if match and not PurePosixPath(match[1]).is_absolute() and not (code / match[1]).is_file():
        there = sorted(path.relative_to(code).as_posix() for path in code.glob("**/*.py"))[:20]
        section.refuse(
            "command",
            f"runs {match[1]!r}, which is not in the code folder {code}. {nearest(match[1], there, 'There are')}",
        )


def environment(layers: tuple[Layer, ...]) -> str | None:
    """The environment's name: `azureml:…` as written, or an inline one's name, image or build folder."""
    place = holder(layers, "environment")
    if place is None:
        layers[-1].section.missing(
            "environment", "Name one (azureml:<name>@latest) or describe it (image, conda_file)."
        )
        return None
    node = place.section.values["environment"]
    if isinstance(node.value, str):
        text = node.value
        if not text.startswith(("azureml:", "file:", "./", "../")) and not text.endswith((".yml", ".yaml")):
            place.section.wrong(
                "environment",
                "azureml:<name>:<version>, azureml:<name>@latest, a file or a mapping with image",
            )
        elif not text.startswith("azureml:") and not (place.folder / text.removeprefix("file:")).is_file():
            place.section.refuse("environment", f"file {text!r} is not there. Correct the path.")
        return text
    section = place.section.section("environment")
    if section is None:
        return None
    section.allow(schema.ENVIRONMENT)
    for key in ("conda_file",):
        conda = section.get(key)
        if conda is not None and isinstance(conda.value, str):
            _must_exist(section, key, conda.value, place.folder)
    build = section.section("build")
    if build is not None:
        build.allow(("path", "dockerfile_path"))
        path = build.text("path")
        if path is None:
            build.missing("path", "Name the folder that holds the Dockerfile.")
        else:
            _must_exist(build, "path", path, place.folder)
    image = section.text("image")
    if image is None and build is None:
        section.missing("image", "Give an image, or build with the folder of a Dockerfile.")
    if image is not None and build is not None:
        section.refuse("build", "and image exclude each other. Keep one of them.")
    return section.label("name") or image or (build.text("path") if build else None)


def _must_exist(section: Section, key: str, path: str, folder: Path) -> None:
    if not is_remote(path) and not (folder / path.removeprefix("file:")).exists():
        section.refuse(key, f"{path!r} is not there (looked for {folder / path}). Correct the path.")


def _variables(layers: tuple[Layer, ...]) -> dict[str, str]:
    result: dict[str, str] = {}
    for layer in reversed(layers):
        result.update(layer.section.scalars("environment_variables"))
    return result


def _resources(draft: Draft) -> int | None:
    found = draft.below("resources")
    for layer in found:
        layer.section.allow(schema.RESOURCES)
    return first(found, lambda section: section.whole("instance_count", 1))


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


def _mini_batch_size(layers: tuple[Layer, ...]) -> int | None:
    def size(section: Section) -> int | None:
        node = section.get("mini_batch_size")
        if node is not None and isinstance(node.value, str) and _TABLE_SIZE.fullmatch(node.value.strip()):
            section.refuse(
                "mini_batch_size",
                f"{node.value!r} is a size of tables, which {schema.NOT_YET}. Give a number of files.",
            )
            return None
        return section.whole("mini_batch_size", 1)

    return first(layers, size)


def _check_task_type(tasks: tuple[Layer, ...]) -> None:
    if first(tasks, lambda section: section.choice("type", ("run_function",))) is None and not holder(
        tasks, "type"
    ):
        tasks[-1].section.missing("type", "Say type: run_function.")


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


def _check_input_data(layers: tuple[Layer, ...], name: str | None, bound: Bound) -> None:
    place = holder(layers, "input_data")
    declared = bound.inputs.get(name) if name else None
    if place is None or declared is None or not declared.type:
        return
    if declared.type not in ("uri_folder", "uri_file"):
        place.section.refuse(
            "input_data", f"names input {name!r} of type {declared.type}. Items are files: use a uri_folder."
        )
    elif declared.optional:
        place.section.refuse(
            "input_data",
            f"names input {name!r}, which is optional. Without it there are no items: make it required.",
        )


def _check_template(section: Section, key: str, template: str, bound: Bound, *, for_shell: bool) -> bool:
    faults = template_faults(template, for_shell=for_shell)
    for fault in faults:
        section.refuse(key, f"{fault}.")
    for reference in references(template):
        kind, name = reference.parts[0], ".".join(reference.parts[1:])
        if kind not in ("inputs", "outputs") or not name:
            section.refuse(
                key,
                f"has {reference.text}; only ${{{{inputs.name}}}} and ${{{{outputs.name}}}} can stand there."
                + (" Bind it under inputs: and use that name." if kind == "parent" else ""),
            )
            continue
        ports: Mapping[str, Input] | Mapping[str, Output] = (
            bound.inputs if kind == "inputs" else bound.outputs
        )
        if name not in ports:
            section.refuse(
                key, f"names {reference.text}, and the step has no such {kind[:-1]}. {nearest(name, ports)}"
            )
        elif kind == "inputs" and not reference.optional:
            declared = bound.inputs[name]
            if declared.optional and declared.default is None:
                section.refuse(
                    key,
                    f"names the optional input {reference.text} outside of $[[ ]]. "
                    f"Write $[[--{name} {reference.text}]], which goes when there is no value.",
                )
    return not faults


def _driver_arguments(section: Section, arguments: str) -> dict[str, float | str]:
    """What is said to Azure ML's driver, its ranges checked; an expression's value is known in a run only."""
    words = shlex.split(arguments.replace("\\\n", " "))
    found: dict[str, float | str] = {}
    for position, word in enumerate(words):
        name, equals, value = word.removeprefix("--").partition("=")
        if not word.startswith("--") or name not in schema.DRIVER_ARGUMENTS:
            continue
        if not equals:
            value = words[position + 1] if position + 1 < len(words) else ""
        limits = schema.DRIVER_ARGUMENTS[name]
        if "${{" in value or "}}" in value:
            continue
        if limits is None:
            if value.lower() not in ("true", "false"):
                section.refuse("program_arguments", f"says --{name} {value!r}; it must be True or False.")
            found[name] = value
            continue
        try:
            number = float(value)
        except ValueError:
            number = float("nan")
        if not limits[0] <= number <= limits[1]:
            section.refuse(
                "program_arguments",
                f"says --{name} {value!r}; it must be a number from {limits[0]:g} to {limits[1]:g}.",
            )
            continue
        found[name] = number
    return found


def misspelt_driver_arguments(arguments: str) -> list[tuple[str, str]]:
    """Arguments that look like one of the driver's: (as written, as the driver knows it)."""
    try:
        words = shlex.split(arguments)
    except ValueError:
        return []
    result = []
    for word in words:
        name = word.removeprefix("--").partition("=")[0]
        if not word.startswith("--") or name in schema.DRIVER_ARGUMENTS:
            continue
        near = difflib.get_close_matches(name.replace("-", "_"), schema.DRIVER_ARGUMENTS, n=1, cutoff=0.85)
        if near:
            result.append((name, near[0]))
    return result
