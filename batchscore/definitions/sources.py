"""What a step runs from: its code folder, its entry script, its environment; all checked to be there."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

from batchscore.definitions import schema
from batchscore.definitions.local_files import remedy
from batchscore.definitions.model import is_remote
from batchscore.definitions.reading import Section, nearest
from batchscore.definitions.scripts import entry_script_fault, scripts_in
from batchscore.definitions.service import environment_fault
from batchscore.definitions.steps import Layer, holder
from batchscore.definitions.yamlnodes import Node


def code_folder(layers: tuple[Layer, ...]) -> Path | None:
    place = holder(layers, "code")
    code = None if place is None else place.section.text("code")
    if place is None or code is None:
        return None
    folder = place.folder / code.removeprefix("file:")
    if is_remote(code) or code.startswith("git+"):
        found = place.place.files.find(code)
        if found is None:
            place.section.refuse("code", f"{code!r} is not on this machine. {remedy(code)}")
            return None
        folder = found
    if not code.strip():
        place.section.wrong("code", "the path of a folder")
        return None
    if not folder.is_dir():
        reason = "is a file; name the folder that holds it" if folder.is_file() else "is not there"
        place.section.refuse("code", f"{code!r} {reason} (looked for {folder}).")
        return None
    return folder.resolve()


def entry_script_of(tasks: tuple[Layer, ...], code: Path | None) -> str | None:
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
        remedy = nearest(script, scripts_in(code), "There are")
        place.section.refuse("entry_script", f"{script!r} is not in the code folder {code}. {remedy}")
        return None
    if code is not None:
        found = entry_script_fault(code / script)
        if found is not None:
            line, fault = found
            place.section.problems.add_at(str(code / script), line, f"the entry script {script!r} {fault}")
    return script


def environment_of(layers: tuple[Layer, ...]) -> str | None:
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
        elif text.startswith("azureml:"):
            fault = environment_fault(text)
            if fault is not None:
                place.section.wrong("environment", fault)
        elif not (place.folder / text.removeprefix("file:")).is_file():
            place.section.refuse("environment", f"file {text!r} is not there. Correct the path.")
        return text
    section = place.section.section("environment")
    if section is None:
        return None
    section.allow(schema.ENVIRONMENT)
    conda = section.get("conda_file")
    if conda is not None and isinstance(conda.value, str):
        _must_exist(section, "conda_file", conda.value, place.folder)
    elif conda is not None and not isinstance(conda.value, dict):
        section.wrong("conda_file", "the path of a conda file, or its content")
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
    local = path.removeprefix("file:")
    if not is_remote(path) and not (local and (folder / local).exists()):
        section.refuse(key, f"{path!r} is not there (looked for {folder / path}). Correct the path.")


INCLUDES_SUFFIX = ".additional_includes"


def includes_of(layers: tuple[Layer, ...], code: Path | None) -> tuple[Path, ...]:
    """What a command wants beside its code: the list in its file, or lines in a file beside its component's.

    A name that ends in `.zip` and is not there stands for the folder without the suffix, packed.
    """
    layer, section = layers[-1], layers[-1].section
    wanted = [(text, section.values["additional_includes"]) for text in section.texts("additional_includes")]
    beside = Path(section.node.file).with_suffix(INCLUDES_SUFFIX)
    if section.node.file != layers[0].section.node.file and beside.is_file():
        lines = (line.strip() for line in beside.read_text(encoding="utf-8").splitlines())
        wanted += [(line, Node(str(beside), number, line)) for number, line in enumerate(lines, 1) if line]
    found: list[Path] = []
    for text, node in wanted:
        path = Path(os.path.normpath(layer.folder / text))
        there = path.exists() or (path.suffix == ".zip" and path.with_suffix("").is_dir())
        if not there:
            section.problems.add(
                node, f"additional_includes: {text!r} is not there (looked for {path}). Correct it."
            )
        elif code is not None and path.is_file() and (code / path.name).exists():
            section.problems.add(
                node,
                f"additional_includes: {path.name!r} is in the code folder {code} already. Rename one of them.",
            )
        else:
            found.append(path)
    return tuple(found)
