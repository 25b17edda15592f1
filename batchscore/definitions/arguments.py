"""Command lines and program arguments: the names in them, and what they say to Azure ML's own driver."""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Mapping

from batchscore.definitions import schema
from batchscore.definitions.expressions import references, template_faults
from batchscore.definitions.model import Input, Output
from batchscore.definitions.reading import Section, nearest
from batchscore.definitions.steps import Bound


def check_template(section: Section, key: str, template: str, bound: Bound, *, for_shell: bool) -> None:
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


def driver_arguments(section: Section) -> dict[str, float]:
    """The numbers said to Azure ML's driver, ranges checked; an expression's value is known in a run only."""
    arguments = section.text("program_arguments") or ""
    try:
        words = shlex.split(arguments.replace("\\\n", " "))
    except ValueError:
        return {}
    found: dict[str, float] = {}
    for position, word in enumerate(words):
        name, equals, value = word.removeprefix("--").partition("=")
        if not word.startswith("--") or name not in schema.DRIVER_ARGUMENTS:
            continue
        if not equals:
            value = words[position + 1] if position + 1 < len(words) else ""
        if "${{" in value or "}}" in value:
            continue
        limits = schema.DRIVER_ARGUMENTS[name]
        if limits is None:
            if value.lower() not in ("true", "false"):
                section.refuse("program_arguments", f"says --{name} {value!r}; it must be True or False.")
            continue
        if name == "append_row_file_name":
            if not value or re.search(r"[~\"#%&*:<>?/\\{|}]", value):
                section.refuse(
                    "program_arguments", f"says --{name} {value!r}; it must be the name of a file."
                )
            continue
        try:
            number = float(value)
        except ValueError:
            number = float("nan")
        if limits[0] <= number <= limits[1]:
            found[name] = number
        else:
            section.refuse(
                "program_arguments",
                f"says --{name} {value!r}; it must be a number from {limits[0]:g} to {limits[1]:g}.",
            )
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
