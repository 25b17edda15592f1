"""What the receipts of a run say, counted once per item."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import batched
from typing import Any

from batchscore.item_table import ItemTable, Outcome

MOST_FAILURES = 100
LONGEST_ERROR = 500
LONGEST_MILLISECONDS = 1e15
LARGEST_FILE = 2**63
LINES_AT_A_TIME = 1_000


@dataclass(frozen=True)
class FailedItem:
    item: str
    error: str


@dataclass(frozen=True)
class ItemSummary:
    """Items by outcome (each item once, by its newest receipt) and where their time went, in milliseconds."""

    ok: int = 0
    failed: int = 0
    skipped: int = 0
    """How many of the ok ones were found finished and not done again by the newest attempt."""
    workers: int = 0
    median_milliseconds: dict[str, float] = field(default_factory=dict)
    total_milliseconds: dict[str, float] = field(default_factory=dict)
    failures: tuple[FailedItem, ...] = ()
    """The failed items by name, at most 100 of them."""


def summarise(lines: Iterable[bytes | str], mini_batches: Iterable[bytes | str] = ()) -> ItemSummary:
    """Count receipts. A line that is no receipt (cut off when its writer was killed) is passed over. `mini_batches`
    are the engine's own lines: they name items that failed and left no receipt."""
    with ItemTable() as table:
        workers = _fill(table, lines, mini_batches)
        counts, times = table.counts(), table.milliseconds()
        return ItemSummary(
            ok=counts.get("ok", 0) + counts.get("skipped", 0),
            failed=table.failed(),
            skipped=counts.get("skipped", 0),
            workers=len(workers),
            median_milliseconds={phase: round(middle, 3) for phase, (middle, _) in times.items()},
            total_milliseconds={phase: round(total, 3) for phase, (_, total) in times.items()},
            failures=tuple(FailedItem(_text(item), error) for item, error in table.failures(MOST_FAILURES)),
        )


def failed_items(
    lines: Iterable[bytes | str], mini_batches: Iterable[bytes | str] = ()
) -> tuple[FailedItem, ...]:
    """Every item whose newest receipt says that it failed, and those that left no receipt, by name."""
    with ItemTable() as table:
        _fill(table, lines, mini_batches)
        return tuple(FailedItem(_text(item), error) for item, error in table.failures())


@dataclass(frozen=True)
class PromisedFile:
    """A file that a receipt says is there and whole; `name` is its path inside an output."""

    name: str
    size_bytes: int
    sha256: str


def promised_files(lines: Iterable[bytes | str]) -> Iterator[PromisedFile]:
    """The files that receipts of finished items speak of, as often as they do."""
    for line in lines:
        receipt = _receipt(line)
        if receipt is None or receipt["status"] == "failed":
            continue
        outputs = receipt.get("outputs")
        for each in outputs if isinstance(outputs, list) else ():
            if isinstance(each, dict):
                name, size_bytes, sha256 = each.get("name"), each.get("size_bytes"), each.get("sha256")
                if not isinstance(name, str) or not isinstance(sha256, str):
                    continue
                if isinstance(size_bytes, int) and 0 <= size_bytes < LARGEST_FILE:
                    yield PromisedFile(_text(name), size_bytes, sha256)


def _fill(table: ItemTable, lines: Iterable[bytes | str], mini_batches: Iterable[bytes | str]) -> set[str]:
    """Take everything in; the names of the workers."""
    workers: set[str] = set()
    for group in batched(lines, LINES_AT_A_TIME, strict=False):
        receipts = [receipt for receipt in map(_receipt, group) if receipt is not None]
        workers.update(str(receipt.get("worker", "")) for receipt in receipts)
        table.add(map(_outcome, receipts))
    for line in mini_batches:
        _add_without_receipt(table, line)
    return workers


def _outcome(receipt: dict[str, Any]) -> Outcome:
    status = receipt["status"]
    return Outcome(
        item=receipt["item"],
        ended_at=_text(str(receipt.get("ended_at", ""))),
        status=status,
        error=_text(str(receipt.get("error") or "")[:LONGEST_ERROR]),
        milliseconds=_timings(receipt.get("milliseconds")) if status == "ok" else None,
    )


def _add_without_receipt(table: ItemTable, line: bytes | str) -> None:
    """The items of a failed mini-batch that no receipt calls failed. Which ones they are is unknown when `run`
    returned too few rows: then they are one entry."""
    batch = _json_object(line)
    items, failed = batch.get("items"), batch.get("items_failed")
    if not isinstance(items, list) or not isinstance(failed, int) or not failed:
        return
    names = [_text(str(item)) for item in items]
    told = {name: _told(name, table) for name in names}
    untold = failed - sum(status == "failed" for status in told.values())
    silent = [name for name in names if told[name] is None]
    error = _text(str(batch.get("error") or ""))[:LONGEST_ERROR]
    if untold > 0 and untold == len(silent):
        for name in silent:
            table.add_failure(name, error, 1)
    elif untold > 0:
        among = silent if untold < len(silent) else [name for name in names if told[name] != "failed"]
        shown = ", ".join(among[:3]) + (f" and {len(among) - 3} more" if len(among) > 3 else "")
        table.add_failure(shown if untold == len(among) else f"{untold} of {shown}", error, untold)


def _told(name: str, table: ItemTable) -> str | None:
    """What the newest receipt says of an item, which it may call by its file's name alone."""
    return table.status(name) or table.status(name.rsplit("/", 1)[-1])


def _receipt(line: bytes | str) -> dict[str, Any] | None:
    receipt = _json_object(line)
    whole = isinstance(receipt.get("item"), str) and receipt.get("status") in ("ok", "skipped", "failed")
    return receipt if whole else None


def _json_object(line: bytes | str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _timings(value: object) -> dict[str, float]:
    """The numbers among a receipt's milliseconds; the record that they end in can hold no others."""
    if not isinstance(value, dict):
        return {}
    found: dict[str, float] = {}
    for name, number in value.items():
        if isinstance(number, float | int) and abs(number) < LONGEST_MILLISECONDS:
            found[_text(name)] = float(number)
    return found


def _text(text: str) -> str:
    """The text as UTF-8 can hold it."""
    return text.encode(errors="replace").decode()
