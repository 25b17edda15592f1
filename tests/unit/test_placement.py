"""On which cluster each step goes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from batchscore.definitions import load_pipeline
from batchscore.definitions.compute_targets import ComputeTarget, load_targets
from batchscore.definitions.model import ParallelStep
from batchscore.definitions.placement import gpu_environments, needs_gpu, placed, with_workers
from batchscore.errors import DefinitionError, RequestError
from tests.azureml_jobs import SHIPPED
from tests.local_pipelines import write

TARGETS = {
    name: ComputeTarget(f"real-{name}", "Standard_D2s_v5") for name in ("cpu-cluster", "gpu-cluster", "big")
}
VIDEO = load_pipeline(SHIPPED / "style_transfer" / "video.pipeline.yml")


def test_shipped_steps_go_where_their_pipelines_say_and_gpu_steps_on_gpus() -> None:
    environments = gpu_environments(SHIPPED)
    assert environments == {"batchscore-gpu", "batchscore-torch"}
    targets = load_targets(SHIPPED, {})
    for file in SHIPPED.glob("*/*.pipeline.yml"):
        pipeline = load_pipeline(file)
        for step in pipeline.steps:
            target = placed(pipeline, targets, environments)[step.name]
            assert target.is_gpu or not needs_gpu(step, environments)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (None, ["real-cpu-cluster", "real-gpu-cluster", "real-cpu-cluster"]),
        ("big", ["real-big", "real-big", "real-big"]),
        ({"stylize": "big"}, ["real-cpu-cluster", "real-big", "real-cpu-cluster"]),
    ],
)
def test_what_a_run_asks_for_goes_first(asked: str | dict[str, str] | None, expected: list[str]) -> None:
    assert [each.name for each in placed(VIDEO, TARGETS, (), asked).values()] == expected


def test_a_step_that_says_nothing_goes_by_its_environment() -> None:
    silent = replace(VIDEO, steps=tuple(replace(step, compute=None) for step in VIDEO.steps))
    found = placed(silent, TARGETS, gpu_environments(SHIPPED))
    assert [each.name for each in found.values()] == [
        "real-cpu-cluster",
        "real-gpu-cluster",
        "real-cpu-cluster",
    ]


@pytest.mark.parametrize(
    ("size", "environments", "workers"),
    [
        ("Standard_NC4as_T4_v3", gpu_environments(SHIPPED), 1),
        ("Standard_NC64as_T4_v3", gpu_environments(SHIPPED), 4),
        ("Standard_ND96isr_H100_v5", gpu_environments(SHIPPED), 8),
        ("Standard_D16ads_v5", gpu_environments(SHIPPED), 16),
        ("Standard_NC64as_T4_v3", frozenset(), 64),
    ],
)
def test_a_node_has_a_worker_for_each_of_its_gpus_or_for_each_core_where_a_step_needs_none(
    size: str, environments: frozenset[str], workers: int
) -> None:
    clusters = {step.name: ComputeTarget("cluster", size) for step in VIDEO.steps}
    found = with_workers(VIDEO, clusters, environments).step("stylize")
    assert isinstance(found, ParallelStep)
    assert found.max_concurrency_per_instance == workers


def test_workers_that_a_definition_asks_for_stay() -> None:
    stylize = replace(VIDEO.step("stylize"), max_concurrency_per_instance=2)
    clusters = {"stylize": ComputeTarget("cluster", "Standard_NC64as_T4_v3")}
    [found] = with_workers(replace(VIDEO, steps=(stylize,)), clusters, ("batchscore-gpu",)).steps
    assert isinstance(found, ParallelStep)
    assert found.max_concurrency_per_instance == 2


@pytest.mark.parametrize(
    ("size", "gpu", "own", "asked", "threads"),
    [
        ("Standard_D16ads_v5", False, None, None, "1"),
        ("Standard_D16ads_v5", False, 2, None, "8"),
        ("Standard_D16ads_v5", False, 2, 4, "4"),
        ("Standard_D16ads_v5", False, None, 99, "1"),
        ("Standard_NC4as_T4_v3", True, None, None, "4"),
        ("Standard_NC64as_T4_v3", True, None, None, "16"),
    ],
)
def test_the_workers_of_a_node_share_its_cores(
    size: str, gpu: bool, own: int | None, asked: int | None, threads: str
) -> None:
    stylize = replace(VIDEO.step("stylize"), max_concurrency_per_instance=own)
    environments = ("batchscore-gpu",) if gpu else ()
    alone = replace(VIDEO, steps=(stylize,))
    [found] = with_workers(alone, {"stylize": ComputeTarget("c", size)}, environments, asked).steps
    assert found.environment_variables["OMP_NUM_THREADS"] == threads


def test_a_step_that_says_its_threads_keeps_them() -> None:
    stylize = replace(VIDEO.step("stylize"), environment_variables={"OMP_NUM_THREADS": "3"})
    clusters = {"stylize": ComputeTarget("c", "Standard_D16ads_v5")}
    [found] = with_workers(replace(VIDEO, steps=(stylize,)), clusters, ()).steps
    assert found.environment_variables == {"OMP_NUM_THREADS": "3"}


def test_a_cluster_may_be_one_of_the_pipelines_inputs() -> None:
    said = replace(
        VIDEO, steps=tuple(replace(step, compute="${{parent.inputs.where}}") for step in VIDEO.steps)
    )
    assert placed(said, TARGETS, (), inputs={"where": "azureml:big"})["split"].name == "real-big"
    assert placed(said, TARGETS, ())["split"].name == "real-cpu-cluster"


def test_a_cluster_that_there_is_not_is_named_with_the_nearest() -> None:
    with pytest.raises(RequestError, match=r"step 'split' is to run on 'bigg'.*'big'"):
        placed(VIDEO, TARGETS, (), {"split": "bigg"})


@pytest.mark.parametrize(
    ("environment", "is_gpu"),
    [
        ("azureml:batchscore-gpu@latest", True),
        ("azureml:batchscore-gpu:3", True),
        ("azureml:batchscore-gpu-2:3", False),
        (None, False),
    ],
)
def test_an_environment_is_known_by_its_name_in_whatever_version(
    environment: str | None, is_gpu: bool
) -> None:
    step = replace(VIDEO.steps[0], environment=environment)
    assert needs_gpu(step, {"batchscore-gpu"}) is is_gpu


def test_an_environment_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    write(tmp_path / "environments" / "bad.yml", "name: [")
    with pytest.raises(DefinitionError, match=r"bad\.yml"):
        gpu_environments(tmp_path)
