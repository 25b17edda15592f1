"""Azurite as a child process: one storage account on free loopback ports, ended by who started it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from batchscore.errors import SettingsError, StorageUnavailableError

ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""The account and key that every Azurite has; they are published and open nothing else."""

READY_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Ports:
    """Where the two services listen; 0 takes a free port."""

    blob: int = 0
    queue: int = 0


class Azurite:
    """Blob and queue storage in `folder`. `with Azurite(folder) as azurite:` starts it, waits for it and ends it.

    `log` names a file that receives Azurite's access log (one line per request); without it none is kept.
    """

    def __init__(self, folder: Path, ports: Ports | None = None, *, log: Path | None = None) -> None:
        self.folder = folder
        self.log = log
        self._wanted = ports or Ports()
        self._process: subprocess.Popen[bytes] | None = None
        self._blob_port = 0
        self._queue_port = 0

    @property
    def connection_string(self) -> str:
        """For the settings AzureWebJobsStorage and DATA_STORAGE; known once started."""
        return (
            f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};"
            f"BlobEndpoint={self.blob_endpoint};QueueEndpoint={self.queue_endpoint};"
        )

    @property
    def blob_endpoint(self) -> str:
        return f"http://127.0.0.1:{self._blob_port}/{ACCOUNT}"

    @property
    def queue_endpoint(self) -> str:
        return f"http://127.0.0.1:{self._queue_port}/{ACCOUNT}"

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start the services and wait until both listen. SettingsError says how to get Azurite or free a port."""
        self.folder.mkdir(parents=True, exist_ok=True)
        node, script = _program()
        self._blob_port = self._wanted.blob or _free_port()
        self._queue_port = self._wanted.queue or _free_port()
        command = [
            *(node, str(script), "--silent", "--skipApiVersionCheck", "--disableTelemetry"),
            *("--location", str(self.folder)),
            *("--blobHost", "127.0.0.1", "--blobPort", str(self._blob_port)),
            *("--queueHost", "127.0.0.1", "--queuePort", str(self._queue_port)),
            *("--tableHost", "127.0.0.1", "--tablePort", str(_free_port())),
        ]
        if self.log is not None:
            command.remove("--silent")
        output = self.log or self.folder / "azurite.log"
        with output.open("wb") as stream:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches its owner only, which ends it last
            )
        try:
            self._wait_until_ready(output)
        except BaseException:
            self.stop()
            raise

    def _wait_until_ready(self, output: Path) -> None:
        assert self._process is not None
        deadline = time.monotonic() + READY_TIMEOUT_S
        waiting = [self._blob_port, self._queue_port]
        while waiting:
            if self._process.poll() is not None:
                words = output.read_text(errors="replace").strip()[-500:]
                raise SettingsError(
                    f"Azurite ended at once (exit code {self._process.returncode}): {words}. "
                    f"Are the ports {self._blob_port} and {self._queue_port} free?"
                )
            if time.monotonic() > deadline:
                raise StorageUnavailableError(f"Azurite does not listen after {READY_TIMEOUT_S:.0f} s.")
            waiting = [port for port in waiting if not _listens(port)]
            if waiting:
                time.sleep(0.05)

    def stop(self) -> None:
        """End it with SIGTERM, which keeps what was written; nothing happens when it is not running."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def __enter__(self) -> Azurite:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


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


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0
