"""The clusters that steps name: their files, what settings change, what a VM size's name says."""

from __future__ import annotations

from pathlib import Path

import pytest

from batchscore.definitions.compute_targets import ComputeTarget, load_targets
from batchscore.definitions.vm_sizes import cores_of, gpus_of, is_vm_size
from batchscore.errors import DefinitionError, SettingsError
from batchscore.settings import CLUSTER_SETTINGS

SCORING = Path(__file__).parents[2] / "scoring"


@pytest.mark.parametrize(
    ("size", "cores", "gpus"),
    [
        ("Standard_D16ads_v5", 16, 0),
        ("STANDARD_DS3_V2", 4, 0),
        ("Standard_D12_v2", 4, 0),
        ("Standard_E32-16s_v5", 16, 0),
        ("Standard_F4s_v2", 4, 0),
        ("Standard_NC4as_T4_v3", 4, 1),
        ("Standard_NC64as_T4_v3", 64, 4),
        ("Standard_NC24ads_A100_v4", 24, 1),
        ("standard_nc96ads_a100_v4", 96, 4),
        ("Standard_NC80adis_H100_v5", 80, 2),
        ("Standard_NC40ads_H100_v5", 40, 1),
        ("Standard_NC24rs_v3", 24, 4),
        ("Standard_NC6s_v3", 6, 1),
        ("Standard_ND96asr_v4", 96, 8),
        ("Standard_ND96amsr_A100_v4", 96, 8),
        ("Standard_ND96isr_H200_v5", 96, 8),
        ("Standard_ND40rs_v2", 40, 8),
        ("Standard_NV72ads_A10_v5", 72, 2),
        ("Standard_NV36adms_A10_v5", 36, 1),
        ("Standard_NV48s_v3", 48, 4),
        ("Standard_NX48_new_v9", 48, 1),
    ],
)
def test_a_vm_size_says_how_many_cores_and_gpus_a_node_has(size: str, cores: int, gpus: int) -> None:
    assert is_vm_size(size)
    assert (cores_of(size), gpus_of(size)) == (cores, gpus)


@pytest.mark.parametrize("size", ["", "D16", "Standard_", "Standard D2", "Standard_16"])
def test_what_is_no_vm_size_is_told_apart(size: str) -> None:
    assert not is_vm_size(size)
    assert gpus_of(size) == 0


def test_the_clusters_that_ship_cost_nothing_while_nothing_runs() -> None:
    targets = load_targets(SCORING, {})
    assert targets.keys() == {"cpu-cluster", "gpu-cluster"}
    assert all(target.min_nodes == 0 and target.idle_time_s <= 120 for target in targets.values())
    assert targets["gpu-cluster"].is_gpu
    assert not targets["cpu-cluster"].is_gpu
    assert (targets["cpu-cluster"].cores, targets["gpu-cluster"].gpus) == (16, 1)


def test_a_folder_of_workloads_without_computes_has_those_that_ship(tmp_path: Path) -> None:
    assert load_targets(tmp_path, {}) == load_targets(SCORING, {})


def test_a_setting_makes_nodes_cheap_ones() -> None:
    targets = load_targets(SCORING, {"AML_COMPUTE_CLUSTER_TIER": "low_priority"})
    assert [target.low_priority for target in targets.values()] == [True, False]
    with pytest.raises(
        SettingsError, match="AML_COMPUTE_CLUSTER_TIER is 'spot'; it must be one of dedicated"
    ):
        load_targets(SCORING, {"AML_COMPUTE_CLUSTER_TIER": "spot"})


@pytest.mark.parametrize("said", ["false", "False"])
def test_a_setting_rules_the_gpu_cluster_out(said: str) -> None:
    targets = load_targets(SCORING, {"GPU_ENABLED": said, "AML_GPU_COMPUTE_CLUSTER_MIN_NODES": "2"})
    assert [target.is_absent for target in targets.values()] == [False, True]
    assert not any(target.is_absent for target in load_targets(SCORING, {"GPU_ENABLED": "true"}).values())
    with pytest.raises(SettingsError, match="GPU_ENABLED is 'maybe'; it must be true or false"):
        load_targets(SCORING, {"GPU_ENABLED": "maybe"})


