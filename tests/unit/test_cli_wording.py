"""Values as a person reads them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from batchscore.cli import wording

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-1, "0.0 s"),
        (0.42, "0.4 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (185, "3 min 05 s"),
        (7_440, "2 h 04 min"),
        (266_400, "3 d 2 h"),
    ],
)
def test_a_duration_has_two_units_at_most(seconds: float, words: str) -> None:
    assert wording.duration(seconds) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "just now"),
        (-3, "just now"),
        (42, "42 s ago"),
        (119, "1 min ago"),
        (7_300, "2 h ago"),
        (90_000, "1 d ago"),
    ],
)
def test_an_age_has_one_unit(seconds: float, words: str) -> None:
    assert wording.age(NOW - timedelta(seconds=seconds), NOW) == words


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "0 bytes"), (999, "999 bytes"), (1_000, "1 kB"), (217_426, "217 kB"), (1_234_567, "1.23 MB"),
     (5e9, "5 GB"), (2.5e12, "2.5 TB")],
)  # fmt: skip
def test_a_size_is_in_decimal_units(count: float, words: str) -> None:
    assert wording.size(count) == words


@pytest.mark.parametrize(("value", "words"), [(0.1234, "0.123 ms"), (41.27, "41.3 ms"), (1_500, "1.5 s")])
def test_milliseconds_become_seconds_when_they_are_many(value: float, words: str) -> None:
    assert wording.milliseconds(value) == words


def test_a_time_says_that_it_is_utc() -> None:
    assert wording.moment(NOW) == "2026-01-02 03:04:05 UTC"


@pytest.mark.parametrize(("number", "words"), [(0, "0 files"), (1, "1 file"), (12_345, "12,345 files")])
def test_one_file_and_two_files(number: int, words: str) -> None:
    assert wording.counted(number, "file") == words
