"""The watchdog of an engine: when the engine dies, so does everything that it started.

Run as a script by processes.Processes, alone in its session, with a pipe from the engine as standard input and
the engine's mark as argument. Each line names a process group: `+123` was started, `-123` has ended; `.` says that
all is well and over. The end of the pipe is the end of the engine: without the `.` every group that is left is killed, and so is every process whose environment
carries the mark (one that was being started, or that left its group).

It uses the standard library alone and knows nothing of the engine, so that it starts at once and outlives every fault.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

MARK = "BATCHSCORE_PROCESS"
JOB = "BATCHSCORE_JOB"
"""What every process of an attempt carries in its environment: the job's folder."""
SETTLED_AFTER = 3
"""Scans without a find after which nothing can be on its way any more."""
SCAN_EVERY_S = 0.1
GIVE_UP_AFTER_S = 20.0
"""A process that waits for a device that does not answer dies when that answers, and no sooner."""


def marked(prefix: str, variable: str = MARK) -> list[int]:
    """The processes whose environment has a mark that begins so; none where there is no /proc."""
    wanted = f"{variable}={prefix}".encode()
    found = []
    with suppress(OSError):
        for entry in os.scandir("/proc"):
            if not entry.name.isdecimal() or int(entry.name) == os.getpid():
                continue
            with suppress(OSError):  # it has ended, or belongs to somebody else
                variables = Path(f"/proc/{entry.name}/environ").read_bytes().split(b"\0")
                if any(each == wanted or each.startswith(wanted + b".") for each in variables):
                    found.append(int(entry.name))
    return found


def kill_marked(prefix: str, variable: str = MARK) -> int:
    """Kill the processes that carry the mark and say how many there were."""
    pids = marked(prefix, variable)
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
    return len(pids)


def kill_all(prefix: str, variable: str = MARK) -> None:
    """Kill the processes that carry the mark until no more come, or some will not go."""
    quiet, deadline = 0, time.monotonic() + GIVE_UP_AFTER_S
    while quiet < SETTLED_AFTER and time.monotonic() < deadline:
        quiet = 0 if kill_marked(prefix, variable) else quiet + 1
        time.sleep(SCAN_EVERY_S if quiet else SCAN_EVERY_S / 10)


def main() -> None:
    mark = sys.argv[1]
    groups: set[int] = set()
    for line in sys.stdin:
        if line == ".\n":
            return
        group = int(line[1:])
        (groups.add if line[0] == "+" else groups.discard)(group)
    for group in groups:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)
    kill_all(mark)


if __name__ == "__main__":
    main()
