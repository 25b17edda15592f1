"""Readings in buckets on disk, all of a sensor in one, so that each bucket can be worked on in memory by itself."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sensors.fields import SCHEMA

FLUSH_ROWS = 1 << 19
_SPREAD = np.uint64(0x9E3779B97F4A7C15)


class Buckets:
    """Files of a folder, each with the readings of the sensors that hash to it; rows keep their order.

    Memory holds FLUSH_ROWS rows at most, however many buckets there are: no file stays open.
    """

    def __init__(self, folder: Path, count: int) -> None:
        self._folder = folder
        self.count = count
        self._waiting: list[Any] = []
        self._rows = 0

    def add(self, readings: Any) -> None:
        """Take a table of readings (`fields.SCHEMA`)."""
        self._waiting.append(readings)
        self._rows += len(readings)
        if self._rows >= FLUSH_ROWS:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        if not self._rows:
            return
        table = pa.concat_tables(self._waiting).combine_chunks()
        self._waiting, self._rows = [], 0
        bucket = self._bucket_of(table)
        order = np.argsort(bucket, kind="stable")  # of 16-bit integers: a radix sort
        ends = np.cumsum(np.bincount(bucket, minlength=self.count)).tolist()
        table = table.take(pa.array(order))
        begin = 0
        for number, end in enumerate(ends):
            if end > begin:
                with self._path(number).open("ab") as stream, pa.ipc.new_stream(stream, SCHEMA) as writer:
                    writer.write_table(table.slice(begin, end - begin))
            begin = end

    def take(self, number: int) -> Any:
        """The table of a bucket, whose file is removed."""
        path = self._path(number)
        if not path.exists():
            return SCHEMA.empty_table()
        parts = []
        with path.open("rb") as stream:
            while stream.tell() < path.stat().st_size:
                parts.append(pa.ipc.open_stream(stream).read_all())
        path.unlink()
        return pa.concat_tables(parts).combine_chunks()

    def _path(self, number: int) -> Path:
        return self._folder / f"{number}.arrows"

    def _bucket_of(self, table: Any) -> NDArray[np.uint16]:
        """A row's bucket, the same for a sensor at any time and on any machine."""
        mixed = _hashes(table["device"]) * _SPREAD + _hashes(table["tag"])
        mixed = (mixed ^ (mixed >> np.uint64(29))) * _SPREAD
        return ((mixed >> np.uint64(33)) % np.uint64(self.count)).astype(np.uint16)


def _hashes(texts: Any) -> NDArray[np.uint64]:
    encoded = texts.combine_chunks().dictionary_encode()
    of_each = np.array([zlib.crc32(text.encode()) for text in encoded.dictionary.to_pylist()], np.uint64)
    hashes: NDArray[np.uint64] = of_each[encoded.indices.to_numpy()]
    return hashes
