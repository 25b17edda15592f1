"""In which form a reading lands: JSON lines, CSV, the same compressed, Parquet; cost of writing, reading, importing."""

from __future__ import annotations

import csv
import gzip
import io
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import batched

import msgspec
import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet

READINGS = 100_000
BATCH = 2_500
ROUNDS = 7
IMPORT_ROUNDS = 5
FIELDS = ("ts", "device", "tag", "value", "partition", "sequence", "index", "enqueued")


class Reading(msgspec.Struct, gc=False):
    ts: datetime
    device: str
    tag: str
    value: float
    partition: str
    sequence: int
    index: int
    enqueued: datetime


def readings() -> list[Reading]:
    """An hour of 5-second readings of many devices, as they come from one partition."""
    start = datetime(2026, 11, 21, 17, tzinfo=UTC)
    return [
        Reading(
            ts=start + timedelta(milliseconds=36 * number),
            device=f"pump-{number % 200:04d}",
            tag=str(number % 5),
            value=round(20 + (number * 7919 % 10_007) / 331, 3),
            partition="3",
            sequence=1_000_000 + number,
            index=0,
            enqueued=start + timedelta(milliseconds=36 * number + 850),
        )
        for number in range(READINGS)
    ]


_JSON = msgspec.json.Encoder()


def json_lines(batch: list[Reading]) -> bytes:
    return bytes(_JSON.encode_lines(batch))


def comma_separated(batch: list[Reading]) -> bytes:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(FIELDS)
    writer.writerows(
        [
            (
                r.ts.isoformat(),
                r.device,
                r.tag,
                r.value,
                r.partition,
                r.sequence,
                r.index,
                r.enqueued.isoformat(),
            )
            for r in batch
        ]
    )
    return stream.getvalue().encode()


def parquet(batch: list[Reading]) -> bytes:
    columns = zip(*map(msgspec.structs.astuple, batch), strict=True)
    table = pa.table(dict(zip(FIELDS, map(list, columns), strict=True)))
    sink = pa.BufferOutputStream()
    pyarrow.parquet.write_table(table, sink, compression="snappy")
    return sink.getvalue().to_pybytes()


def read_json(data: bytes) -> int:
    return int(pyarrow.json.read_json(io.BytesIO(data)).num_rows)


def read_csv(data: bytes) -> int:
    return int(pyarrow.csv.read_csv(io.BytesIO(data)).num_rows)


def read_parquet(data: bytes) -> int:
    return int(pyarrow.parquet.read_table(io.BytesIO(data)).num_rows)


Form = tuple[Callable[[list[Reading]], bytes], Callable[[bytes], int]]
FORMS: dict[str, Form] = {
    "JSON lines": (json_lines, read_json),
    "JSON lines, gzip -1": (
        lambda batch: gzip.compress(json_lines(batch), 1, mtime=0),
        lambda data: read_json(gzip.decompress(data)),
    ),
    "CSV": (comma_separated, read_csv),
    "Parquet (pyarrow, snappy)": (parquet, read_parquet),
}


def seconds(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def import_seconds(module: str) -> float:
    """Of a module on top of what the Function has anyway."""
    code = (
        "import msgspec, json, azure.storage.blob, time; b = time.perf_counter(); "
        f"import {module}; print(time.perf_counter() - b)"
    )
    found = [
        float(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)
        for _ in range(IMPORT_ROUNDS)
    ]
    return statistics.median(found)


def main() -> None:
    batches = [list(batch) for batch in batched(readings(), BATCH, strict=False)]
    blobs = {name: [write(batch) for batch in batches] for name, (write, _) in FORMS.items()}
    for name, (_, read) in FORMS.items():
        assert sum(map(read, blobs[name])) == READINGS, name
    writing: dict[str, list[float]] = {name: [] for name in FORMS}
    reading: dict[str, list[float]] = {name: [] for name in FORMS}
    for _ in range(ROUNDS):
        for name, (write, read) in FORMS.items():
            writing[name].append(seconds(lambda write=write: [write(batch) for batch in batches]))
            reading[name].append(seconds(lambda read=read, name=name: [read(blob) for blob in blobs[name]]))
    print(f"{READINGS:,} readings in blobs of {BATCH:,}; CPU time a reading, medians of {ROUNDS}")
    for name in FORMS:
        write, read = (statistics.median(times[name]) / READINGS * 1e6 for times in (writing, reading))
        size = sum(map(len, blobs[name])) / READINGS
        print(f"{name:26} write {write:5.2f} µs   read by pyarrow {read:5.2f} µs   {size:5.1f} bytes")
    for module in ("csv", "gzip", "pyarrow.parquet"):
        print(f"import {module}: {import_seconds(module) * 1e3:.0f} ms on top of what the Function imports")


if __name__ == "__main__":
    main()
