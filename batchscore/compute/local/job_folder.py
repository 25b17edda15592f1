"""A job's folder on this machine: its body, its state, who works on it, and the wish to stop."""

from __future__ import annotations

import fcntl
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from batchscore.compute.base import Job, JobStatus

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,200}")


def is_folder_name(name: str) -> bool:
    """Whether a job or run of this name can have a folder of this name."""
    return _NAME.fullmatch(name) is not None


@dataclass(frozen=True)
class Beat:
    """The last sign of life of an attempt; `monotonic_s` is comparable between processes of one machine."""

    status: JobStatus
    monotonic_s: float
    at: str

    @classmethod
    def now(cls, status: JobStatus) -> Beat:
        return cls(status, time.monotonic(), datetime.now(UTC).isoformat(timespec="seconds"))

    @property
    def age_s(self) -> float:
        return time.monotonic() - self.monotonic_s


_JOB, _BEAT = msgspec.json.Decoder(Job), msgspec.json.Decoder(Beat)  # at import, as in run_store


class JobFolder:
    """The files of one job. Each is replaced as a whole, so a reader never sees half of one.

    `attempt.lock` is locked (flock) by the attempt from before its first instruction until its death, however
    it dies; it holds the attempt's process id.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.logs = path / "logs"
        self._job = path / "job.json"
        self._beat = path / "status.json"
        self._lock = path / "attempt.lock"
        self._cancel = path / "cancel"

    @property
    def submitted(self) -> bool:
        return self._beat.exists()

    @property
    def is_one(self) -> bool:
        """Whether this is a job's folder at all."""
        return self._job.exists()

    @property
    def changed_at(self) -> float:
        """When the state was written last, in seconds since 1970."""
        return self._beat.stat().st_mtime if self.submitted else self.path.stat().st_mtime

    def read_job(self) -> Job:
        return _JOB.decode(self._job.read_bytes())

    def write_job(self, job: Job) -> None:
        write_whole(self._job, msgspec.json.encode(job))

    def read_beat(self) -> Beat | None:
        """The last sign of life, or None when there was none that can be read (a power cut may tear it)."""
        try:
            return _BEAT.decode(self._beat.read_bytes())
        except (FileNotFoundError, msgspec.DecodeError, UnicodeDecodeError):
            return None

    def write_status(self, status: JobStatus) -> None:
        write_whole(self._beat, msgspec.json.encode(Beat.now(status)))

    def ask_to_stop(self) -> None:
        self._cancel.touch()

    @property
    def asked_to_stop(self) -> bool:
        return self._cancel.exists()

    @contextmanager
    def submitting(self) -> Iterator[None]:
        """One submission at a time, also among processes."""
        self.logs.mkdir(parents=True, exist_ok=True)
        with (self.path / "submit.lock").open("wb") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield

    def take_lock(self) -> int:
        """A descriptor that holds the attempt's lock, to be handed to the attempt."""
        lock = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        return lock

    def name_holder(self, lock: int, pid: int) -> None:
        os.pwrite(lock, f"{pid:<10}".encode(), 0)

    @property
    def holder(self) -> int | None:
        """The process id of the attempt, as it was when it started."""
        try:
            return int(self._lock.read_text())
        except (OSError, ValueError):
            return None

    @property
    def alive(self) -> bool:
        """Whether the attempt holds its lock, which only a living process does."""
        try:
            lock = os.open(self._lock, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(lock)
        return False


def write_whole(file: Path, content: bytes) -> None:
    """Replace a file as a whole."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        temporary.write_bytes(content)
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)  # there only when the disk is full
