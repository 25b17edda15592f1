"""What has been pushed to storage already, kept on disk so that it costs no memory and outlives an attempt."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterable
from pathlib import Path

_TABLE = (
    "CREATE TABLE IF NOT EXISTS pushed (blob TEXT PRIMARY KEY, size INTEGER, changed INTEGER) WITHOUT ROWID"
)


class Ledger:
    """Blob names with the size and time of change of the file that each was made from. Thread-safe."""

    def __init__(self, file: Path) -> None:
        self._lock = threading.Lock()
        self._database = _opened(file)

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

    def keep_only(self, prefix: str, blobs: Iterable[str]) -> None:
        """Forget the blobs whose name begins so and that are not among these."""
        with self._lock:
            self._database.execute("CREATE TEMP TABLE there (blob TEXT PRIMARY KEY) WITHOUT ROWID")
            self._database.executemany("INSERT OR IGNORE INTO there VALUES (?)", ((blob,) for blob in blobs))
            self._database.execute(
                "DELETE FROM pushed WHERE substr(blob, 1, ?) = ? AND blob NOT IN (SELECT blob FROM there)",
                (len(prefix), prefix),
            )
            self._database.execute("DROP TABLE there")

    def close(self) -> None:
        with self._lock:
            self._database.close()


def _opened(file: Path) -> sqlite3.Connection:
    """The database, anew where a power cut has torn it: what it held is pushed once more."""
    for last in (False, True):
        database = sqlite3.connect(file, check_same_thread=False, isolation_level=None)
        try:
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = OFF")  # a lost line costs one upload, no more
            database.execute(_TABLE)
            if database.execute("PRAGMA quick_check").fetchone() == ("ok",):
                return database
        except sqlite3.DatabaseError:
            if last:
                database.close()
                raise
        database.close()
        for each in ("", "-wal", "-shm"):
            file.with_name(file.name + each).unlink(missing_ok=True)
    raise sqlite3.DatabaseError(f"{file} cannot be made anew")