def test_settings_change_a_cluster_and_steps_still_find_it_by_its_name() -> None:
    changed = {
        "AML_COMPUTE_CLUSTER_NAME": "batch-cpu",
        "AML_COMPUTE_CLUSTER_SKU": "Standard_F4s_v2",
        "AML_COMPUTE_CLUSTER_MIN_NODES": "1",
        "AML_COMPUTE_CLUSTER_MAX_NODES": "20",
        "AML_GPU_COMPUTE_CLUSTER_SKU": "Standard_NC64as_T4_v3",
    }
    assert changed.keys() <= set(CLUSTER_SETTINGS)
    targets = load_targets(SCORING, changed)
    cpu = targets["cpu-cluster"]
    assert (cpu.name, cpu.size, cpu.min_nodes, cpu.max_nodes) == ("batch-cpu", "Standard_F4s_v2", 1, 20)
    assert (targets["gpu-cluster"].name, targets["gpu-cluster"].gpus) == ("gpu-cluster", 4)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("AML_COMPUTE_CLUSTER_NAME", "2fast", "'2fast'; a cluster's name has 2 to 24 letters"),
        ("AML_COMPUTE_CLUSTER_NAME", "a" * 25, "2 to 24"),
        ("AML_COMPUTE_CLUSTER_SKU", "big", "'big'; it must be a VM size, such as Standard_NC4as_T4_v3"),
        ("AML_COMPUTE_CLUSTER_MAX_NODES", "0", "'0'; it must be a whole number from 1 to 65000"),
        ("AML_GPU_COMPUTE_CLUSTER_MIN_NODES", "-1", "whole number from 0"),
        ("AML_GPU_COMPUTE_CLUSTER_MIN_NODES", "9", "the least cannot be more than the most"),
        ("AML_GPU_COMPUTE_CLUSTER_MAX_NODES", "many", "'many'"),
    ],
)
def test_a_wrong_setting_is_named_with_what_would_be_right(name: str, value: str, said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_targets(SCORING, {name: value})
    assert name in str(caught.value)
    assert said in str(caught.value)


GOOD = "type: amlcompute\nname: big-cluster\nsize: Standard_ND96isr_H100_v5\n"


def clusters(folder: Path, **files: str) -> dict[str, ComputeTarget]:
    (folder / "computes").mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / "computes" / f"{name}.yml").write_text(text)
    return load_targets(folder, {})


def test_what_a_file_does_not_say_is_what_azure_ml_takes(tmp_path: Path) -> None:
    target = clusters(tmp_path, big=GOOD)["big-cluster"]
    assert (target.min_nodes, target.max_nodes, target.idle_time_s, target.low_priority) == (0, 4, 120, False)
    assert (target.gpus, target.file) == (8, tmp_path / "computes" / "big.yml")


def test_low_priority_is_read(tmp_path: Path) -> None:
    assert clusters(tmp_path, big=GOOD + "tier: low_priority\n")["big-cluster"].low_priority


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "big.yml:1: the file is empty"),
        (GOOD + "max_nodes: 4\n", "big.yml:4: 'max_nodes' is not a key of the compute 'big.yml'"),
        (GOOD.replace("amlcompute", "kubernetes"), "big.yml:1: "),
        ("type: amlcompute\nsize: Standard_F4s_v2\n", "has no name"),
        ("type: amlcompute\nname: big-cluster\n", "has no size"),
        (GOOD.replace("big-cluster", "big_cluster"), "big.yml:2: "),
        (GOOD.replace("Standard_ND96isr_H100_v5", "huge"), "must be a VM size"),
        (
            GOOD + "min_instances: 5\nmax_instances: 2\n",
            "big.yml:4: the compute 'big.yml': min_instances is 5",
        ),
        (GOOD + "max_instances: 0\n", "a whole number from 1"),
        (GOOD + "idle_time_before_scale_down: -1\n", "big.yml:4"),
        (GOOD + "tier: spot\n", "one of dedicated, low_priority"),
    ],
)
def test_a_mistake_in_a_file_is_told_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        clusters(tmp_path, big=text)
    assert said in str(caught.value)


def test_two_files_cannot_give_one_name_to_two_clusters(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match="another file calls its cluster 'big-cluster', too"):
        clusters(tmp_path, big=GOOD, bigger=GOOD)
