"""What a run is expected to take: from its pipeline, its inputs, and earlier runs."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from batchscore.compute.base import Location, Overrides, Scalar
from batchscore.compute.local.machine import Machine
from batchscore.definitions.model import ParallelStep, Pipeline
from batchscore.errors import RequestError
from batchscore.estimates import Estimate
from batchscore.expectations import expect, given, within_budget
from batchscore.figures import declared
from batchscore.holdings import Amount
from batchscore.measured import RunSample, StepSample, options_of
from batchscore.planner import Bounds, Proposal
from batchscore.settings import Settings
from batchscore.triggers import RunRequest
from batchscore.workloads import Workloads

ROOT = Path(__file__).parents[2]
WORKLOADS = Workloads(ROOT / "scoring")
ENOUGH = {
    "AzureWebJobsStorage": "UseDevelopmentStorage=true",
    "DATA_STORAGE": "UseDevelopmentStorage=true",
    "WORKLOADS_FOLDER": str(ROOT / "scoring"),
}
VIDEO, DIGITS = "style_transfer/video", "digits/classify"


@dataclass
class Storehouse:
    """What storage would say; every question is noted."""

    amounts: dict[str, Amount] = field(default_factory=dict)
    runs: tuple[RunSample, ...] = ()
    asked: list[str] = field(default_factory=list)

    def amount(self, location: Location, kind: str) -> Amount:
        self.asked.append(location.path)
        return self.amounts.get(location.path, Amount())

    def measured(self, workload: str) -> tuple[RunSample, ...]:
        return self.runs


def at(path: str) -> Location:
    return Location("data", "data", path)


def settings(**more: str) -> Settings:
    return Settings.from_environment(ENOUGH | more)


def inputs(workload: str, **values: Location | Scalar) -> dict[str, Location | Scalar]:
    if workload == VIDEO:
        return {
            "video": at("clip.mp4"),
            "style": Location("system", "models", "net/1"),
            "strength": 1.0,
        } | values
    return {"images": at("pictures")} | values


def asked(
    workload: str,
    store: Storehouse,
    compute: str = "azureml",
    overrides: Overrides | None = None,
    environment: dict[str, str] | None = None,
    bounds: dict[str, Bounds] | None = None,
    max_cost: float | None = None,
    **values: Location | Scalar,
) -> Proposal:
    request = RunRequest(workload, {}, overrides or Overrides(), bounds or {}, max_cost)
    pipeline = WORKLOADS.pipeline(workload)
    return expect(
        request, pipeline, inputs(workload, **values), settings(**(environment or {})), store, compute
    )


def video(megabytes: float, **more: object) -> Storehouse:
    return Storehouse({"clip.mp4": Amount(1, round(megabytes * 1e6))}, **more)  # type: ignore[arg-type]


def pictures(count: int) -> Storehouse:
    return Storehouse({"pictures": Amount(count, count * 1_000)})


def step(estimate: Estimate, name: str) -> int:
    items = next(each.items for each in estimate.steps if each.name == name)
    assert items is not None
    return items


def measured(workload: str, step: str, size: str, number: int = 1, **more: float) -> RunSample:
    pipeline = WORKLOADS.pipeline(workload)
    sample = StepSample(step, size, declared(pipeline)[step].cpu.text, more.get("work", 1), more.get("items"))
    options = options_of(pipeline, inputs(workload))
    return RunSample(
        f"run-{number}", datetime(2026, 1, 1, tzinfo=UTC), options, (sample,), more.get("node_start_s")
    )


def test_items_that_are_there_are_counted() -> None:
    found = asked(DIGITS, pictures(12_345)).chosen
    assert step(found, "classify") == 12_345
    assert "classify: 12,345 items, counted in images" in found.basis


def test_more_items_than_are_counted_are_told_as_more() -> None:
    store = Storehouse({"pictures": Amount(50_000, 1, whole=False)})
    assert "classify: more than 50,000 items, counted in images" in asked(DIGITS, store).chosen.basis


def test_items_that_a_step_makes_grow_with_the_input() -> None:
    small, large = asked(VIDEO, video(10)).chosen, asked(VIDEO, video(1_000)).chosen
    assert step(large, "stylize") == pytest.approx(100 * step(small, "stylize"), rel=0.1)
    assert large.seconds > small.seconds
    assert any("items, from 10 MB of input, as declared" in each for each in small.basis)


def test_earlier_runs_correct_how_many_items_there_are_and_how_long_they_take() -> None:
    before = asked(VIDEO, video(10)).chosen
    size = next(each.size for each in before.steps if each.name == "stylize")
    store = video(10, runs=(measured(VIDEO, "stylize", size, work=3, items=2),))
    after = asked(VIDEO, store).chosen
    assert step(after, "stylize") == pytest.approx(2 * step(before, "stylize"), abs=1)
    words = "\n".join(after.basis)
    assert "as in 1 earlier run" in words
    assert "an item on a worker, measured in 1 run with the same options" in words
    assert "declared" in "\n".join(before.basis)


def test_a_run_on_another_machine_says_nothing_of_how_long_items_take_here() -> None:
    store = video(10, runs=(measured(VIDEO, "stylize", "local", work=3, items=2),))
    assert "stylize: " in "\n".join(asked(VIDEO, store).chosen.basis)
    assert not any("on a worker, measured" in each for each in asked(VIDEO, store).chosen.basis)


def test_nodes_take_as_long_to_start_as_they_took() -> None:
    slow = video(10, runs=(measured(VIDEO, "split", "local", node_start_s=900),))
    assert asked(VIDEO, slow).chosen.seconds > asked(VIDEO, video(10)).chosen.seconds + 600


def test_steps_cost_what_the_clusters_cost_that_they_are_placed_on() -> None:
    found = {
        each.name: (each.cluster, each.size, each.price) for each in asked(VIDEO, video(10)).chosen.steps
    }
    assert found["split"] == ("cpu-cluster", "Standard_D16ads_v5", 0.824)
    assert found["stylize"] == ("gpu-cluster", "Standard_NC4as_T4_v3", 0.526)
    moved = asked(VIDEO, video(10), overrides=Overrides(compute="cpu-cluster")).chosen
    assert {each.cluster for each in moved.steps} == {"cpu-cluster"}


def test_on_a_cluster_the_planner_chooses_nodes_and_mini_batches_where_nothing_is_said() -> None:
    much = asked(DIGITS, pictures(40_000_000)).chosen
    assert (much.nodes or 0) > 1
    assert much.mini_batch_size is not None
    fixed = asked(DIGITS, pictures(40_000_000), overrides=Overrides(nodes=2, mini_batch_size=7)).chosen
    assert (fixed.nodes, fixed.mini_batch_size) == (2, 7)
    bound = asked(DIGITS, pictures(40_000_000), bounds={"nodes": Bounds(2, 3)}).chosen
    assert bound.nodes in (2, 3)


def test_beside_a_step_that_splits_tables_mini_batches_stay_as_they_are_defined() -> None:
    """The mini-batches of tables are bytes: a number of items would cut them into thousands."""
    pipeline = WORKLOADS.pipeline(DIGITS)
    files = next(step for step in pipeline.steps if isinstance(step, ParallelStep))
    port = replace(files.inputs[files.input_data], type="mltable")
    tables = replace(files, name="tables", inputs={**files.inputs, files.input_data: port})
    mixed = replace(pipeline, steps=(*pipeline.steps, tables))
    store, request = pictures(1_000_000), RunRequest(DIGITS, {}, Overrides())
    alone, beside = (
        expect(request, each, inputs(DIGITS), settings(), store, "azureml").chosen
        for each in (pipeline, mixed)
    )
    assert alone.mini_batch_size is not None
    assert beside.mini_batch_size is None
    assert beside.nodes is not None


def test_nodes_that_a_cluster_has_not_are_refused_with_both_numbers() -> None:
    with pytest.raises(RequestError, match=r"nodes is 9 or more, and cluster 'cpu-cluster' has at most 4"):
        asked(DIGITS, pictures(10), bounds={"nodes": Bounds(9, 20)})
    with pytest.raises(RequestError, match=r"nodes is 40, and cluster 'cpu-cluster' has at most 4"):
        asked(DIGITS, pictures(10), overrides=Overrides(nodes=40))
    raised = {"AML_COMPUTE_CLUSTER_MAX_NODES": "12"}
    assert asked(DIGITS, pictures(10), bounds={"nodes": Bounds(9, 20)}, environment=raised).chosen.nodes == 9


def test_on_this_machine_nothing_changes_and_nothing_costs_unless_it_is_asked_for() -> None:
    found = asked(DIGITS, pictures(1_000), "local").chosen
    assert (found.nodes, found.mini_batch_size, found.cost, found.starts) == (None, None, 0, 0)
    assert "this machine: money is 0" in found.basis[0]
    chosen = asked(DIGITS, pictures(1_000), "local", bounds={"mini_batch_size": Bounds(1, 20)}).chosen
    assert chosen.nodes is None
    assert 1 <= (chosen.mini_batch_size or 0) <= 20


def test_this_machine_works_on_all_its_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Machine, "here", lambda: Machine(1))
    one = asked(VIDEO, video(100), "local").chosen
    monkeypatch.setattr(Machine, "here", lambda: Machine(4))
    assert asked(VIDEO, video(100), "local").chosen.seconds < one.seconds / 2


def test_storage_is_asked_for_sizes_only_where_they_count() -> None:
    store = pictures(10)
    asked(DIGITS, store, labels=at("labels.txt"))
    assert store.asked == ["pictures"]


def test_a_budget_that_nothing_fits_is_told_with_the_figures() -> None:
    dear = asked(VIDEO, video(10_000), max_cost=0.01)
    assert not dear.affordable
    with pytest.raises(RequestError) as caught:
        within_budget(dear, 0.01)
    said = str(caught.value)
    assert "USD even at its cheapest" in said
    assert "node-hours" in said
    assert "prices of 2026-11-21" in said
    assert "max_cost is 0.01" in said


def test_a_budget_that_something_fits_is_kept() -> None:
    store = video(10_000)
    free = within_budget(asked(VIDEO, store), None)
    assert free.cost is not None
    assert within_budget(asked(VIDEO, store, max_cost=free.cost), free.cost).cost == free.cost


def test_a_budget_without_a_price_cannot_be_kept_and_says_where_to_put_it(tmp_path: Path) -> None:
    file = tmp_path / "prices.yml"
    file.write_text("dated: 2026-01-01\ncurrency: EUR\n")
    environment = {"PRICES": str(file)}
    with pytest.raises(RequestError, match=r"no price is known of Standard_D16ads_v5, Standard_NC4as_T4_v3"):
        asked(VIDEO, video(10), environment=environment, max_cost=5)
    assert asked(VIDEO, video(10), environment=environment).chosen.cost is None


def test_what_is_chosen_goes_into_the_job_and_the_rest_stays() -> None:
    estimate = asked(DIGITS, pictures(10)).chosen
    before = Overrides(logging_level="DEBUG", mini_batch_size=3)
    assert given(before, replace(estimate, nodes=2, mini_batch_size=None)) == replace(before, nodes=2)


@pytest.mark.parametrize("workload", WORKLOADS.names())
@pytest.mark.parametrize("compute", ["local", "azureml"])
def test_every_shipped_workload_can_be_estimated(workload: str, compute: str) -> None:
    pipeline: Pipeline = WORKLOADS.pipeline(workload)
    values: dict[str, Location | Scalar] = {}
    for name, each in pipeline.inputs.items():
        if each.is_data:
            values[name] = at(name)
        elif each.default is not None:
            values[name] = each.default
    store = Storehouse({name: Amount(100, 50_000_000) for name in values})
    found = expect(RunRequest(workload), pipeline, values, settings(), store, compute).chosen
    assert found.seconds > 0
    assert (found.cost or 0) > 0 or compute == "local"
    assert not any("guess" in each for each in found.basis)
