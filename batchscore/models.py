"""The models container of the system account: `<name>/<version>/…`, resolved by name, published by version.

A name means its newest version, unless somebody has promoted one: then `<name>/current.json` says which, and newer
versions wait until they are promoted, too. So they do when a run has made a set of models that lacks most sensors of the
one before.
"""

from __future__ import annotations

import difflib
import json
import logging
import tempfile
import uuid
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

from azure.core.exceptions import ResourceExistsError, ResourceNotFoundError

from batchscore import paths
from batchscore.compute.base import Location
from batchscore.errors import BatchscoreError, RequestError
from batchscore.model_folder import (
    CLAIM,
    FINGERPRINT,
    MANIFEST,
    VERSION,
    check_model_folder,
    files_of,
    fingerprint,
    read_manifest,
    what_is_lost,
)
from batchscore.model_pointer import Pointer, read_pointer, switch_pointer
from batchscore.storage import LIST_PAGE, Storage, translated

log = logging.getLogger("batchscore.models")

_PUBLISHER = "publisher"
_SHIPPED = "shipped"
_BY_HAND = "by hand"
_MOST_CLAIMS = 20


@dataclass(frozen=True)
class ModelVersion:
    """A version of a model; one that is not complete is still being published, or its publisher is gone."""

    number: int
    complete: bool
    publisher: str
    """`by hand, …`, `shipped …`, or the name of the job that made it."""
    published_at: datetime | None = None


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
        run must not decide what the runs of others use; where a version is promoted, a newer one does not."""
        if name in self.shipped():
            return "a model that ships"
        by_hand = any(version.publisher.startswith(_BY_HAND) for version in self.history(name))
        if by_hand and self.pointer(name) is None:
            return "a model that was published by hand ('batchscore models add') and of which no version is promoted"
        return None

    def versions(self, name: str) -> list[int]:
        """The complete versions of a model, the oldest first."""
        return [version.number for version in self.history(name)]

    def history(self, name: str) -> list[ModelVersion]:
        """The same with who made each, and when."""
        return [version for version in self._versions(name) if version.complete]

    def resolve(self, reference: str) -> Location:
        """`name` (the current version) or `name:version` -> its folder; RequestError names what there is."""
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
                f"There are: {', '.join(names[:20])}. A run that trains it makes it, or 'batchscore models add'."
                if names
                else "There are none; 'batchscore models add' adds one."
            )
            raise RequestError(
                f"there is no model {name!r}. " + (f"Did you mean {near[0]!r}?" if near else there)
            )
        if not version:
            pointer = self.pointer(name)
            number = pointer.version if pointer and pointer.version else versions[-1]
            if number not in versions:
                raise RequestError(
                    f"{name}:{number} was promoted and is gone. 'batchscore models promote {name}:{versions[-1]}' "
                    "makes the newest that is there current."
                )
            return paths.model_location(name, str(number))
        _check_there(name, int(version), versions)
        return paths.model_location(name, version)

    def pointer(self, name: str) -> Pointer | None:
        """Which version somebody has promoted; None where the newest is current."""
        return read_pointer(self._container, name)

    def promote(self, name: str, version: int | None) -> Pointer | None:
        """Make a version the one that the name means, whatever is published later; None goes back to the newest.

        Switched at once for everybody, by compare-and-swap: RequestError when somebody else did so meanwhile, or
        there is no such version.
        """
        if not paths.is_model_name(name):
            raise RequestError(f"{name[:100]!r} is not a model's name.")
        versions = self.versions(name)
        if not versions:
            raise RequestError(f"storage holds no model {name!r}, so there is nothing to promote.")
        if version is not None:
            _check_there(name, version, versions)
        return switch_pointer(self._container, name, version, versions[-1])

    def manifest(self, name: str, version: int) -> dict[str, Any] | None:
        """What a set of models says of itself; None of another model."""
        with translated(f"model {name!r}"):
            try:
                blob = self._container.download_blob(f"{name}/{version}/{MANIFEST}")
                return read_manifest(blob.readall())
            except (ResourceNotFoundError, RequestError):
                return None

    def publish(self, name: str, folder: Path, publisher: str | None = None) -> tuple[str, bool]:
        """Store a folder as the model's next version. Gives `name:version`, and whether it is a new version: a
        folder equal to the newest version is not stored again, and a publisher has one version at most."""
        if not paths.is_model_name(name):
            raise RequestError(f"{name!r} cannot be a model's name: use letters, digits, '-', '_' and '.'.")
        files = files_of(folder)
        check_model_folder(folder, files)
        content = fingerprint(files)
        there = self.history(name)
        if there and self._fingerprint_of(name, there[-1].number) == content:
            return f"{name}:{there[-1].number}", False
        publisher = publisher or f"{_BY_HAND}, {uuid.uuid4().hex}"
        number = self._claim(name, publisher)
        with translated(f"model {name!r}"):
            for file, path in files.items():
                with path.open("rb") as data:
                    self._container.upload_blob(f"{name}/{number}/{file}", data, overwrite=True)
            called = json.dumps({"model": f"{name}:{number}"}).encode()
            self._container.upload_blob(f"{name}/{number}/{VERSION}", called, overwrite=True)
            self._container.upload_blob(  # comes last: a version without it is not there
                f"{name}/{number}/{FINGERPRINT}", content.encode(), overwrite=True
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
            for blob in source.list_blob_names(
                name_starts_with=f"{output.path}/", results_per_page=LIST_PAGE
            ):
                file = PurePosixPath(blob.removeprefix(f"{output.path}/"))
                if file.is_absolute() or ".." in file.parts:
                    raise RequestError(f"the run made a file named {str(file)!r}, which no model may hold.")
                target = Path(scratch) / file
                target.parent.mkdir(parents=True, exist_ok=True)
                with target.open("wb") as stream:
                    source.download_blob(blob).readinto(stream)
            try:
                check_model_folder(Path(scratch), files_of(Path(scratch)))
            except RequestError as error:
                problem = str(error).replace(scratch, str(output))
                raise RequestError(problem) from None
            self._stay_with_what_is_good(name, Path(scratch))
            return self.publish(name, Path(scratch), job)[0]

    def _stay_with_what_is_good(self, name: str, folder: Path) -> None:
        """Promote the current version when what a run made would lose most of its sensors: a person decides then."""
        there = self.versions(name)
        if not there or self.pointer(name):
            return
        try:
            made = read_manifest((folder / MANIFEST).read_bytes())
        except (FileNotFoundError, RequestError):
            made = None  # of an ONNX model, which may have a file of that name
        why = what_is_lost(self.manifest(name, there[-1]), made)
        if why:
            with suppress(RequestError):  # somebody has promoted one meanwhile
                switch_pointer(self._container, name, there[-1], there[-1], why)
                log.warning("%s:%d stays current: %s", name, there[-1], why)

    def _bring(self, name: str) -> None:
        """Store a shipped model, unless it is there or somebody has published one of this name."""
        assert self._shipped is not None
        there = self.history(name)
        if not there or there[-1].publisher.startswith(_SHIPPED):
            folder = self._shipped / name
            self.publish(name, folder, f"{_SHIPPED} {fingerprint(files_of(folder))[:16]}")

    def _versions(self, name: str) -> list[ModelVersion]:
        complete: dict[int, datetime] = {}
        publishers: dict[int, str] = {}
        with translated(f"model {name!r}"):
            for blob in self._container.list_blobs(
                name_starts_with=f"{name}/", include=["metadata"], results_per_page=LIST_PAGE
            ):
                parts = blob.name.split("/")
                if len(parts) == 3 and paths.is_model_version(parts[1]):
                    if parts[2] == FINGERPRINT:
                        complete[int(parts[1])] = blob.last_modified
                    if parts[2] == CLAIM:
                        publishers[int(parts[1])] = (blob.metadata or {}).get(_PUBLISHER, "")
        return [
            ModelVersion(number, number in complete, publishers.get(number, ""), complete.get(number))
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
                        f"{name}/{number}/{CLAIM}", publisher.encode(), metadata={_PUBLISHER: publisher}
                    )
            except ResourceExistsError:
                continue  # somebody else was quicker
            return number
        raise BatchscoreError(f"others publish versions of {name!r} all the time. Try again.")

    def _fingerprint_of(self, name: str, number: int) -> str:
        with translated(f"model {name!r}"):
            return self._container.download_blob(f"{name}/{number}/{FINGERPRINT}").readall().decode()


def _check_there(name: str, version: int, versions: list[int]) -> None:
    if version not in versions:
        have = ", ".join(map(str, versions))
        raise RequestError(f"model {name!r} has no version {version}. There are: {have}.")
