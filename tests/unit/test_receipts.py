"""Receipts: what counts as done, what is skipped, and what a killed writer leaves."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from common.output_files import sha256_of, whole_file, write_whole
from common.receipts import (
    FileVersion,
    MiniBatch,
    Receipt,
    ReceiptBook,
    batch_key,
    parameters_hash,
    read_folder,
)

PARAMETERS = parameters_hash({"model": "abc", "strength": 1.0})


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    return tmp_path / "outputs"


@pytest.fixture
def receipts(tmp_path: Path) -> Path:
    return tmp_path / "receipts"


def do(
    receipts: Path, outputs: Path, items: list[str], *, version: str = "v1", parameters: str = PARAMETERS
) -> tuple[list[str], list[str]]:
    """Score a mini-batch as an entry script does; gives the rows and the items that were really worked on."""
    worked = []
    with MiniBatch(ReceiptBook(receipts, outputs, parameters), items) as batch:
        for item in items:
            if batch.skip(item, version):
                continue
            worked.append(item)
            if item.startswith("bad"):
                batch.failed(item, version, "cannot be read")
                continue
            write_whole(outputs / item, f"{item} {version} {parameters}".encode())
            batch.ok(item, version, f"row of {item}", [FileVersion.of(outputs / item)], {"total": 1.23456})
    return batch.rows, worked


def test_a_valid_output_is_skipped_and_its_row_still_returned(receipts: Path, outputs: Path) -> None:
    assert do(receipts, outputs, ["a", "b"]) == (["row of a", "row of b"], ["a", "b"])
    assert do(receipts, outputs, ["a", "b"]) == (["row of a", "row of b"], [])


def test_skipping_holds_again_after_a_skip(receipts: Path, outputs: Path) -> None:
    for expected in (["a"], [], []):
        assert do(receipts, outputs, ["a"])[1] == expected


@pytest.mark.parametrize("change", [{"version": "v2"}, {"parameters": "other"}])
def test_a_changed_input_or_parameter_is_done_again(
    receipts: Path, outputs: Path, change: dict[str, str]
) -> None:
    do(receipts, outputs, ["a"])
    assert do(receipts, outputs, ["a"], **change)[1] == ["a"]


def test_a_truncated_changed_or_missing_output_is_done_again(receipts: Path, outputs: Path) -> None:
    items = ["cut", "changed", "gone", "whole"]
    do(receipts, outputs, items)
    (outputs / "cut").write_bytes((outputs / "cut").read_bytes()[:3])
    (outputs / "changed").write_bytes(bytes((outputs / "changed").stat().st_size))
    (outputs / "gone").unlink()
    assert do(receipts, outputs, items)[1] == ["cut", "changed", "gone"]


def test_an_output_without_a_receipt_counts_for_nothing(receipts: Path, outputs: Path) -> None:
    write_whole(outputs / "a", f"a v1 {PARAMETERS}".encode())
    assert do(receipts, outputs, ["a"])[1] == ["a"]


def test_mini_batches_cut_differently_find_what_an_earlier_attempt_did(receipts: Path, outputs: Path) -> None:
    do(receipts, outputs, ["a", "b"])
    do(receipts, outputs, ["c", "d"])
    assert do(receipts, outputs, ["b", "c", "e"]) == (["row of b", "row of c", "row of e"], ["e"])


def test_a_failed_item_has_no_row_and_is_tried_again(receipts: Path, outputs: Path) -> None:
    assert do(receipts, outputs, ["bad", "a"]) == (["row of a"], ["bad", "a"])
    assert do(receipts, outputs, ["bad", "a"]) == (["row of a"], ["bad"])
    last = {receipt.item: receipt for receipt in read_folder(receipts)}
    assert (last["bad"].status, last["bad"].error) == ("failed", "cannot be read")
    assert last["a"].status == "skipped"


def test_a_part_that_was_damaged_counts_until_its_item_is_made_anew_without_it(
    receipts: Path, outputs: Path
) -> None:
    """A damaged frame of a segment: a retry that skips the segment leaves it failed, a mended video does not."""

    def last_word(version: str, damaged: bool) -> dict[str, str]:
        with MiniBatch(ReceiptBook(receipts, outputs, PARAMETERS), ["a"]) as batch:
            if not batch.skip("a", version):
                write_whole(outputs / "a", version.encode())
                batch.ok("a", version, "row", [FileVersion.of(outputs / "a")], {})
                if damaged:
                    batch.failed("a, frame 7", version, "is damaged")
        assert batch.rows == ["row"]
        return {receipt.item: receipt.status for receipt in read_folder(receipts)}

    assert last_word("v1", damaged=True) == {"a": "ok", "a, frame 7": "failed"}
    assert last_word("v1", damaged=True) == {"a": "skipped", "a, frame 7": "failed"}
    assert last_word("v2", damaged=True) == {"a": "ok", "a, frame 7": "failed"}
    assert last_word("v3", damaged=False) == {"a": "ok", "a, frame 7": "ok"}


def test_receipts_of_one_millisecond_do_not_replace_each_other(
    receipts: Path, outputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("common.receipts.time.time_ns", lambda: 1_795_284_000_000_000_000)
    book = ReceiptBook(receipts, outputs, PARAMETERS)
    for _ in range(3):
        with MiniBatch(book, ["a"]) as batch:
            batch.failed("a", "v1", "it is no picture")
    assert len(list(receipts.iterdir())) == 3


def test_what_was_finished_before_an_exception_is_kept(receipts: Path, outputs: Path) -> None:
    def stop_after_a() -> None:
        with MiniBatch(ReceiptBook(receipts, outputs, PARAMETERS), ["a", "b"]) as batch:
            write_whole(outputs / "a", b"1")
            batch.ok("a", "v1", "row", [FileVersion.of(outputs / "a")], {})
            raise MemoryError

    with pytest.raises(MemoryError):
        stop_after_a()
    assert do(receipts, outputs, ["a", "b"])[1] == ["b"]


def test_the_file_name_tells_the_counts_and_the_lines_are_the_contract(receipts: Path, outputs: Path) -> None:
    do(receipts, outputs, ["a", "bad"])
    (path,) = receipts.iterdir()
    assert re.fullmatch(rf"{batch_key(['bad', 'a'])}\.1ok\.1failed\.\d{{13}}\.jsonl", path.name)
    line = json.loads(path.read_text().splitlines()[0])
    assert line["outputs"] == [
        {"name": "a", "size_bytes": len(f"a v1 {PARAMETERS}"), "sha256": sha256_of(outputs / "a")}
    ]
    assert {key: line[key] for key in ("item", "status", "row", "input", "parameters", "error")} == {
        "item": "a",
        "status": "ok",
        "row": "row of a",
        "input": "v1",
        "parameters": PARAMETERS,
        "error": None,
    }
    assert line["milliseconds"] == {"total": 1.235}
    assert re.fullmatch(r".+:\d+", line["worker"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["ended_at"])


def test_a_half_written_receipts_file_is_passed_over(receipts: Path, outputs: Path) -> None:
    do(receipts, outputs, ["a"])
    (path,) = receipts.iterdir()
    path.write_text(path.read_text()[:40])
    (receipts / "notes.txt").write_text("not receipts")
    assert do(receipts, outputs, ["a"])[1] == ["a"]


@pytest.mark.parametrize("line", ["", "[]", "{}", '{"item": "a"}', "null", "{"])
def test_a_line_that_is_no_receipt_is_a_value_error(line: str) -> None:
    with pytest.raises(ValueError):
        Receipt.from_line(line)


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "out" / "x.bin"
    write_whole(target, b"first")

    def fail() -> None:
        with whole_file(target) as temporary:
            temporary.write_bytes(b"sec")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail()
    assert target.read_bytes() == b"first"
    assert list(target.parent.iterdir()) == [target]


def test_a_file_may_have_the_longest_name_there_is(tmp_path: Path) -> None:
    target = tmp_path / ("é" * 127)
    write_whole(target, b"content")
    assert [path.name for path in tmp_path.iterdir()] == [target.name]


def test_what_a_killed_writer_left_is_removed(tmp_path: Path) -> None:
    with whole_file(tmp_path / "probe") as temporary:
        temporary.touch()
        host = temporary.name.split(".")[2]
    dead, alive = tmp_path / f".a.mp4.{host}.4194400.part", tmp_path / f".b.mp4.{host}.1.part"
    folder = tmp_path / "outputs"
    folder.mkdir()
    for path in (dead, alive):
        (folder / path.name).touch()
    write_whole(folder / "c.mp4", b"c")
    assert {path.name for path in folder.iterdir()} == {alive.name, "c.mp4"}
