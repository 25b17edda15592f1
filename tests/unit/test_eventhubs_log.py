"""A partition's log: numbers without gaps, retention, files that survive a kill."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchscore.devhost.eventhubs import amqp, log, messages
from batchscore.devhost.eventhubs.log import PartitionLog, Retention

SMALL = Retention(segment_bytes=2_000)


def event(text: str) -> messages.Incoming:
    return messages.read(amqp.described(messages.DATA, amqp.binary(text.encode())))


def texts(found: list[bytes]) -> list[str]:
    bodies = []
    for message in found:
        value_at = next(at for code, _, at, _ in messages.sections(message) if code == messages.DATA)
        body, _ = amqp.decode(message, value_at)
        assert isinstance(body, bytes)
        bodies.append(body.decode())
    return bodies


def all_of(partition: PartitionLog) -> list[str]:
    found, sequence = [], 0
    while True:
        first, some = partition.read(sequence, 700, 10)
        if not some:
            return found
        found += texts(some)
        sequence = first + len(some)


def fill(partition: PartitionLog, begin: int, end: int, batch: int = 3) -> None:
    for number in range(begin, end, batch):
        partition.append([event(f"e{each}") for each in range(number, min(number + batch, end))])


@pytest.fixture(params=["memory", "file"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    return tmp_path / "0" if request.param == "file" else None


def test_events_are_read_in_order_over_many_segments(folder: Path | None) -> None:
    partition = PartitionLog(folder, SMALL)
    fill(partition, 0, 500)
    assert all_of(partition) == [f"e{number}" for number in range(500)]
    assert partition.next_sequence == 500
    assert texts(partition.read(123, 1 << 20, 2)[1]) == ["e123", "e124"]
    assert partition.read(500, 1 << 20, 9) == (500, [])
    partition.close()


def test_a_position_is_found_by_offset_and_by_time(
    folder: Path | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    partition = PartitionLog(folder, SMALL)
    for number in range(60):
        monkeypatch.setattr(log.time, "time", lambda number=number: 1_000 + number // 2)
        partition.append([event(f"e{number}")])
    offsets = []
    for message in partition.read(0, 1 << 20, 100)[1]:
        value, _ = amqp.decode(
            message, next(at for code, _, at, _ in messages.sections(message) if code == messages.ANNOTATIONS)
        )
        assert isinstance(value, dict)
        offsets.append(int(value["x-opt-offset"]))
    for sequence, offset in enumerate(offsets):
        assert partition.sequence_at_offset(offset, inclusive=True) == sequence
        assert partition.sequence_at_offset(offset, inclusive=False) == sequence + 1
    assert partition.sequence_at_offset(-1, inclusive=False) == 0
    assert partition.sequence_at_offset(1 << 40, inclusive=True) == 60
    for second in range(30):
        assert partition.sequence_at_time((1_000 + second) * 1000, inclusive=True) == second * 2
        assert partition.sequence_at_time((1_000 + second) * 1000, inclusive=False) == second * 2 + 2
    assert partition.sequence_at_time(0, inclusive=False) == 0
    partition.close()


def test_old_segments_go_by_size_and_the_rest_stays(folder: Path | None) -> None:
    partition = PartitionLog(folder, Retention(partition_bytes=10_000, segment_bytes=2_000))
    fill(partition, 0, 1_000)
    assert partition.size_bytes <= 12_500
    first = partition.first_sequence
    assert 0 < first < 1_000
    assert all_of(partition) == [f"e{number}" for number in range(first, 1_000)]
    if folder is not None:
        assert sum(path.stat().st_size for path in folder.iterdir()) == partition.size_bytes
        again = PartitionLog(folder, Retention(partition_bytes=10_000, segment_bytes=2_000))
        assert (again.size_bytes, again.first_sequence) == (partition.size_bytes, first)
        again.close()
    partition.close()


def test_old_segments_go_by_age(folder: Path | None, monkeypatch: pytest.MonkeyPatch) -> None:
    partition = PartitionLog(folder, Retention(hours=1, segment_bytes=1))
    for number in range(5):
        monkeypatch.setattr(log.time, "time", lambda number=number: 10_000 + number * 1_500)
        partition.append([event(f"e{number}")])
    assert all_of(partition) == ["e1", "e2", "e3", "e4"]  # e1's segment may hold what is younger than an hour
    partition.close()


def test_time_never_runs_backwards(monkeypatch: pytest.MonkeyPatch) -> None:
    partition = PartitionLog(None, SMALL)
    for moment in (100, 90, 95):
        monkeypatch.setattr(log.time, "time", lambda moment=moment: moment)
        partition.append([event("x")])
        assert partition.last_time == 100_000


@given(st.integers(1, 40), st.integers(0, 200), st.integers(0, 255))
def test_what_a_kill_left_torn_is_cut_off_and_the_rest_goes_on(
    tmp_path_factory: pytest.TempPathFactory, count: int, lost: int, noise: int
) -> None:
    folder = tmp_path_factory.mktemp("log") / "0"
    partition = PartitionLog(folder, SMALL)
    fill(partition, 0, count, batch=1)
    partition.close()
    last = max(folder.glob("*.log"))
    begins = int(last.stem.partition("-")[0])
    whole = last.read_bytes()
    torn = whole[: max(0, len(whole) - lost)]
    last.write_bytes(torn + bytes([noise]) * (lost % 7))

    again = PartitionLog(folder, SMALL)
    kept = again.next_sequence
    assert begins <= kept <= count
    assert kept == count or lost > 0
    again.append([event("new")])
    assert all_of(again) == [f"e{number}" for number in range(kept)] + ["new"]
    again.close()
    once_more = PartitionLog(folder, SMALL)
    assert all_of(once_more) == [f"e{number}" for number in range(kept)] + ["new"]
    assert once_more.next_sequence == kept + 1
    once_more.close()


def test_an_event_that_cannot_be_written_leaves_no_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    partition = PartitionLog(tmp_path / "0", SMALL)
    fill(partition, 0, 3)
    true_write = os.write

    def full_disk(file: int, data: bytes) -> int:
        if len(data) < 100:
            raise OSError(28, "No space left on device")
        return true_write(file, data[: len(data) // 2])

    with monkeypatch.context() as patched:
        patched.setattr(log.os, "write", full_disk)
        with pytest.raises(OSError, match="No space"):
            partition.append([event("lost"), event("lost too")])
    partition.append([event("e3")])
    assert all_of(partition) == ["e0", "e1", "e2", "e3"]
    partition.close()
    again = PartitionLog(tmp_path / "0", SMALL)
    assert all_of(again) == ["e0", "e1", "e2", "e3"]
    again.close()


def test_a_damaged_segment_in_the_middle_costs_its_own_rest_only(tmp_path: Path) -> None:
    partition = PartitionLog(tmp_path / "0", SMALL)
    fill(partition, 0, 100, batch=1)
    partition.close()
    first, second, *_ = sorted((tmp_path / "0").glob("*.log"))
    data = bytearray(first.read_bytes())
    data[len(data) // 2] ^= 0xFF
    first.write_bytes(data)
    again = PartitionLog(tmp_path / "0", SMALL)
    found = all_of(again)
    behind = int(second.stem.partition("-")[0])
    assert found[-(100 - behind) :] == [f"e{number}" for number in range(behind, 100)]
    assert 0 < len(found) < 100
    again.close()
