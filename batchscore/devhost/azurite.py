"""Azurite as a child process: one storage account on free loopback ports, ended by who started it."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from batchscore.devhost.server_folder import lock_folder
from batchscore.devhost.server_process import ServerProcess
from batchscore.errors import SettingsError

ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""The account and key that every Azurite has; they are published and open nothing else."""


_PORTS_FILE = "batchscore-ports.json"
_PORTS_WAIT_S = 3.0
_LISTENING = re.compile(r"Azurite (Blob|Queue|Table) service is successfully listening at http://.*:(\d+)")
_GUARD = (
    "data:text/javascript,"
    "for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {});"
    "process.stdin.resume().on('end', () => process.kill(process.pid, 'SIGTERM')).unref()"
)
"""Loaded into Azurite: when its owner dies, however it dies, the pipe ends and Azurite saves and stops."""
_LOOKUPS = Path(__file__).with_name("azurite_lookups.mjs").as_uri()


@dataclass(frozen=True)
class Ports:
    """Where the services listen; 0 takes a free port."""

    blob: int = 0
    queue: int = 0
    table: int = 0


def _earlier_ports(folder: Path) -> Ports:
    """Where the services on this folder listened last, if all of these ports are free soon; else free ones.

    Jobs that outlive a host look for their storage there, and while they do, a connection of theirs may hold such a
    port for a moment.
    """
    try:
        ports = Ports(**json.loads((folder / _PORTS_FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return Ports()
    deadline = time.monotonic() + _PORTS_WAIT_S
    while not _are_free(ports):
        if time.monotonic() > deadline:
            return Ports()
        time.sleep(0.1)
    return ports


def _are_free(ports: Ports) -> bool:
    try:
        for port in (ports.blob, ports.queue, ports.table):
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(("127.0.0.1", port))
    except (OSError, OverflowError, TypeError):
        return False
    return True


class Azurite(ServerProcess):
    """Blob and queue storage in `folder`. `with Azurite(folder) as azurite:` starts it, waits for it and ends it.

    `log` names a file that receives Azurite's access log (one line per request); without it none is kept.
    `on_line` is called with each line of the access log as it is written, on a thread of its own.
    """

    NAME = "Azurite"
    READY_TIMEOUT_S = 60.0

    def __init__(
        self,
        folder: Path,
        ports: Ports | None = None,
        *,
        log: Path | None = None,
        on_line: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__()
        self.folder = folder
        self.log = log
        self.ports = ports or Ports()
        self._on_line = on_line

    @property
    def connection_string(self) -> str:
        """For the settings AzureWebJobsStorage and DATA_STORAGE; known once started."""
        return (
            f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};"
            f"BlobEndpoint={self.blob_endpoint};QueueEndpoint={self.queue_endpoint};"
        )

    @property
    def blob_endpoint(self) -> str:
        return f"http://127.0.0.1:{self.ports.blob}/{ACCOUNT}"

    @property
    def queue_endpoint(self) -> str:
        return f"http://127.0.0.1:{self.ports.queue}/{ACCOUNT}"

    def _launched(self) -> subprocess.Popen[str]:
        """All services, on the ports that they had before, also in another process on the same folder, as long as
        nobody else has taken them: connection strings stay true, and jobs that outlived their host go on."""
        node, script = _program()
        lock = lock_folder(self.folder, "Azurite")  # now no other one is on this folder, nor on its ports
        try:
            if self.ports == Ports():
                self.ports = _earlier_ports(self.folder)
            command = [
                *(node, "--import", _GUARD, "--import", _LOOKUPS),
                *(str(script), "--skipApiVersionCheck", "--disableTelemetry"),
                *("--location", str(self.folder)),
                *("--blobHost", "127.0.0.1", "--blobPort", str(self.ports.blob)),
                *("--queueHost", "127.0.0.1", "--queuePort", str(self.ports.queue)),
                *("--tableHost", "127.0.0.1", "--tablePort", str(self.ports.table)),
            ]
            if self.log is None and self._on_line is None:
                command.append("--silent")
            return self._spawned(command, [lock])  # it holds the lock from here on, until its very end
        finally:
            os.close(lock)

    def _remedy(self) -> str:
        asked = [str(port) for port in (self.ports.blob, self.ports.queue, self.ports.table) if port]
        return f" Are the ports {', '.join(asked)} free?" if asked else ""

    def _follow(self, lines: Iterable[str]) -> None:
        """Ports and complaints are kept, access lines are passed on."""
        ports: dict[str, int] = {}
        with (self.log or Path(os.devnull)).open("a", encoding="utf-8") as copy:
            for line in lines:
                copy.write(line)
                copy.flush()
                found = _LISTENING.search(line)
                if found:
                    ports[found[1].lower()] = int(found[2])
                    if len(ports) == 3:
                        self.ports = Ports(**ports)
                        (self.folder / _PORTS_FILE).write_text(json.dumps(ports), encoding="utf-8")
                        self._ready()
                elif '" ' in line:
                    if self._on_line is not None:
                        self._on_line(line)
                elif not line.startswith("Azurite "):  # which tells that a service starts or closes
                    self._last_words.append(line.strip())


def _program() -> tuple[str, Path]:
    """Node and Azurite's script, from node_modules of the checkout or of the working folder."""
    node = shutil.which("node")
    if node is None:
        raise SettingsError("node is not on the PATH. Install Node.js 20 or newer (https://nodejs.org).")
    folders = (Path(__file__).resolve().parents[2], Path.cwd())
    for folder in folders:
        script = folder / "node_modules" / ".bin" / "azurite"
        if script.exists():
            return node, script.resolve()
    found = shutil.which("azurite")
    if found is not None:
        return node, Path(os.path.realpath(found))
    raise SettingsError("Azurite is not installed. Run `make setup`, or `npm ci` in the checkout.")
