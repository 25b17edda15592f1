"""A model set in a folder: the packed models, what is known of each, and a manifest that says what is whole."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from common.output_files import sha256_of, write_whole
from sensors.errors import ModelSetError
from sensors.packed_file import in_file, open_models, packed_bytes
from sensors.packed_models import Integers, PackedModels, Sensor

FORMAT = "batchscore-model-set/1"
MODELS, MANIFEST, SENSORS, SKIPPED = "model.safetensors", "manifest.json", "sensors.csv", "skipped.csv"
VERSION = "version.json"
"""Laid beside a set when it is stored: {"model": "sensors:3"}."""


@dataclass(frozen=True)
class SensorFigures:
    """What is known of a sensor's model; None where nobody does, as of one that was imported."""

    sensor: Sensor
    samples: int | None
    support_vectors: int
    training_anomaly_rate: float | None


@dataclass(frozen=True)
class SkippedSensor:
    """A sensor that has no model, and why."""

    sensor: Sensor
    samples: int
    reason: str


@dataclass(frozen=True)
class ModelSet:
    """An open model set. Its models are in memory only when `read`; all values of those are then checked."""

    folder: Path
    manifest: Mapping[str, Any]
    mapped: PackedModels
    """The models in the file; of the support vectors nothing is checked yet."""
    label: str
    """How predictions name the set: `sensors:3`, or name and time of a set that was never stored."""

    def __len__(self) -> int:
        return len(self.mapped)

    @property
    def sensors(self) -> Sequence[Sensor]:
        """The sensors that have a model, sorted."""
        return self.mapped.sensors

    @cached_property
    def _positions(self) -> dict[Sensor, int]:
        return {sensor: index for index, sensor in enumerate(self.mapped.sensors)}

    def find(self, sensors: Iterable[Sensor]) -> Integers:
        """The index of each sensor's model, -1 where it has none."""
        position = self._positions.get
        return np.fromiter((position(sensor, -1) for sensor in sensors), np.int64)

    def read(self, indices: Integers | None = None) -> PackedModels:
        """The models at these indices, which go up, or all; ModelSetError when a value of theirs cannot be."""
        if indices is None:
            indices = np.arange(len(self), dtype=np.int64)
        models = self.mapped.pick(indices)
        with in_file(self.folder / MODELS):
            models.check_support_vectors()
        return models


def open_model_set(folder: Path) -> ModelSet:
    """Open the set in a folder. The support vectors stay in the file, everything else is read and checked.

    ModelSetError says which file, which value, and what would be right.
    """
    manifest = _read_manifest(folder)
    models = open_models(folder / MODELS)
    if manifest["sensors"] != len(models):
        raise ModelSetError(
            f"{folder / MANIFEST} speaks of {manifest['sensors']} sensors; there are {len(models)}."
        )
    return ModelSet(folder, manifest, models, _label(folder, manifest))


def write_model_set(
    folder: Path,
    models: PackedModels,
    figures: Sequence[SensorFigures],
    skipped: Sequence[SkippedSensor] = (),
    *,
    name: str,
    created_at: str,
    **facts: object,
) -> None:
    """Write a set, the manifest last: a folder without one is no set. `facts` go into the manifest as they are."""
    models.check()
    if [figure.sensor for figure in figures] != list(models.sensors):
        raise ModelSetError("the figures are not those of the models, in their order.")
    contents = {
        MODELS: packed_bytes(models),
        SENSORS: _table(
            ("Device", "Tag", "Samples", "SupportVectors", "TrainingAnomalyRate"),
            ((*f.sensor, f.samples, f.support_vectors, f.training_anomaly_rate) for f in figures),
        ),
        SKIPPED: _table(
            ("Device", "Tag", "Samples", "Reason"), ((*s.sensor, s.samples, s.reason) for s in skipped)
        ),
    }
    manifest = {
        "format": FORMAT,
        "name": name,
        "created_at": created_at,
        "sensors": len(models),
        "skipped": len(skipped),
        "support_vectors": len(models.support_vectors),
        **facts,
        "files": {
            file: {"size_bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            for file, content in contents.items()
        },
    }
    for file, content in contents.items():
        write_whole(folder / file, content)
    write_whole(
        folder / MANIFEST, json.dumps(manifest, indent=2, ensure_ascii=False, allow_nan=False).encode()
    )


def verify_model_set(folder: Path) -> ModelSet:
    """Open a set, and read and check all of it, checksums too."""
    models = open_model_set(folder)
    for file, facts in models.manifest["files"].items():
        if not (folder / file).is_file():
            raise ModelSetError(f"{folder / file} is missing; {MANIFEST} names it.")
        if sha256_of(folder / file) != facts["sha256"]:
            raise ModelSetError(
                f"{folder / file} is not the file that {MANIFEST} speaks of: its SHA-256 differs."
            )
    models.read()
    return models


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    try:
        manifest: dict[str, Any] = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise ModelSetError(
            f"{folder} holds no {MANIFEST}, so it is no model set; 'sensors/train' makes one."
        ) from None
    except (OSError, ValueError) as error:
        raise ModelSetError(f"{path} cannot be read: {error}.") from None
    found = manifest.get("format") if isinstance(manifest, dict) else None
    if found != FORMAT:
        raise ModelSetError(f"{path} has the format {str(found)[:100]!r}; this version reads {FORMAT!r}.")
    for key, kind in {"name": str, "created_at": str, "sensors": int, "files": dict}.items():
        if not isinstance(manifest.get(key), kind):
            raise ModelSetError(
                f"{path} has no {key!r} that is {'a' if kind is not int else 'an'} {kind.__name__}."
            )
    return manifest


def _label(folder: Path, manifest: Mapping[str, Any]) -> str:
    try:
        return str(json.loads((folder / VERSION).read_bytes())["model"])
    except (OSError, ValueError, KeyError, TypeError):
        return f"{manifest['name']}@{manifest['created_at']}"


def _table(header: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue().encode()
