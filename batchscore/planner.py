"""How many nodes and which mini-batch size a run gets, and what else it could have. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from batchscore.estimates import Estimate, Work, estimate

THRIFT = 1.25
"""The fastest choice is taken that costs at most this times what the cheapest does."""
NEAR = 1.02
"""Choices that differ by less than this in time are as good as each other: figures are not that exact."""
NEAR_S = 10
"""Nor does anybody notice so many seconds."""
MOST_NODE_COUNTS = 16
PART_OF_TIMEOUT = 0.5
"""A mini-batch that would take more of its time-out than this is too large: items differ."""
ROUND_SIZES = tuple(digit * 10**power for power in range(6) for digit in (1, 2, 5))


@dataclass(frozen=True)
class Bounds:
    """The least and the most that a run may be given of something; the same number twice fixes it."""

    least: int
    most: int


@dataclass(frozen=True)
class Proposal:
    """What a run gets, and what else it could have."""

    chosen: Estimate
    alternatives: tuple[tuple[str, Estimate], ...] = ()
    affordable: bool = True
    """Whether the chosen one stays within the most that the run may cost; if not, it is the cheapest."""


@dataclass(frozen=True)
class Wishes:
    """What a run may be given: None leaves the file's own value."""

    nodes: Bounds | None = None
    mini_batch_size: Bounds | None = None
    max_cost: float | None = None


def propose(works: Sequence[Work], wishes: Wishes) -> Proposal:
    """Choose within the wishes, and name what else there is: the cheapest, the fastest, and the two extremes."""
    every = [estimate(works, nodes, size) for nodes, size in _choices(works, wishes)]
    within = [each for each in every if wishes.max_cost is None or (each.cost or 0) <= wishes.max_cost]
    cheapest = min(every, key=lambda each: (each.expense, each.seconds))
    chosen = choose(within, works) if within else cheapest
    named = [
        ("cheapest", cheapest),
        ("fastest", min(every, key=lambda each: (each.seconds, each.expense))),
        *(
            (name, estimate(works, *extreme))
            for name, extreme in extremes(works, wishes, chosen.nodes).items()
        ),
    ]
    own = max((work.nodes for work in works if work.items is not None), default=1)
    if wishes.nodes is None or wishes.nodes.least <= own <= wishes.nodes.most:
        named.append(("as defined", estimate(works, None, None)))
    return Proposal(chosen, tuple(named), bool(within))


def choose(choices: Sequence[Estimate], works: Sequence[Work]) -> Estimate:
    """The fastest that costs little more than the cheapest. Of those as fast: on fewer nodes, then with the file's own
    mini-batches, then with smaller ones, of which less is lost with a node."""
    least = min(each.expense for each in choices)
    thrifty = [each for each in choices if each.expense <= THRIFT * least]
    fastest = min(each.seconds for each in thrifty)
    own = {work.mini_batch_size for work in works if work.items is not None}
    near = max(NEAR * fastest, fastest + NEAR_S)
    as_good = [each for each in thrifty if each.seconds <= near]
    return min(
        as_good,
        key=lambda each: (
            each.nodes or 0,
            each.mini_batch_size is not None and each.mini_batch_size not in own,
            each.mini_batch_size or 0,
        ),
    )


def extremes(
    works: Sequence[Work], wishes: Wishes, nodes: int | None
) -> dict[str, tuple[int | None, int | None]]:
    """The two ends of the trade-off, nodes and mini-batch size each: as few items in a mini-batch as may be, so that
    little is redone; and all nodes with one mini-batch for each worker, so that least is spent on beginning."""
    sized = [work for work in works if work.items is not None and work.sized]
    if not sized:
        return {}
    bounds = wishes.mini_batch_size or Bounds(1, max(work.items or 1 for work in sized))
    most = wishes.nodes.most if wishes.nodes else nodes
    whole = max(_share(work, most or work.nodes) for work in sized)
    return {
        "little to redo": (nodes, bounds.least),
        "least start-up": (most, min(max(whole, bounds.least), bounds.most)),
    }


def _choices(works: Sequence[Work], wishes: Wishes) -> Iterator[tuple[int | None, int | None]]:
    for nodes in _node_counts(wishes.nodes):
        for size in _sizes(works, wishes.mini_batch_size, nodes):
            yield nodes, size


def _node_counts(bounds: Bounds | None) -> list[int | None]:
    """Every count, or a good many where there are hundreds, each some part more than the one before."""
    if bounds is None:
        return [None]
    span = bounds.most - bounds.least
    if span < MOST_NODE_COUNTS:
        return list(range(bounds.least, bounds.most + 1))
    ratio = (bounds.most / bounds.least) ** (1 / (MOST_NODE_COUNTS - 1))
    return sorted({round(bounds.least * ratio**power) for power in range(MOST_NODE_COUNTS)})


def _sizes(works: Sequence[Work], bounds: Bounds | None, nodes: int | None) -> list[int | None]:
    """Sizes worth a look: round ones, the files' own, and those that give each worker one to four mini-batches; none
    of which a mini-batch might not end in time."""
    sized = [work for work in works if work.items is not None and work.sized]
    if bounds is None or not sized:
        return [None]
    if bounds.least == bounds.most:
        return [bounds.least]
    most = min(bounds.most, max(bounds.least, *(work.items or 1 for work in sized), 1))
    wanted = {bounds.least, most, *ROUND_SIZES, *(work.mini_batch_size for work in sized)}
    for work in sized:
        share = _share(work, nodes or work.nodes)
        wanted |= {math.ceil(share / parts) for parts in (1, 2, 3, 4)}
    in_time = [
        size
        for size in sorted(wanted)
        if bounds.least <= size <= most
        and all(size * work.item_s <= PART_OF_TIMEOUT * work.timeout_s for work in sized)
    ]
    return list(in_time or [bounds.least])


def _share(work: Work, nodes: int) -> int:
    """The items of one worker when all of them get as many, in one mini-batch."""
    return max(1, math.ceil((work.items or 0) / (nodes * (work.workers or work.place.workers))))
