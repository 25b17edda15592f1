"""What has been pushed to storage already, kept on disk so that it costs no memory and outlives an attempt."""

from __future__ import annotations

import os
import sqlite3
import threading
from pathlib import Path

_TABLE = (
    "CREATE TABLE IF NOT EXISTS pushed (blob TEXT PRIMARY KEY, size INTEGER, changed INTEGER) WITHOUT ROWID"
)


class Ledger:
    """Blob names with the size and time of change of the file that each was made from. Thread-safe."""

    def __init__(self, file: Path) -> None:
        self._lock = threading.Lock()
        self._database = sqlite3.connect(file, check_same_thread=False, isolation_level=None)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = OFF")  # a lost line costs one upload, no more
        self._database.execute(_TABLE)

    def has(self, blob: str, stat: os.stat_result) -> bool:
        """Whether the blob holds the file as it is now."""
        with self._lock:
            row = self._database.execute(
                "SELECT size, changed FROM pushed WHERE blob = ?", (blob,)
            ).fetchone()
        return bool(row == (stat.st_size, stat.st_mtime_ns))

    def add(self, blob: str, stat: os.stat_result) -> None:
        """Say that the blob holds the file as it was then."""
        with self._lock:
            self._database.execute(
                "INSERT OR REPLACE INTO pushed VALUES (?, ?, ?)", (blob, stat.st_size, stat.st_mtime_ns)
            )

    def close(self) -> None:
        with self._lock:
            self._database.close()
