"""What the receipts of a run say, counted once per item."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any

MOST_FAILURES = 100
LONGEST_ERROR = 500
LONGEST_MILLISECONDS = 1e15
LARGEST_FILE = 2**63

_Newest = tuple[str, str, str]
"""When an item's newest receipt was written, its status and its error."""


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
    newest: dict[str, _Newest] = {}
    timings: dict[str, dict[str, float]] = {}
    workers: set[str] = set()
    for line in lines:
        receipt = _receipt(line)
        if receipt is None:
            continue
        workers.add(str(receipt.get("worker", "")))
        if receipt["status"] == "ok":
            timings[receipt["item"]] = _timings(receipt.get("milliseconds"))
        _keep_newest(newest, receipt)
    failed = _failed(newest, mini_batches)
    ok = sum(status in ("ok", "skipped") for _, status, _ in newest.values())
    phases: dict[str, list[float]] = {}
    for values in timings.values():
        for name, value in values.items():
            phases.setdefault(name, []).append(value)
    return ItemSummary(
        ok=ok,
        failed=sum(failure.count for failure in failed),
        skipped=sum(status == "skipped" for _, status, _ in newest.values()),
        workers=len(workers),
        median_milliseconds={name: round(median(values), 3) for name, values in phases.items()},
        total_milliseconds={name: round(sum(values), 3) for name, values in phases.items()},
        failures=tuple(FailedItem(failure.item, failure.error) for failure in failed[:MOST_FAILURES]),
    )


def failed_items(
    lines: Iterable[bytes | str], mini_batches: Iterable[bytes | str] = ()
) -> tuple[FailedItem, ...]:
    """Every item whose newest receipt says that it failed, and those that left no receipt, by name."""
    newest: dict[str, _Newest] = {}
    for line in lines:
        receipt = _receipt(line)
        if receipt is not None:
            _keep_newest(newest, receipt)
    return tuple(FailedItem(failure.item, failure.error) for failure in _failed(newest, mini_batches))


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


@dataclass(frozen=True, order=True)
class _Failure:
    item: str
    error: str
    count: int = 1


def _keep_newest(newest: dict[str, _Newest], receipt: dict[str, Any]) -> None:
    item, ended_at = receipt["item"], str(receipt.get("ended_at", ""))
    if item not in newest or ended_at >= newest[item][0]:
        newest[item] = (ended_at, receipt["status"], str(receipt.get("error") or "")[:LONGEST_ERROR])


def _failed(newest: Mapping[str, _Newest], mini_batches: Iterable[bytes | str]) -> list[_Failure]:
    failed = [
        _Failure(_text(item), _text(error))
        for item, (_, status, error) in newest.items()
        if status == "failed"
    ]
    return sorted((*failed, *(each for line in mini_batches for each in _without_receipt(line, newest))))


def _without_receipt(line: bytes | str, newest: Mapping[str, _Newest]) -> Iterator[_Failure]:
    """The items of a failed mini-batch that no receipt calls failed. Which ones they are is unknown when `run`
    returned too few rows: then they are one entry."""
    batch = _json_object(line)
    items, failed = batch.get("items"), batch.get("items_failed")
    if not isinstance(items, list) or not isinstance(failed, int):
        return
    names = [_text(str(item)) for item in items]
    told = {name: _told(name, newest) for name in names}
    untold = failed - sum(status == "failed" for status in told.values())
    silent = [name for name in names if told[name] is None]
    error = _text(str(batch.get("error") or ""))[:LONGEST_ERROR]
    if untold > 0 and untold == len(silent):
        yield from (_Failure(name, error) for name in silent)
    elif untold > 0:
        among = silent if untold < len(silent) else [name for name in names if told[name] != "failed"]
        shown = ", ".join(among[:3]) + (f" and {len(among) - 3} more" if len(among) > 3 else "")
        yield _Failure(shown if untold == len(among) else f"{untold} of {shown}", error, untold)


def _told(name: str, newest: Mapping[str, _Newest]) -> str | None:
    """What the newest receipt says of an item, which it may call by its file's name alone."""
    found = newest.get(name) or newest.get(name.rsplit("/", 1)[-1])
    return found[1] if found else None


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
