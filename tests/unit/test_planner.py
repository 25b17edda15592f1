"""What the planner chooses, and what it lets a person choose from."""

from __future__ import annotations

from dataclasses import replace

import pytest

from batchscore.estimates import Place, Work, estimate
from batchscore.planner import THRIFT, Bounds, Proposal, Wishes, propose

CLUSTER = Place(
    "gpu-cluster", "X", max_nodes=10, start_s=240, idle_s=120, step_s=20, mini_batch_s=1, price=0.6
)
CHEAP = replace(CLUSTER, price=0.1, lost_per_hour=0.05)


def job(items: int, item_s: float, place: Place = CLUSTER, **more: float) -> list[Work]:
    step = Work("score", place, (), items * item_s, 5, items, mini_batch_size=10)
    return [replace(step, **more)]  # type: ignore[arg-type]


def chosen(
    works: list[Work], nodes: Bounds | None, size: Bounds | None, most: float | None = None
) -> Proposal:
    return propose(works, Wishes(nodes, size, most))


ALL, ANY = Bounds(1, 10), Bounds(1, 1_000_000)


@pytest.mark.parametrize(
    ("items", "item_s", "nodes"),
    [
        (10, 1, 1),  # starting a second node costs more than it saves
        (1_000, 1, 1),
        (10_000, 1, 7),  # three hours of work: seven nodes cost a quarter more than one
        (100_000, 1, 10),  # all of them: what they take to start no longer counts
        (1_000_000, 0.001, 1),
    ],
)
def test_more_work_gets_more_nodes(items: int, item_s: float, nodes: int) -> None:
    assert chosen(job(items, item_s), ALL, ANY).chosen.nodes == nodes


def test_nothing_costs_much_more_than_the_cheapest() -> None:
    for items in (1, 30, 500, 4_000, 50_000):
        found = chosen(job(items, 2), ALL, ANY)
        cheapest = dict(found.alternatives)["cheapest"]
        assert found.chosen.cost is not None
        assert cheapest.cost is not None
        assert found.chosen.cost <= THRIFT * cheapest.cost
        assert found.chosen.seconds <= cheapest.seconds * 1.02


def test_items_that_take_no_time_go_in_large_mini_batches_and_slow_ones_in_small() -> None:
    quick, slow = chosen(job(100_000, 0.001), ALL, ANY).chosen, chosen(job(1_000, 60), ALL, ANY).chosen
    assert quick.mini_batch_size is not None
    assert slow.mini_batch_size is not None
    assert quick.mini_batch_size >= 1_000
    assert slow.mini_batch_size <= 10


def test_nodes_that_may_be_taken_away_get_smaller_mini_batches_than_safe_ones() -> None:
    works = job(20_000, 2, mini_batch_size=1)
    safe = chosen(works, Bounds(4, 4), Bounds(50, 5_000)).chosen
    risky = replace(works[0], place=replace(CLUSTER, lost_per_hour=5))
    taken = chosen([risky], Bounds(4, 4), Bounds(50, 5_000)).chosen
    assert safe.mini_batch_size is not None
    assert taken.mini_batch_size is not None
    assert taken.mini_batch_size <= safe.mini_batch_size
    far = estimate([risky], 4, 5_000)
    assert far.node_seconds > taken.node_seconds * 1.2


def test_both_ends_of_the_trade_off_are_offered() -> None:
    found = dict(chosen(job(1_000, 10, CHEAP), ALL, ANY).alternatives)
    redo, start = found["little to redo"], found["least start-up"]
    assert (redo.mini_batch_size, redo.mini_batches, redo.redo_at_most_s) == (1, 1_000, 10)
    assert (start.nodes, start.mini_batch_size, start.mini_batches) == (10, 100, 10)
    assert start.seconds < redo.seconds
    assert start.redo_at_most_s == 1_000


@pytest.mark.parametrize("nodes", [1, 4, 10])
@pytest.mark.parametrize("size", [1, 7, 100])
def test_both_ends_and_all_between_can_be_asked_for(nodes: int, size: int) -> None:
    found = chosen(job(1_000, 10), Bounds(nodes, nodes), Bounds(size, size)).chosen
    assert (found.nodes, found.mini_batch_size) == (nodes, size)


@pytest.mark.parametrize(("least", "most"), [(2, 3), (5, 9), (10, 10)])
def test_bounds_are_kept(least: int, most: int) -> None:
    for items in (3, 300, 30_000):
        found = chosen(job(items, 5), Bounds(least, most), Bounds(least, most)).chosen
        assert found.nodes is not None
        assert found.mini_batch_size is not None
        assert least <= found.nodes <= most
        assert least <= found.mini_batch_size <= most


def test_hundreds_of_nodes_are_looked_at_with_both_ends() -> None:
    works = job(10_000_000, 10, replace(CLUSTER, max_nodes=700))
    assert chosen(works, Bounds(3, 700), ANY).chosen.nodes == 700
    assert dict(chosen(works, Bounds(3, 700), ANY).alternatives)["cheapest"].nodes == 3


def test_a_mini_batch_ends_well_before_its_time_out() -> None:
    works = job(10_000, 10, timeout_s=600)
    assert max(each.mini_batch_size or 0 for each in [chosen(works, ALL, ANY).chosen]) * 10 <= 300
    too_long = chosen(job(10, 1_000, timeout_s=600), ALL, Bounds(2, 5)).chosen
    assert too_long.mini_batch_size == 2


def test_what_is_not_asked_for_stays_as_the_file_says() -> None:
    found = chosen(job(1_000, 10), None, None)
    assert (found.chosen.nodes, found.chosen.mini_batch_size) == (None, None)
    assert found.chosen == estimate(job(1_000, 10), None, None)


def test_among_equals_the_files_own_mini_batches_stay() -> None:
    assert chosen(job(100_000, 10), Bounds(4, 4), ANY).chosen.mini_batch_size == 10


def test_a_run_that_may_cost_less_gets_fewer_nodes_until_there_is_none_that_is_cheap_enough() -> None:
    works = job(20_000, 1)
    free = chosen(works, ALL, ANY)
    cheapest = dict(free.alternatives)["cheapest"]
    assert free.chosen.cost is not None
    assert cheapest.cost is not None
    between = (free.chosen.cost + cheapest.cost) / 2
    bound = chosen(works, ALL, ANY, between)
    assert bound.affordable
    assert (bound.chosen.cost or 0) <= between
    assert (bound.chosen.nodes or 0) < (free.chosen.nodes or 0)
    dear = chosen(works, ALL, ANY, cheapest.cost * 0.9)
    assert not dear.affordable
    assert dear.chosen == cheapest


def test_without_a_price_node_time_decides() -> None:
    works = job(10_000, 1, replace(CLUSTER, price=None))
    found = chosen(works, ALL, ANY).chosen
    assert (found.nodes, found.cost) == (7, None)


def test_a_pipeline_without_items_has_one_choice() -> None:
    found = chosen([Work("train", CLUSTER, seconds=100)], ALL, ANY)
    assert found.chosen.steps[0].nodes == 1
    assert "little to redo" not in dict(found.alternatives)


def test_what_saves_only_seconds_is_not_worth_other_mini_batches() -> None:
    few = chosen(job(3, 0.1, mini_batch_size=1, workers=2), ALL, ANY)
    assert (few.chosen.nodes, few.chosen.mini_batch_size) == (1, 1)
    assert dict(few.alternatives)["fastest"].seconds < few.chosen.seconds
