"""Models are published by version and resolved by name; on Azurite."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
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


def shipped_folder(tmp_path: Path, name: str, content: bytes = b"shipped") -> Path:
    folder = tmp_path / "shipped" / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(content)
    return folder.parent


def content(storage: Storage, place: Location) -> bytes:
    return storage.container("system", "models").download_blob(f"{place.path}/model.onnx").readall()


def test_a_shipped_model_is_found_by_name_and_brought_into_storage_once(
    storage: Storage, name: str, tmp_path: Path
) -> None:
    store = ModelStore(storage, shipped_folder(tmp_path, name))
    assert store.shipped() == [name]
    first, again = store.resolve(name), store.resolve(f"{name}:1")
    assert first == again == Location("system", "models", f"{name}/1")
    assert content(storage, first) == b"shipped"
    assert store.versions(name) == [1]


def test_a_newer_release_brings_its_model_as_the_next_version(
    storage: Storage, name: str, tmp_path: Path
) -> None:
    store = ModelStore(storage, shipped_folder(tmp_path, name))
    store.resolve(name)
    shipped_folder(tmp_path, name, b"better")
    assert content(storage, store.resolve(name)) == b"better"
    assert store.versions(name) == [1, 2]


def test_a_model_that_somebody_published_wins_over_the_shipped_one_of_its_name(
    storage: Storage, name: str, tmp_path: Path, folder: Path
) -> None:
    ModelStore(storage).publish(name, folder)
    store = ModelStore(storage, shipped_folder(tmp_path, name))
    assert content(storage, store.resolve(name)) == b"one"
    shipped_folder(tmp_path, name, b"better")
    assert content(storage, store.resolve(name)) == b"one"


def output_of_a_run(storage: Storage, run: str, data: bytes = b"made") -> Location:
    place = Location("system", "logs", f"{run}/net")
    storage.container("system", "logs").upload_blob(f"{place.path}/model.onnx", data)
    storage.container("system", "logs").upload_blob(f"{place.path}/pictures/a.jpg", b"picture")
    return place


def test_what_a_run_made_is_published_once_however_often_it_is_asked(
    storage: Storage, name: str, folder: Path
) -> None:
    store, run = ModelStore(storage), uuid.uuid4().hex[:20]
    place = output_of_a_run(storage, run)
    assert store.publish_output(name, place, run) == f"{name}:1"
    store.publish(name, folder)
    assert store.publish_output(name, place, run) == f"{name}:1"
    assert store.versions(name) == [1, 2]
    assert content(storage, Location("system", "models", f"{name}/1")) == b"made"


def test_a_publication_that_was_cut_off_goes_on_in_its_own_version(storage: Storage, name: str) -> None:
    """Another run that publishes meanwhile gets a version of its own, and neither writes into the other's."""
    store, (first, second) = ModelStore(storage), (uuid.uuid4().hex[:20] for _ in range(2))
    models = storage.container("system", "models")
    models.upload_blob(f"{name}/1/published-by.txt", first.encode(), metadata={"publisher": first})
    models.upload_blob(f"{name}/1/model.onnx", b"ha")
    assert store.versions(name) == []
    assert store.publish_output(name, output_of_a_run(storage, second, b"second"), second) == f"{name}:2"
    assert store.publish_output(name, output_of_a_run(storage, first, b"first"), first) == f"{name}:1"
    assert content(storage, Location("system", "models", f"{name}/1")) == b"first"
    assert content(storage, Location("system", "models", f"{name}/2")) == b"second"


def test_runs_that_publish_at_the_same_time_get_a_version_each(storage: Storage, name: str) -> None:
    made = [uuid.uuid4().hex[:20] for _ in range(4)]
    places = [output_of_a_run(storage, run, run.encode()) for run in made]
    store = ModelStore(storage)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda run, place: store.publish_output(name, place, run), made, places))
    assert sorted(found) == [f"{name}:{number}" for number in (1, 2, 3, 4)]
    for reference, run in zip(found, made, strict=True):
        assert content(storage, store.resolve(reference)) == run.encode()


def test_no_run_replaces_a_model_that_was_published_by_hand(
    storage: Storage, name: str, folder: Path
) -> None:
    store, run = ModelStore(storage), uuid.uuid4().hex[:20]
    assert store.kept_from_runs(name) is None
    store.publish_output(name, output_of_a_run(storage, run), f"{run}-1")
    assert store.kept_from_runs(name) is None
    store.publish(name, folder)
    assert "published by hand" in (store.kept_from_runs(name) or "")
    with pytest.raises(RequestError, match=r"published by hand .* Choose another name"):
        store.publish_output(name, Location("system", "logs", f"{run}/net"), f"{run}-2")
    assert content(storage, store.resolve(name)) == b"one"


def test_a_run_that_made_no_model_is_told(storage: Storage, name: str) -> None:
    with pytest.raises(RequestError, match=r"holds no \.onnx file"):
        ModelStore(storage).publish_output(name, Location("system", "logs", "nothing/net"), "0" * 20)


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
