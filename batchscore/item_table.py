"""What is known of each item of a run, in a table on disk: memory does not grow with the number of items."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from statistics import mean
from types import TracebackType
from typing import Self

_TABLES = """
PRAGMA journal_mode = OFF;
PRAGMA cache_size = -2000;
CREATE TABLE items (item BLOB PRIMARY KEY, ended_at TEXT, status TEXT, error TEXT) WITHOUT ROWID;
CREATE TABLE timings (item BLOB PRIMARY KEY, milliseconds TEXT) WITHOUT ROWID;
CREATE TABLE untold (item BLOB, error TEXT, number INTEGER);
CREATE VIEW failures AS
SELECT item, error, 1 AS number FROM items WHERE status = 'failed' UNION ALL SELECT * FROM untold;
"""
_NEWEST = """
INSERT INTO items VALUES (?, ?, ?, ?) ON CONFLICT (item) DO UPDATE
SET ended_at = excluded.ended_at, status = excluded.status, error = excluded.error
WHERE excluded.ended_at >= ended_at
"""
_PHASES = """
CREATE TABLE phases AS SELECT key AS phase, value FROM timings, json_each(timings.milliseconds);
CREATE INDEX by_value ON phases (phase, value);
"""


@dataclass(frozen=True)
class Outcome:
    """What one receipt says of one item; `milliseconds` only when the item was computed."""

    item: str
    ended_at: str
    status: str
    error: str = ""
    milliseconds: Mapping[str, float] | None = None


class ItemTable:
    """Items with their newest outcome, in a database without a name that goes when it is closed."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None)
        self._database.executescript(_TABLES)

    def add(self, outcomes: Iterable[Outcome]) -> None:
        """Take these in; of two about one item the one that ended later counts, of equals the latter."""
        many = list(outcomes)
        self._database.executemany(
            _NEWEST, ((_key(each.item), each.ended_at, each.status, each.error) for each in many)
        )
        self._database.executemany(
            "INSERT OR REPLACE INTO timings VALUES (?, ?)",
            ((_key(each.item), json.dumps(each.milliseconds)) for each in many if each.milliseconds),
        )

    def add_failure(self, item: str, error: str, number: int) -> None:
        """So many items failed that no receipt tells of; `item` names them."""
        self._database.execute("INSERT INTO untold VALUES (?, ?, ?)", (_key(item), error, number))

    def status(self, item: str) -> str | None:
        """The newest status of an item; None when no receipt tells of it."""
        found = self._database.execute("SELECT status FROM items WHERE item = ?", (_key(item),)).fetchone()
        return str(found[0]) if found else None

    def counts(self) -> dict[str, int]:
        """How many items have which status, as receipts tell."""
        return dict(self._database.execute("SELECT status, count(*) FROM items GROUP BY status"))

    def failed(self) -> int:
        """How many items failed, those without a receipt too."""
        found = self._database.execute("SELECT coalesce(sum(number), 0) FROM failures")
        return int(found.fetchone()[0])

    def failures(self, most: int = -1) -> Iterator[tuple[str, str]]:
        """Failed items with their errors, by name; at most so many."""
        rows = self._database.execute(
            "SELECT item, error FROM failures ORDER BY item, error LIMIT ?", (most,)
        )
        return ((item.decode(errors="surrogatepass"), error) for item, error in rows)

    def milliseconds(self) -> dict[str, tuple[float, float]]:
        """The median and the sum over items, by phase."""
        self._database.executescript(_PHASES)
        phases = self._database.execute(
            "SELECT phase, count(*), total(value) FROM phases GROUP BY phase"
        ).fetchall()
        return {phase: (self._median(phase, count), total) for phase, count, total in phases}

    def _median(self, phase: str, count: int) -> float:
        middle = self._database.execute(
            "SELECT value FROM phases WHERE phase = ? ORDER BY value LIMIT ? OFFSET ?",
            (phase, 2 - count % 2, (count - 1) // 2),
        )
        return float(mean(value for (value,) in middle))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._database.close()


def _key(item: str) -> bytes:
    return item.encode(errors="surrogatepass")
