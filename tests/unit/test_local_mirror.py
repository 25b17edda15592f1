"""The mirror: what it copies, what it leaves, in which order, and how much memory it takes."""

from __future__ import annotations

import hashlib
import os
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from azure.storage.blob import ContentSettings

from batchscore.compute.base import Location
from batchscore.compute.local import courier
from batchscore.compute.local.courier import Cargo, deliver
from batchscore.compute.local.ledger import Ledger
from batchscore.compute.local.mirror import (
    CHUNK_BYTES,
    Mirror,
    MissingDataError,
    Push,
    TransferStoppedError,
    UnnameableFileError,
)
from batchscore.compute.local.wire import BlobVersion
from batchscore.settings import Settings
from batchscore.storage import Storage
from tests.azurite import blob_names
from tests.local_pipelines import write


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger(tmp_path / "ledger.db")
    yield ledger
    ledger.close()


@pytest.fixture
def mirror(storage: Storage, ledger: Ledger) -> Mirror:
    return Mirror(storage, ledger, threading.Event())


@pytest.fixture
def put(storage: Storage, settings: Settings):  # type: ignore[no-untyped-def]
    container = storage.container("data", settings.data_container)

    def put(name: str, content: bytes, **options: object) -> None:
        container.upload_blob(name, content, overwrite=True, **options)  # type: ignore[arg-type]

    return put


@pytest.fixture
def here(settings: Settings) -> Location:
    return Location("data", settings.data_container, "in")


def names(storage: Storage, place: Location) -> list[str]:
    prefix = place.path + "/"
    return [name.removeprefix(prefix) for name in blob_names(storage, place.account, place.container, prefix)]


def read(storage: Storage, place: Location, name: str) -> bytes:
    return storage.container(place.account, place.container).download_blob(f"{place.path}/{name}").readall()


def tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


# Pulling


def test_a_prefix_becomes_a_folder_and_nothing_beside_it(
    mirror: Mirror, here: Location, put, tmp_path: Path
) -> None:  # type: ignore[no-untyped-def]
    content = {
        "a.txt": b"a",
        "deep/er/b ä#%?.txt": b"b",
        "empty": b"",
        "large": os.urandom(2 * CHUNK_BYTES + 1),
    }
    for name, data in content.items():
        put(f"in/{name}", data)
    put("inside.txt", b"another prefix")
    put("in/folder", b"", metadata={"hdi_isfolder": "true"})
    assert mirror.pull_folder("input 'data'", here, tmp_path / "data") == 4
    assert tree(tmp_path / "data") == content


def test_what_is_there_already_is_not_fetched_again_until_the_blob_changes(
    mirror: Mirror, here: Location, put, tmp_path: Path
) -> None:  # type: ignore[no-untyped-def]
    put("in/a.txt", b"old")
    mirror.pull_folder("input", here, tmp_path)
    before = (tmp_path / "a.txt").stat()
    mirror.pull_folder("input", here, tmp_path)
    assert (tmp_path / "a.txt").stat().st_ino == before.st_ino
    put("in/a.txt", b"new")  # as long, and within the same second
    mirror.pull_folder("input", here, tmp_path)
    assert (tmp_path / "a.txt").read_bytes() == b"new"


