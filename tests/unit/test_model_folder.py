"""What may be published as a model, and why a folder may not."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from batchscore import model_folder
from batchscore.errors import RequestError
from batchscore.model_folder import check_model_folder, files_of, fingerprint
from sensors import model_set, packed_file
from tests.model_sets import make_set

Deed = Callable[[Path], object]


def check(folder: Path) -> None:
    check_model_folder(folder, files_of(folder))


def test_a_folder_with_an_onnx_file_and_a_whole_set_are_models(tmp_path: Path) -> None:
    (tmp_path / "style").mkdir()
    (tmp_path / "style" / "any.onnx").write_bytes(b"onnx")
    check(tmp_path / "style")
    check(make_set(tmp_path / "set"))


def test_both_sides_speak_of_the_same_files_tensors_and_format() -> None:
    """The control plane imports nothing of the compute's side, so it says again what a set is."""
    assert model_folder.SET_FORMAT == model_set.FORMAT
    assert model_folder.MANIFEST == model_set.MANIFEST
    assert model_folder.VERSION == model_set.VERSION
    names = {np.int64: "I64", np.float64: "F64", np.uint8: "U8"}
    assert {name: names[dtype] for name, dtype in packed_file._DTYPES.items()} == model_folder._TENSORS


def manifest(**changes: Any) -> Deed:
    def change(folder: Path) -> None:
        path = folder / "manifest.json"
        path.write_text(json.dumps(json.loads(path.read_bytes()) | changes))

    return change


def consistent(folder: Path) -> None:
    """Let the manifest speak of the models as they are now, as one who writes bad sets on purpose would."""
    path = folder / "manifest.json"
    told = json.loads(path.read_bytes())
    content = (folder / "model.safetensors").read_bytes()
    told["files"]["model.safetensors"] = {
        "size_bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    path.write_text(json.dumps(told))


def tensors(change: Callable[[dict[str, Any]], object]) -> Deed:
    def deed(folder: Path) -> None:
        values = load_file(folder / "model.safetensors")
        change(values)
        save_file(values, folder / "model.safetensors")
        consistent(folder)

    return deed


def content(data: bytes) -> Deed:
    def deed(folder: Path) -> None:
        (folder / "model.safetensors").write_bytes(data)
        consistent(folder)

    return deed


def header(**changes: Any) -> Deed:
    """Change what the packed file says of its tensors; the data stays."""

    def deed(folder: Path) -> None:
        data = (folder / "model.safetensors").read_bytes()
        end = 8 + int.from_bytes(data[:8], "little")
        told = json.dumps(json.loads(data[8:end]) | changes).encode()
        content(len(told).to_bytes(8, "little") + told + data[end:])(folder)

    return deed


def cut(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-8])
    consistent(folder)


def flipped(folder: Path) -> None:
    path = folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "model.safetensors").unlink(), "not whole: 'model.safetensors' is missing"),
        (lambda folder: (folder / "sensors.csv").unlink(), "not whole: 'sensors.csv' is missing"),
        (
            lambda folder: (folder / "sensors.csv").write_text("x"),
            r"'sensors.csv' has 1 bytes, and manifest.json says",
        ),
        (flipped, r"damaged: 'model.safetensors' is another file than manifest.json says \(SHA-256\)"),
        (lambda folder: (folder / "manifest.json").write_text("{"), "manifest.json cannot be read"),
        (lambda folder: (folder / "manifest.json").write_text("[]"), "has the format 'None'"),
        (lambda folder: (folder / "manifest.json").write_text("[" * 2**19), "manifest.json cannot be read"),
        (lambda folder: (folder / "manifest.json").write_text(" " * 2**21), "has more than 1048576 bytes"),
        (
            manifest(format="other/1"),
            "has the format 'other/1'; a set of models has 'batchscore-model-set/1'",
        ),
        (manifest(sensors=0), "speaks of '0' sensors; a set has one at least"),
        (manifest(sensors=True), "speaks of 'True' sensors"),
        (manifest(sensors=4), r"offsets as I64 \[4\]; for 4 sensors it must be I64 \[5\]"),
        (manifest(files={}), "does not say what model.safetensors must be"),
        (manifest(files={"model.safetensors": 7}), "manifest.json says '7'"),
        (content(b""), "does not hold a set of models"),
        (content(b"\xff" * 64), "no safetensors file: its header would have"),
        (content((2).to_bytes(8, "little") + b"[]"), "does not hold a set of models"),
        (content((2**19).to_bytes(8, "little") + b"[" * 2**19), "does not hold a set of models"),
        (
            header(offsets={"shape": [4], "dtype": "I64", "data_offsets": [0, 1e999]}),
            "does not hold a set of",
        ),
        (cut, "is not whole: .* would lie at"),
        (tensors(lambda values: values.pop("gamma")), "does not hold a set of models: KeyError.'gamma'"),
        (tensors(lambda values: values.update(mean=values["mean"][:2])), r"holds mean as F64 \[2\]"),
        (
            tensors(lambda values: values.update(dual_coef=values["dual_coef"].astype("float32"))),
            r"holds dual_coef as F32 \[6\]; for 3 sensors it must be F64 \[6\]",
        ),
        (
            tensors(lambda values: values.update(support_vectors=values["support_vectors"].reshape(3, 2))),
            r"holds support_vectors as F64 \[3, 2\]",
        ),
    ],
)
def test_a_set_that_is_not_whole_is_refused_by_name(tmp_path: Path, damage: Deed, message: str) -> None:
    folder = make_set(tmp_path)
    damage(folder)
    with pytest.raises(RequestError, match=message):
        check(folder)


def test_a_folder_around_the_model_is_told(tmp_path: Path) -> None:
    make_set(tmp_path / "inside")
    with pytest.raises(RequestError, match=r"Do you mean '.*inside'"):
        check(tmp_path)
    with pytest.raises(RequestError, match=r"holds no \.onnx file and no set of models"):
        check(tmp_path / "nothing")


def test_what_storage_lays_beside_a_model_is_no_part_of_it(tmp_path: Path) -> None:
    """Else a version that is fetched and published again would be a new one."""
    folder = make_set(tmp_path)
    before = fingerprint(files_of(folder))
    for name in ("fingerprint.sha256", "published-by.txt", "version.json"):
        (folder / name).write_text("storage's")
    assert fingerprint(files_of(folder)) == before
