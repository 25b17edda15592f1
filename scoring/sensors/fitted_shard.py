"""What a shard's sensors were fitted to: its models, and what is known of each sensor, in two files."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from common.output_files import write_whole
from common.receipts import FileVersion
from sensors.errors import ResultError
from sensors.model_set import SensorFigures, SkippedSensor
from sensors.packed_file import open_models, packed_bytes
from sensors.packed_models import PackedModels, together


@dataclass
class FittedShard:
    """The sensors of a shard, each in one of the two lists."""

    models: list[PackedModels] = field(default_factory=list)
    figures: list[SensorFigures] = field(default_factory=list)
    """of the models, in their order"""
    skipped: list[SkippedSensor] = field(default_factory=list)
    values: int = 0
    """How many values there were in the time that was asked for."""
    first_ns: int | None = None
    last_ns: int | None = None
    spread: int = 0
    """How many models were fitted to values that were spread over their steps."""
    coarse: int = 0
    """How many models are only near their optimum."""


def write_fitted(folder: Path, name: str, fitted: FittedShard) -> list[FileVersion]:
    """Write `<name>.json`, and `<name>.safetensors` where there is a model; gives their versions."""
    files = [folder / f"{name}.json"]
    told = {**vars(fitted), "models": len(fitted.models)}
    told |= {key: [asdict(each) for each in told[key]] for key in ("figures", "skipped")}
    write_whole(files[0], json.dumps(told, ensure_ascii=False).encode())
    if fitted.models:
        files.append(folder / f"{name}.safetensors")
        write_whole(files[1], packed_bytes(together(fitted.models)))
    return [FileVersion.of(path) for path in files]


def read_fitted(folder: Path, name: str) -> FittedShard:
    """What `write_fitted` wrote; ResultError when it is not there."""
    path = folder / f"{name}.json"
    try:
        told = json.loads(path.read_bytes())
        count = told.pop("models")
        figures = [SensorFigures(**{**each, "sensor": tuple(each["sensor"])}) for each in told.pop("figures")]
        skipped = [SkippedSensor(**{**each, "sensor": tuple(each["sensor"])}) for each in told.pop("skipped")]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ResultError(f"{path} cannot be read: {error!r}.") from None
    return FittedShard(
        [_read_models(folder / f"{name}.safetensors")] if count else [], figures, skipped, **told
    )


def _read_models(path: Path) -> PackedModels:
    """All of a file, which is not open any more then: of shards there may be more than a process may open."""
    mapped = open_models(path)
    return mapped.pick(np.arange(len(mapped)))
