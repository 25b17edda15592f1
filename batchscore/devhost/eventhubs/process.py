"""The stand-in as a child process, for tests and for the dev host: ended by who started it, however that one ends."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from batchscore.devhost.eventhubs.namespace import HubOptions
from batchscore.devhost.server_process import ServerProcess

ANSWER_TIMEOUT_S = 10.0

_LISTENING = re.compile(r"^Listening: (Endpoint=sb://127\.0\.0\.1:(\d+);.*)$")
_DEFAULT_HUBS = (HubOptions("readings"),)


class EventHubs(ServerProcess):
    """Event hubs on this machine. `with EventHubs() as hubs:` starts the process, waits for it and ends it.

    With a `folder` the events outlive the process, and a second one on the same folder finds them and takes the same
    port, as long as nobody else has taken it. The consumer groups of all hubs together are those of every hub.
    """

    NAME = "Event Hubs"
    READY_TIMEOUT_S = 30.0

    def __init__(
        self,
        hubs: Sequence[HubOptions] = _DEFAULT_HUBS,
        *,
        folder: Path | None = None,
        port: int = 0,
        arguments: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.hubs = tuple(hubs)
        self.folder = folder
        self.port = port
        self._arguments = tuple(arguments)
        self._connection_string = ""

    @property
    def connection_string(self) -> str:
        """For the setting EVENT_HUB and for every client; known once started."""
        return self._connection_string

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def _launched(self) -> subprocess.Popen[str]:
        command = [sys.executable, "-u", "-m", "batchscore.devhost.eventhubs", "--stop-with-stdin"]
        command += ["--port", str(self.port)]
        for hub in self.hubs:
            command += ["--hub", f"{hub.name}:{hub.partitions}"]
        for group in sorted({group for hub in self.hubs for group in hub.consumer_groups}):
            command += ["--consumer-group", group]
        if self.folder is not None:
            command += ["--folder", str(self.folder)]
        return self._spawned([*command, *self._arguments])

    def _follow(self, lines: Iterable[str]) -> None:
        for line in lines:
            found = _LISTENING.match(line)
            if found:
                self._connection_string, self.port = found[1], int(found[2])
                self._ready()
            else:
                self._last_words.append(line.strip())

    def _ended(self, process: subprocess.Popen[str]) -> None:
        self._connection_string = ""
        super()._ended(process)

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
        with urllib.request.urlopen(request, timeout=ANSWER_TIMEOUT_S) as response:  # noqa: S310
            answer: dict[str, Any] = json.load(response)
        return answer
