"""The models container of the system account: `<name>/<version>/…`, resolved by name, published by version."""

from __future__ import annotations

import difflib
import hashlib
import tempfile
import uuid
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from azure.core.exceptions import ResourceExistsError

from batchscore import paths
from batchscore.compute.base import Location
from batchscore.errors import BatchscoreError, RequestError
from batchscore.storage import Storage, translated

_FINGERPRINT = "fingerprint.sha256"
_CLAIM = "published-by.txt"
_PUBLISHER = "publisher"
_SHIPPED = "shipped"
_BY_HAND = "by hand"
_MOST_CLAIMS = 20


@dataclass(frozen=True)
class _Version:
    number: int
    complete: bool
    publisher: str


class ModelStore:
    """Models by name and version. A version is a whole number, is written once and never changed.

    A version is claimed by the blob `published-by.txt`, which names its publisher, and is there once its
    fingerprint is. Models that ship with the code, as folders of `shipped`, come into storage when first asked for.
    """

    def __init__(self, storage: Storage, shipped: Path | None = None) -> None:
        self._storage = storage
        self._container = storage.container("system", paths.MODELS, create=True)
        self._shipped = shipped

    def names(self) -> list[str]:
        with translated("the list of models"):
            return sorted(prefix.name.rstrip("/") for prefix in self._container.walk_blobs(delimiter="/"))

    def shipped(self) -> list[str]:
        """The models that ship with the code."""
        return sorted({path.parent.name for path in self._shipped.glob("*/*.onnx")}) if self._shipped else []

    def kept_from_runs(self, name: str) -> str | None:
        """What the model is that no run may replace; None when a run may make the next version. Whoever may start a
        run must not decide what the runs of others use."""
        if name in self.shipped():
            return "a model that ships"
        if any(each.complete and each.publisher.startswith(_BY_HAND) for each in self._versions(name)):
            return "a model that was published by hand ('batchscore models add')"
        return None

    def versions(self, name: str) -> list[int]:
        """The complete versions of a model, the oldest first."""
        return [version.number for version in self._versions(name) if version.complete]

    def resolve(self, reference: str) -> Location:
        """`name` (the newest version) or `name:version` -> its folder; RequestError names what there is."""
        name, _, version = reference.partition(":")
        if not paths.is_model_name(name) or (":" in reference and not paths.is_model_version(version)):
            raise RequestError(
                f"{reference[:100]!r} is not a model. Give a name, or name:version with a whole number."
            )
        if name in self.shipped():
            self._bring(name)
        versions = self.versions(name)
        if not versions:
            names = sorted({*self.names(), *self.shipped()})
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

    def publish(self, name: str, folder: Path, publisher: str | None = None) -> tuple[str, bool]:
        """Store a folder as the model's next version. Gives `name:version`, and whether it is a new version: a
        folder equal to the newest version is not stored again, and a publisher has one version at most."""
        if not paths.is_model_name(name):
            raise RequestError(f"{name!r} cannot be a model's name: use letters, digits, '-', '_' and '.'.")
        files = _files(folder)
        if not any(file.endswith(".onnx") and "/" not in file for file in files):
            below = sorted({file.rsplit("/", 1)[0] for file in files if file.endswith(".onnx")})
            hint = f" Do you mean {str(folder / below[0])!r}?" if below else ""
            raise RequestError(f"{str(folder)!r} holds no .onnx file, so it is no model folder.{hint}")
        fingerprint = _fingerprint(files)
        there = [version for version in self._versions(name) if version.complete]
        if there and self._fingerprint_of(name, there[-1].number) == fingerprint:
            return f"{name}:{there[-1].number}", False
        publisher = publisher or f"{_BY_HAND}, {uuid.uuid4().hex}"
        number = self._claim(name, publisher)
        with translated(f"model {name!r}"):
            for file, path in files.items():
                with path.open("rb") as data:
                    self._container.upload_blob(f"{name}/{number}/{file}", data, overwrite=True)
            self._container.upload_blob(  # comes last: a version without it is not there
                f"{name}/{number}/{_FINGERPRINT}", fingerprint.encode(), overwrite=True
            )
        return f"{name}:{number}", True

    def publish_output(self, name: str, output: Location, job: str) -> str:
        """Store what an attempt of a run made as the model's next version, once however often it is asked. Gives
        `name:version`; RequestError when it is no model, or the name belongs to somebody else."""
        for version in self._versions(name):
            if version.complete and version.publisher == job:
                return f"{name}:{version.number}"
        kept = self.kept_from_runs(name)
        if kept:
            raise RequestError(f"{name!r} is {kept}, which no run replaces. Choose another name.")
        source = self._storage.container(output.account, output.container)
        with tempfile.TemporaryDirectory() as scratch, translated(str(output)):
            for blob in source.list_blob_names(name_starts_with=f"{output.path}/"):
                file = PurePosixPath(blob.removeprefix(f"{output.path}/"))
                if file.is_absolute() or ".." in file.parts:
                    raise RequestError(f"the run made a file named {str(file)!r}, which no model may hold.")
                target = Path(scratch) / file
                target.parent.mkdir(parents=True, exist_ok=True)
                with target.open("wb") as stream:
                    source.download_blob(blob).readinto(stream)
            if not any(Path(scratch).glob("*.onnx")):
                raise RequestError(f"the output {str(output)!r} holds no .onnx file.")
            return self.publish(name, Path(scratch), job)[0]

    def _bring(self, name: str) -> None:
        """Store a shipped model, unless it is there or somebody has published one of this name."""
        assert self._shipped is not None
        there = [version for version in self._versions(name) if version.complete]
        if not there or there[-1].publisher.startswith(_SHIPPED):
            folder = self._shipped / name
            self.publish(name, folder, f"{_SHIPPED} {_fingerprint(_files(folder))[:16]}")

    def _versions(self, name: str) -> list[_Version]:
        complete, publishers = set(), {}
        with translated(f"model {name!r}"):
            for blob in self._container.list_blobs(name_starts_with=f"{name}/", include=["metadata"]):
                parts = blob.name.split("/")
                if len(parts) == 3 and paths.is_model_version(parts[1]):
                    if parts[2] == _FINGERPRINT:
                        complete.add(int(parts[1]))
                    if parts[2] == _CLAIM:
                        publishers[int(parts[1])] = (blob.metadata or {}).get(_PUBLISHER, "")
        return [
            _Version(number, number in complete, publishers.get(number, ""))
            for number in sorted({*complete, *publishers})
        ]

    def _claim(self, name: str, publisher: str) -> int:
        """The number of a version that is this publisher's: one it has not finished, or the next."""
        for _ in range(_MOST_CLAIMS):
            there = self._versions(name)
            for version in there:
                if version.publisher == publisher:
                    return version.number
            number = (there[-1].number if there else 0) + 1
            try:
                with translated(f"model {name!r}"):
                    self._container.upload_blob(
                        f"{name}/{number}/{_CLAIM}", publisher.encode(), metadata={_PUBLISHER: publisher}
                    )
            except ResourceExistsError:
                continue  # somebody else was quicker
            return number
        raise BatchscoreError(f"others publish versions of {name!r} all the time. Try again.")

    def _fingerprint_of(self, name: str, number: int) -> str:
        with translated(f"model {name!r}"):
            return self._container.download_blob(f"{name}/{number}/{_FINGERPRINT}").readall().decode()


def _files(folder: Path) -> dict[str, Path]:
    return {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}


def _fingerprint(files: dict[str, Path]) -> str:
    digest = hashlib.sha256()
    for name, path in files.items():
        digest.update(f"{name}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()
