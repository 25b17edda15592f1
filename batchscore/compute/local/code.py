"""The folder that a command runs in: its code as it is, or a copy with what it wants beside it."""

from __future__ import annotations

import os
import shutil
import zipfile
from pathlib import Path

from batchscore.definitions.model import CommandStep

_LEFT_OUT = shutil.ignore_patterns("__pycache__", ".git", "*.amltmp")


def code_of(step: CommandStep, new: Path) -> Path:
    """The step's code folder; where it has includes, or no code at all, the folder `new`, made for it.

    A copy and no links: Python looks for modules beside the real place of a script.
    """
    if step.code is not None and not step.includes:
        return step.code
    new.mkdir()
    if step.code is not None:
        shutil.copytree(step.code, new, ignore=_LEFT_OUT, dirs_exist_ok=True)
    for path in step.includes:
        if path.is_dir():
            shutil.copytree(path, new / path.name, ignore=_LEFT_OUT, dirs_exist_ok=True)
        elif path.is_file():
            shutil.copy2(path, new / path.name)
        else:
            _zip(path.with_suffix(""), new / path.name)
    return new


def _zip(folder: Path, target: Path) -> None:
    """Pack a folder, itself as the root in the archive."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for place, _, names in os.walk(folder):
            for name in sorted(names):
                file = Path(place) / name
                archive.write(file, file.relative_to(folder.parent))
