"""The clusters that steps name: Azure ML compute files in `<workloads>/computes/`, and what settings change in them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from batchscore.definitions.reading import Section
from batchscore.definitions.vm_sizes import cores_of, gpus_of, is_vm_size
from batchscore.definitions.yamlnodes import Problems, Stamps, read, stamps
from batchscore.errors import DefinitionError, SettingsError

FOLDER = "computes"
CPU_CLUSTER, GPU_CLUSTER = "cpu-cluster", "gpu-cluster"
"""Where steps run that name no cluster."""
SETTINGS = {CPU_CLUSTER: "AML_COMPUTE_CLUSTER", GPU_CLUSTER: "AML_GPU_COMPUTE_CLUSTER"}
"""What the names of the settings begin with that change a cluster: `…_NAME`, `…_MIN_NODES`, `…_MAX_NODES`, `…_SKU`, `…_TIER`."""
GPU_ENABLED = "GPU_ENABLED"
"""The setting that says whether there is a GPU cluster at all."""
MOST_NODES = 65_000
DEFAULT_MAX_NODES, DEFAULT_IDLE_S = 4, 120
"""What Azure ML takes where a file does not say."""

_SHIPPED = Path(__file__).resolve().parents[2] / "scoring"
_NAME = re.compile(r"[A-Za-z](?:[A-Za-z0-9-]{0,22}[A-Za-z0-9])")
_NAME_RULE = "2 to 24 letters, digits and -, a letter first and no - last"
_TIERS = ("dedicated", "low_priority")
_KEYS = (
    "$schema",
    "type",
    "name",
    "description",
    "location",
    "size",
    "tier",
    "min_instances",
    "max_instances",
    "idle_time_before_scale_down",
    "tags",
    "identity",
    "network_settings",
    "ssh_settings",
    "ssh_public_access_enabled",
    "enable_node_public_ip",
)


@dataclass(frozen=True)
class ComputeTarget:
    """A cluster as it is to be."""

    name: str
    """Its name in the workspace."""
    size: str
    min_nodes: int = 0
    max_nodes: int = DEFAULT_MAX_NODES
    idle_time_s: int = DEFAULT_IDLE_S
    low_priority: bool = False
    file: Path | None = None
    """The file it was read from, which may say more of it (network, identity)."""

    @property
    def is_absent(self) -> bool:
        """Whether the settings say that there is to be no such cluster."""
        return self.max_nodes == 0

    @property
    def gpus(self) -> int:
        """The GPUs of a node."""
        return gpus_of(self.size)

    @property
    def is_gpu(self) -> bool:
        return self.gpus > 0

    @property
    def cores(self) -> int:
        """The vCPUs of a node."""
        return cores_of(self.size)


def load_targets(
    workloads_folder: Path, environment: Mapping[str, str] | None = None
) -> dict[str, ComputeTarget]:
    """The clusters by the name that steps use, settings applied. A folder of workloads without computes has those that
    ship. DefinitionError lists what is wrong with the files, SettingsError names a setting."""
    folder = workloads_folder / FOLDER
    if not folder.is_dir():
        folder = _SHIPPED / FOLDER
    targets = _targets(stamps(folder.glob("*.yml")))
    env = os.environ if environment is None else environment
    return {name: _overridden(name, target, env) for name, target in targets.items()}


@lru_cache(maxsize=8)
def _targets(files: Stamps) -> Mapping[str, ComputeTarget]:
    """As the files say, each read once: every run that is planned asks."""
    problems = Problems()
    targets: dict[str, ComputeTarget] = {}
    for file, _, _ in files:
        target = _target(file, problems)
        if target is None:
            continue
        if target.name in targets:
            problems.add_at(str(file), 1, f"another file calls its cluster {target.name!r}, too. Rename one.")
        targets[target.name] = target
    if problems.found:
        raise DefinitionError(problems.sorted())
    return targets


def default_target(needs_gpu: bool) -> str:
    """The cluster of a step that names none."""
    return GPU_CLUSTER if needs_gpu else CPU_CLUSTER


def _target(file: Path, problems: Problems) -> ComputeTarget | None:
    root = read(file, problems)
    section = None if root is None else Section.of(root, f"the compute {file.name!r}", problems)
    if section is None:
        return None
    section.allow(_KEYS)
    if section.text("type") != "amlcompute":
        (section.wrong if "type" in section else section.missing)("type", "amlcompute")
    name, size = section.text("name"), section.text("size")
    if name is None:
        section.missing("name", "Give the name that steps use, such as cpu-cluster.")
    elif not _NAME.fullmatch(name):
        section.wrong("name", _NAME_RULE)
    if size is None:
        section.missing("size", "Give a VM size, such as Standard_D16ads_v5.")
    elif not is_vm_size(size):
        section.wrong("size", "a VM size, such as Standard_D16ads_v5")
    least = section.whole("min_instances", 0, MOST_NODES) or 0
    most = section.whole("max_instances", 1, MOST_NODES) or max(DEFAULT_MAX_NODES, least)
    if least > most:
        section.refuse("min_instances", f"is {least}, more than max_instances, {most}. Lower it.")
    idle_s = section.whole("idle_time_before_scale_down", 1)
    tier = section.choice("tier", _TIERS)
    if name is None or size is None:
        return None
    return ComputeTarget(name, size, least, most, idle_s or DEFAULT_IDLE_S, tier == "low_priority", file)


def _overridden(name: str, target: ComputeTarget, env: Mapping[str, str]) -> ComputeTarget:
    prefix = SETTINGS.get(name)
    if prefix is None:
        return target
    real = env.get(f"{prefix}_NAME", "").strip() or target.name
    if not _NAME.fullmatch(real):
        raise SettingsError(f"{prefix}_NAME is {real!r}; a cluster's name has {_NAME_RULE}.")
    size = env.get(f"{prefix}_SKU", "").strip() or target.size
    if not is_vm_size(size):
        raise SettingsError(f"{prefix}_SKU is {size!r}; it must be a VM size, such as Standard_NC4as_T4_v3.")
    tier = env.get(f"{prefix}_TIER", "").strip() or _TIERS[target.low_priority]
    if tier not in _TIERS:
        raise SettingsError(f"{prefix}_TIER is {tier!r}; it must be one of {', '.join(_TIERS)}.")
    changed = replace(
        target,
        name=real,
        size=size,
        low_priority=tier == "low_priority",
        min_nodes=_nodes(env, f"{prefix}_MIN_NODES", target.min_nodes, 0),
        max_nodes=_nodes(env, f"{prefix}_MAX_NODES", target.max_nodes, 1),
    )
    if changed.min_nodes > changed.max_nodes:
        raise SettingsError(
            f"{prefix}_MIN_NODES is {changed.min_nodes} and {prefix}_MAX_NODES {changed.max_nodes}; the least cannot "
            "be more than the most."
        )
    return changed if name != GPU_CLUSTER or _has_gpus(env) else replace(changed, min_nodes=0, max_nodes=0)


def _has_gpus(env: Mapping[str, str]) -> bool:
    text = env.get(GPU_ENABLED, "").strip() or "true"
    if text.lower() not in ("true", "false"):
        raise SettingsError(f"{GPU_ENABLED} is {text!r}; it must be true or false.")
    return text.lower() == "true"


def _nodes(env: Mapping[str, str], name: str, default: int, least: int) -> int:
    text = env.get(name, "").strip()
    if not text:
        return default
    if not text.isascii() or not text.isdigit() or not least <= int(text[:9]) <= MOST_NODES:
        raise SettingsError(f"{name} is {text!r}; it must be a whole number from {least} to {MOST_NODES}.")
    return int(text)
