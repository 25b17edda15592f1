"""The options of a request that name parts of its pipeline: `modes`, `compute` and `environment_variables`."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from batchscore.definitions.modes import mode_faults
from batchscore.paths import RECEIPTS_OUTPUT
from batchscore.printable import printable

if TYPE_CHECKING:
    from batchscore.definitions.model import Pipeline

KEYS = ("modes", "compute", "environment_variables")
MOST_ENTRIES = 100
LONGEST_VALUE = 4_096
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
"""Variables that every step has, whatever it declares, and that decide nothing but speed."""

_COMPUTE = re.compile(r"[A-Za-z](?:[A-Za-z0-9-]{0,30}[A-Za-z0-9])?")
_SECRET_NAME = re.compile(
    r"(?:^|_)(?:KEY|SECRET|TOKEN|PASSWORD|PASSWD|PWD|CREDENTIALS?|CONNECTION_?STRING|SAS)(?:_|$)",
    re.IGNORECASE,
)
_SECRET_VALUE = re.compile(r"AccountKey=|SharedAccess|[?&]sig=|-----BEGIN [A-Z ]*PRIVATE KEY", re.IGNORECASE)


@dataclass(frozen=True)
class RunOptions:
    """What was asked for, checked."""

    modes: dict[str, str] = field(default_factory=dict)
    compute: str | dict[str, str] | None = None
    environment_variables: dict[str, str] = field(default_factory=dict)


def read_options(body: Mapping[str, Any], pipeline: Pipeline | None, problems: list[str]) -> RunOptions:
    """The options in a request's body; what is wrong with them is added to `problems`. Without a pipeline (there is
    none of the name that was given) only what needs none is checked."""
    return RunOptions(
        _modes(body.get("modes"), pipeline, problems),
        _compute(body.get("compute"), pipeline, problems),
        _variables(body.get("environment_variables"), pipeline, problems),
    )


def _modes(value: object, pipeline: Pipeline | None, problems: list[str]) -> dict[str, str]:
    modes = _object("modes", value, 'modes by input or output, such as {"video": "download"}', problems)
    faults = [] if pipeline is None else mode_faults(pipeline, modes)
    if modes.get(RECEIPTS_OUTPUT) == "upload":
        faults.append(
            f"modes: {RECEIPTS_OUTPUT} is 'upload', and it is read while its step runs, for the progress and for what "
            "need not be done again. Leave it rw_mount."
        )
    problems += faults
    return {} if faults else {name: mode for name, mode in modes.items() if isinstance(mode, str)}


def _compute(value: object, pipeline: Pipeline | None, problems: list[str]) -> str | dict[str, str] | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        return _cluster("compute", value, problems)
    found = {}
    steps = () if pipeline is None else tuple(step.name for step in pipeline.steps)
    for name, cluster in _object("compute", value, "clusters by step", problems).items():
        if pipeline is not None and name not in steps:
            problems.append(f"compute names {_quoted(name)}, which is no step.{_nearest(name, steps)}")
            continue
        text = _cluster(f"compute.{printable(name)}", cluster, problems)
        if text is not None:
            found[name] = text
    return found or None


def _cluster(what: str, value: object, problems: list[str]) -> str | None:
    name = value.removeprefix("azureml:") if isinstance(value, str) else ""
    if _COMPUTE.fullmatch(name):
        return name
    problems.append(
        f"{what} is {_shown(value)}; it must be the name of a cluster (up to 32 letters, digits and -), such as "
        '"gpu-cluster".'
    )
    return None


def _variables(value: object, pipeline: Pipeline | None, problems: list[str]) -> dict[str, str]:
    """Only what a step declares may be changed: other variables decide which programs and libraries are run, and a
    trigger file is written by people who bring data."""
    wanted = _object("environment_variables", value, "texts by name", problems)
    declared = {name for step in (pipeline.steps if pipeline else ()) for name in step.environment_variables}
    found = {}
    for name, text in wanted.items():
        what = f"environment_variables.{printable(name)}"
        if pipeline is not None and name not in declared and name not in THREADS:
            problems.append(
                f"{what} is declared by no step.{_nearest(name, sorted(declared) + list(THREADS))} A run changes what "
                "environment_variables of a step in the pipeline file declare."
            )
        elif _SECRET_NAME.search(name):
            problems.append(f"{what} looks like a secret, {_NO_SECRETS}")
        elif not isinstance(text, str) or len(text) > LONGEST_VALUE or "\0" in text:
            problems.append(
                f"{what} is {_shown(text)}; it must be text of at most {LONGEST_VALUE} characters."
            )
        elif _SECRET_VALUE.search(text):
            problems.append(f"{what} has a value that looks like a secret, {_NO_SECRETS}")
        else:
            found[name] = text
    return found


_NO_SECRETS = "which the run's record and Azure ML would show to everybody. Let the step's identity fetch it from a Key Vault."


def _object(key: str, value: object, of: str, problems: list[str]) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        problems.append(f"{key} is {_shown(value)}; it must be an object: {of}.")
        return {}
    if len(value) > MOST_ENTRIES:
        problems.append(f"{key} has {len(value)} entries; {MOST_ENTRIES} are allowed.")
        return {}
    return value


def _nearest(word: str, choices: Collection[str]) -> str:
    near = difflib.get_close_matches(word, list(choices), n=1)
    return f" Did you mean {near[0]!r}?" if near else f" There are: {', '.join(choices) or 'none'}."


def _quoted(text: str) -> str:
    return repr(printable(text, 100))


def _shown(value: object) -> str:
    return printable(json.dumps(value, ensure_ascii=False), 80)
