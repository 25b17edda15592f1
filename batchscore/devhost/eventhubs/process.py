"""The stand-in as a child process, for tests and for the dev host: ended by who started it, however that one ends."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import urllib.request
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from batchscore.devhost.eventhubs.namespace import HubOptions
from batchscore.errors import SettingsError, StorageUnavailableError

READY_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 10.0

_LISTENING = re.compile(r"^Listening: (Endpoint=sb://127\.0\.0\.1:(\d+);.*)$")
_DEFAULT_HUBS = (HubOptions("readings"),)


class EventHubs:
    """Event hubs on this machine. `with EventHubs() as hubs:` starts the process, waits for it and ends it.

    With a `folder` the events outlive the process, and a second one on the same folder finds them and takes the same
    port, as long as nobody else has taken it. The consumer groups of all hubs together are those of every hub.
    """

    def __init__(
        self,
        hubs: Sequence[HubOptions] = _DEFAULT_HUBS,
        *,
        folder: Path | None = None,
        port: int = 0,
        arguments: Sequence[str] = (),
    ) -> None:
        self.hubs = tuple(hubs)
        self.folder = folder
        self.port = port
        self._arguments = tuple(arguments)
        self._connection_string = ""
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._ready = threading.Event()
        self._last_words: deque[str] = deque(maxlen=20)

    @property
    def connection_string(self) -> str:
        """For the setting EVENT_HUB and for every client; known once started."""
        return self._connection_string

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def last_words(self) -> str:
        """What it said last: the reason when it ended by itself."""
        return " ".join(self._last_words)[-500:]

    def start(self) -> None:
        """Start it and wait until it listens; SettingsError says what is wrong. Started again, it keeps its port."""
        self.stop()
        self._ready.clear()
        self._last_words.clear()
        command = [sys.executable, "-u", "-m", "batchscore.devhost.eventhubs", "--stop-with-stdin"]
        command += ["--port", str(self.port)]
        for hub in self.hubs:
            command += ["--hub", f"{hub.name}:{hub.partitions}"]
        for group in sorted({group for hub in self.hubs for group in hub.consumer_groups}):
            command += ["--consumer-group", group]
        if self.folder is not None:
            command += ["--folder", str(self.folder)]
        self._process = subprocess.Popen(
            [*command, *self._arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,  # Ctrl-C reaches its owner only, which ends it last
        )
        self._reader = threading.Thread(
            target=self._read, args=(self._process,), name="event-hubs", daemon=True
        )
        self._reader.start()
        try:
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def _wait_until_ready(self) -> None:
        assert self._process is not None
        if not self._ready.wait(READY_TIMEOUT_S):
            raise StorageUnavailableError(f"Event Hubs do not listen after {READY_TIMEOUT_S:.0f} s.")
        if not self._connection_string:
            code = self._process.wait(STOP_TIMEOUT_S)
            raise SettingsError(f"Event Hubs ended at once (exit code {code}): {self.last_words}")

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            found = _LISTENING.match(line)
            if found:
                self._connection_string, self.port = found[1], int(found[2])
                self._ready.set()
            else:
                self._last_words.append(line.strip())
        self._ready.set()

    def stop(self) -> None:
        """End it; nothing happens when it is not running."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._forget(process)

    def kill(self) -> None:
        """End it without warning, as a crash does."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            self._forget(process)

    def _forget(self, process: subprocess.Popen[str]) -> None:
        self._connection_string = ""
        if self._reader is not None:
            self._reader.join(STOP_TIMEOUT_S)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()

    def state(self) -> dict[str, Any]:
        """Its hubs, partitions and switches."""
        return self._ask("/")

    def drop_connections(self) -> int:
        """Cut every connection without a word, and tell how many there were."""
        return int(self._ask("/drop", {})["dropped"])

    def switch(self, **switches: float) -> None:
        """Set fault switches by name; namespace.Switches explains them."""
        self._ask("/switches", switches)

    def _ask(self, path: str, document: dict[str, Any] | None = None) -> dict[str, Any]:
        request = urllib.request.Request(
            f"http://{self.address}{path}",
            data=None if document is None else json.dumps(document).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=STOP_TIMEOUT_S) as response:  # noqa: S310
            answer: dict[str, Any] = json.load(response)
        return answer

    def __enter__(self) -> EventHubs:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