@pytest.mark.parametrize("size", [3, CHUNK_BYTES + 1])
def test_a_blob_that_is_written_again_as_it_was_while_it_is_fetched_has_not_changed(
    mirror: Mirror, here: Location, put, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:  # type: ignore[no-untyped-def]
    """A batch of events that is delivered once more lands under the same name with the same bytes."""
    first, other = bytes(size), b"x" * size
    md5 = ContentSettings(content_md5=bytearray(hashlib.md5(first, usedforsecurity=False).digest()))
    put("in/a", first, content_settings=md5)
    seen = list(mirror._listed(here, "in/"))

    def listed(*_: object) -> Iterator[BlobVersion]:
        return iter(seen)

    monkeypatch.setattr(mirror, "_listed", listed)
    put("in/a", first, content_settings=md5)
    mirror.pull_folder("input", here, tmp_path / "again")
    assert tree(tmp_path / "again") == {"a": first}
    put("in/a", other)
    with pytest.raises(MissingDataError, match="changed or went away while it was read"):
        mirror.pull_folder("input", here, tmp_path / "other")
    assert tree(tmp_path / "other") == {}


def test_the_longest_name_of_a_file_is_fetched_and_a_longer_one_named(
    mirror: Mirror, put: Callable[[str, bytes], None], here: Location, tmp_path: Path
) -> None:
    put(f"in/{'é' * 127}", b"longest")
    mirror.pull_folder("input", here, tmp_path / "in")
    assert tree(tmp_path / "in") == {"é" * 127: b"longest"}
    put(f"in/{'é' * 128}", b"longer")
    with pytest.raises(MissingDataError, match="which cannot be a file"):
        mirror.pull_folder("input", here, tmp_path / "in")


def test_a_missing_blob_is_named(mirror: Mirror, settings: Settings, tmp_path: Path) -> None:
    place = Location("data", settings.data_container, "videos/x.mp4")
    with pytest.raises(
        MissingDataError, match=rf"input 'video': there is no blob {settings.data_container}/videos/x.mp4"
    ):
        mirror.pull_file("input 'video'", place, tmp_path / "x.mp4")
    assert mirror.pull_folder("input", place, tmp_path / "folder") == 0
    assert mirror.pull_folder("input", Location("data", "no-such-container", "x"), tmp_path / "folder") == 0


@pytest.mark.parametrize("name", ["in/../../up.txt", "in//double.txt", "in/./dot.txt"])
def test_a_blob_whose_name_leads_out_of_the_folder_is_refused(name: str) -> None:
    from batchscore.compute.local.mirror import _inside

    with pytest.raises(MissingDataError, match="cannot be a file"):
        _inside("input", Path("/data"), name)


@pytest.mark.parametrize("first", ["a", "a/b"])
def test_a_blob_that_is_a_folder_of_others_is_named(
    mirror: Mirror, here: Location, put, tmp_path: Path, first: str
) -> None:  # type: ignore[no-untyped-def]
    """Whichever of the two comes first; they are fetched at the same time."""
    put(f"in/{first}", b"file")
    mirror.pull_folder("input", here, tmp_path)
    put("in/a", b"file")
    put("in/a/b", b"file below a file")
    with pytest.raises(MissingDataError, match="cannot be a file here"):
        mirror.pull_folder("input", here, tmp_path)


def test_pulling_and_pushing_large_files_takes_little_memory(
    mirror: Mirror, here: Location, storage: Storage, tmp_path: Path
) -> None:
    size = 32 * CHUNK_BYTES
    for index in range(2):
        with (tmp_path / f"large-{index}").open("wb") as stream:
            stream.truncate(size)
    tracemalloc.start()
    try:
        mirror.push(
            [
                Push(tmp_path / f"large-{index}", Location("data", here.container, f"in/{index}"))
                for index in range(2)
            ]
        )
        mirror.pull_folder("input", here, tmp_path / "back")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert [path.stat().st_size for path in (tmp_path / "back").iterdir()] == [size, size]
    assert peak < size


def test_a_transfer_stops_when_told_to_and_leaves_nothing_half(
    storage: Storage, ledger: Ledger, here: Location, put, tmp_path: Path
) -> None:  # type: ignore[no-untyped-def]
    put("in/large", bytes(2 * CHUNK_BYTES))
    stopped = threading.Event()
    stopped.set()
    with pytest.raises(TransferStoppedError):
        Mirror(storage, ledger, stopped).pull_folder("input", here, tmp_path / "data")
    assert tree(tmp_path / "data") == {}


# Pushing


def test_only_what_is_new_or_changed_is_pushed_also_after_a_restart(
    storage: Storage, here: Location, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    write(out / "a.txt", "a")
    write(out / "deep" / "b ä#?.txt", "b")

    def push() -> None:
        ledger = Ledger(tmp_path / "ledger.db")
        Mirror(storage, ledger, threading.Event()).push([Push(out, here)])
        ledger.close()

    def etags() -> dict[str, str]:
        blobs = storage.container("data", here.container).list_blobs(name_starts_with="in/")
        return {blob.name: blob.etag for blob in blobs}

    push()
    first = etags()
    assert set(first) == {"in/a.txt", "in/deep/b ä#?.txt"}
    push()
    assert etags() == first
    write(out / "a.txt", "changed")
    push()
    assert etags()["in/a.txt"] != first["in/a.txt"]
    assert etags()["in/deep/b ä#?.txt"] == first["in/deep/b ä#?.txt"]
    assert read(storage, here, "a.txt") == b"changed"


def test_a_file_output_becomes_the_blob_itself(
    mirror: Mirror, storage: Storage, here: Location, tmp_path: Path
) -> None:
    mirror.push([Push(write(tmp_path / "predictions.csv", "x"), here)])
    assert blob_names(storage, "data", here.container) == ["in"]


def test_files_that_are_being_written_and_things_that_are_no_files_stay(
    mirror: Mirror, storage: Storage, here: Location, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    write(out / ".a.txt.host.12.part", "half")
    write(out / "whole.part", "whole")
    os.mkfifo(out / "pipe")
    mirror.push([Push(out, here), Push(tmp_path / "nothing", here)])
    assert names(storage, here) == ["whole.part"]


def test_a_file_that_changes_while_it_is_read_is_pushed_again(
    mirror: Mirror, storage: Storage, here: Location, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path / "out" / "a.txt", "first")
    upload = Mirror._upload

    def meanwhile(self: Mirror, target: Location, blob: str, path: Path) -> None:
        upload(self, target, blob, path)
        path.write_text("second, longer")

    monkeypatch.setattr(Mirror, "_upload", meanwhile)
    mirror.push([Push(file.parent, here)])
    monkeypatch.setattr(Mirror, "_upload", upload)
    mirror.push([Push(file.parent, here)])
    assert read(storage, here, "a.txt") == b"second, longer"


def test_a_name_that_is_not_utf_8_is_named(mirror: Mirror, here: Location, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / os.fsdecode(b"out/\xff.txt")).write_text("x")
    with pytest.raises(UnnameableFileError, match=r"udcff"):
        mirror.push([Push(tmp_path / "out", here)])


def test_receipts_leave_after_the_outputs_they_speak_of(
    mirror: Mirror, storage: Storage, here: Location, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A receipt that appears while outputs are read waits for the next round; in the last round all leave."""
    there = Location("system", "logs", f"{tmp_path.name}/receipts")
    write(tmp_path / "out" / "one", "1")
    old = write(tmp_path / "receipts" / "one.jsonl", "{}")
    os.utime(old, (1_000_000_000, 1_000_000_000))
    cargo = Cargo((Push(tmp_path / "out", here),), (Push(tmp_path / "receipts", there),), ())
    order: list[str] = []
    upload = Mirror._upload

    def noted(self: Mirror, target: Location, blob: str, path: Path) -> None:
        order.append(f"{path.parent.name}/{path.name}")
        if path.name == "one":  # meanwhile a step finishes another item
            write(tmp_path / "out" / "two", "2")
            write(tmp_path / "receipts" / "two.jsonl", "{}")
        upload(self, target, blob, path)

    monkeypatch.setattr(Mirror, "_upload", noted)
    monkeypatch.setattr(courier, "CLOCK_MARGIN_NS", 0)
    deliver(mirror, cargo, writing=True)
    assert names(storage, there) == ["one.jsonl"]
    deliver(mirror, cargo, writing=False)
    assert order == ["out/one", "receipts/one.jsonl", "out/two", "receipts/two.jsonl"]


def test_receipts_stay_when_an_output_could_not_be_pushed(
    mirror: Mirror, storage: Storage, here: Location, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = Location("system", "logs", f"{tmp_path.name}/receipts")
    write(tmp_path / "out" / "one", "1")
    write(tmp_path / "receipts" / "one.jsonl", "{}")

    def broken(self: Mirror, target: Location, blob: str, path: Path) -> None:
        raise OSError("no")

    monkeypatch.setattr(Mirror, "_upload", broken)
    with pytest.raises(OSError, match="no"):
        deliver(
            mirror,
            Cargo((Push(tmp_path / "out", here),), (Push(tmp_path / "receipts", there),), ()),
            writing=False,
        )
    assert names(storage, there) == []


def test_what_is_not_here_any_more_is_removed_from_storage(
    mirror: Mirror, storage: Storage, here: Location, put: Callable[..., None], tmp_path: Path
) -> None:
    for name in ("in/kept.txt", "in/deep/kept.txt", "in/stale.txt", "in/deep/stale.txt", "inside/other.txt"):
        put(name, b"x")
    for name in ("kept.txt", "deep/kept.txt"):
        write(tmp_path / "out" / name, "x")
    mirror.remove_stale(Push(tmp_path / "out", here))
    assert names(storage, here) == ["deep/kept.txt", "kept.txt"]
    assert blob_names(storage, here.account, here.container, "inside/") == ["inside/other.txt"]
