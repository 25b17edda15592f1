"""What a run takes with so many nodes and such mini-batches, computed by hand beside."""

from __future__ import annotations

import pytest

from batchscore.estimates import Place, Work, estimate, step_seconds

PLAIN = Place("cluster", "Standard_X", workers=1, max_nodes=100, price=3.6)
"""A node-second of it costs a thousandth."""


@pytest.mark.parametrize(
    ("items", "size", "nodes", "workers", "seconds"),
    [
        (10, 10, 1, 1, 100),  # one mini-batch holds them all
        (10, 1, 1, 1, 100),  # ten, one after another
        (10, 1, 2, 1, 50),
        (10, 1, 1, 2, 50),  # two workers on a node are as good as two nodes
        (10, 3, 2, 1, 60),  # 3 3 | 3 1: both rounds are as long as their longest mini-batch
        (9, 5, 1, 1, 90),  # 5 | 4: the last round is the rest alone
        (10, 100, 8, 4, 100),  # a single mini-batch keeps a single worker busy
        (1, 1, 8, 4, 10),
        (0, 10, 1, 1, 0),
    ],
)
def test_mini_batches_run_in_rounds_over_all_workers(
    items: int, size: int, nodes: int, workers: int, seconds: float
) -> None:
    work = Work("score", PLAIN, seconds=items * 10, items=items, workers=workers)
    assert step_seconds(work, nodes, size) == pytest.approx(seconds)


def test_each_mini_batch_takes_time_of_its_own_and_each_step_its_beginning() -> None:
    place = Place("cluster", "Standard_X", workers=2, step_s=20, mini_batch_s=1)
    work = Work("score", place, seconds=80, start_s=5, items=8)
    assert step_seconds(work, 1, 1) == 20 + 5 + 4 * (10 + 1)
    assert step_seconds(work, 1, 4) == 20 + 5 + 40 + 1
    assert step_seconds(Work("split", place, seconds=7, start_s=1), 1, 1) == 20 + 1 + 7


def test_a_step_waits_for_those_it_needs_and_not_for_others() -> None:
    works = (
        Work("split", PLAIN, seconds=10),
        Work("listen", PLAIN, ("split",), seconds=50),
        Work("look", PLAIN, ("split",), seconds=30),
        Work("join", PLAIN, ("listen", "look"), seconds=5),
    )
    found = estimate(works, None, None)
    assert found.seconds == 10 + 50 + 5
    assert found.node_seconds == 10 + 50 + 30 + 5
    assert found.cost == pytest.approx(0.095)


def test_a_cluster_starts_nodes_keeps_them_a_while_and_lets_them_go() -> None:
    place = Place("cluster", "X", max_nodes=10, start_s=100, idle_s=60, price=3.6)
    other = Place("other", "X", price=3.6)
    works = [
        Work("first", place, seconds=10),
        Work("between", other, ("first",), seconds=40),
        Work("last", place, ("between",), seconds=10),
    ]
    near = estimate(works, None, None)
    assert (near.seconds, near.starts) == (100 + 10 + 40 + 10, 1)
    assert near.waiting_node_seconds == 100 + 40 + 60  # it starts, idles between, and idles at the end
    assert near.node_seconds == 60 + near.waiting_node_seconds
    works[1] = Work("between", other, ("first",), seconds=400)
    far = estimate(works, None, None)
    assert (far.seconds, far.starts) == (100 + 10 + 400 + 100 + 10, 2)
    assert far.waiting_node_seconds == 2 * (100 + 60)


def test_nodes_that_a_narrower_step_leaves_alone_go_when_they_were_idle_long_enough() -> None:
    place = Place("cluster", "X", max_nodes=4, start_s=100, idle_s=60, price=3.6)
    works = (Work("wide", place, seconds=40, items=4), Work("narrow", place, ("wide",), seconds=10))
    found = estimate(works, 4, 1)
    assert found.seconds == 100 + 10 + 10
    assert found.waiting_node_seconds == 4 * 100 + 3 * 60 + 60


def test_nodes_that_are_always_there_neither_start_nor_are_the_runs_when_idle() -> None:
    place = Place("cluster", "X", min_nodes=2, max_nodes=4, start_s=100, idle_s=60, price=3.6)
    work = Work("score", place, seconds=40, items=4)
    kept = estimate([work], 2, 1)
    assert (kept.seconds, kept.starts, kept.waiting_node_seconds) == (20, 0, 0)
    more = estimate([work], 4, 1)
    assert (more.seconds, more.starts) == (110, 1)
    assert more.waiting_node_seconds == 4 * 100 + 2 * 60


def test_a_lost_node_costs_its_start_and_half_a_mini_batch() -> None:
    place = Place("cluster", "X", start_s=100, lost_per_hour=0.5, price=3.6, max_nodes=2)
    work = Work("score", place, seconds=7_200, start_s=4, items=720)
    small, large = estimate([work], 2, 1), estimate([work], 2, 360)
    # two nodes work an hour each and a start: about one of them is lost
    lost = 0.5 * 2 * (3_604 / 3_600)
    assert small.node_seconds == pytest.approx(2 * 3_604 + lost * (10 / 2 + 104) + 200, abs=0.01)
    assert large.node_seconds == pytest.approx(2 * 3_604 + lost * (3_600 / 2 + 104) + 200, abs=0.01)
    assert large.seconds == pytest.approx(100 + 3_604 + lost * (3_600 / 2 + 104) / 2, abs=0.01)
    assert (small.redo_at_most_s, large.redo_at_most_s) == (10, 3_600)


def test_a_step_whose_mini_batches_are_cut_by_bytes_keeps_its_own() -> None:
    work = Work("score", PLAIN, seconds=100, items=10, mini_batch_size=2, sized=False)
    assert estimate([work], 1, 10).mini_batches == 5


def test_no_step_has_more_nodes_than_its_cluster() -> None:
    small = Place("small", "X", max_nodes=2, price=3.6)
    works = (Work("a", PLAIN, seconds=80, items=8), Work("b", small, ("a",), seconds=80, items=8))
    assert [step.nodes for step in estimate(works, 8, 1).steps] == [8, 2]


@pytest.mark.parametrize(("price", "cost"), [(None, None), (0, 0), (3.6, 0.01)])
def test_without_a_price_there_is_no_cost(price: float | None, cost: float | None) -> None:
    place = Place("cluster", "X", price=price)
    assert estimate([Work("score", place, seconds=10)], None, None).cost == cost
