"""A trigger file's bytes (or an HTTP body) -> a validated RunRequest, or a RequestError with every reason."""

from __future__ import annotations

import difflib
import json
import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from batchscore import paths, run_options
from batchscore.compute.base import Overrides, Scalar
from batchscore.definitions import resolve_inputs
from batchscore.errors import DefinitionError, RequestError
from batchscore.planner import Bounds
from batchscore.printable import printable, shortened
from batchscore.workloads import Workloads

if TYPE_CHECKING:
    from batchscore.definitions import Pipeline

LARGEST_COUNT = 2**31 - 1
LARGEST_NUMBER = 2**63 - 1
MOST_PROBLEMS = 20
MOST_INPUTS = 200
DEEPEST = 20


@dataclass(frozen=True)
class Knob:
    """A whole number that a request may set, with its bounds as Azure ML has them."""

    least: int
    most: int = LARGEST_COUNT


KNOBS = {
    "nodes": Knob(1),
    "mini_batch_size": Knob(1),
    "max_concurrency_per_instance": Knob(1),
    "error_threshold": Knob(-1),
    "mini_batch_error_threshold": Knob(-1),
}
RETRY_KNOBS = {"timeout": Knob(1, 259_200), "max_retries": Knob(0)}
LOGGING_LEVELS = ("DEBUG", "INFO", "WARNING")
KEYS = ("workload", "inputs", *KNOBS, "retry_settings", "logging_level", "max_cost", *run_options.KEYS)
CHOSEN = ("nodes", "mini_batch_size")
"""What may be left to the planner, within bounds."""
LARGEST_COST = 1e9


@dataclass(frozen=True)
class RunRequest:
    """What a run is asked to do. `inputs` holds what was given, checked, without nulls; defaults are applied when it
    is planned."""

    workload: str
    inputs: dict[str, Scalar] = field(default_factory=dict)
    overrides: Overrides = field(default_factory=Overrides)
    bounds: dict[str, Bounds] = field(default_factory=dict)
    """Between what the planner may choose: `nodes`, `mini_batch_size`. A number that is fixed is an override."""
    max_cost: float | None = None
    """The most that the run may cost by its estimate, in the currency of the prices."""


def parse(data: bytes, workloads: Workloads, max_bytes: int) -> RunRequest:
    """Read a request. RequestError lists everything that is wrong with it, each with the value and the remedy."""
    body = _json_object(data, max_bytes)
    problems: list[str] = []
    unknown = [key for key in body if key not in KEYS]
    for key in unknown[:MOST_PROBLEMS]:
        problems.append(f"{key[:100]!r} is not a key of a trigger file.{_nearest(key, KEYS)}")
    if len(unknown) > MOST_PROBLEMS:
        problems.append(f"{len(unknown) - MOST_PROBLEMS} more keys are none of a trigger file.")
    bounds = {
        name: _bounds(name, body[name], problems) for name in CHOSEN if isinstance(body.get(name), dict)
    }
    overrides = _overrides({key: value for key, value in body.items() if key not in bounds}, problems)
    max_cost = _max_cost(body, problems)
    inputs = body.get("inputs", {})
    if not isinstance(inputs, dict):
        problems.append(f"inputs is {_shown(inputs)}; it must be an object of the pipeline's inputs by name.")
        inputs = None
    workload = body.get("workload")
    pipeline = None
    if not isinstance(workload, str):
        value = "missing" if "workload" not in body else _shown(workload)
        problems.append(
            f"workload is {value}; it must be the name of a workload: {', '.join(workloads.names())}."
        )
    else:
        pipeline = _pipeline(workload, workloads, problems)
        problems += _input_problems(workload, inputs, pipeline)
    options = run_options.read_options(body, pipeline, problems)
    if problems or not isinstance(workload, str):
        raise RequestError(shortened(" ".join(problems)))
    return RunRequest(
        workload,
        {name: value for name, value in (inputs or {}).items() if value is not None},
        replace(
            overrides,
            modes=options.modes,
            compute=options.compute,
            environment_variables=options.environment_variables,
        ),
        {name: each for name, each in bounds.items() if each is not None},
        max_cost,
    )


def _json_object(data: bytes, max_bytes: int) -> dict[str, Any]:
    if len(data) > max_bytes:
        raise RequestError(
            f"the request is larger than {max_bytes} bytes. A trigger file names inputs, it holds none."
        )
    if not data.strip():
        raise RequestError('the request is empty. It must be JSON, such as {"workload": "…", "inputs": {…}}.')
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RequestError(f"the request is not UTF-8 (byte {error.start}). Save it as UTF-8.") from error
    try:
        body = json.loads(
            text, object_pairs_hook=_no_duplicates, parse_constant=_no_constant, parse_float=_finite
        )
    except json.JSONDecodeError as error:
        raise RequestError(
            f"the request is not JSON: {error.msg} at line {error.lineno}, column {error.colno}."
        ) from error
    except RecursionError as error:
        raise RequestError("the request is nested too deeply.") from error
    except ValueError as error:  # a number with more digits than Python converts
        raise RequestError(f"the request holds a number that cannot be read: {error}.") from error
    _check_values(body)
    if not isinstance(body, dict):
        raise RequestError(f"the request is {_shown(body)}; it must be a JSON object.")
    return body


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            raise RequestError(f"the key {key[:100]!r} appears twice. Keep one of them.")
        result[key] = value
    return result


