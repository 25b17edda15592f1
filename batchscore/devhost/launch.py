"""A dev host as a child process, for tests and demonstrations."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from batchscore.devhost import address
from batchscore.devhost.address import RunningHost
from batchscore.devhost.configuration import HOST_STORAGE
from batchscore.errors import BatchscoreError

READY_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 30.0


class DevHostError(BatchscoreError):
    """The dev host did not start; the message holds what it said last."""


class DevHostProcess:
    """`with DevHostProcess(app_folder, environment={…}, folder=…) as host:` starts a host and waits until it is ready.

    `folder` receives the data of Azurite, Event Hubs and Azure ML, the log and the address file, so hosts with different folders do not meet; a
    second process on the same folder finds the data of the first. `environment` adds to this process's own and wins
    over local.settings.json. Changed code is taken up only with `reload`. The host ends with `stop`, and when this process ends in whatever way.
    """

    def __init__(
        self,
        app_folder: Path,
        *,
        folder: Path,
        environment: Mapping[str, str] | None = None,
        arguments: Sequence[str] = (),
        reload: bool = False,
    ) -> None:
        self.app_folder = app_folder
        self.folder = folder
        self.log_path = folder / "devhost.log"
        self._environment = dict(environment or {})
        self._arguments = (*arguments, *(() if reload else ("--no-reload",)))
        self._process: subprocess.Popen[bytes] | None = None
        self._running: RunningHost | None = None

    @property
    def url(self) -> str:
        """Where its HTTP functions are served, without a slash at the end."""
        return self._host.url

    @property
    def connection_string(self) -> str:
        """Of its storage account."""
        return self._host.environment[HOST_STORAGE]

    @property
    def environment(self) -> Mapping[str, str]:
        """Its settings, with the addresses of its storage filled in."""
        return self._host.environment

    @property
    def function_key(self) -> str | None:
        return self._host.function_key

    @property
    def pid(self) -> int:
        return self._host.pid

    @property
    def exit_code(self) -> int | None:
        """Its exit code, or None while it runs."""
        return self._process.poll() if self._process else None

    @property
    def log(self) -> str:
        """All that it printed so far."""
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    def start(self) -> None:
        """Start it and wait until it is ready; DevHostError where it ends instead."""
        self.folder.mkdir(parents=True, exist_ok=True)
        address_file = self.folder / "devhost.json"
        address_file.unlink(missing_ok=True)
        command = [
            *(sys.executable, "-u", "-m", "batchscore.devhost", "--port", "0", "--stop-with-stdin"),
            *("--app", str(self.app_folder), "--azurite-folder", str(self.folder / "azurite")),
            *("--event-hub-folder", str(self.folder / "eventhubs")),
            *("--azureml-folder", str(self.folder / "azureml")),
            *("--address-file", str(address_file), *self._arguments),
        ]
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self._environment},
                start_new_session=True,
            )
        deadline = time.monotonic() + READY_TIMEOUT_S
        while self._running is None:
            if self._process.poll() is not None:
                raise DevHostError(
                    f"The dev host ended with exit code {self._process.returncode}:\n{self.log[-2000:]}"
                )
            if time.monotonic() > deadline:
                self.kill()
                raise DevHostError(
                    f"The dev host is not ready after {READY_TIMEOUT_S:.0f} s:\n{self.log[-2000:]}"
                )
            time.sleep(0.05)
            self._running = address.read(address_file)

    def stop(self, *, timeout_s: float = STOP_TIMEOUT_S) -> int | None:
        """End it as Ctrl-C does, wait, and return its exit code; killed where it takes longer."""
        if self._process is None:
            return None
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
        return self._ended()

    def kill(self) -> int | None:
        """End it without warning. Its Azurite then saves and ends by itself."""
        if self._process is None:
            return None
        self._process.kill()
        return self._ended()

    def _ended(self) -> int:
        assert self._process is not None
        code = self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._running = None
        return code

    @property
    def _host(self) -> RunningHost:
        if self._running is None:
            raise DevHostError("The dev host is not running.")
        return self._running

    def __enter__(self) -> DevHostProcess:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
