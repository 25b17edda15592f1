"""Packed models as one safetensors file: written, and mapped so that only what is used is read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from sensors.errors import ModelSetError
from sensors.packed_models import (
    PER_MODEL,
    PER_SUPPORT_VECTOR,
    PackedModels,
    check_offsets,
    check_sensors,
)

_NAMES = ("devices", "tags")
_DTYPES = {
    "offsets": np.int64,
    **dict.fromkeys((*PER_SUPPORT_VECTOR, *PER_MODEL), np.float64),
    **dict.fromkeys(_NAMES, np.uint8),
    **{f"{name}_offsets": np.int64 for name in _NAMES},
}


def packed_bytes(models: PackedModels) -> bytes:
    """The file's content; equal models give equal bytes."""
    return save(_tensors(models))


def open_models(path: Path) -> PackedModels:
    """The models of a file. The support vectors stay in it, unread and unchecked; everything else is read and checked.

    ModelSetError says which value, and what would be right.
    """
    tensors = _map_tensors(path)
    with in_file(path):
        devices, tags = (_unpack(tensors, name) for name in _NAMES)
        if len(devices) != len(tags):
            raise ModelSetError(
                f"there are {len(devices)} devices and {len(tags)} tags; a sensor has one of each."
            )
        sensors = list(zip(devices, tags, strict=True))
        values = {name: tensors[name] for name in PER_SUPPORT_VECTOR}
        # What each model has one of is a small part of the file and read again and again.
        values |= {name: np.array(tensors[name]) for name in PER_MODEL}
        models = PackedModels(sensors, np.array(tensors["offsets"]), **values)
        check_sensors(sensors)
        check_offsets(models.offsets, len(sensors), len(models.support_vectors))
        lengths = {"dual_coef": len(models.support_vectors), **dict.fromkeys(PER_MODEL, len(sensors))}
        for name, length in lengths.items():
            if len(values[name]) != length:
                raise ModelSetError(f"{name} holds {len(values[name])} values; there must be {length}.")
        models.check_model_values()
    return models


@contextmanager
def in_file(path: Path) -> Iterator[None]:
    """An error about models also says in which file they are."""
    try:
        yield
    except ModelSetError as error:
        raise ModelSetError(f"{path}: {error}") from None


def _map_tensors(path: Path) -> dict[str, NDArray[Any]]:
    """The tensors of a file, mapped and not read. The library checks the header, dtypes are checked here."""
    try:
        with safe_open(path, framework="numpy") as file:
            there = set(file.keys())
        with path.open("rb") as stream:
            header_bytes = int.from_bytes(stream.read(8), "little")
            header = json.loads(stream.read(header_bytes))
    except FileNotFoundError:
        raise ModelSetError(f"{path} is missing; the set is not whole.") from None
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelSetError(f"{path} cannot be read: {error}.") from None
    content = np.memmap(path, np.uint8, mode="r")[8 + header_bytes :]
    tensors = {}
    for name, dtype in _DTYPES.items():
        if name not in there:
            raise ModelSetError(f"{path} has no tensor {name!r}. It has: {', '.join(sorted(there)[:20])}.")
        entry = header[name]
        wanted = {np.int64: "I64", np.float64: "F64", np.uint8: "U8"}[dtype]
        if entry["dtype"] != wanted or len(entry["shape"]) != 1:
            raise ModelSetError(
                f"{path}: {name} is {entry['dtype']} {entry['shape']}; it must be {wanted} with one dimension."
            )
        begin, end = entry["data_offsets"]
        tensors[name] = content[begin:end].view(dtype)
    return tensors


def _tensors(models: PackedModels) -> dict[str, NDArray[Any]]:
    tensors: dict[str, NDArray[Any]] = {
        name: np.ascontiguousarray(getattr(models, name), _DTYPES[name])
        for name in ("offsets", *PER_SUPPORT_VECTOR, *PER_MODEL)
    }
    for position, name in enumerate(_NAMES):
        texts = [sensor[position].encode() for sensor in models.sensors]
        tensors[name] = np.frombuffer(b"".join(texts), np.uint8)
        lengths = np.fromiter(map(len, texts), np.int64, len(texts))
        tensors[f"{name}_offsets"] = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return tensors


def _unpack(tensors: Mapping[str, NDArray[Any]], name: str) -> list[str]:
    """The texts of a tensor of UTF-8 bytes and one of offsets."""
    offsets, data = tensors[f"{name}_offsets"], tensors[name].tobytes()
    if not len(offsets) or offsets[0] != 0 or offsets[-1] != len(data) or (np.diff(offsets) < 0).any():
        raise ModelSetError(
            f"{name}_offsets must go up from 0 to {len(data)}, the number of bytes in {name}."
        )
    ends = offsets.tolist()
    try:
        text = data.decode()
        if len(text) == len(data):  # every byte is a character
            return [text[begin:end] for begin, end in pairwise(ends)]
        return [data[begin:end].decode() for begin, end in pairwise(ends)]
    except UnicodeDecodeError as error:
        raise ModelSetError(f"{name} is not UTF-8: {error}.") from None
