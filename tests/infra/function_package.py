"""The Function package as azd makes it: the files of the working folder, less what .funcignore names."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pathspec

ROOT = Path(__file__).parents[2]


def package_files(folder: Path) -> Iterator[str]:
    """Names of the files that travel, with slashes; a folder that is ignored is not looked into, as git does it."""
    lines = (ROOT / ".funcignore").read_text().splitlines()
    ignored = pathspec.GitIgnoreSpec.from_lines(lines)
    for place, folders, files in os.walk(folder):
        here = Path(place).relative_to(folder)
        folders[:] = [name for name in folders if not ignored.match_file(f"{(here / name).as_posix()}/")]
        for name in files:
            if not ignored.match_file((here / name).as_posix()):
                yield (here / name).as_posix()


def make_package(folder: Path, file: Path) -> Path:
    """The package of a working folder as a ZIP file."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as package:
        for name in sorted(package_files(folder)):
            package.write(folder / name, name)
    return file
