"""Markers of finished steps: what lets a later attempt of the same run leave a step out."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

BEGUN = "begun"
"""The folder, below a run's work folder, that says from what its steps began; it goes to storage with the outputs."""
SKIPPED_FOLDERS = ("__pycache__", "node_modules")


def fingerprint(path: Path, *, times: bool = True) -> str:
    """A short text that changes when a file below `path` is added, removed, resized or (with `times`) rewritten."""
    digest = hashlib.sha256()
    for name, stat in _files(path):
        digest.update(
            f"{name}\0{stat.st_size}\0{stat.st_mtime_ns if times else 0}\0".encode(errors="surrogatepass")
        )
    return digest.hexdigest()


def _files(path: Path) -> Iterator[tuple[str, os.stat_result]]:
    if path.is_file():
        yield path.name, path.stat()
        return
    for folder, folders, names in os.walk(path):
        folders[:] = sorted(
            each for each in folders if not each.startswith(".") and each not in SKIPPED_FOLDERS
        )
        for name in sorted(names):
            file = Path(folder) / name
            if file.is_file():
                yield file.relative_to(path).as_posix(), file.stat()


class Marker:
    """The marker of one step, in the run's work folder.

    It holds what the step was made from (`key`) and what its outputs were when it had finished. It is valid only
    while both are unchanged, so a step is left out only when running it again would do nothing new.
    """

    def __init__(
        self,
        file: Path,
        key: Mapping[str, object],
        outputs: Mapping[str, Path],
        origin: Mapping[str, object],
    ) -> None:
        """`origin` is the part of the key that is the same on every machine."""
        self._file = file
        self._begun = file.parent / BEGUN / f"{file.name}.json"
        self._key, self._origin = _hashed(key), _hashed(origin)
        self._outputs = outputs

    @property
    def valid(self) -> bool:
        """Whether the step finished in an earlier attempt, from the same inputs, and its outputs are still there."""
        try:
            found = json.loads(self._file.read_text())
        except (OSError, ValueError):
            return False
        return bool(found == self._now())

    def stale(self, items: Sequence[str] | None) -> bool:
        """Whether the step began before from something else, so that its outputs may hold what nothing made of the
        present inputs would replace. A step that works item by item (`items`) keeps what it has made of other items;
        it is stale only when one of them is gone."""
        try:
            begun = json.loads(self._begun.read_text())
            if items is None:
                return bool(begun["origin"] != self._origin)
            return not set(items).issuperset(begun["items"] or ())
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def begin(self, items: Sequence[str] | None) -> None:
        """Say what the step begins from."""
        self._begun.parent.mkdir(exist_ok=True)
        temporary = self._begun.with_name(f".{self._begun.name}.part")
        temporary.write_text(
            json.dumps({"origin": self._origin, "items": None if items is None else list(items)})
        )
        temporary.replace(self._begun)

    def write(self) -> None:
        """Say that the step has finished, wholly or not at all."""
        temporary = self._file.with_suffix(".new")
        temporary.write_text(json.dumps(self._now()))
        temporary.replace(self._file)

    def remove(self) -> None:
        self._file.unlink(missing_ok=True)

    def _now(self) -> dict[str, object]:
        outputs = {name: fingerprint(path, times=False) for name, path in sorted(self._outputs.items())}
        return {"key": self._key, "outputs": outputs}


def _hashed(key: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(key, sort_keys=True, default=str).encode()).hexdigest()
