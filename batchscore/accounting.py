"""What a run really took: time by the clock, node-hours and money, from what its steps say when they have ended. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from batchscore.compute.base import JobState, StepProgress
from batchscore.estimates import Estimate


@dataclass(frozen=True)
class Took:
    """What all attempts of a run took together."""

    seconds: float
    """By the clock, of the attempts; without waiting for their turn."""
    node_seconds: float
    """Of nodes at work on its steps."""
    waiting_node_seconds: float = 0
    """Of nodes that start or are idle, as it was estimated: no step is at work then, so nobody measures it."""
    cost: float | None = 0
    """Of both together; None where a price is unknown, 0 on this machine."""
    currency: str = ""


def attempt_took(steps: Sequence[StepProgress], seconds: float, estimate: Estimate | None) -> Took:
    """What one attempt took that lasted for `seconds`. A step that was at work when the attempt was lost has not said
    how long: it is given what the others left of the time."""
    told = sum(step.seconds for step in steps)
    prices = {step.name: step.price for step in estimate.steps} if estimate else {}
    node_seconds = 0.0
    cost: float | None = (estimate.waiting_cost if estimate else 0) if steps else 0
    for step in steps:
        working = step.seconds
        if not working and step.state in (JobState.RUNNING, JobState.LOST):
            working = max(0.0, seconds - told)
        used = working * step.nodes
        price = prices.get(step.name, 0)
        node_seconds += used
        cost = None if cost is None or price is None else cost + used / 3_600 * price
    return Took(
        round(seconds, 3),
        round(node_seconds, 3),
        estimate.waiting_node_seconds if estimate and steps else 0,
        None if cost is None else round(cost, 6),
        estimate.currency if estimate else "",
    )


def together(parts: Iterable[Took]) -> Took:
    """What several attempts took."""
    parts = list(parts)
    costs = [part.cost for part in parts if part.cost is not None]
    return Took(
        round(sum(part.seconds for part in parts), 3),
        round(sum(part.node_seconds for part in parts), 3),
        round(sum(part.waiting_node_seconds for part in parts), 3),
        round(sum(costs), 6) if len(costs) == len(parts) else None,
        next((part.currency for part in parts if part.currency), ""),
    )
