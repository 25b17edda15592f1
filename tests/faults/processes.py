"""The processes of a world, told apart by what they are."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ROLES = {
    "batchscore.compute.local.attempt": "attempt",
    "compute/local/worker.py": "worker",
    "compute/local/watchdog.py": "watchdog",
    "batchscore.devhost": "host",
}
OTHER = "other"


@dataclass(frozen=True)
class Found:
    """A process: what it is, and the folder of the job that an attempt works on."""

    pid: int
    role: str
    job: str = ""
    parent: int = 0


def of_world(mark: str) -> list[Found]:
    """The processes whose environment holds the mark, by pid: dead ones that nobody has waited for are none."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        with suppress(OSError):
            if mark.encode() not in (entry / "environ").read_bytes():
                continue
            words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            if fields[0] == "Z":
                continue
            line = " ".join(words)
            role = next((role for part, role in ROLES.items() if part in line), OTHER)
            job = Path(words[3]).name if role == "attempt" and len(words) > 3 else ""
            found.append(Found(int(entry.name), role, job, int(fields[1])))
    return sorted(found, key=lambda each: each.pid)


def send(pid: int, number: signal.Signals) -> bool:
    """Whether there was somebody to receive it."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True
