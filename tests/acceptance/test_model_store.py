"""Models are published by version and resolved by name; on Azurite."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from batchscore.compute.base import Location
from batchscore.errors import RequestError
from batchscore.models import ModelStore
from batchscore.storage import Storage


@pytest.fixture
def name() -> str:
    return f"model-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model.onnx").write_bytes(b"one")
    return tmp_path


def test_a_changed_folder_is_a_new_version_and_an_equal_one_is_not(
    storage: Storage, name: str, folder: Path
) -> None:
    store = ModelStore(storage)
    assert store.publish(name, folder) == (f"{name}:1", True)
    assert store.publish(name, folder) == (f"{name}:1", False)
    (folder / "model.onnx").write_bytes(b"two")
    assert store.publish(name, folder) == (f"{name}:2", True)
    assert store.resolve(name) == Location("system", "models", f"{name}/2")
    assert store.resolve(f"{name}:1") == Location("system", "models", f"{name}/1")
    old = storage.container("system", "models").download_blob(f"{name}/1/model.onnx").readall()
    assert old == b"one"


def test_a_version_that_was_not_published_to_its_end_is_not_there(
    storage: Storage, name: str, folder: Path
) -> None:
    store = ModelStore(storage)
    store.publish(name, folder)
    storage.container("system", "models").upload_blob(f"{name}/2/model.onnx", b"half")
    assert store.resolve(name).path == f"{name}/1"
    (folder / "model.onnx").write_bytes(b"whole")
    assert store.publish(name, folder) == (f"{name}:2", True)
    assert storage.container("system", "models").download_blob(f"{name}/2/model.onnx").readall() == b"whole"


def test_an_unknown_name_or_version_is_told_with_what_there_is(
    storage: Storage, name: str, folder: Path
) -> None:
    store = ModelStore(storage)
    store.publish(name, folder)
    with pytest.raises(RequestError, match=f"Did you mean '{name}'"):
        store.resolve(name + "x")
    with pytest.raises(RequestError, match=r"has no version 7\. There are: 1"):
        store.resolve(f"{name}:7")


@pytest.mark.parametrize(
    "reference", ["", "../secret", "a/b", "a:0", "a:latest", "a:1:2", "a:", ":1", "ä", "x" * 300]
)
def test_what_is_no_name_is_refused(storage: Storage, reference: str) -> None:
    with pytest.raises(RequestError, match="is not a model"):
        ModelStore(storage).resolve(reference)


def test_a_folder_without_a_model_is_refused_with_the_nearest_that_has_one(
    storage: Storage, name: str, tmp_path: Path
) -> None:
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside" / "model.onnx").write_bytes(b"one")
    with pytest.raises(RequestError, match=r"Do you mean '.*inside'"):
        ModelStore(storage).publish(name, tmp_path)
    with pytest.raises(RequestError, match="cannot be a model's name"):
        ModelStore(storage).publish("a/b", tmp_path / "inside")
