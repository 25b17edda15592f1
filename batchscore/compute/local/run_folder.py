"""A run's data on this machine: kept between its attempts, so that the next one redoes only what is missing."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

LAST_ATTEMPT = "last-attempt"


class RunFolder:
    """Inputs, outputs and intermediates of a run. One attempt at a time holds it (flock on `run.lock`)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.inputs = path / "inputs"
        self.outputs = path / "outputs"
        self.work = path / "work"
        self.ledger = path / "ledger.db"
        self._lock_file = path / "run.lock"
        self._last_attempt = path / LAST_ATTEMPT
        self._cleared = path / "cleared"
        self._lock: int | None = None

    @property
    def is_one(self) -> bool:
        """Whether this is a run's folder at all."""
        return self._lock_file.exists()

    @property
    def changed_at(self) -> float:
        """When an attempt began or ended here last, in seconds since 1970."""
        return (self._last_attempt if self._last_attempt.exists() else self.path).stat().st_mtime

    def hold(self, timeout_s: float) -> bool:
        """Take the folder for this process, making it where it is not there. False when another one keeps it."""
        deadline = time.monotonic() + timeout_s
        while True:
            self.path.mkdir(parents=True, exist_ok=True)
            try:
                lock = os.open(self._lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except FileNotFoundError:
                continue  # the one who had it has just removed the whole folder
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if self._is_mine(lock):
                    self._lock = lock
                    return True
            except BlockingIOError:
                pass
            os.close(lock)
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.1)

    def _is_mine(self, lock: int) -> bool:
        """Whether the locked file is still the one that has the name."""
        try:
            return os.path.samestat(os.fstat(lock), self._lock_file.stat())
        except FileNotFoundError:
            return False

    def begin(self, attempt: int, was_here: Callable[[int], bool] = lambda _: False) -> bool:
        """Make the folder ready for an attempt; True when it holds what the attempts before it left.

        Those since the last one that had everything here must have been on this machine, too (`was_here`): they died
        before they could change anything. Else what lies here is removed, for storage knows better.
        """
        last = self._read_last_attempt()
        kept = last is not None and last <= attempt and all(map(was_here, range(last + 1, attempt)))
        if not kept:
            for entry in self.path.iterdir():
                if entry != self._lock_file:
                    _remove(entry)
        for folder in (self.inputs, self.outputs, self.work):
            folder.mkdir(parents=True, exist_ok=True)
        return kept

    def complete(self, attempt: int) -> None:
        """Say that this attempt has everything here that earlier ones left in storage."""
        self._last_attempt.write_text(str(attempt))

    def note_cleared(self, output: str) -> None:
        """Remember that an output was emptied, so that what is left of it in storage goes, too."""
        self._cleared.mkdir(exist_ok=True)
        (self._cleared / output).touch()

    @property
    def cleared(self) -> list[str]:
        """The outputs that any attempt has emptied."""
        return sorted(each.name for each in self._cleared.iterdir()) if self._cleared.is_dir() else []

    def remove(self) -> None:
        """Remove everything; first the word that it is whole, and the lock last."""
        self._last_attempt.unlink(missing_ok=True)
        for entry in self.path.iterdir():
            if entry != self._lock_file:
                _remove(entry)
        shutil.rmtree(self.path, ignore_errors=True)

    def release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _read_last_attempt(self) -> int | None:
        try:
            return int(self._last_attempt.read_text())
        except (FileNotFoundError, ValueError):
            return None


def _remove(entry: Path) -> None:
    if entry.is_dir() and not entry.is_symlink():
        shutil.rmtree(entry, ignore_errors=True)
    else:
        entry.unlink(missing_ok=True)
