"""What a run should take and what it took, in words: time, node-hours, money."""

from __future__ import annotations

from batchscore.accounting import Took
from batchscore.cli.wording import duration
from batchscore.estimates import Estimate

SMALLEST = 0.005


def node_hours(node_seconds: float) -> str:
    hours = node_seconds / 3_600
    return f"{hours:.2f}" if hours >= SMALLEST else f"{hours:.4f}" if hours else "0"


def money(cost: float | None) -> str:
    """An amount without its currency; cents, and more digits of less than one."""
    if cost is None:
        return "unknown"
    return f"{cost:,.2f}" if cost >= SMALLEST else f"{cost:.4f}" if cost else "0"


def estimate_words(estimate: Estimate) -> str:
    """`about 12 min 03 s, 0.31 node-hours, 0.17 USD`."""
    if not _costs(estimate.cost, estimate.waiting_cost, [step.price for step in estimate.steps]):
        return f"about {duration(estimate.seconds)}; this machine costs nothing"
    cost = "unknown" if estimate.cost is None else f"{money(estimate.cost)} {estimate.currency}"
    return f"about {duration(estimate.seconds)}, {node_hours(estimate.node_seconds)} node-hours, cost {cost}"


def took_words(took: Took, estimate: Estimate | None) -> str:
    """What all attempts took, beside what was expected of one."""
    if estimate is None or not _costs(took.cost, 0, [step.price for step in estimate.steps]):
        return f"{duration(took.seconds)}; this machine costs nothing"
    words = f"{duration(took.seconds)}, {node_hours(took.node_seconds)} node-hours at work"
    if took.waiting_node_seconds:
        words += f", about {node_hours(took.waiting_node_seconds)} starting and idle"
    cost = "unknown" if took.cost is None else f"about {money(took.cost)} {took.currency}"
    return f"{words}, cost {cost}"


def _costs(cost: float | None, waiting: float | None, prices: list[float | None]) -> bool:
    """Whether money plays a part: not on this machine."""
    return cost != 0 or waiting != 0 or any(price != 0 for price in prices)
