"""The processes of one engine: started in groups of their own, stopped with all their children, never orphaned."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO

from batchscore.compute.local import watchdog

SECRET_NAMES = (
    "AzureWebJobsStorage",
    "DATA_STORAGE",
    "AZURE_CLIENT_SECRET",
    "AZURE_CLIENT_CERTIFICATE",
    "AZURE_PASSWORD",
    "IDENTITY_HEADER",
)
"""How the names of variables begin that open storage, by themselves or through an identity."""
SECRET_PARTS = ("AccountKey=", "SharedAccessKey=", "SharedAccessSignature=")
GRACE_S = 1.0


def without_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that a step may see: entry scripts know files, never the keys of storage."""
    return {
        name: value
        for name, value in environment.items()
        if not name.startswith(SECRET_NAMES) and not any(part in value for part in SECRET_PARTS)
    }


def base_environment(temporary: Path) -> dict[str, str]:
    """What every step starts from: this process's variables without secrets, and nothing left anywhere.

    How many threads a worker may use depends on its step, not on this process.
    """
    inherited = without_secrets(os.environ)
    inherited.pop("OMP_NUM_THREADS", None)
    return {
        **inherited,
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "TMPDIR": str(temporary),
    }


class Child:
    """A process that leads a group; `stop` ends it together with everything that it started."""

    def __init__(self, process: subprocess.Popen[bytes], mark: str) -> None:
        self._process = process
        self._mark = mark

    @property
    def pid(self) -> int:
        return self._process.pid

    def poll(self) -> int | None:
        """The exit code (negative: a signal's number), or None while it runs."""
        return self._process.poll()

    def wait(self, timeout_s: float) -> int | None:
        """Wait for its end for so long; the exit code, or None when it still runs."""
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def signal_group(self, number: int) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def kill(self) -> int:
        """End the process and its children now; its exit code."""
        self.signal_group(signal.SIGKILL)
        code = self._process.wait()
        watchdog.kill_marked(self._mark)
        return code


class Processes:
    """Starts the processes of one engine under a watchdog that kills them all when the engine dies."""

    def __init__(self) -> None:
        self._mark = uuid.uuid4().hex
        self._telling = threading.Lock()  # steps side by side start and end processes at the same time
        self._numbers = itertools.count(1)
        self._running: dict[int, Child] = {}
        self._watchdog = subprocess.Popen(
            [sys.executable, "-I", "-S", watchdog.__file__, self._mark],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=without_secrets(os.environ),
            start_new_session=True,
        )

    def start(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        folder: Path,
        output: IO[bytes] | int,
        pass_fds: tuple[int, ...] = (),
    ) -> Child:
        """Start a command in its own group; what it and its children print goes to `output`. OSError when it cannot."""
        mark = f"{self._mark}.{next(self._numbers)}"
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**environment, watchdog.MARK: mark},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=pass_fds,
            start_new_session=True,
        )
        child = Child(process, mark)
        self._running[child.pid] = child
        self._tell(f"+{child.pid}\n")
        return child

    def stop(self, children: Sequence[Child], grace_s: float = GRACE_S) -> None:
        """End these: asked first, all at once, and killed after the grace."""
        for child in children:
            child.signal_group(signal.SIGTERM)
        deadline = time.monotonic() + grace_s
        for child in children:
            child.wait(max(0.0, deadline - time.monotonic()))
        for child in children:
            self.forget(child)

    def forget(self, child: Child) -> int:
        """Clear up after a child that has ended, or end it now; its exit code."""
        code = child.kill()
        if self._running.pop(child.pid, None) is not None:
            self._tell(f"-{child.pid}\n")
        return code

    def close(self) -> None:
        """End what still runs, and the watchdog."""
        self.stop(list(self._running.values()), grace_s=0)
        self._tell(".\n")
        assert self._watchdog.stdin is not None
        with suppress(OSError):
            self._watchdog.stdin.close()
        self._watchdog.wait()

    def _tell(self, line: str) -> None:
        assert self._watchdog.stdin is not None
        with self._telling, suppress(OSError):  # without a watchdog the engine itself ends what it started
            self._watchdog.stdin.write(line.encode())
            self._watchdog.stdin.flush()

    def __enter__(self) -> Processes:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
