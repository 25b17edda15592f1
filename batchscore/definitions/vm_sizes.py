"""What a VM size's name says of the machine: cores and GPUs, by Azure's naming rule and its exceptions."""

from __future__ import annotations

import re

_SIZE = re.compile(r"(?:Standard|Basic)_([A-Z]+)(\d+)(?:-(\d+))?([a-z]*)((?:_\w+)*)", re.IGNORECASE)
_OLD_D_CORES = {1: 1, 2: 2, 3: 4, 4: 8, 5: 16, 11: 2, 12: 4, 13: 8, 14: 16, 15: 20}
"""D and DS up to v2 count sizes, not cores."""

_GPUS_FROM_CORES: tuple[tuple[str, dict[int, int]], ...] = (
    (r"NC\d+as_T4_v3", {4: 1, 8: 1, 16: 1, 64: 4}),
    (r"NC\d+ads_A100_v4", {24: 1, 48: 2, 96: 4}),
    (r"NCC?\d+adi?s_H100_v5", {40: 1, 80: 2}),
    (r"NC\d+r?s_v[23]", {6: 1, 12: 2, 24: 4}),
    (r"ND40rs_v2", {40: 8}),
    (r"ND96a(ms)?s?r_(A100_)?v4", {96: 8}),
    (r"ND96isr?_(H100|H200|MI300X)_v5", {96: 8}),
    (r"ND128isr_NDR_GB200_v6", {128: 4}),
    (r"NV\d+adm?s_A10_v5", {6: 1, 12: 1, 18: 1, 36: 1, 72: 2}),
    (r"NV\d+s_v3", {12: 1, 24: 2, 48: 4}),
)
"""GPUs by vCPUs of the sizes of each series, as Azure's documentation lists them. A part of an A10 counts as one."""


def is_vm_size(text: str) -> bool:
    """Whether a VM size can be called so."""
    return _SIZE.fullmatch(text) is not None


def cores_of(size: str) -> int:
    """The vCPUs of a VM size; 1 of a name that says nothing."""
    match = _SIZE.fullmatch(size)
    if match is None:
        return 1
    family, number, constrained, _, version = match.groups()
    if family.upper() in ("D", "DS") and version.lower() in ("", "_v2"):
        return _OLD_D_CORES.get(int(number), int(number))
    return int(constrained or number)


def gpus_of(size: str) -> int:
    """The GPUs of a VM size: 0 outside the N series, 1 of a size of it that is newer than this table."""
    match = _SIZE.fullmatch(size)
    if match is None or not match[1].upper().startswith("N"):
        return 0
    bare = size.partition("_")[2]
    for pattern, gpus in _GPUS_FROM_CORES:
        if re.fullmatch(pattern, bare, re.IGNORECASE):
            return gpus.get(int(match[2]), 1)
    return 1