def _check_values(body: object) -> None:
    """RequestError for what JSON allows and no record could hold, and for what is nested deeper than any request."""
    level, found = 0, [body]
    while found:
        level += 1
        if level > DEEPEST:
            raise RequestError(f"the request is nested too deeply: more than {DEEPEST} levels.")
        below: list[object] = []
        for value in found:
            if isinstance(value, dict):
                below += [*value.keys(), *value.values()]
            elif isinstance(value, list):
                below += value
            elif isinstance(value, str):
                try:
                    value.encode()
                except UnicodeEncodeError as error:  # written as \ud800
                    raise RequestError(
                        f"the request holds half of a surrogate pair in {value[:100]!r}. Write the whole character."
                    ) from error
            elif isinstance(value, int) and abs(value) > LARGEST_NUMBER:
                raise RequestError(
                    f"the request holds a number of {len(str(abs(value)))} digits. Whole numbers go to {LARGEST_NUMBER}."
                )
        found = below


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise RequestError(f"{text[:100]} is too large for a number. Give a finite number.")
    return number


def _no_constant(name: str) -> Any:
    raise RequestError(f"{name} is not a number that JSON knows. Give a finite number.")


def _overrides(body: dict[str, Any], problems: list[str]) -> Overrides:
    values = {name: _count(name, body[name], knob, problems) for name, knob in KNOBS.items() if name in body}
    retry = body.get("retry_settings", {})
    if not isinstance(retry, dict):
        problems.append(
            f"retry_settings is {_shown(retry)}; it must be an object with timeout and max_retries."
        )
        retry = {}
    for key in [key for key in retry if key not in RETRY_KNOBS][:MOST_PROBLEMS]:
        problems.append(f"{key[:100]!r} is not a key of retry_settings.{_nearest(key, tuple(RETRY_KNOBS))}")
    retries = {
        name: _count(f"retry_settings.{name}", retry[name], knob, problems)
        for name, knob in RETRY_KNOBS.items()
        if name in retry
    }
    level = body.get("logging_level")
    if level is not None and level not in LOGGING_LEVELS:
        problems.append(f"logging_level is {_shown(level)}; it must be one of {', '.join(LOGGING_LEVELS)}.")
        level = None
    return Overrides(
        nodes=values.get("nodes"),
        mini_batch_size=values.get("mini_batch_size"),
        max_concurrency_per_instance=values.get("max_concurrency_per_instance"),
        error_threshold=values.get("error_threshold"),
        mini_batch_error_threshold=values.get("mini_batch_error_threshold"),
        timeout_s=retries.get("timeout"),
        max_retries=retries.get("max_retries"),
        logging_level=level,
    )


def _count(name: str, value: object, knob: Knob, problems: list[str]) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool) and knob.least <= value <= knob.most:
        return value
    bounds = ', or {"min": 1, "max": 8}' if name in CHOSEN else ""
    problems.append(
        f"{name} is {_shown(value)}; it must be a whole number from {knob.least} to {knob.most}{bounds}."
    )
    return None


def _bounds(name: str, value: dict[str, Any], problems: list[str]) -> Bounds | None:
    """`{"min": 1, "max": 8}`, both ends given: who names a range says how far."""
    knob = KNOBS[name]
    if value.keys() != {"min", "max"}:
        problems.append(f'{name} is {_shown(value)}; it must be a whole number, or {{"min": 1, "max": 8}}.')
        return None
    least, most = (_count(f"{name}.{end}", value[end], knob, problems) for end in ("min", "max"))
    if least is None or most is None:
        return None
    if least > most:
        problems.append(f"{name}.min is {least}, more than {name}.max, {most}. Lower it.")
        return None
    return Bounds(least, most)


def _max_cost(body: dict[str, Any], problems: list[str]) -> float | None:
    value = body.get("max_cost")
    if value is None:
        return None
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= LARGEST_COST:
        return float(value)
    problems.append(
        f"max_cost is {_shown(value)}; it must be a number, 0 to {LARGEST_COST:.0f}: a sum of money."
    )
    return None


def _pipeline(workload: str, workloads: Workloads, problems: list[str]) -> Pipeline | None:
    try:
        return workloads.pipeline(workload)
    except RequestError as error:
        problems.append(str(error))
    except DefinitionError as error:
        problems.append(f"the pipeline of workload {workload!r} has mistakes: {error}")
    return None


def _input_problems(workload: str, inputs: dict[str, Any] | None, pipeline: Pipeline | None) -> list[str]:
    if inputs is None or pipeline is None:
        return []
    if len(inputs) > MOST_INPUTS:
        return [f"inputs has {len(inputs)} entries; workload {workload!r} has {len(pipeline.inputs)} inputs."]
    problems = []
    try:
        resolve_inputs(pipeline, inputs)
    except RequestError as error:
        problems.append(str(error))
    for name, value in inputs.items():
        declared = pipeline.inputs.get(name)
        if declared is not None and declared.is_data and not declared.is_model and isinstance(value, str):
            try:
                paths.user_path(value, f"input {name!r}")
            except RequestError as error:
                problems.append(str(error))
    return problems


def _nearest(word: str, choices: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(word, choices, n=1)
    return f" Did you mean {near[0]!r}?" if near else f" There are: {', '.join(choices)}."


def _shown(value: object) -> str:
    return printable(json.dumps(value, ensure_ascii=False), 80)
