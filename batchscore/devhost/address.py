"""Where the dev host of an app can be reached: a small file that it writes while it runs. Light to import."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from batchscore.process_mark import lives

ADDRESS_FILE = Path(".batchscore") / "devhost.json"


@dataclass(frozen=True)
class RunningHost:
    """A dev host that runs now."""

    url: str
    pid: int
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Connection settings by name, with the addresses of its Azurite filled in."""
    function_key: str | None = field(default=None, repr=False)
    """Needed by function-level routes when the host enforces keys."""
    started: str = ""
    """When the process started, as the system tells it: guards against a reused pid."""


def running_host(app_folder: Path) -> RunningHost | None:
    """The dev host that runs for the app in this folder, or None."""
    return read(app_folder / ADDRESS_FILE)


def read(file: Path) -> RunningHost | None:
    """What an address file says, or None where there is none or its host no longer lives."""
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        host = RunningHost(
            url=document["url"],
            pid=int(document["pid"]),
            environment=dict(document["environment"]),
            function_key=document.get("function_key"),
            started=document.get("started", ""),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return host if lives(host.pid, host.started) else None


def write(file: Path, host: RunningHost) -> None:
    """Write an address file, whole or not at all, readable by its owner only."""
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f"{file.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        json.dump(asdict(host), stream, indent=1)
    temporary.replace(file)
