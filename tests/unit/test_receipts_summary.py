"""What the receipts of a run say, counted once per item."""

from __future__ import annotations

import json

import msgspec
import pytest

from batchscore.receipts import FailedItem, ItemSummary, failed_items, summarise


def receipt(item: str, status: str, ended_at: str, **more: object) -> str:
    return json.dumps({"item": item, "status": status, "ended_at": ended_at, "worker": "h:1", **more})


def test_an_item_counts_once_by_its_newest_receipt() -> None:
    lines = [
        receipt("a", "failed", "2026-01-01T00:00:00Z", error="torn"),
        receipt("a", "ok", "2026-01-01T00:01:00Z", milliseconds={"infer": 10}),
        receipt("b", "ok", "2026-01-01T00:00:00Z", milliseconds={"infer": 30}),
        receipt("b", "skipped", "2026-01-01T00:02:00Z"),
        receipt("c", "failed", "2026-01-01T00:00:00Z", error="not an image"),
    ]
    summary = summarise(reversed(lines))
    assert (summary.ok, summary.failed, summary.skipped, summary.workers) == (2, 1, 1, 1)
    assert summary.failures == (FailedItem("c", "not an image"),)
    assert summary.median_milliseconds == {"infer": 20.0}
    assert summary.total_milliseconds == {"infer": 40.0}


def test_what_is_no_receipt_is_passed_over() -> None:
    lines: list[bytes | str] = [
        b'{"item": "a", "sta',
        b"\xff",
        "[]",
        '{"item": 1}',
        '{"item": "a", "status": "odd"}',
        "",
    ]
    assert summarise(lines) == ItemSummary(workers=0)


def test_the_list_of_failures_is_bounded() -> None:
    summary = summarise(receipt(f"{n:04d}", "failed", "2026", error="x") for n in range(250))
    assert summary.failed == 250
    assert len(summary.failures) == 100


def mini_batch(items: list[str], failed: int, error: str) -> str:
    status = "failed" if failed else "ok"
    return json.dumps({"id": "0", "items": items, "items_failed": failed, "status": status, "error": error})


def test_every_failed_item_is_listed_by_name_also_beyond_what_the_record_holds() -> None:
    lines = [receipt(f"{n:04d}", "failed", "2026", error="x") for n in range(250)]
    assert failed_items(reversed(lines)) == tuple(FailedItem(f"{n:04d}", "x") for n in range(250))
    assert failed_items([receipt("a", "failed", "1"), receipt("a", "ok", "2")]) == ()


@pytest.mark.parametrize(
    ("items", "failed", "entries", "count"),
    [
        (["a"], 0, [], 0),
        (["dies"], 1, ["dies"], 1),
        (["dies", "dies too"], 2, ["dies", "dies too"], 2),
        (["a", "dies"], 2, ["a, dies"], 2),  # `a` was done, and then the worker died
        (["a", "torn", "dies"], 2, ["dies"], 1),  # the receipt of `torn` says it already
        (["in/torn"], 1, [], 0),
        (["x", "y", "z", "w"], 3, ["3 of x, y, z and 1 more"], 3),
        (["x"], "1", [], 0),
    ],
)
def test_what_failed_without_a_receipt_is_named_by_the_engine(
    items: list[str], failed: int, entries: list[str], count: int
) -> None:
    lines = [receipt("a", "ok", "2026"), receipt("torn", "failed", "2026", error="no picture")]
    batches = [mini_batch(items, failed, "the worker was killed"), "{", "[]"]
    summary = summarise(lines, batches)
    assert summary.failures == failed_items(lines, batches)
    assert {failure.item for failure in summary.failures} == {"torn", *entries}
    assert summary.failed == 1 + count


@pytest.mark.parametrize(
    "odd",
    [
        {"milliseconds": [1]},
        {"milliseconds": "1"},
        {"milliseconds": {"infer": float("nan"), "total": float("inf")}},
        {"milliseconds": {"infer": 10**400}},
        {"item": "\ud800", "status": "failed"},
        {"status": "failed", "error": "\ud800"},
        {"milliseconds": {"\ud800": 1}},
    ],
)
def test_what_other_peoples_scripts_write_still_makes_a_record(odd: dict[str, object]) -> None:
    line = receipt(**{"item": "a", "status": "ok", "ended_at": "2026", **odd})  # type: ignore[arg-type]
    summary = summarise([line])
    assert summary.ok + summary.failed == 1
    assert msgspec.json.decode(msgspec.json.encode(summary), type=ItemSummary) == summary


def test_a_line_that_is_nested_without_end_is_passed_over() -> None:
    assert summarise(["[" * 100_000]) == ItemSummary()
