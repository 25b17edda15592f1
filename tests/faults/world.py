"""A world: Azurite behind a proxy, a small disk for the work, one or two hosts, and the harness's own eyes and hands."""

from __future__ import annotations

import base64
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from azure.core.exceptions import ResourceNotFoundError
from azure.storage.queue import QueueClient

from batchscore import paths
from batchscore.application import Application
from batchscore.devhost.azurite import ACCOUNT, KEY, Azurite
from batchscore.devhost.host import host_identity
from batchscore.devhost.launch import DevHostError, DevHostProcess
from batchscore.errors import RunNotFoundError
from batchscore.runs import Run
from batchscore.settings import Settings
from tests.faults import processes
from tests.faults.disk import SmallDisk
from tests.faults.errands import Errand
from tests.faults.processes import Found
from tests.faults.proxy import Cut, Proxy

ROOT = Path(__file__).parents[2]
WORKLOADS = Path(__file__).parent / "workloads"
FLUSH_S = 5.6
"""Azurite writes what it knows to disk every five seconds."""
DISK_MB = 24
STORAGE_DISK_MB = 256
SETTINGS = {
    "WORKLOADS_FOLDER": str(WORKLOADS),
    "POLL_INTERVAL_S": "1",
    "RECONCILE_SCHEDULE": "*/3 * * * * *",
    "MAX_ACTIVE_RUNS": "3",
    "KEEP_INTERMEDIATES": "true",
    "EVENT_HUB": "",
}


