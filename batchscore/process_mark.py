"""The mark of a process: what it signs the things it holds with, so that others of its machine can tell its death."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_NAMESPACE = Path("/proc/self/ns/pid")


def process_mark() -> dict[str, str]:
    """What says, as metadata of a blob, that this process is at work on it."""
    return {"machine": machine(), "pid": str(os.getpid()), "started": start_of(os.getpid())}


def is_mark_of_a_dead_process(mark: Mapping[str, str]) -> bool:
    """Whether a process that could be seen from here left this mark and is no more. Nobody knows that of others."""
    pid, here = mark.get("pid", ""), machine()
    if not here or mark.get("machine") != here or not (pid.isascii() and pid.isdecimal()):
        return False
    return not lives(int(pid), mark.get("started", ""))


def machine() -> str:
    """What tells where process ids mean the same as here; "" where that cannot be known.

    A host's name does not: machines and containers may share one, and containers of one machine number their
    processes each for itself. The kernel's boot and the process namespace do.
    """
    if sys.platform != "linux":
        return socket.gethostname()
    try:
        boot, namespace = _BOOT.read_text(encoding="ascii").strip(), str(_NAMESPACE.readlink())
    except (OSError, UnicodeDecodeError):
        return ""
    return f"{boot}-{namespace.strip('pid:[]')}" if boot else ""


def lives(pid: int, started: str) -> bool:
    """Whether this process runs and is the one that started then."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return not started or start_of(pid) in ("", started)


def start_of(pid: int) -> str:
    """When a process started, in the system's own count (Linux); "" where it cannot be known."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]
