"""The files of a code folder, or of an image's build: which they are, what two with the same content have in common."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from batchscore.deployment import content_version
from batchscore.errors import DefinitionError, Problem

IGNORE_FILES = (".amlignore", ".gitignore")
"""In the folder itself, the first that is there decides: Azure ML's own tools read them so, too."""
_NEVER = ("__pycache__/", ".git/", "*.amltmp")


@dataclass(frozen=True)
class Snapshot:
    """Files by their names in the snapshot, with forward slashes."""

    files: Mapping[str, Path]

    @cached_property
    def version(self) -> str:
        """The same for the same names and contents."""
        parts = []
        for name in sorted(self.files):
            with self.files[name].open("rb") as stream:
                parts += [name.encode(), hashlib.file_digest(stream, "sha256").digest()]
        return content_version(*parts)

    @cached_property
    def size_bytes(self) -> int:
        return sum(path.stat().st_size for path in self.files.values())

    def copy_to(self, folder: Path) -> Path:
        """Make the folder with exactly these files in it."""
        for name, path in self.files.items():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
        return folder


def code_snapshot(folder: Path, includes: Iterable[Path] = ()) -> Snapshot:
    """What Azure ML's nodes get of a code folder, with what a command wants beside it."""
    files = _files(folder)
    for path in includes:
        if path.is_dir():
            files |= {f"{path.name}/{name}": file for name, file in _files(path).items()}
        elif path.is_file():
            files[path.name] = path
        else:
            problem = f"additional_includes: {path.name!r} stands for a folder to be packed, which deploy does not do."
            raise DefinitionError((Problem(str(path), 1, f"{problem} Name the folder itself."),))
    if not files:
        raise DefinitionError(
            (Problem(str(folder), 1, "the code folder holds no files. Put the script into it."),)
        )
    return Snapshot(files)


def _files(folder: Path) -> dict[str, Path]:
    import pathspec

    lines = list(_NEVER)
    for name in IGNORE_FILES:
        if (folder / name).is_file():
            lines += (folder / name).read_text("utf-8-sig").splitlines()
            break
    ignored = pathspec.GitIgnoreSpec.from_lines(lines)
    return {
        name: folder / name
        for name in sorted(ignored.match_tree_files(folder, negate=True))
        if (folder / name).is_file()
    }
