"""The environments of the workloads: their files, what their images are built from, and the version of that."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from batchscore.definitions.reading import Section
from batchscore.definitions.schema import ENVIRONMENT
from batchscore.definitions.yamlnodes import Problems, read
from batchscore.deploying.snapshots import Snapshot, code_snapshot
from batchscore.deployment import content_version, normalised
from batchscore.errors import DefinitionError

FOLDER = "environments"
DOCKERFILE = "Dockerfile"
_COPY = re.compile(r"^\s*(?:COPY|ADD)\s+(.+)$", re.IGNORECASE | re.MULTILINE)
_REFERENCE = re.compile(r"azureml:([\w.-]+)(?:@latest)?")


@dataclass(frozen=True)
class Environment:
    """An environment as its file says it."""

    name: str
    file: Path
    document: Mapping[str, Any]
    """The file's content."""
    context: Snapshot | None
    """What its image is built from; None where it names an image that is there."""
    dockerfile: str = DOCKERFILE
    """In the context."""

    @cached_property
    def version(self) -> str:
        told = {key: value for key, value in self.document.items() if key != "version"}
        parts = [json.dumps(told, sort_keys=True, default=str).encode()]
        if self.context is not None:
            parts.append(self.context.version.encode())
        conda = self.document.get("conda_file")
        if isinstance(conda, str):
            parts.append(normalised((self.file.parent / conda).read_bytes()))
        return content_version(*parts)

    @property
    def reference(self) -> str:
        return f"azureml:{self.name}:{self.version}"


def read_environments(workloads_folder: Path) -> dict[str, Environment]:
    """The environments in `<workloads>/environments/*.yml` by name; DefinitionError lists what is wrong with them."""
    problems = Problems()
    found: dict[str, Environment] = {}
    for file in sorted((workloads_folder / FOLDER).glob("*.yml")):
        environment = _environment(file, problems)
        if environment is not None and environment.name in found:
            problems.add_at(str(file), 1, f"another file has the name {environment.name!r}, too. Rename one.")
        if environment is not None:
            found[environment.name] = environment
    if problems.found:
        raise DefinitionError(problems.sorted())
    return found


def pinned(reference: str, environments: Mapping[str, Environment]) -> str:
    """A reference without a version, or to the latest, as one to the version here; any other as it is."""
    match = _REFERENCE.fullmatch(reference)
    if match and match[1] in environments:
        return environments[match[1]].reference
    return reference


def read_environment(file: Path) -> Environment:
    """The environment of one file; DefinitionError lists what is wrong with it."""
    problems = Problems()
    found = _environment(file, problems)
    if found is None or problems.found:
        raise DefinitionError(problems.sorted())
    return found


def inline_environment(document: Mapping[str, Any], file: Path, component: str) -> Environment:
    """The environment that a component's file holds; one without a name gets the component's."""
    name = str(document.get("name") or f"{component}-environment")
    build = document.get("build")
    if build is None:
        return Environment(name, file, {**document, "name": name}, None)
    dockerfile = build.get("dockerfile_path") or DOCKERFILE
    context = build_context(file.parent / build["path"], dockerfile)
    return Environment(name, file, {**document, "name": name}, context, dockerfile)


def _environment(file: Path, problems: Problems) -> Environment | None:
    root = read(file, problems)
    section = None if root is None else Section.of(root, f"the environment {file.name!r}", problems)
    if section is None:
        return None
    section.allow(ENVIRONMENT)
    name, build, conda = section.text("name"), section.section("build"), section.get("conda_file")
    if name is None:
        section.missing("name", "Give the name that steps use: azureml:<name>@latest.")
    if build is None and "image" not in section:
        section.missing("image", "Give an image, or build with the folder of a Dockerfile.")
    if conda is not None and isinstance(conda.value, str) and not (file.parent / conda.value).is_file():
        section.refuse("conda_file", f"is {conda.value!r}, which is not there. Correct the path.")
    if build is not None:
        dockerfile = build.text("dockerfile_path") or DOCKERFILE
        wanted = file.parent / (build.text("path") or ".") / dockerfile
        if not wanted.is_file():
            section.refuse("build", f"wants {wanted}, which is not there. Correct path or dockerfile_path.")
    if problems.found or name is None:
        return None
    return inline_environment(yaml.safe_load(file.read_text("utf-8-sig")), file, name)


def build_context(folder: Path, dockerfile: str) -> Snapshot:
    """The Dockerfile with the files that it copies, so that a change of another file builds no new image; the whole
    folder where it copies folders or patterns."""
    text = (folder / dockerfile).read_text("utf-8-sig").replace("\\\n", " ")
    named = {dockerfile}
    for arguments in _COPY.findall(text):
        words = [word for word in shlex.split(arguments) if not word.startswith("--")]
        if "--from=" in arguments:
            continue
        named |= {str(PurePosixPath(word)) for word in words[:-1]}
    files = {name: folder / name for name in named}
    if all(path.is_file() for path in files.values()):
        return Snapshot(files)
    return code_snapshot(folder)
