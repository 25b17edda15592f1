"""What the steps of a run are computed on, and what that costs: nodes of clusters, or this machine."""

from __future__ import annotations

from collections.abc import Mapping

from batchscore.compute.base import Overrides
from batchscore.definitions.compute_targets import ComputeTarget, load_targets
from batchscore.definitions.model import Pipeline
from batchscore.definitions.placement import gpu_environments, placed
from batchscore.definitions.vm_sizes import gpus_of
from batchscore.estimates import Place
from batchscore.prices import Prices
from batchscore.settings import Settings

LOCAL = "local"
THIS_MACHINE = "this machine"


def clusters(
    pipeline: Pipeline, settings: Settings, overrides: Overrides, inputs: Mapping[str, object]
) -> dict[str, ComputeTarget]:
    """The cluster of each step of a run. RequestError for one that there is not, DefinitionError and SettingsError for
    what is wrong with their files and settings."""
    return placed(
        pipeline,
        load_targets(settings.workloads_folder, settings.clusters),
        gpu_environments(settings.workloads_folder),
        overrides.compute,
        inputs,
    )


def on_cluster(target: ComputeTarget, prices: Prices, node_start_s: float | None = None) -> Place:
    """A cluster's nodes; `node_start_s` is measured, else what the prices assume."""
    low = target.low_priority
    return Place(
        cluster=target.name,
        size=target.size,
        workers=target.gpus or target.cores,
        min_nodes=target.min_nodes,
        max_nodes=target.max_nodes,
        start_s=prices.node_start_s if node_start_s is None else node_start_s,
        idle_s=target.idle_time_s,
        step_s=prices.step_start_s,
        mini_batch_s=prices.mini_batch_s,
        price=prices.price(target.size, low_priority=low),
        lost_per_hour=prices.lost_per_hour(low_priority=low),
    )


def on_this_machine() -> Place:
    """One node that is always there and costs nothing."""
    from batchscore.compute.local.machine import Machine  # beside the engine, which doors do without

    machine = Machine.here()
    return Place(THIS_MACHINE, LOCAL, workers=machine.gpus or machine.cores, min_nodes=1)


def has_gpu(place: Place) -> bool:
    """Whether workers there have a GPU each."""
    from batchscore.compute.local.machine import Machine

    return gpus_of(place.size) > 0 if place.size != LOCAL else Machine.here().gpus > 0
