"""The table of predictions, as CSV or Parquet, written piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet

from common.output_files import whole_file
from sensors.packed_models import Sensor
from sensors.scores import Scores
from sensors.svm import is_anomaly

HEADER = ("TS", "Device", "Tag", "Val", "Prediction", "Score", "Model")
FORMATS = ("csv", "parquet")
Write = Callable[[Scores], None]


def field(text: str) -> str:
    """A text as a field of a CSV file: in quotes only where it must be."""
    if any(mark in text for mark in ',"\r\n'):
        return '"' + text.replace('"', '""') + '"'
    return text


@contextmanager
def predictions_file(
    folder: Path, form: str, sensors: Sequence[Sensor], label: str, time_unit: str
) -> Iterator[Write]:
    """What writes predictions.csv or predictions.parquet: whole when the block ends well, else not there.

    Scores name sensors by their place in `sensors`; `label` is the model of them all. Times are written in
    `time_unit` (ms, us, ns).
    """
    opened = {"csv": _csv, "parquet": _parquet}[form]
    with whole_file(folder / f"predictions.{form}") as path, opened(path, sensors, label, time_unit) as write:
        yield write


@contextmanager
def _csv(path: Path, sensors: Sequence[Sensor], label: str, time_unit: str) -> Iterator[Write]:
    names = pa.array([f"{field(device)},{field(tag)}" for device, tag in sensors], pa.large_string())
    ending = f",{field(label)}\n"
    with path.open("wb") as stream:
        stream.write((",".join(HEADER) + "\n").encode())

        def write(scores: Scores) -> None:
            times, codes = np.unique(scores.times_ns, return_inverse=True)
            lines = pc.binary_join_element_wise(
                _times(times, time_unit).take(pa.array(codes)),
                names.take(pa.array(scores.sensors)).cast(pa.string()),
                pa.array(scores.values).cast(pa.string()),
                pa.array(is_anomaly(scores.scores).astype(np.int8)).cast(pa.string()),
                pc.binary_join_element_wise(pa.array(scores.scores).cast(pa.string()), ending, ""),
                ",",
            )
            # The texts of an array lie one after the other: they are the file.
            _, offsets, content = lines.buffers()
            ends = np.frombuffer(offsets, np.int32)
            stream.write(memoryview(content)[: int(ends[len(lines)])])

        yield write


def _times(times_ns: Any, time_unit: str) -> Any:
    texts = (
        pa.array(times_ns)
        .cast(pa.timestamp("ns", "UTC"))
        .cast(pa.timestamp(time_unit, "UTC"))
        .cast(pa.string())
    )
    return pc.replace_substring(texts, " ", "T")


@contextmanager
def _parquet(path: Path, sensors: Sequence[Sensor], label: str, time_unit: str) -> Iterator[Write]:
    devices = pa.array([device for device, _ in sensors], pa.string())
    tags = pa.array([tag for _, tag in sensors], pa.string())
    kinds = (
        pa.timestamp(time_unit, "UTC"),
        pa.string(),
        pa.string(),
        pa.float64(),
        pa.int8(),
        pa.float64(),
        pa.string(),
    )
    schema = pa.schema([pa.field(name, kind) for name, kind in zip(HEADER, kinds, strict=True)])
    with pyarrow.parquet.ParquetWriter(path, schema, compression="zstd") as writer:

        def write(scores: Scores) -> None:
            places = pa.array(scores.sensors)
            columns = [
                pa.array(scores.times_ns).cast(pa.timestamp("ns", "UTC")).cast(kinds[0]),
                devices.take(places),
                tags.take(places),
                pa.array(scores.values),
                pa.array(is_anomaly(scores.scores).astype(np.int8)),
                pa.array(scores.scores),
                pa.repeat(pa.scalar(label), len(scores)),
            ]
            writer.write_table(pa.table(columns, schema=schema))

        yield write
