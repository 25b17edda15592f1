"""What a run should take and what it took, as a person reads it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from batchscore.accounting import Took
from batchscore.cli.accounts import account
from batchscore.cli.costs import estimate_words, money, node_hours, took_words
from batchscore.cli.planned import choices_table
from batchscore.compute.base import Overrides
from batchscore.estimates import Estimate, Place, Work, estimate
from batchscore.planner import Bounds, Proposal, Wishes, propose
from tests.unit.test_cli_accounts import LATER, T0, running

HERE = Place("this machine", "local", min_nodes=1)
CLUSTER = Place("cluster", "X", max_nodes=4, start_s=240, idle_s=120, price=3.6)


def expected(place: Place = CLUSTER) -> Estimate:
    work = Work("score", place, seconds=3_600, items=100, mini_batch_size=10)
    return replace(estimate([work], 2, 5), currency="USD", prices_of="2026-01-01")


@pytest.mark.parametrize(
    ("cost", "words"),
    [(None, "unknown"), (0, "0"), (0.0004, "0.0004"), (0.017, "0.02"), (1_234.5, "1,234.50")],
)
def test_money_has_cents_and_more_of_less(cost: float | None, words: str) -> None:
    assert money(cost) == words


def test_node_hours_have_two_digits_and_more_of_less() -> None:
    assert [node_hours(each) for each in (0, 1, 1_800, 360_000)] == ["0", "0.0003", "0.50", "100.00"]


def test_an_estimate_is_time_node_hours_and_money() -> None:
    assert estimate_words(expected()) == "about 34 min 00 s, 1.20 node-hours, cost 4.32 USD"
    assert estimate_words(expected(replace(CLUSTER, price=None))).endswith("cost unknown")
    assert estimate_words(expected(HERE)) == "about 1 h 00 min; this machine costs nothing"


def test_what_a_run_took_tells_measured_from_estimated() -> None:
    took = Took(2_100, 3_700, 720, 4.42, "USD")
    assert took_words(took, expected()) == (
        "35 min 00 s, 1.03 node-hours at work, about 0.20 starting and idle, cost about 4.42 USD"
    )
    assert took_words(replace(took, cost=None), expected()).endswith("cost unknown")
    assert took_words(took, None) == "35 min 00 s; this machine costs nothing"


def test_the_story_of_a_run_has_its_estimate_and_what_it_took() -> None:
    run = replace(running(), estimate=expected(), took=Took(1, 2, 3, 4, "USD"))
    told = {chapter.title: chapter.lines for chapter in account(run, LATER)}
    assert told["Estimate"] == (estimate_words(expected()),)
    assert told["Took"] == (took_words(Took(1, 2, 3, 4, "USD"), expected()),)
    assert "the planner chose 2 nodes" in told["Options"]
    asked = replace(run.request, bounds={"nodes": Bounds(1, 3)}, max_cost=5.0) if run.request else None
    assert asked is not None
    free = replace(run, request=replace(asked, overrides=Overrides()))
    assert "the planner chose 2 nodes and mini-batches of 5" in "".join(
        next(each.lines for each in account(free, T0) if each.title == "Options")
    )
    options = {each.title: each.lines for each in account(replace(run, request=asked), T0)}["Options"]
    assert {"nodes = 1 to 3", "max_cost = 5"} <= set(options)
    told_apart = Overrides(modes={"video": "download", "result": "upload"}, compute="gpu-cluster")
    options = {
        each.title: each.lines
        for each in account(replace(run, request=replace(asked, overrides=told_apart)), T0)
    }["Options"]
    assert {"modes = video: download, result: upload", "compute = gpu-cluster"} <= set(options)
    single = replace(
        run, estimate=replace(expected(), nodes=1), request=replace(asked, overrides=Overrides())
    )
    assert any(
        "the planner chose 1 node " in line
        for line in {each.title: each.lines for each in account(single, T0)}["Options"]
    )


def test_a_choice_that_is_several_things_stands_in_the_table_once() -> None:
    work = Work("score", CLUSTER, seconds=100, items=10, mini_batch_size=1)
    found = propose([work], Wishes(Bounds(1, 1), Bounds(1, 1)))
    table = choices_table(found)
    assert table.row_count == 2
    one = Proposal(expected(), (("cheapest", expected()), ("fastest", replace(expected(), nodes=4))))
    assert choices_table(one).row_count == 2
