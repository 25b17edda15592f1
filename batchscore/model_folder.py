"""What may be published as a model: a folder with an ONNX file, or a whole set of sensors' models."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from batchscore.errors import RequestError
from batchscore.printable import quoted

FINGERPRINT = "fingerprint.sha256"
CLAIM = "published-by.txt"
VERSION = "version.json"
"""Written beside a model where it is stored: {"model": "sensors:3"}, by which those who read it call it."""
STORED_BESIDE = (FINGERPRINT, CLAIM, VERSION)

MANIFEST = "manifest.json"
SET_FORMAT = "batchscore-model-set/1"
_PACKED = "model.safetensors"
LEAST_SHARE = 0.5
"""A run's set with models of fewer sensors than this share of the one before waits until a person promotes it."""
_MOST_MANIFEST_BYTES = 1 << 20
_MOST_HEADER_BYTES = 1 << 20
_CHUNK_BYTES = 1 << 20
_TENSORS = {
    "offsets": "I64",
    "support_vectors": "F64",
    "dual_coef": "F64",
    "intercept": "F64",
    "gamma": "F64",
    "mean": "F64",
    "scale": "F64",
    "devices": "U8",
    "devices_offsets": "I64",
    "tags": "U8",
    "tags_offsets": "I64",
}
_BYTES_EACH = {"I64": 8, "F64": 8, "U8": 1}
_ONE_MORE = ("offsets", "devices_offsets", "tags_offsets")
_PER_SENSOR = ("intercept", "gamma", "mean", "scale")


def files_of(folder: Path) -> dict[str, Path]:
    """The files of a model by their names in it, without those that storage puts beside a model."""
    found = {
        path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()
    }
    return {name: path for name, path in found.items() if name not in STORED_BESIDE}


def fingerprint(files: Mapping[str, Path]) -> str:
    """What two folders with the same names and contents have in common."""
    digest = hashlib.sha256()
    for name, path in files.items():
        digest.update(f"{name}\0{path.stat().st_size}\0".encode())
        with path.open("rb") as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                digest.update(chunk)
    return digest.hexdigest()


def check_model_folder(folder: Path, files: Mapping[str, Path]) -> None:
    """RequestError when the folder is no model, or a set of models that is not whole."""
    if any(name.endswith(".onnx") and "/" not in name for name in files):
        return
    if MANIFEST in files:
        _check_set(files)
        return
    below = sorted(
        {name.rsplit("/", 1)[0] for name in files if name.endswith((".onnx", f"/{MANIFEST}")) and "/" in name}
    )
    hint = f" Do you mean {str(folder / below[0])!r}?" if below else ""
    raise RequestError(
        f"{str(folder)!r} holds no .onnx file and no set of models ({MANIFEST}), so it is no model folder.{hint}"
    )


def read_manifest(content: bytes) -> dict[str, Any]:
    """The manifest of a set of models; RequestError when it is none."""
    try:
        if len(content) > _MOST_MANIFEST_BYTES:
            raise RequestError(
                f"{MANIFEST} has more than {_MOST_MANIFEST_BYTES} bytes, so it is no set's manifest."
            )
        manifest = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise RequestError(f"{MANIFEST} cannot be read: {error}.") from None
    found = manifest.get("format") if isinstance(manifest, dict) else None
    if found != SET_FORMAT:
        raise RequestError(
            f"{MANIFEST} has the format {quoted(str(found))}; a set of models has {SET_FORMAT!r}."
        )
    assert isinstance(manifest, dict)
    count = manifest.get("sensors")
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        raise RequestError(f"{MANIFEST} speaks of {quoted(str(count))} sensors; a set has one at least.")
    return manifest


def what_is_lost(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> str | None:
    """Why a model that a run made should not replace the one before by itself; manifests, None where there is none."""
    if before is None:
        return None
    if after is None:
        return "what a run made since is no set of sensors' models"
    if after["sensors"] < LEAST_SHARE * before["sensors"]:
        return (
            f"the set that a run made since has models of {after['sensors']:,} sensors, and this one of "
            f"{before['sensors']:,}"
        )
    return None


def _check_set(files: Mapping[str, Path]) -> None:
    """Every file that the manifest names is there, with its size and content, and the models are as many as it says.

    What the models hold was checked by those who wrote them, and is checked again by those who read them.
    """
    with files[MANIFEST].open("rb") as stream:
        manifest = read_manifest(stream.read(_MOST_MANIFEST_BYTES + 1))
    listed = manifest.get("files")
    if not isinstance(listed, dict) or _PACKED not in listed:
        raise RequestError(
            f"{MANIFEST} does not say what {_PACKED} must be, so nobody can tell whether it is whole."
        )
    for name, facts in listed.items():
        if name not in files:
            raise RequestError(f"the set of models is not whole: {quoted(name)} is missing.")
        if not isinstance(facts, dict) or facts.get("size_bytes") != files[name].stat().st_size:
            raise RequestError(
                f"the set of models is not whole: {quoted(name)} has {files[name].stat().st_size} bytes, and "
                f"{MANIFEST} says {quoted(str(facts.get('size_bytes') if isinstance(facts, dict) else facts))}."
            )
        if facts.get("sha256") != _sha256(files[name]):
            raise RequestError(
                f"the set of models is damaged: {quoted(name)} is another file than {MANIFEST} says (SHA-256)."
            )
    _check_tensors(files[_PACKED], manifest["sensors"])


def _check_tensors(path: Path, sensors: int) -> None:
    """The header of the packed models (safetensors: its length in 8 bytes, then JSON, then the data)."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if length > min(size, _MOST_HEADER_BYTES):
            raise RequestError(f"{_PACKED} is no safetensors file: its header would have {length} bytes.")
        try:
            header = json.loads(stream.read(length))
            shapes = {name: header[name]["shape"] for name in _TENSORS}
            dtypes = {name: header[name]["dtype"] for name in _TENSORS}
            places = {name: tuple(map(int, header[name]["data_offsets"])) for name in _TENSORS}
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            raise RequestError(f"{_PACKED} does not hold a set of models: {error!r} in its header.") from None
    total = shapes["support_vectors"]
    wanted = {
        **{name: [sensors + 1] for name in _ONE_MORE},
        **{name: [sensors] for name in _PER_SENSOR},
        "dual_coef": total,
    }
    for name, dtype in _TENSORS.items():
        shape = shapes[name]
        right = isinstance(shape, list) and len(shape) == 1 and isinstance(shape[0], int) and shape[0] >= 0
        if not right or dtypes[name] != dtype or shape != wanted.get(name, shape):
            raise RequestError(
                f"{_PACKED} holds {name} as {dtypes[name]} {shape}; for {sensors} sensors it must be {dtype} "
                f"{wanted.get(name, 'with one dimension')}."
            )
        begin, end = places[name] if len(places[name]) == 2 else (0, -1)
        if end - begin != shape[0] * _BYTES_EACH[dtype] or begin < 0 or 8 + length + end > size:
            raise RequestError(f"{_PACKED} is not whole: {name} would lie at {begin} to {end} of its data.")


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
