"""Where a step runs: its logs, its processes, and how it reports what it is doing."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from batchscore.compute.base import JobState
from batchscore.compute.local.machine import Machine
from batchscore.compute.local.processes import Processes

LOG_NAME = "std_log.txt"


@dataclass(frozen=True)
class Outcome:
    """How a step ended; `message` explains what is not a success."""

    state: JobState
    message: str = ""
    items_failed: int = 0


@dataclass(frozen=True)
class Site:
    """What a step finds around it. `environment` is what its processes start from, `cancelled` asks it to stop."""

    logs: Path
    temporary: Path
    environment: Mapping[str, str]
    processes: Processes
    cancelled: threading.Event
    machine: Machine
    on_items: Callable[[int, int, int], None]
    """Called with the items done, failed and in total, whenever they change."""

    @property
    def log_file(self) -> Path:
        return self.logs / LOG_NAME

    def log(self, line: str) -> None:
        """Add a line to the step's log."""
        append_line(self.log_file, line)


def append_line(file: Path, line: str) -> None:
    """Add a line with its time to a log. On a full disk it is left out: what is logged must not fail for it."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    with suppress(OSError), file.open("a", encoding="utf-8", errors="backslashreplace") as stream:
        stream.write(f"{now} {line}\n")