class World:
    """`with World(folder, seed) as world:` has one host running on it. Hosts are called "a" and "b"."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.disk = SmallDisk(folder / "work", DISK_MB)
        self.storage_disk = SmallDisk(folder / "storage", STORAGE_DISK_MB)
        self.azurite = Azurite(folder / "storage" / "azurite")
        self._seed = seed
        self._storage_is_mine = threading.RLock()
        self._hosts_are_mine = threading.RLock()
        self._cuts_are_mine = threading.Lock()
        self._cuts: list[Cut] = []
        self.hosts: dict[str, DevHostProcess] = {}
        self.frozen: set[int] = set()
        self.errands: list[Errand] = []
        self.round: list[Errand] = []
        """Those of the round at hand."""
        self.host_starts = 0

    def __enter__(self) -> World:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.disk.mount()
        self.storage_disk.mount()
        self.azurite.start()
        self.proxy = Proxy((self.azurite.ports.blob, self.azurite.ports.queue), self._seed)
        self.proxy.start()
        blob, queue = self.proxy.ports
        through = (
            f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};"
            f"BlobEndpoint=http://127.0.0.1:{blob}/{ACCOUNT};QueueEndpoint=http://127.0.0.1:{queue}/{ACCOUNT};"
        )
        self.environment = {
            **SETTINGS,
            "LOCAL_WORK_FOLDER": str(self.disk.folder),
            "AzureWebJobsStorage": through,
            "DATA_STORAGE": through,
        }
        direct = dict.fromkeys(("AzureWebJobsStorage", "DATA_STORAGE"), self.azurite.connection_string)
        self.settings = Settings.from_environment({**self.environment, **direct})
        self.application = Application(self.settings)
        self.start_host("a")
        return self

    def __exit__(self, *_: object) -> None:
        self.heal()
        for name in list(self.hosts):
            self.end_host(name, kill=True)
        for found in self.processes():
            processes.send(found.pid, signal.SIGKILL)
        self.application.close()
        self.proxy.stop()
        self.azurite.stop()
        self.disk.unmount()
        self.storage_disk.unmount()

    # hosts

    def start_host(self, name: str) -> None:
        """Nothing happens when it runs already. A host whose storage is cut may end: it is started until it stays."""
        with self._hosts_are_mine:
            host = self.hosts.get(name)
            if host is not None and host.exit_code is None:
                return
            self.hosts.pop(name, None)
            host = DevHostProcess(ROOT, folder=self.folder / f"host-{name}", environment=self.environment)
            deadline = time.monotonic() + 120
            while True:
                try:
                    host.start()
                    break
                except DevHostError:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.5)
            self.host_starts += 1
            self.hosts[name] = host

    def end_host(self, name: str, *, kill: bool) -> bool:
        with self._hosts_are_mine:
            host = self.hosts.pop(name, None)
            if host is None:
                return False
            if host.exit_code is None:
                self.thaw(host.pid)
            host.kill() if kill else host.stop()
            return True

    def host_log(self) -> str:
        logs = sorted(self.folder.glob("host-*/devhost.log"))
        return "\n".join(log.read_text(encoding="utf-8", errors="replace") for log in logs)

    # processes

    def processes(self, role: str | None = None) -> list[Found]:
        """Those that work for this world; hosts too, Azurite not."""
        found = processes.of_world(f"LOCAL_WORK_FOLDER={self.disk.folder}\0")
        return [each for each in found if role in (None, each.role)]

    def freeze(self, pid: int) -> bool:
        self.frozen.add(pid)
        return processes.send(pid, signal.SIGSTOP)

    def thaw(self, pid: int) -> None:
        self.frozen.discard(pid)
        processes.send(pid, signal.SIGCONT)

    # storage

    @contextmanager
    def cut(self, mode: Cut) -> Iterator[None]:
        """While the block runs; of several cuts the newest counts."""
        with self._cuts_are_mine:
            self._cuts.append(mode)
            self.proxy.cut(mode)
        try:
            yield
        finally:
            with self._cuts_are_mine:
                self._cuts.remove(mode)
                self.proxy.cut(self._cuts[-1] if self._cuts else Cut.OPEN)

    @contextmanager
    def storage(self) -> Iterator[Application]:
        """What the harness does itself with storage, past the proxy, while Azurite is sure to be there."""
        with self._storage_is_mine:
            yield self.application

    def kill_azurite(self) -> None:
        """After its flush: what it had not saved would be lost, and no client could know."""
        self.storage_disk.free()
        with self._storage_is_mine, self.cut(Cut.STALLED):
            time.sleep(FLUSH_S)
            assert self.azurite.pid is not None
            os.kill(self.azurite.pid, signal.SIGKILL)
            self.azurite.start()

    def queue(self, name: str) -> QueueClient:
        """As it is: nothing is encoded."""
        return QueueClient.from_connection_string(
            self.azurite.connection_string, name, api_version="2025-11-05"
        )

    @property
    def event_queue(self) -> str:
        return f"azure-webjobs-blobtrigger-{host_identity(ROOT, dict(self.environment))}"

    def send_event(self, errand: Errand, delay_s: int = 0) -> None:
        message = {
            "Type": "BlobTrigger",
            "FunctionId": "Host.Functions.accept_trigger_file",
            "BlobType": "BlockBlob",
            "ContainerName": self.settings.trigger_container,
            "BlobName": errand.trigger,
            "ETag": errand.etag,
        }
        content = base64.b64encode(json.dumps(message).encode()).decode()
        with suppress(ResourceNotFoundError):  # the host makes it with its first event
            self.queue(self.event_queue).send_message(content, visibility_timeout=delay_s)

    # work

    def upload(self, name: str, data: bytes) -> None:
        with self.storage() as application:
            container = application.storage.container("data", self.settings.data_container, create=True)
            container.upload_blob(name, data, overwrite=True)

    def remove(self, name: str) -> None:
        with self.storage() as application, suppress(ResourceNotFoundError):
            application.storage.container("data", self.settings.data_container).delete_blob(name)

    def drop(self, errand: Errand) -> None:
        """Upload the inputs of an errand and its trigger file."""
        for name, versions in errand.versions.items():
            self.upload(name, versions[-1])
        with self.storage() as application:
            triggers = application.storage.container("data", self.settings.trigger_container, create=True)
            blob = triggers.upload_blob(errand.trigger, errand.body, overwrite=True)
            errand.etag = blob.get_blob_properties().etag
            errand.run_id = paths.run_id("trigger_file", errand.trigger, paths.normal_etag(errand.etag))
        self.errands.append(errand)
        self.round.append(errand)

    def run_of(self, errand: Errand) -> Run | None:
        with self.storage() as application, suppress(RunNotFoundError):
            return application.store.get(errand.run_id)
        return None

    def results(self, run_id: str, output: str) -> dict[str, bytes]:
        """The blobs of an output by name; of a file, its own name is empty."""
        with self.storage() as application:
            job = application.store.get(run_id).job
            assert job is not None
            location = job.outputs[output]
            container = application.storage.container(location.account, location.container)
            names = list(container.list_blob_names(name_starts_with=location.path))
            return {
                name.removeprefix(location.path).removeprefix("/"): container.download_blob(name).readall()
                for name in names
                if name == location.path or name.startswith(location.path + "/")
            }

    def heal(self) -> None:
        """Undo every fault that lasts; hosts that are gone are not started."""
        self.proxy.open()
        self.disk.free()
        self.storage_disk.free()
        for pid in list(self.frozen):
            self.thaw(pid)
