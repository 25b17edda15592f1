"""Inputs and outputs: what a component declares, what a pipeline job gives, what a step is handed."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import replace

from batchscore.definitions import schema
from batchscore.definitions.model import DATA_TYPES, SCALAR_TYPES, Input, Output, Scalar
from batchscore.definitions.reading import Section, nearest, shown
from batchscore.definitions.service import names_equal_but_for_case
from batchscore.definitions.values import fault, literal
from batchscore.definitions.yamlnodes import Node, Problems

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def named(entries: Iterable[tuple[str, Node]], what: str, problems: Problems) -> list[tuple[str, Node]]:
    """The entries, after refusing names that an expression cannot hold."""
    entries = list(entries)
    for name, node in entries:
        if not NAME.fullmatch(name):
            problems.add(
                node, f"{what} {name!r} is not a name. Use letters, digits and _, not a digit first."
            )
    for first, name in names_equal_but_for_case([name for name, _ in entries]):
        node = next(node for each, node in entries if each == name)
        problems.add(node, f"{what} {name!r} is {first!r} for Azure ML, which has no case there. Rename one.")
    return entries


def data_type(section: Section, legal: tuple[str, ...]) -> str | None:
    """The `type` of an input or output."""
    kind = section.text("type")
    if kind is not None and kind not in legal:
        section.wrong("type", f"one of {', '.join(legal)}. {nearest(kind, legal)}".removesuffix("."))
        return None
    return kind


def declared_inputs(owner: Section) -> dict[str, Input]:
    """The `inputs:` of a component."""
    result = {}
    for name, node in named(owner.entries("inputs"), f"{owner.what}: input", owner.problems):
        section = Section.of(node, f"input {name!r}", owner.problems)
        result[name] = Input(name, "", node.line) if section is None else _declared_input(name, section)
    return result


def _declared_input(name: str, section: Section) -> Input:
    section.allow(schema.DECLARED_INPUT)
    if "type" not in section.values or section.get("type") is None:
        section.missing("type", f"Say one of {', '.join((*DATA_TYPES, *SCALAR_TYPES))}.")
    kind = data_type(section, (*DATA_TYPES, *SCALAR_TYPES)) or ""
    is_data = kind in DATA_TYPES
    for key in ("default", "min", "max", "enum"):
        if is_data:
            section.refuse(key, "is for numbers and text only; a file or folder has none. Remove it.")
    if kind in ("string", "boolean"):
        for key in ("min", "max"):
            section.refuse(key, f"is for numbers only, and this is a {kind}. Remove it.")
    if kind in SCALAR_TYPES:
        section.refuse("mode", "is for files and folders only. Remove it.")
    numeric = kind in ("integer", "number")
    declared = Input(
        name=name,
        type=kind,
        line=section.node.line,
        optional=section.flag("optional") or False,
        min=_bound(section, "min") if numeric else None,
        max=_bound(section, "max") if numeric else None,
        enum=_enum(section, kind) if kind in SCALAR_TYPES else (),
        mode=mode_of(section, schema.TABLE_INPUT_MODES),
        description=section.label("description") or "",
    )
    if declared.min is not None and declared.max is not None and declared.min > declared.max:
        section.refuse(
            "min", f"is {declared.min:g}, more than max {declared.max:g}. Then no value is right; swap them."
        )
        return replace(declared, min=None, max=None)
    default = section.get("default")
    if default is None or kind not in SCALAR_TYPES:
        return declared
    if not isinstance(default.value, Scalar):
        section.wrong("default", "a single value")
        return declared
    value = literal(declared, default.value)
    wrong = fault(declared, value)
    if wrong:
        section.problems.add(default, f"{section.what}: default {wrong}.")
        return declared
    return replace(declared, default=value)


def _bound(section: Section, key: str) -> float | None:
    node = section.get(key)
    if node is None:
        return None
    if (
        isinstance(node.value, bool)
        or not isinstance(node.value, (int, float))
        or not math.isfinite(node.value)
    ):
        section.wrong(key, "a number")
        return None
    return node.value


def _enum(section: Section, kind: str) -> tuple[Scalar, ...]:
    node = section.get("enum")
    if node is None:
        return ()
    if not isinstance(node.value, list) or not node.value:
        section.wrong("enum", "a list of the values that are allowed")
        return ()
    plain = Input(name="", type=kind, line=node.line)
    result: list[Scalar] = []
    for item in node.value:
        if not isinstance(item.value, str) and isinstance(item.value, Scalar) and kind != "boolean":
            section.problems.add(
                item, f"{section.what}: a value of enum is {shown(item.value)}; it must be text (quote it)."
            )
            continue
        value = literal(plain, item.value) if isinstance(item.value, Scalar) else item.value
        wrong = fault(plain, value)
        if wrong:
            section.problems.add(item, f"{section.what}: a value of enum {wrong}.")
        elif isinstance(value, Scalar):
            result.append(value)
    return tuple(result)


def mode_of(section: Section, legal: tuple[str, ...]) -> str | None:
    mode = section.choice("mode", legal)
    kind = section.get("type")
    if mode in ("eval_mount", "eval_download") and (kind is None or kind.value != "mltable"):
        section.refuse("mode", f"{mode!r} {schema.NOT_YET}. Use ro_mount or download.")
    return mode


def declared_outputs(owner: Section) -> dict[str, Output]:
    """The `outputs:` of a component."""
    result = {}
    for name, node in named(owner.entries("outputs"), f"{owner.what}: output", owner.problems):
        section = Section.of(node, f"output {name!r}", owner.problems)
        if section is None:
            continue
        section.allow(schema.DECLARED_OUTPUT)
        if section.get("type") is None:
            section.missing("type", f"Say one of {', '.join(DATA_TYPES)}.")
        result[name] = Output(
            name=name,
            type=data_type(section, DATA_TYPES) or "uri_folder",
            line=node.line,
            mode=mode_of(section, schema.OUTPUT_MODES),
            description=section.label("description") or "",
        )
    return result
