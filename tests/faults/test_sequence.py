"""The sequence of faults comes from the seed alone."""

from __future__ import annotations

import re
from itertools import islice
from pathlib import Path

from tests.faults.deeds import DEEDS
from tests.faults.proxy import Cut
from tests.faults.sequence import CUTS, KINDS, LONGEST_CUT_S, faults


def test_the_same_seed_gives_the_same_faults_at_the_same_times() -> None:
    assert list(islice(faults(7, 0), 200)) == list(islice(faults(7, 0), 200))
    assert list(islice(faults(7, 0), 20)) != list(islice(faults(8, 0), 20))
    assert list(islice(faults(7, 0), 20)) != list(islice(faults(7, 1), 20))


def test_every_kind_comes_before_any_comes_by_its_weight() -> None:
    assert {fault.kind for fault in islice(faults(7, 0), len(KINDS))} == set(KINDS)


def test_some_cuts_have_their_full_length_and_none_is_longer() -> None:
    lengths = [fault.lasts_s for fault in islice(faults(7, 0), 1_000) if fault.kind in CUTS]
    assert max(lengths) == LONGEST_CUT_S
    assert len([length for length in lengths if length == LONGEST_CUT_S]) > 5


def test_every_kind_has_its_deed() -> None:
    assert {f"storage {mode}" for mode in Cut if mode is not Cut.OPEN} == set(CUTS)
    assert set(CUTS) | set(DEEDS) == set(KINDS)


def test_the_page_on_reliability_has_a_row_for_every_kind() -> None:
    page = (Path(__file__).parents[2] / "docs" / "reliability.md").read_text()
    assert [kind for kind in KINDS if not re.search(rf"^\| {kind} +\|", page, re.MULTILINE)] == []
