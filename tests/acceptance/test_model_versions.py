"""Which version of a model its name means: the newest, or the one that somebody promoted; on Azurite."""

from __future__ import annotations

import json
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from azure.core.exceptions import ResourceModifiedError
from azure.storage.blob import ContainerClient

from batchscore import model_pointer
from batchscore.compute.base import Location
from batchscore.errors import RequestError
from batchscore.models import ModelStore
from batchscore.storage import Storage
from tests.model_sets import make_set


@pytest.fixture
def name() -> str:
    return f"set-{uuid.uuid4().hex[:8]}"


def publish(store: ModelStore, name: str, folder: Path, versions: int) -> None:
    for number in range(1, versions + 1):
        assert store.publish(name, make_set(folder / str(number), mean=number))[0] == f"{name}:{number}"


def current(store: ModelStore, name: str) -> int:
    return int(store.resolve(name).path.split("/")[1])


def output_of_a_run(storage: Storage, folder: Path) -> Location:
    place = Location("system", "logs", f"{uuid.uuid4().hex[:20]}/models")
    for file in folder.iterdir():
        storage.container("system", "logs").upload_blob(f"{place.path}/{file.name}", file.read_bytes())
    return place


def test_a_set_is_stored_whole_and_knows_its_version(storage: Storage, name: str, tmp_path: Path) -> None:
    store, folder = ModelStore(storage), make_set(tmp_path)
    assert store.publish(name, folder) == (f"{name}:1", True)
    assert store.publish(name, folder) == (f"{name}:1", False)
    stored = storage.container("system", "models")
    for file in folder.iterdir():
        assert stored.download_blob(f"{name}/1/{file.name}").readall() == file.read_bytes()
    assert json.loads(stored.download_blob(f"{name}/1/version.json").readall()) == {"model": f"{name}:1"}
    manifest = store.manifest(name, 1)
    assert manifest is not None
    assert manifest["sensors"] == 3


def test_the_newest_is_current_until_one_is_promoted_and_again_afterwards(
    storage: Storage, name: str, tmp_path: Path
) -> None:
    store = ModelStore(storage)
    publish(store, name, tmp_path, 3)
    assert current(store, name) == 3
    pointer = store.promote(name, 2)
    assert pointer is not None
    assert (pointer.version, pointer.before) == (2, 3)
    assert current(store, name) == 2
    assert store.publish(name, make_set(tmp_path / "4", mean=4)) == (f"{name}:4", True)
    assert current(store, name) == 2, "what is promoted stays current, whatever is published"
    pointer = store.promote(name, 1)
    assert pointer is not None
    assert (current(store, name), pointer.before) == (1, 2), "and it can be switched back"
    assert store.promote(name, None) is None
    assert current(store, name) == 4
    assert store.resolve(f"{name}:1").path == f"{name}/1"


def test_what_a_run_made_is_current_at_once_unless_another_version_was_promoted(
    storage: Storage, name: str, tmp_path: Path
) -> None:
    store = ModelStore(storage)
    for number in (1, 2):
        made = output_of_a_run(storage, make_set(tmp_path / str(number), mean=number))
        assert store.publish_output(name, made, f"job-{number}") == f"{name}:{number}"
        assert current(store, name) == number
    store.promote(name, 1)
    made = output_of_a_run(storage, make_set(tmp_path / "3", mean=3))
    assert store.publish_output(name, made, "job-3") == f"{name}:3"
    assert current(store, name) == 1


def test_a_set_of_a_run_that_lacks_most_sensors_waits_for_a_person(
    storage: Storage, name: str, tmp_path: Path
) -> None:
    store = ModelStore(storage)
    for number, (sensors, now) in enumerate([(10, 1), (5, 2), (2, 2), (12, 2)], start=1):
        made = output_of_a_run(storage, make_set(tmp_path / str(number), sensors))
        assert store.publish_output(name, made, f"job-{number}") == f"{name}:{number}"
        assert current(store, name) == now, f"after {sensors} sensors"
    pointer = store.pointer(name)
    assert pointer is not None
    assert pointer.why == "the set that a run made since has models of 2 sensors, and this one of 5"
    store.promote(name, None)
    assert current(store, name) == 4
    (tmp_path / "onnx").mkdir()
    (tmp_path / "onnx" / "model.onnx").write_bytes(b"a style")
    store.publish_output(name, output_of_a_run(storage, tmp_path / "onnx"), "job-5")
    assert current(store, name) == 4


def test_a_run_may_leave_a_manifest_of_another_kind_beside_an_onnx_file(
    storage: Storage, name: str, tmp_path: Path
) -> None:
    store = ModelStore(storage)
    for number in (1, 2):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "model.onnx").write_bytes(b"%d" % number)
        (folder / "manifest.json").write_text('{"exported_by": "another tool"}')
        made = output_of_a_run(storage, folder)
        assert store.publish_output(name, made, f"job-{number}") == f"{name}:{number}"


