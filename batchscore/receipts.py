"""What the receipts of a run say, counted once per item."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import median
from typing import Any

MOST_FAILURES = 100
LONGEST_ERROR = 500
LONGEST_MILLISECONDS = 1e15


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


def summarise(lines: Iterable[bytes | str]) -> ItemSummary:
    """Count receipts. A line that is no receipt (cut off when its writer was killed) is passed over."""
    newest: dict[str, tuple[str, str, str]] = {}
    timings: dict[str, dict[str, float]] = {}
    workers: set[str] = set()
    for line in lines:
        receipt = _receipt(line)
        if receipt is None:
            continue
        item, status, ended_at = receipt["item"], receipt["status"], str(receipt.get("ended_at", ""))
        workers.add(str(receipt.get("worker", "")))
        if status == "ok":
            timings[item] = _timings(receipt.get("milliseconds"))
        if item not in newest or ended_at >= newest[item][0]:
            newest[item] = (ended_at, status, str(receipt.get("error") or "")[:LONGEST_ERROR])
    failures = sorted((item, error) for item, (_, status, error) in newest.items() if status == "failed")
    ok = sum(status in ("ok", "skipped") for _, status, _ in newest.values())
    phases: dict[str, list[float]] = {}
    for values in timings.values():
        for name, value in values.items():
            phases.setdefault(name, []).append(value)
    return ItemSummary(
        ok=ok,
        failed=len(failures),
        skipped=sum(status == "skipped" for _, status, _ in newest.values()),
        workers=len(workers),
        median_milliseconds={name: round(median(values), 3) for name, values in phases.items()},
        total_milliseconds={name: round(sum(values), 3) for name, values in phases.items()},
        failures=tuple(FailedItem(_text(item), _text(error)) for item, error in failures[:MOST_FAILURES]),
    )


def _receipt(line: bytes | str) -> dict[str, Any] | None:
    try:
        receipt = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(receipt, dict) or not isinstance(receipt.get("item"), str):
        return None
    return receipt if receipt.get("status") in ("ok", "skipped", "failed") else None


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
