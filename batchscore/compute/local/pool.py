"""A worker process as the engine sees it: what it is doing, since when, and what it has answered."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from batchscore import rows
from batchscore.compute.local import worker
from batchscore.compute.local.minibatches import MiniBatch
from batchscore.compute.local.processes import Child, Processes

READ_BYTES = 1 << 16
CLOSING_S = 0.5


@dataclass(frozen=True)
class WorkerSetup:
    """What every worker of a step is started with; `variables` are its whole environment."""

    python: str
    entry: Path
    code: Path
    arguments: tuple[str, ...]
    logging_level: str
    dataset_name: str
    data: Path
    """The folder that the items' names are relative to."""
    variables: Mapping[str, str]
    init_timeout_s: float
    timeout_s: float
    with_rows: bool
    table: Mapping[str, Any] | None = None
    """How rows are read (batchscore.rows.reader) where the items are those of a table."""


@dataclass
class Task:
    """A mini-batch on its way through the pool: how often it was tried, and for how long in all."""

    batch: MiniBatch
    tries: int = 0
    seconds: float = 0.0
    rows: int | None = None
    """How many rows of a table it turned out to have when a worker read it."""

    @property
    def size(self) -> int:
        """How many items it has, as far as is known."""
        return self.batch.size if self.rows is None else self.batch.counted(self.rows)


class PoolWorker:
    """One place in the pool. It is `starting` until `init()` has returned, then `idle` or busy with a task."""

    def __init__(self, index: int, setup: WorkerSetup, processes: Processes, log: Path) -> None:
        self.index = index
        self.task: Task | None = None
        self.ready = False
        self.closed = False
        self._setup = setup
        self._processes = processes
        self._log = log
        self._buffer = b""
        self._since = time.monotonic()
        self._start()

    def _start(self) -> None:
        requests_out, self._requests = os.pipe()
        self.replies, replies_in = os.pipe()
        os.set_blocking(self.replies, False)
        try:
            with self._log.open("ab") as stream:
                self._child: Child = self._processes.start(
                    [self._setup.python, worker.__file__, str(requests_out), str(replies_in)],
                    environment={**self._setup.variables, "BATCHSCORE_WORKER_INDEX": str(self.index)},
                    folder=self._setup.code,
                    output=stream.fileno(),
                    pass_fds=(requests_out, replies_in),
                )
        except BaseException:
            self._close_pipes()
            raise
        finally:
            os.close(requests_out)
            os.close(replies_in)
        self._send(
            {
                "entry": str(self._setup.entry),
                "code": str(self._setup.code),
                "arguments": self._setup.arguments,
                "logging_level": self._setup.logging_level,
                "dataset_name": self._setup.dataset_name,
                "table": _told(self._setup.table),
            }
        )

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def idle(self) -> bool:
        return self.ready and self.task is None

    @property
    def seconds(self) -> float:
        """How long it has been doing what it is doing."""
        return time.monotonic() - self._since

    @property
    def overdue(self) -> bool:
        """Whether `init()` or the mini-batch at hand takes longer than it may."""
        if self.ready:
            return self.task is not None and self.seconds > self._setup.timeout_s
        return self.seconds > self._setup.init_timeout_s

    def hand(self, task: Task) -> None:
        """Give it a mini-batch; the answer comes through `messages`."""
        self.task = task
        task.tries += 1
        self._since = time.monotonic()
        batch = task.batch
        request = {
            "id": batch.id,
            "task": self.index,
            "items": [] if batch.parts else [str(self._setup.data / name) for name in batch.items],
            "rows": self._setup.with_rows,
            "keys": batch.keys,
        }
        self._send({**request, "parts": batch.parts} if batch.parts else request)

    def take(self) -> Task:
        """The task it was busy with, which is now out of its hands."""
        task = self.task
        assert task is not None
        task.seconds += self.seconds
        self.task = None
        return task

    def became_ready(self) -> None:
        self.ready = True

    def messages(self) -> list[dict[str, Any]]:
        """What it has answered since the last call; `closed` says that nothing can follow."""
        with suppress(BlockingIOError):
            while data := os.read(self.replies, READ_BYTES):
                self._buffer += data
            self.closed = True
        *lines, self._buffer = self._buffer.split(b"\n")
        try:
            return [json.loads(line) for line in lines]
        except ValueError:  # the script has written into the pipe: nothing from there can be trusted now
            self.closed = True
            return []

    @property
    def ended(self) -> bool:
        """Whether its process is over; one that has closed its pipe is given a moment to end."""
        if self.closed:
            self._child.wait(CLOSING_S)
        return self.closed or self._child.poll() is not None

    def exited(self, timeout_s: float) -> bool:
        """Whether its process is over, or is within so long."""
        return self._child.wait(timeout_s) is not None

    def stop(self) -> None:
        """Let it run `shutdown()` and end."""
        self._send({"stop": True})

    def end(self) -> int:
        """End it now, with everything that it started; its exit code."""
        self._close_pipes()
        return self._processes.forget(self._child)

    def _send(self, message: Mapping[str, object]) -> None:
        data = memoryview((json.dumps(message) + "\n").encode())
        with suppress(BrokenPipeError):  # it has died; its exit code tells
            while data:
                data = data[os.write(self._requests, data) :]

    def _close_pipes(self) -> None:
        os.close(self._requests)
        os.close(self.replies)


def _told(table: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if table is None else {**table, "package": str(Path(rows.__file__).parent)}


def describe_exit(code: int) -> str:
    """How a process ended, in words: its exit code or the signal that killed it."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    hint = " (out of memory?)" if name == "SIGKILL" else ""
    return f"was killed by {name}{hint}"
