"""The Function package as azd makes it: the files of the working folder, less what .funcignore names."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import pathspec

ROOT = Path(__file__).parents[2]


LINES = (ROOT / ".funcignore").read_text().splitlines()
Ignored = Callable[[str, bool], bool]
"""Whether a file or folder (True) of this name stays behind."""


def as_git() -> Ignored:
    spec = pathspec.GitIgnoreSpec.from_lines(LINES)
    return lambda name, is_folder: spec.match_file(f"{name}/" if is_folder else name)


def as_azd() -> Ignored:
    """As go-gitignore reads it: the last pattern that matches decides, each name is matched by itself; a pattern without a
    slash inside matches the last part of a name, or, after a slash, the whole of it, its * also across slashes; with ** it
    is matched part by part, ** standing for any number of parts or none."""
    patterns = [line for line in LINES if line and not line.startswith("#")]

    def ignored(name: str, is_folder: bool) -> bool:
        for pattern in reversed(patterns):
            body = pattern.removeprefix("!")
            if (is_folder or not body.endswith("/")) and _matches(body, name):
                return not pattern.startswith("!")
        return False

    return ignored


def _matches(pattern: str, name: str) -> bool:
    inner, parts = pattern.strip("/"), name.split("/")
    if "**" in inner:
        wanted = inner.split("/") if pattern.startswith("/") else ["**", *inner.split("/")]
        return _parts_match(wanted, parts)
    if "/" in inner:
        wanted = inner.split("/")
        given = parts if pattern.startswith("/") else parts[-len(wanted) :]
        return len(given) == len(wanted) and all(map(fnmatchcase, given, wanted))
    return fnmatchcase(name if pattern.startswith("/") else parts[-1], inner)


def _parts_match(wanted: list[str], given: list[str]) -> bool:
    if not wanted:
        return not given
    if wanted[0] == "**":
        return _parts_match(wanted[1:], given) or (bool(given) and _parts_match(wanted, given[1:]))
    return bool(given) and fnmatchcase(given[0], wanted[0]) and _parts_match(wanted[1:], given[1:])


def package_files(
    folder: Path, ignored: Ignored | None = None, *, look_everywhere: bool = False
) -> Iterator[str]:
    """Names of the files that travel, with slashes; a folder that is ignored is not looked into, unless told to."""
    ignored = ignored or as_git()
    for place, folders, files in os.walk(folder):
        here = Path(place).relative_to(folder)
        if not look_everywhere:
            folders[:] = [name for name in folders if not ignored((here / name).as_posix(), True)]
        for name in files:
            if not ignored((here / name).as_posix(), False):
                yield (here / name).as_posix()


def make_package(folder: Path, file: Path) -> Path:
    """The package of a working folder as a ZIP file."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as package:
        for name in sorted(package_files(folder)):
            package.write(folder / name, name)
    return file
