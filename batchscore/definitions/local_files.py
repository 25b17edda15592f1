"""What stands on this machine for what Azure ML knows by name: `azureml:my_data@latest` -> a file or folder here.

Such a map is a YAML file of references and paths. The one called `azureml-local.yml` in the folder of the pipeline is
read by itself; a setting and the command line add to it. Nothing is ever fetched in the place of a missing line.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from batchscore.definitions.reading import Section
from batchscore.definitions.yamlnodes import Problems, read

MAP_NAME = "azureml-local.yml"
_VERSION = re.compile(r"(azureml:[\w.-]+)(?::[\w.-]+|@[\w.-]+)")
_REGISTRY_VERSION = re.compile(r"(azureml://registries/.+)/(?:versions|labels)/[^/]+")


@dataclass(frozen=True)
class LocalFiles:
    """Paths of this machine by reference, as the definitions write it.

    A key may leave out the version (`azureml:my_data`), and then stands for every version; one that ends in `/`
    stands for everything below it, so that a whole datastore can be one folder.
    """

    paths: Mapping[str, Path] = field(default_factory=dict)

    def find(self, reference: str) -> Path | None:
        """Where the file or folder is, or None when nothing stands for the reference."""
        for key in (reference, _without_version(reference)):
            if key in self.paths:
                return self.paths[key]
        prefixes = [key for key in self.paths if key.endswith("/") and reference.startswith(key)]
        if not prefixes:
            return None
        longest = max(prefixes, key=len)
        rest = reference.removeprefix(longest)
        return None if ".." in rest.split("/") else self.paths[longest] / rest

    def over(self, other: LocalFiles) -> LocalFiles:
        """Both; where they differ, this one is right."""
        return LocalFiles({**other.paths, **self.paths})


def remedy(reference: str) -> str:
    """How to say what stands for a reference, as the end of a message."""
    return f"Say what it is here: --map {reference}=PATH, or a line {reference}: PATH in {MAP_NAME} beside the pipeline."


def read_map(file: Path, problems: Problems) -> LocalFiles:
    """A map file; its paths are relative to its own folder, and must be there."""
    root = read(file, problems)
    section = None if root is None else Section.of(root, "the map of local files", problems)
    paths: dict[str, Path] = {}
    for reference, node in {} if section is None else section.values.items():
        if not isinstance(node.value, str) or not node.value.strip():
            problems.add(node, f"{reference!r} has no path. Write the path of a file or folder.")
            continue
        place = file.parent / Path(node.value).expanduser()
        if not place.exists():
            problems.add(
                node, f"{reference!r} is {node.value!r}, which is not there (looked for {place}). Correct it."
            )
            continue
        paths[reference] = place.absolute()
    return LocalFiles(paths)


def _without_version(reference: str) -> str:
    for pattern in (_VERSION, _REGISTRY_VERSION):
        match = pattern.fullmatch(reference)
        if match:
            return match[1]
    return reference


@dataclass(frozen=True)
class Place:
    """What the paths and references of a file mean: the folder it lies in, and the map of the whole pipeline."""

    folder: Path
    files: LocalFiles = LocalFiles()

    def at(self, folder: Path) -> Place:
        """The same map, for a file in another folder."""
        return Place(folder, self.files)
