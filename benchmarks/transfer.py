"""2,000 frames to storage and back, in each of several turns: the mirror against a bare HTTP client, on one Azurite."""

from __future__ import annotations

import http.client
import os
import socket
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

from batchscore.compute.base import Location
from batchscore.compute.local.ledger import Ledger
from batchscore.compute.local.mirror import THREADS, Mirror, Push
from batchscore.devhost.azurite import Azurite
from batchscore.settings import Settings
from batchscore.storage import BLOB_API_VERSION, Storage

FRAMES = 2_000
FRAME_BYTES = 60_000
TURNS = 5


class BareClient:
    """PUT and GET by the standard library, a connection for each thread, names known beforehand."""

    def __init__(self, storage: Storage) -> None:
        access = storage.access("data")
        self._address = urlsplit(access.endpoint)
        self._query = access.query
        self._local = threading.local()

    def put(self, file: Path, name: str) -> None:
        self._ask("PUT", name, 201, file.read_bytes())

    def get(self, file: Path, name: str) -> None:
        file.write_bytes(self._ask("GET", name, 200))

    def _ask(self, method: str, name: str, expected: int, body: bytes | None = None) -> bytes:
        headers = {"x-ms-version": BLOB_API_VERSION, "x-ms-blob-type": "BlockBlob"}
        connection = self._connection()
        connection.request(
            method, f"{self._address.path}/data/{name}?{self._query}", body=body, headers=headers
        )
        answer = connection.getresponse()
        data = answer.read()
        assert answer.status == expected, answer.status
        return data

    def _connection(self) -> http.client.HTTPConnection:
        if not hasattr(self._local, "connection"):
            connection = http.client.HTTPConnection(str(self._address.hostname), self._address.port)
            connection.connect()
            connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._local.connection = connection
        return self._local.connection


def timed(act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def turn(number: int, root: Path, storage: Storage, mirror: Mirror) -> tuple[float, float]:
    """All frames up and down, by both; the mirror's rates as parts of the bare client's."""
    source, got, pulled = (root / f"{what}{number}" for what in ("source", "got", "pulled"))
    source.mkdir()
    got.mkdir()
    for frame in range(FRAMES):
        (source / f"{frame:05d}.jpg").write_bytes(os.urandom(FRAME_BYTES))
    files = sorted(source.iterdir())
    names = [f"bare{number}/{file.name}" for file in files]
    there = Location("data", "data", f"mirror{number}")

    def bare(act: str, folder: Path) -> None:  # connections of this turn's own: Azurite closes idle ones
        client = BareClient(storage)
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(getattr(client, act), [folder / file.name for file in files], names))

    bare_up = timed(lambda: bare("put", source))
    up = bare_up / timed(lambda: mirror.push([Push(source, there)]))
    bare_down = timed(lambda: bare("get", got))
    down = bare_down / timed(lambda: mirror.pull_folder("frames", there, pulled))
    assert [file.read_bytes() for file in sorted(pulled.iterdir())] == [file.read_bytes() for file in files]
    return up, down


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, Azurite(Path(folder) / "azurite") as azurite:
        text = azurite.connection_string
        storage = Storage(Settings.from_environment({"AzureWebJobsStorage": text, "DATA_STORAGE": text}))
        storage.container("data", "data", create=True)
        mirror = Mirror(storage, Ledger(Path(folder) / "ledger"), threading.Event())
        ratios = [turn(number, Path(folder), storage, mirror) for number in range(TURNS)]
        for what, values in zip(("upload", "download"), zip(*ratios, strict=True), strict=True):
            print(
                f"{what} of {FRAMES} frames: {statistics.median(values):.0%} of a bare client's rate by wall time "
                f"(median of {TURNS} turns, {min(values):.0%} to {max(values):.0%})"
            )
        storage.close()


if __name__ == "__main__":
    main()
