"""A server as a child process: started, waited for, its output followed, ended by who started it."""

from __future__ import annotations

import subprocess
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from batchscore.errors import SettingsError, StorageUnavailableError

STOP_TIMEOUT_S = 10.0


class ServerProcess(ABC):
    """`with` starts it, waits until it listens, and ends it. Its standard input is a pipe that closes when its owner
    dies, however it dies: the server ends itself then."""

    NAME: ClassVar[str]
    READY_TIMEOUT_S: ClassVar[float]

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._said = threading.Event()
        self._listening = False
        self._last_words: deque[str] = deque(maxlen=20)

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
        """Start it and wait until it listens; SettingsError says what is wrong. Started again, it keeps its ports."""
        self.stop()
        self._said.clear()
        self._listening = False
        self._last_words.clear()
        self._process = self._launched()
        self._reader = threading.Thread(target=self._read, args=(self._process,), name=self.NAME, daemon=True)
        self._reader.start()
        try:
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise

    @abstractmethod
    def _launched(self) -> subprocess.Popen[str]:
        """The process, by `_spawned`."""

    @abstractmethod
    def _follow(self, lines: Iterable[str]) -> None:
        """Read its output to the end; call `_ready` when it listens."""

    def _remedy(self) -> str:
        """What may help when it ended at once; a sentence with a space before it, or nothing."""
        return ""

    def _ready(self) -> None:
        self._listening = True
        self._said.set()

    def _spawned(
        self,
        command: Sequence[str],
        keep_open: Sequence[int] = (),
        environment: Mapping[str, str] | None = None,
        working_folder: Path | None = None,
    ) -> subprocess.Popen[str]:
        """Start a command; it inherits the file descriptors in `keep_open`, and environment and working folder unless they are
        given."""
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            env=environment,
            cwd=working_folder,
            pass_fds=keep_open,
            start_new_session=True,  # Ctrl-C reaches its owner only, which ends it last
        )

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        self._follow(process.stdout)
        self._said.set()

    def _wait_until_ready(self) -> None:
        assert self._process is not None
        if not self._said.wait(self.READY_TIMEOUT_S):
            raise StorageUnavailableError(f"{self.NAME} does not listen after {self.READY_TIMEOUT_S:.0f} s.")
        if not self._listening:
            code = self._process.wait(STOP_TIMEOUT_S)
            raise SettingsError(
                f"{self.NAME} ended at once (exit code {code}): {self.last_words}.{self._remedy()}"
            )

    def stop(self) -> None:
        """End it with SIGTERM, which keeps what was written; nothing happens when it is not running."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._ended(process)

    def kill(self) -> None:
        """End it without warning, as a crash does."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            self._ended(process)

    def _ended(self, process: subprocess.Popen[str]) -> None:
        if self._reader is not None:
            self._reader.join(STOP_TIMEOUT_S)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
