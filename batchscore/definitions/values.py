"""Values and the inputs they are for: types, bounds, defaults; what a run is given, checked and completed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import cast

from batchscore.definitions.model import MODEL_TYPES, Input, ParentInput, Pipeline, Scalar
from batchscore.definitions.reading import nearest, shown
from batchscore.errors import RequestError

EXACTLY_ONE_OF = "exactly_one_of"
"""The tag of a pipeline that names inputs, separated by commas, of which exactly one must be given."""

_WORDS = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
}


def fault(declared: Input, value: object) -> str | None:
    """What is wrong with a value for a scalar input (`is 7; it must be at most 1`), or None."""
    if not _has_type(declared.type, value):
        return f"is {shown(value)}; it must be {_WORDS[declared.type]}"
    if declared.enum and value not in declared.enum:
        return f"is {shown(value)}; it must be one of {', '.join(shown(each) for each in declared.enum)}"
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if declared.min is not None and value < declared.min:
            return f"is {value}; it must be at least {declared.min:g}"
        if declared.max is not None and value > declared.max:
            return f"is {value}; it must be at most {declared.max:g}"
    return None


def from_text(declared: Input, text: str) -> Scalar:
    """A value typed by a person (`--input strength=0.5`), as the declared type. RequestError when it is none."""
    value = _parsed(declared.type, text)
    wrong = None if declared.is_data else fault(declared, text if value is None else value)
    if value is None or wrong:
        raise RequestError(f"input {declared.name!r} {wrong}.")
    return value


def literal(declared: Input, value: Scalar) -> Scalar:
    """A value written in a pipeline file, brought to the declared type where Azure ML does so too."""
    if declared.type == "string" and not isinstance(value, (str, bool)):
        return str(value)
    if isinstance(value, str):
        parsed = _parsed(declared.type, value)
        return value if parsed is None else parsed
    return value


def kind_of(value: Scalar) -> str:
    """The type of a value for which none is declared."""
    return {bool: "boolean", int: "integer", float: "number", str: "string"}[type(value)]


def as_text(value: Scalar) -> str:
    """A scalar as Azure ML writes it into a command: `True`, `5`, `0.5`."""
    return str(value)


def resolve_inputs(pipeline: Pipeline, given: Mapping[str, object]) -> dict[str, Scalar]:
    """What a run's inputs are: `given` checked against the declarations, defaults filled in.

    Optional inputs without a value stay absent; data inputs are paths or names, as text. RequestError lists
    everything that is wrong, a line each.
    """
    problems = [
        f"the pipeline {pipeline.name!r} has no input {name[:100]!r}. {nearest(name, pipeline.inputs)}"
        for name in given
        if name not in pipeline.inputs
    ]
    result: dict[str, Scalar] = {}
    for name, declared in pipeline.inputs.items():
        value = given.get(name)
        if value is None:
            value = declared.path if declared.default is None else declared.default
        if value is None:
            if not declared.optional:
                problems.append(f"input {name!r} is missing. {_wanted(declared)}")
            continue
        wrong = _data_fault(declared, value) if declared.is_data else fault(declared, value)
        wrong = wrong or _step_fault(pipeline, name, value)
        if wrong:
            problems.append(f"input {name!r} {wrong}.")
        else:
            result[name] = cast("Scalar", value)
    problems += _exclusive_faults(pipeline, {name for name, value in given.items() if value is not None})
    if problems:
        raise RequestError("\n".join(problems))
    return result


def _exclusive_faults(pipeline: Pipeline, given: set[str]) -> list[str]:
    """What is wrong with inputs of which exactly one must be given, as the pipeline's tag `exactly_one_of` says."""
    names = [each.strip() for each in pipeline.tags.get(EXACTLY_ONE_OF, "").split(",") if each.strip()]
    there = [name for name in names if name in given]
    if not names or len(there) == 1:
        return []
    choice = " or ".join(map(repr, names))
    found = f"{' and '.join(map(repr, there))} are given" if there else "none of them is given"
    return [f"exactly one of the inputs {choice} is needed: {found}."]


def _wanted(declared: Input) -> str:
    about = f" ({declared.description.strip()})" if declared.description.strip() else ""
    kind = {
        "uri_file": "the path of a file",
        "uri_folder": "the path of a folder",
        "mltable": "the path of a folder with a file MLTable in it",
        **dict.fromkeys(MODEL_TYPES, "a model"),
    }
    return f"Give {kind.get(declared.type) or _WORDS.get(declared.type, 'a value')}{about}."


def _data_fault(declared: Input, value: object) -> str | None:
    if isinstance(value, str) and value.strip():
        return None
    return f"is {shown(value)}; it must be {'a name' if declared.is_model else 'a path'}, as text"


def _step_fault(pipeline: Pipeline, name: str, value: object) -> str | None:
    """A step may be narrower than the pipeline's own declaration of the input."""
    for step in (*pipeline.nested, *pipeline.steps):
        for port, binding in step.bindings.items():
            declared = step.inputs[port]
            if binding == ParentInput(name) and not declared.is_data:
                wrong = fault(declared, literal(declared, cast("Scalar", value)))
                if wrong:
                    return f"{wrong} (input {port!r} of step {step.name!r})"
    return None


def _has_type(kind: str, value: object) -> bool:
    if kind == "boolean":
        return isinstance(value, bool)
    if isinstance(value, bool):
        return False
    if kind == "integer":
        return isinstance(value, int)
    if kind == "number":
        return isinstance(value, (int, float)) and _finite(value)
    return isinstance(value, str)


def _finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number too large for a float
        return False


def _parsed(kind: str, text: str) -> Scalar | None:
    try:
        if kind == "integer":
            return int(text)
        if kind == "number":
            number = float(text)
            return number if math.isfinite(number) else None
    except ValueError:
        return None
    if kind == "boolean":
        return {"true": True, "false": False}.get(text.strip().lower())
    return text
