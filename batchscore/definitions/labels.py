"""What a file says of itself: its kind, its names, tags and words for people, checked though they change nothing in a run."""

from __future__ import annotations

import re

from batchscore.definitions.reading import Section, shown
from batchscore.definitions.service import COMPONENT_NAME, check_service_keys
from batchscore.definitions.yamlnodes import Node
from batchscore.errors import Problem

_ASSET_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,254}", re.ASCII)
_SCHEMA = re.compile(r"/(\w+)\.schema\.json$")


def check_schema(section: Section, kinds: tuple[str, ...]) -> None:
    """Refuse a `$schema` of another kind of file."""
    said = section.text("$schema")
    match = _SCHEMA.search(said) if said else None
    known = ("command", "parallel", "pipeline", "sweep", "spark")
    if match and match[1] not in kinds and match[1].startswith(known):
        section.refuse("$schema", f"says {match[1]}, and this is a {kinds[0]}. Make the two agree.")


def check_registered(component: Section) -> None:
    """Note what Azure ML wants of a component that is registered, and of no other."""

    def note(at: Node, message: str) -> None:
        problem = Problem(at.file, at.line, message)
        if problem not in component.problems.registering:
            component.problems.registering.append(problem)

    name = component.get("name")
    if name is None:
        note(component.node, f"{component.what} has no name. Azure ML registers components by their names.")
    elif not isinstance(name.value, str) or not COMPONENT_NAME.fullmatch(name.value):
        note(
            name,
            f"{component.what}: name is {shown(name.value)}; Azure ML registers a component by lower-case letters, "
            "digits and _, a letter first.",
        )
    for tag, node in component.entries("tags"):
        if not isinstance(node.value, str):
            note(node, f"{component.what}: tags.{tag} is {shown(node.value)}; it must be text (quote it).")


def check_labels(section: Section) -> None:
    """Read what changes nothing in a run, for its mistakes only."""
    for key in ("name", "version"):
        said = section.label(key)
        if said is not None and not _ASSET_NAME.fullmatch(said):
            section.wrong(key, "letters, digits, and _ . - after the first")
    for key in ("display_name", "description", "experiment_name", "comment"):
        section.label(key)
    for key in ("tags", "properties", "identity", "services", "limits", "queue_settings", "distribution"):
        section.section(key)
    section.flag("is_deterministic")
    check_service_keys(section)
