"""The file of prices: what it says, and how it is told that it is wrong."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from batchscore.definitions.compute_targets import load_targets
from batchscore.errors import SettingsError
from batchscore.prices import SHIPPED, load_prices

ROOT = Path(__file__).parents[2]
GOOD = "dated: 2026-01-02\ncurrency: EUR\nnode_hour:\n  Standard_X: {dedicated: 1.5}\n"


def test_the_shipped_prices_know_the_shipped_clusters() -> None:
    prices = load_prices()
    assert (prices.currency, prices.dated) == ("USD", datetime.date(2026, 11, 21))
    for target in load_targets(ROOT / "scoring", {}).values():
        assert prices.price(target.size, low_priority=False)
        assert prices.price(target.size, low_priority=True)


def test_a_price_is_that_of_a_size_and_a_tier_in_any_case_of_letters(tmp_path: Path) -> None:
    file = tmp_path / "prices.yml"
    file.write_text(GOOD)
    prices = load_prices(file)
    assert prices.price("standard_x", low_priority=False) == 1.5
    assert prices.price("Standard_X", low_priority=True) is None
    assert prices.price("Standard_Y", low_priority=False) is None
    assert prices.lost_per_hour(low_priority=True) == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("dated: 2026-01-02 -> dated: soon", "dated must be the date of the prices, such as 2026-11-21"),
        ("currency: EUR -> currency: 3", "currency must name the currency, such as USD"),
        ("dedicated: 1.5 -> dedicated: -1", "node_hour.Standard_X.dedicated is -1; it must be a number"),
        ("dedicated: 1.5 -> dedicated: .nan", "node_hour.Standard_X.dedicated is nan; it must be a number"),
        (
            "dedicated: 1.5 -> spot: 1",
            "node_hour.Standard_X.spot is no tier; there are dedicated, low_priority",
        ),
        ("{dedicated: 1.5} -> 1.5", "node_hour.Standard_X must be a mapping of names"),
        ("node_hour: -> hourly:", "hourly is no key of it; there are dated, currency"),
        ("dated: -> :\n{", "cannot be read"),
    ],
)
def test_a_wrong_file_is_told_by_its_name_and_the_place(tmp_path: Path, change: str, words: str) -> None:
    file = tmp_path / "prices.yml"
    before, after = change.split(" -> ")
    assert before in GOOD
    file.write_text(GOOD.replace(before, after))
    with pytest.raises(SettingsError) as caught:
        load_prices(file)
    assert words in str(caught.value)
    assert str(file) in str(caught.value)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"none\.yml cannot be read"):
        load_prices(tmp_path / "none.yml")


def test_the_prices_travel_with_the_package() -> None:
    assert SHIPPED.parent == ROOT / "batchscore"
