"""What a run is expected to take, from its pipeline, its inputs and earlier runs; and what the planner gives it."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from batchscore.compute.base import Overrides
from batchscore.definitions.model import ParallelStep, ParentInput, Pipeline, Step, StepOutput
from batchscore.definitions.placement import gpu_environments, needs_gpu, with_workers
from batchscore.errors import RequestError
from batchscore.estimates import Estimate, Place, Work
from batchscore.figures import Features, Figures, declared
from batchscore.holdings import Holdings, Inputs, Inventory
from batchscore.measured import RunSample, correction, items_correction, node_start_s, options_of
from batchscore.places import LOCAL, clusters, has_gpu, on_cluster, on_this_machine
from batchscore.planner import Bounds, Proposal, Wishes, propose
from batchscore.settings import Settings
from batchscore.triggers import LARGEST_COUNT, RunRequest

NODES, MINI_BATCH_SIZE = "nodes", "mini_batch_size"
TABLE_MINI_BATCH = 1_000_000
"""Bytes of a table that are a mini-batch where nothing is said."""


@dataclass(frozen=True)
class Expectation:
    """The steps as work for the planner, and what that rests on, a sentence each."""

    works: tuple[Work, ...]
    basis: tuple[str, ...]
    places: dict[str, Place]


def expect(
    request: RunRequest,
    pipeline: Pipeline,
    inputs: Inputs,
    settings: Settings,
    inventory: Inventory,
    compute: str,
) -> Proposal:
    """What a run gets on a compute (`local`, `azureml`), with what it would take. RequestError when it asks for nodes
    that there are not, and for a `max_cost` that cannot be judged."""
    expectation = expected(request, pipeline, inputs, settings, inventory, compute)
    wishes = _wishes(request, pipeline, expectation, compute)
    _check_prices(request, expectation)
    proposal = propose(expectation.works, wishes)

    def told(estimate: Estimate) -> Estimate:
        return replace(
            estimate,
            currency=settings.prices.currency,
            prices_of=settings.prices.dated.isoformat(),
            basis=expectation.basis,
        )

    return replace(
        proposal,
        chosen=told(proposal.chosen),
        alternatives=tuple((name, told(each)) for name, each in proposal.alternatives),
    )


def within_budget(proposal: Proposal, max_cost: float | None) -> Estimate:
    """What the run gets; RequestError, with the figures, when nothing it could get is cheap enough."""
    found = proposal.chosen
    if proposal.affordable or max_cost is None:
        return found
    raise RequestError(
        f"the run would cost about {found.cost:.2f} {found.currency} even at its cheapest "
        f"({found.node_seconds / 3_600:.2f} node-hours, {found.seconds / 60:.1f} minutes, by the prices of "
        f"{found.prices_of}), and max_cost is {max_cost:g}. Raise max_cost, or give it less to do; 'batchscore plan' "
        "shows the choices."
    )


def given(overrides: Overrides, estimate: Estimate) -> Overrides:
    """The overrides with what the planner chose; what it left alone stays."""
    return replace(
        overrides,
        nodes=estimate.nodes or overrides.nodes,
        mini_batch_size=estimate.mini_batch_size or overrides.mini_batch_size,
    )


def expected(
    request: RunRequest,
    pipeline: Pipeline,
    inputs: Inputs,
    settings: Settings,
    inventory: Inventory,
    compute: str,
) -> Expectation:
    """What each step takes, on what."""
    runs = inventory.measured(request.workload)
    start_s = node_start_s(runs)
    environments = gpu_environments(settings.workloads_folder)
    if compute == LOCAL:
        here = on_this_machine()
        places = {step.name: here for step in pipeline.steps}
        basis = ["this machine: money is 0, whatever it takes; minutes are its own"]
    else:
        targets = clusters(pipeline, settings, request.overrides, inputs)
        pipeline = with_workers(pipeline, targets, environments)
        places = {name: on_cluster(target, settings.prices, start_s) for name, target in targets.items()}
        basis = [_nodes_words(settings, start_s), _prices_words(settings, places)]
    figures = figures_of(pipeline, places, environments)
    holdings = Holdings(pipeline, inputs, inventory)
    features = holdings.features(figures)
    options = options_of(pipeline, inputs)
    works = []
    for step in pipeline.steps:
        work, words = _work(
            step, places[step.name], figures[step.name], features, holdings, runs, options, request.overrides
        )
        works.append(work)
        basis += words
    return Expectation(tuple(works), tuple(basis), places)


def figures_of(
    pipeline: Pipeline, places: Mapping[str, Place], gpu_environments: Collection[str]
) -> dict[str, Figures]:
    """What is declared of each step where it runs: on a GPU if there is one and the step's environment uses it."""
    by_step = declared(pipeline)
    return {
        step.name: by_step[step.name].on(gpu=has_gpu(places[step.name]) and needs_gpu(step, gpu_environments))
        for step in pipeline.steps
    }


def after(step: Step) -> tuple[str, ...]:
    """The steps that a step waits for."""
    return tuple(dict.fromkeys(each.step for each in step.bindings.values() if isinstance(each, StepOutput)))


