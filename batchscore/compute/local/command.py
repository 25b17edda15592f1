"""A command step: one command line, run by the shell in the code folder."""

from __future__ import annotations

import math
import os
import shlex
import shutil
import time
from collections import deque
from pathlib import Path

from batchscore.compute.base import JobState
from batchscore.compute.local.pool import describe_exit
from batchscore.compute.local.site import Outcome, Site

POLL_S = 0.1
LAST_LINES = 5
MAX_TAIL_BYTES = 8_192


def run_command(
    name: str, command: str, folder: Path, python: str, site: Site, timeout_s: float | None = None
) -> Outcome:
    """Run the command to its end; `python` is what the word means in it. An exit code other than 0 is a failure, and
    so is the time-out."""
    environment = dict(site.environment)
    environment["PATH"] = os.pathsep.join(
        (
            str(_interpreter(python, site.temporary)),
            str(Path(python).parent),
            environment.get("PATH", os.defpath),
        )
    )
    shell = shutil.which("bash") or "/bin/sh"
    site.log(f"$ {command}")
    began = site.log_file.stat().st_size
    with site.log_file.open("ab") as stream:
        child = site.processes.start(
            [shell, "-c", command], environment=environment, folder=folder, output=stream.fileno()
        )
        deadline = time.monotonic() + (math.inf if timeout_s is None else timeout_s)
        while child.wait(POLL_S) is None:
            if time.monotonic() > deadline:
                site.processes.stop([child])
                return Outcome(
                    JobState.FAILED, f"step {name!r} took longer than {timeout_s:g} s (limits.timeout)"
                )
            if site.cancelled.is_set():
                site.processes.stop([child])
                return Outcome(JobState.CANCELED, f"step {name!r} was cancelled")
        code = site.processes.forget(child)
    if code == 0:
        return Outcome(JobState.SUCCEEDED)
    return Outcome(
        JobState.FAILED,
        f"step {name!r} {describe_exit(code)}: {last_lines(site.log_file, began) or 'it printed nothing.'}",
    )


def last_lines(file: Path, began: int) -> str:
    """The last few lines of a log from the byte `began` on, joined into one."""
    with file.open("rb") as stream:
        stream.seek(max(began, file.stat().st_size - MAX_TAIL_BYTES))
        text = stream.read().decode(errors="replace")
    lines = deque((line.strip() for line in text.splitlines() if line.strip()), maxlen=LAST_LINES)
    return " | ".join(lines)


def _interpreter(python: str, temporary: Path) -> Path:
    """A folder in which `python` and `python3` are the interpreter, whatever its own file is called."""
    folder = temporary / "bin"
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("python", "python3"):
        script = folder / name
        script.write_text(f'#!/bin/sh\nexec {shlex.quote(python)} "$@"\n')
        script.chmod(0o755)
    return folder
