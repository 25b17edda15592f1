"""Azurite as a child process: it is ready when started, keeps what was written, and ends."""

from __future__ import annotations

import os
import queue
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from batchscore.devhost import azurite as devhost_azurite
from batchscore.devhost.azurite import ACCOUNT, Azurite, Ports
from batchscore.errors import SettingsError
from batchscore.storage import Storage
from tests.azurite import settings_for

REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Running:
    """An Azurite and the lines of its access log as they come."""

    azurite: Azurite
    lines: queue.Queue[str]


def test_it_answers_at_once_keeps_blobs_and_ends(tmp_path: Path) -> None:
    folder = tmp_path / "azurite"
    for round_ in range(2):
        with Azurite(folder) as azurite:
            storage = Storage(settings_for(azurite.connection_string, tmp_path))
            container = storage.container("data", "kept", create=True)
            if round_ == 0:
                container.upload_blob("name", b"kept")
            assert container.download_blob("name").readall() == b"kept"
            storage.close()
            port = int(azurite.blob_endpoint.rsplit(":", 1)[1].split("/")[0])
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0
        assert azurite.pid is None


def test_on_the_same_folder_it_listens_where_it_did_unless_somebody_else_does(tmp_path: Path) -> None:
    with Azurite(tmp_path) as first:
        before = first.ports
    with Azurite(tmp_path) as second:
        assert second.ports == before
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", before.blob))
        taken.listen()
        with Azurite(tmp_path) as third:
            assert third.ports.blob not in (0, before.blob)


def test_a_port_that_is_held_for_a_moment_is_waited_for(tmp_path: Path) -> None:
    with Azurite(tmp_path) as first:
        before = first.ports
    taken = socket.socket()
    taken.bind(("127.0.0.1", before.queue))
    taken.listen()
    timer = threading.Timer(0.5, taken.close)
    timer.start()
    with Azurite(tmp_path) as second:
        assert second.ports == before
    timer.join()


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match=str(port)):
            Azurite(tmp_path, Ports(blob=port)).start()


def test_it_ends_with_its_owner_and_keeps_what_was_written(tmp_path: Path) -> None:
    """The owner is killed; the next Azurite on the folder waits for the first to save, and finds the blob."""
    owner = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from batchscore.devhost.azurite import Azurite\n"
        "azurite = Azurite(Path(sys.argv[1]))\n"
        "azurite.start()\n"
        "print(azurite.connection_string, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", owner, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        storage = Storage(settings_for(process.stdout.readline().strip(), tmp_path))
        storage.container("data", "kept", create=True).upload_blob("name", b"kept")
        storage.close()
        process.kill()
    with Azurite(tmp_path) as azurite:
        storage = Storage(settings_for(azurite.connection_string, tmp_path))
        assert storage.container("data", "kept").download_blob("name").readall() == b"kept"
        storage.close()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One Azurite for the tests that leave it as it was."""
    folder = tmp_path_factory.mktemp("running")
    lines: queue.Queue[str] = queue.Queue()
    with Azurite(folder, log=folder / "access.log", on_line=lines.put) as azurite:
        yield Running(azurite, lines)


def test_a_second_one_on_the_same_folder_is_refused(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("batchscore.devhost.server_folder.FOLDER_TIMEOUT_S", 0.0)
    with pytest.raises(SettingsError, match="Another Azurite uses the folder"):
        Azurite(running.azurite.folder).start()


def test_it_starts_again_where_it_was(running: Running) -> None:
    before = running.azurite.connection_string
    running.azurite.start()
    assert running.azurite.connection_string == before
    assert running.azurite.running


LOOKS = """
const Loki = require("lokijs");
const blobs = new Loki("x").addCollection("blobs", { indices: ["accountName", "containerName", "name"] });
let looks = 0;
for (let number = 0; number < 1000; number++) {
  const blob = { accountName: "a", name: `n${number}` };
  Object.defineProperty(blob, "containerName", { enumerable: true, get() { looks++; return "c"; } });
  blobs.insert(blob);
}
blobs.findOne({ accountName: "a", containerName: "c", name: "n0" });  // brings the indices up to date
looks = 0;
const found = blobs.findOne({ accountName: "a", containerName: "c", name: "n500" });
console.log(found.name, looks);
"""


def test_a_blob_is_found_by_its_name_without_a_look_at_the_others(tmp_path: Path) -> None:
    script = tmp_path / "looks.cjs"
    script.write_text(LOOKS, encoding="utf-8")
    lookups = Path(devhost_azurite.__file__).with_name("azurite_lookups.mjs").as_uri()
    modules = {**os.environ, "NODE_PATH": str(REPOSITORY / "node_modules")}
    answer = subprocess.run(
        ["node", "--import", lookups, str(script)], env=modules, capture_output=True, text=True, check=True
    )
    name, looks = answer.stdout.split()
    assert name == "n500"
    assert int(looks) < 10


def test_each_request_is_reported_as_it_comes(running: Running, tmp_path: Path) -> None:
    storage = Storage(settings_for(running.azurite.connection_string, tmp_path))
    storage.container("data", "box", create=True)
    storage.close()
    request = f'"PUT /{ACCOUNT}/box?restype=container'
    assert request in running.lines.get(timeout=10)
    assert running.azurite.log is not None
    assert request in running.azurite.log.read_text()


def test_blobs_of_one_name_in_two_containers_are_two(running: Running, tmp_path: Path) -> None:
    """It looks for the name first, then for the container."""
    storage = Storage(settings_for(running.azurite.connection_string, tmp_path))
    one, two = (storage.container("data", name, create=True) for name in ("one", "two"))
    for container in (one, two):
        container.upload_blob("same.txt", container.container_name.encode())
    one.delete_blob("same.txt")
    assert two.download_blob("same.txt").readall() == b"two"
    assert not one.get_blob_client("same.txt").exists()
    storage.close()


def test_without_azurite_the_remedy_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SettingsError, match=r"node is not on the PATH\. Install Node\.js 20"):
        Azurite(tmp_path).start()
    (tmp_path / "node").write_text("")
    (tmp_path / "node").chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("batchscore.devhost.azurite.__file__", str(tmp_path / "a" / "b" / "c.py"))
    with pytest.raises(SettingsError, match="npm ci"):
        Azurite(tmp_path).start()