def _work(
    step: Step,
    place: Place,
    figures: Figures,
    features: Features,
    holdings: Holdings,
    runs: Sequence[RunSample],
    options: str,
    overrides: Overrides,
) -> tuple[Work, list[str]]:
    found = correction(runs, step.name, place.size, figures.text, options)
    source = "declared" if figures.text else "a guess: nothing is declared"
    if found.runs:
        source = f"measured in {found.runs} run{'s' if found.runs > 1 else ''}"
        source += " with the same options" if found.alike else " with other options"
    if not isinstance(step, ParallelStep):
        seconds = (figures.start_s + figures.work_s(features)) * found.work
        work = Work(step.name, place, after(step), seconds)
        return work, [f"{step.name}: {seconds:.3g} s, {source}"]
    items, words = _items(step, figures, features, holdings, runs, options)
    start_s = figures.start_s if found.start_s is None else found.start_s
    seconds = figures.work_s(features, items) * found.work
    sized = step.inputs[step.input_data].type != "mltable" and not step.partition_keys
    work = Work(
        step.name,
        place,
        after(step),
        seconds,
        start_s,
        items,
        nodes=overrides.nodes or step.instance_count,
        mini_batch_size=(step.mini_batch_size or 10) if sized else 1,
        sized=sized,
        workers=overrides.max_concurrency_per_instance or step.max_concurrency_per_instance,
        timeout_s=overrides.timeout_s or step.retry.timeout_s,
    )
    return work, [words, f"{step.name}: {work.item_s:.3g} s an item on a worker, {source}"]


def _items(
    step: ParallelStep,
    figures: Figures,
    features: Features,
    holdings: Holdings,
    runs: Sequence[RunSample],
    options: str,
) -> tuple[int, str]:
    """How many items a step has, and how that is known; of a table, how many mini-batches."""
    binding = step.bindings.get(step.input_data)
    if isinstance(binding, ParentInput) and not step.partition_keys:
        amount = holdings.of(binding.name)
        more = "" if amount.whole else "more than "
        if step.inputs[step.input_data].type == "mltable":
            count = max(1, math.ceil(amount.size_bytes / (step.mini_batch_size or TABLE_MINI_BATCH)))
            return count, f"{step.name}: {more}{count:,} mini-batches, by the size of {binding.name}"
        return amount.blobs, f"{step.name}: {more}{amount.blobs:,} items, counted in {binding.name}"
    factor, count = items_correction(runs, step.name, figures.text, options)
    items = max(1, round(figures.expected_items(features) * factor))
    how = f"{features.megabytes:.3g} MB of input" if figures.items is None else f"items={figures.items}"
    source = f"as in {count} earlier run{'s' if count > 1 else ''}" if count else "as declared"
    if not count and not figures.text:
        source = "a guess"
    return items, f"{step.name}: about {items:,} item{'s' if items > 1 else ''}, from {how}, {source}"


def _wishes(request: RunRequest, pipeline: Pipeline, expectation: Expectation, compute: str) -> Wishes:
    """On Azure ML the planner chooses what is not fixed; on this machine only what it is asked to. A number of items is
    none for a step that splits tables, so where there is one the definition's own mini-batches stay."""
    parallel = [step for step in pipeline.steps if isinstance(step, ParallelStep)]
    size = _bounds(request, MINI_BATCH_SIZE)
    if compute == LOCAL or not parallel:
        return Wishes(None, size, request.max_cost)
    places = [expectation.places[step.name] for step in parallel]
    narrowest = min(places, key=lambda place: place.max_nodes)
    nodes = _bounds(request, NODES) or Bounds(1, narrowest.max_nodes)
    if nodes.least > narrowest.max_nodes:
        raise RequestError(
            f"nodes is {nodes.least}{' or more' if nodes.most > nodes.least else ''}, and cluster {narrowest.cluster!r} has at most {narrowest.max_nodes}. Ask for "
            "fewer, or raise the cluster's maximum."
        )
    tables = any(step.inputs[step.input_data].type == "mltable" for step in parallel)
    return Wishes(
        Bounds(nodes.least, min(nodes.most, narrowest.max_nodes)),
        size or (None if tables else Bounds(1, LARGEST_COUNT)),
        request.max_cost,
    )


def _bounds(request: RunRequest, name: str) -> Bounds | None:
    fixed: int | None = getattr(request.overrides, name)
    return request.bounds.get(name) if fixed is None else Bounds(fixed, fixed)


def _check_prices(request: RunRequest, expectation: Expectation) -> None:
    unknown = sorted({place.size for place in expectation.places.values() if place.price is None})
    if request.max_cost is not None and unknown:
        raise RequestError(
            f"max_cost is {request.max_cost:g}, and no price is known of {', '.join(unknown)}. Add it to the file that "
            "the setting PRICES names, or leave max_cost out."
        )


def _prices_words(settings: Settings, places: Mapping[str, Place]) -> str:
    prices = settings.prices
    words = f"prices of {prices.dated.isoformat()} in {prices.currency}" + (
        f" ({prices.note})" if prices.note else ""
    )
    known = {place.size: place.price for place in places.values()}
    told = [f"{size} {'unknown' if price is None else f'{price:g}'} an hour" for size, price in known.items()]
    return f"{words}: {', '.join(told)}"


def _nodes_words(settings: Settings, measured_s: float | None) -> str:
    prices = settings.prices
    start = (
        f"{prices.node_start_s:g} s, assumed"
        if measured_s is None
        else f"{measured_s:.0f} s, as in earlier runs"
    )
    return f"clusters: a node that is not there takes {start}; a step {prices.step_start_s:g} s to begin, assumed"
