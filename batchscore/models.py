"""The models container of the system account: `<name>/<version>/…`, resolved by name, published by version."""

from __future__ import annotations

import difflib
import hashlib
import re
from pathlib import Path

from azure.core.exceptions import ResourceExistsError

from batchscore import paths
from batchscore.compute.base import Location
from batchscore.errors import BatchscoreError, RequestError
from batchscore.storage import Storage, translated

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,254}")
_VERSION = re.compile(r"[1-9][0-9]{0,8}")
_FINGERPRINT = "fingerprint.sha256"


class ModelStore:
    """Models by name and version. A version is a whole number, is written once and never changed."""

    def __init__(self, storage: Storage) -> None:
        self._container = storage.container("system", paths.MODELS, create=True)

    def names(self) -> list[str]:
        with translated("the list of models"):
            return sorted(prefix.name.rstrip("/") for prefix in self._container.walk_blobs(delimiter="/"))

    def versions(self, name: str) -> list[int]:
        """The complete versions of a model, the oldest first."""
        with translated(f"model {name!r}"):
            found = self._container.list_blob_names(name_starts_with=f"{name}/")
            return sorted(
                int(parts[1])
                for parts in (blob.split("/") for blob in found)
                if len(parts) == 3 and parts[2] == _FINGERPRINT and _VERSION.fullmatch(parts[1])
            )

    def resolve(self, reference: str) -> Location:
        """`name` (the newest version) or `name:version` -> its folder; RequestError names what there is."""
        name, _, version = reference.partition(":")
        if not _NAME.fullmatch(name) or (":" in reference and not _VERSION.fullmatch(version)):
            raise RequestError(
                f"{reference[:100]!r} is not a model. Give a name, or name:version with a whole number."
            )
        versions = self.versions(name)
        if not versions:
            names = self.names()
            near = difflib.get_close_matches(name, names, n=1)
            there = (
                f"There are: {', '.join(names[:20])}."
                if names
                else "There are none; 'batchscore models add' adds one."
            )
            raise RequestError(
                f"there is no model {name!r}. " + (f"Did you mean {near[0]!r}?" if near else there)
            )
        if not version:
            return paths.model_location(name, str(versions[-1]))
        if int(version) not in versions:
            have = ", ".join(map(str, versions))
            raise RequestError(f"model {name!r} has no version {version}. There are: {have}.")
        return paths.model_location(name, version)

    def publish(self, name: str, folder: Path) -> tuple[str, bool]:
        """Store a folder as the model's next version. Gives `name:version`, and whether it is a new version: a
        folder equal to the newest version is not stored again."""
        if not _NAME.fullmatch(name):
            raise RequestError(f"{name!r} cannot be a model's name: use letters, digits, '-', '_' and '.'.")
        files = {
            path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()
        }
        if not any(file.endswith(".onnx") and "/" not in file for file in files):
            below = sorted({file.rsplit("/", 1)[0] for file in files if file.endswith(".onnx")})
            hint = f" Do you mean {str(folder / below[0])!r}?" if below else ""
            raise RequestError(f"{str(folder)!r} holds no .onnx file, so it is no model folder.{hint}")
        fingerprint = _fingerprint(files)
        versions = self.versions(name)
        with translated(f"model {name!r}"):
            if versions:
                marker = f"{name}/{versions[-1]}/{_FINGERPRINT}"
                if self._container.download_blob(marker).readall().decode() == fingerprint:
                    return f"{name}:{versions[-1]}", False
            version = (versions[-1] if versions else 0) + 1
            for file, path in files.items():
                with path.open("rb") as data:
                    self._container.upload_blob(f"{name}/{version}/{file}", data, overwrite=True)
            try:  # the fingerprint comes last: a version without one is not there
                self._container.upload_blob(f"{name}/{version}/{_FINGERPRINT}", fingerprint.encode())
            except ResourceExistsError as error:
                raise BatchscoreError(
                    f"version {version} of {name!r} was just published by somebody else."
                ) from error
        return f"{name}:{version}", True


def _fingerprint(files: dict[str, Path]) -> str:
    digest = hashlib.sha256()
    for name, path in files.items():
        digest.update(f"{name}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()
