"""Prices of node-hours and what clusters are assumed to take: a file with a date, which a setting names."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from batchscore.errors import SettingsError

SHIPPED = Path(__file__).with_name("prices.yml")
LARGEST = 1e9
TIERS = ("dedicated", "low_priority")
_ASSUMED = ("node_start_s", "step_start_s", "mini_batch_s")
_KEYS = ("dated", "currency", "note", "node_hour", "lost_nodes_per_hour", *_ASSUMED)


@dataclass(frozen=True)
class Prices:
    """What prices are known, in `currency`, and since when."""

    dated: datetime.date
    currency: str
    note: str = ""
    node_hour: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """By VM size in lower case, then by tier."""
    lost_nodes_per_hour: Mapping[str, float] = field(default_factory=dict)
    node_start_s: float = 0
    step_start_s: float = 0
    mini_batch_s: float = 0

    def price(self, size: str, *, low_priority: bool) -> float | None:
        """Of a node-hour; None when the file does not say."""
        return self.node_hour.get(size.lower(), {}).get(TIERS[low_priority])

    def lost_per_hour(self, *, low_priority: bool) -> float:
        return self.lost_nodes_per_hour.get(TIERS[low_priority], 0)


def load_prices(file: Path = SHIPPED) -> Prices:
    """Read a file of prices; SettingsError says what is wrong in it."""
    import yaml

    try:
        document = yaml.safe_load(file.read_text("utf-8-sig"))
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        raise SettingsError(f"the prices in {file} cannot be read: {error}") from error
    return _Reader(file).prices(document)


@cache
def shipped_prices() -> Prices:
    """Those that come with the package."""
    return load_prices()


@dataclass(frozen=True)
class _Reader:
    file: Path

    def prices(self, document: object) -> Prices:
        found = self._mapping("the file", document)
        unknown = [key for key in found if key not in _KEYS]
        if unknown:
            raise self._wrong(unknown[0], f"is no key of it; there are {', '.join(_KEYS)}")
        dated, currency = found.get("dated"), found.get("currency")
        if not isinstance(dated, datetime.date):
            raise self._wrong("dated", "must be the date of the prices, such as 2026-11-21")
        if not isinstance(currency, str) or not currency.strip():
            raise self._wrong("currency", "must name the currency, such as USD")
        sizes = self._mapping("node_hour", found.get("node_hour", {}))
        return Prices(
            dated=dated,
            currency=currency.strip(),
            note=str(found.get("note") or ""),
            node_hour={
                size.lower(): self._tiers(f"node_hour.{size}", prices) for size, prices in sizes.items()
            },
            lost_nodes_per_hour=self._tiers("lost_nodes_per_hour", found.get("lost_nodes_per_hour", {})),
            **{name: self._number(name, found.get(name, 0)) for name in _ASSUMED},
        )

    def _tiers(self, what: str, value: object) -> dict[str, float]:
        found = self._mapping(what, value)
        unknown = [tier for tier in found if tier not in TIERS]
        if unknown:
            raise self._wrong(f"{what}.{unknown[0]}", f"is no tier; there are {', '.join(TIERS)}")
        return {tier: self._number(f"{what}.{tier}", number) for tier, number in found.items()}

    def _mapping(self, what: str, value: object) -> dict[str, object]:
        if isinstance(value, dict) and all(isinstance(key, str) for key in value):
            return value
        raise self._wrong(what, "must be a mapping of names")

    def _number(self, what: str, value: object) -> float:
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= LARGEST:
            return float(value)
        raise self._wrong(what, f"is {value!r}; it must be a number from 0 to {LARGEST:.0f}")

    def _wrong(self, what: str, why: str) -> SettingsError:
        return SettingsError(f"{self.file} (setting PRICES): {what} {why}.")
