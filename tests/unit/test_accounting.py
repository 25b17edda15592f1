"""What a run really took, from what its steps say."""

from __future__ import annotations

from dataclasses import replace

import pytest

from batchscore.accounting import Took, attempt_took, together
from batchscore.compute.base import JobState, StepProgress
from batchscore.estimates import Estimate, Place, Work, estimate

DONE = JobState.SUCCEEDED
DEAR = Place("cluster", "X", max_nodes=4, start_s=100, idle_s=50, price=3.6)


def expected() -> Estimate:
    works = (Work("split", DEAR, seconds=10), Work("score", DEAR, ("split",), seconds=400, items=40))
    return replace(estimate(works, 4, 1), currency="USD")


@pytest.mark.parametrize(
    ("steps", "seconds", "node_seconds"),
    [
        (
            (
                StepProgress("split", DONE, seconds=12),
                StepProgress("score", DONE, 40, 40, nodes=4, seconds=90),
            ),
            200,
            372,
        ),
        # it was lost while score worked: that had what split left of the time
        (
            (
                StepProgress("split", DONE, seconds=12),
                StepProgress("score", JobState.RUNNING, 40, 3, nodes=4),
            ),
            112,
            412,
        ),
        ((StepProgress("split", DONE, seconds=12), StepProgress("score", JobState.QUEUED)), 112, 12),
        ((), 5, 0),
    ],
)
def test_an_attempt_took_the_nodes_of_its_steps_for_as_long_as_they_say(
    steps: tuple[StepProgress, ...], seconds: float, node_seconds: float
) -> None:
    took = attempt_took(steps, seconds, expected())
    assert (took.seconds, took.node_seconds) == (seconds, node_seconds)
    waiting = expected().waiting_node_seconds if steps else 0
    assert took.waiting_node_seconds == waiting
    assert took.cost == pytest.approx((node_seconds + waiting) / 1_000)


def test_this_machine_costs_nothing() -> None:
    took = attempt_took((StepProgress("split", DONE, seconds=12),), 20, None)
    assert (took.node_seconds, took.cost, took.currency) == (12, 0, "")


def test_an_unknown_price_leaves_the_cost_unknown() -> None:
    works = [Work("split", replace(DEAR, price=None), seconds=10)]
    assert (
        attempt_took((StepProgress("split", DONE, seconds=1),), 2, estimate(works, None, None)).cost is None
    )


def test_attempts_add_up() -> None:
    one, two = Took(10, 40, 5, 0.5, "USD"), Took(1, 2, 3, 0.25, "USD")
    assert together([one, two]) == Took(11, 42, 8, 0.75, "USD")
    assert together([one, replace(two, cost=None)]).cost is None