def test_what_was_published_by_hand_gets_versions_of_runs_only_beside_a_promoted_one(
    storage: Storage, name: str, tmp_path: Path
) -> None:
    """Whoever may start a run does not decide what the runs of others use."""
    store = ModelStore(storage)
    publish(store, name, tmp_path, 1)
    made = output_of_a_run(storage, make_set(tmp_path / "2", mean=2))
    with pytest.raises(
        RequestError, match=r"published by hand .* and of which no version is promoted, which no run"
    ):
        store.publish_output(name, made, "job-1")
    store.promote(name, 1)
    assert store.kept_from_runs(name) is None
    assert store.publish_output(name, made, "job-1") == f"{name}:2"
    assert current(store, name) == 1


def test_a_set_that_is_not_whole_is_neither_stored_nor_current(
    storage: Storage, name: str, tmp_path: Path
) -> None:
    store = ModelStore(storage)
    good = output_of_a_run(storage, make_set(tmp_path / "good"))
    store.publish_output(name, good, "job-1")
    bad = output_of_a_run(storage, make_set(tmp_path / "bad", mean=2))
    logs = storage.container("system", "logs")
    data = logs.download_blob(f"{bad.path}/model.safetensors").readall()
    logs.upload_blob(f"{bad.path}/model.safetensors", data[:-1] + b"?", overwrite=True)
    with pytest.raises(RequestError, match=r"damaged: 'model.safetensors' is another file"):
        store.publish_output(name, bad, "job-2")
    assert store.versions(name) == [1]
    assert current(store, name) == 1


def test_of_two_that_promote_at_once_one_is_told(
    storage: Storage, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both have read the pointer before either writes it: neither switch goes unseen."""
    publish(ModelStore(storage), name, tmp_path, 3)
    read, both = model_pointer._read, Barrier(2)
    looked = threading.local()

    def together(container: ContainerClient, name: str) -> object:
        found = read(container, name)
        if getattr(looked, "waits", False):
            looked.waits = False
            both.wait(30)
        return found

    def promote(version: int) -> str:
        looked.waits = True
        try:
            pointer = ModelStore(storage).promote(name, version)
        except RequestError as error:
            return str(error)
        return f"promoted {pointer.version if pointer else None}"

    monkeypatch.setattr(model_pointer, "_read", together)
    for before in (None, 3):  # a pointer that is made, and one that is changed
        ModelStore(storage).promote(name, before)
        with ThreadPoolExecutor(2) as pool:
            said = list(pool.map(promote, (1, 2)))
        won = current(ModelStore(storage), name)
        assert f"promoted {won}" in said
        [told] = [each for each in said if not each.startswith("promoted")]
        assert f"somebody else switched '{name}' meanwhile: {name}:{won} is current now" in told


def test_many_that_promote_leave_a_whole_pointer_to_what_one_of_them_promoted_last(
    storage: Storage, name: str, tmp_path: Path
) -> None:
    publish(ModelStore(storage), name, tmp_path, 4)

    def promote(turn: int) -> int | None:
        try:
            pointer = ModelStore(storage).promote(name, turn % 4 + 1)
        except RequestError:
            return None
        return pointer.version if pointer else None

    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(promote, range(24)))
    assert current(ModelStore(storage), name) in [version for version in done if version]


def test_a_switch_whose_answer_was_lost_is_no_conflict(
    storage: Storage, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection cut after the write makes the SDK write again, and storage then says that it was changed."""
    store = ModelStore(storage)
    publish(store, name, tmp_path, 2)
    store.promote(name, 1)
    upload = ContainerClient.upload_blob

    def cut(self: ContainerClient, *args: object, **options: object) -> None:
        upload(self, *args, **options)  # type: ignore[arg-type]
        error = ResourceModifiedError("the condition is not met")
        error.status_code = 412
        raise error

    monkeypatch.setattr(ContainerClient, "upload_blob", cut)
    assert store.promote(name, 2) is not None
    monkeypatch.undo()
    assert current(store, name) == 2


def test_what_cannot_be_promoted_is_told(storage: Storage, name: str, tmp_path: Path) -> None:
    store = ModelStore(storage)
    with pytest.raises(RequestError, match=f"storage holds no model '{name}'"):
        store.promote(name, 1)
    publish(store, name, tmp_path, 2)
    with pytest.raises(RequestError, match=r"has no version 7\. There are: 1, 2"):
        store.promote(name, 7)
    with pytest.raises(RequestError, match="is not a model's name"):
        store.promote("../x", 1)
    for torn in (b"torn", b"", b'{"model": "\xff"}'):
        storage.container("system", "models").upload_blob(f"{name}/current.json", torn, overwrite=True)
        with pytest.raises(RequestError, match=rf"models/{name}/current\.json cannot be read .* Remove it"):
            store.resolve(name)


def test_a_promoted_version_that_is_gone_is_told(storage: Storage, name: str, tmp_path: Path) -> None:
    store = ModelStore(storage)
    publish(store, name, tmp_path, 2)
    store.promote(name, 1)
    storage.container("system", "models").delete_blob(f"{name}/1/fingerprint.sha256")
    with pytest.raises(RequestError, match=rf"{name}:1 was promoted and is gone.*promote {name}:2"):
        store.resolve(name)
