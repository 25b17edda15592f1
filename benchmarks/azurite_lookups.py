"""Azurite with many blobs, as it is and with the lookups by name that the dev host loads into it, side by side."""

from __future__ import annotations

import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from unittest.mock import patch

from batchscore.compute.local.wire import Wire
from batchscore.devhost import azurite
from batchscore.devhost.azurite import Azurite
from batchscore.settings import Settings
from batchscore.storage import Storage

STEP, STEPS = 2_000, 5
READ = 500
THREADS = 8


def opened(stack: ExitStack, folder: Path, lookups: str) -> Wire:
    """A client of an Azurite of its own, into which this module is loaded."""
    with patch.object(azurite, "_LOOKUPS", lookups):
        text = stack.enter_context(Azurite(folder)).connection_string
    storage = Storage(Settings.from_environment({"AzureWebJobsStorage": text, "DATA_STORAGE": text}))
    stack.callback(storage.close)
    storage.container("data", "data", create=True)
    return Wire(storage, THREADS)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack, ThreadPoolExecutor(THREADS) as pool:
        wires = {
            "as it is": opened(stack, Path(folder) / "plain", "data:text/javascript,"),
            "with lookups": opened(stack, Path(folder) / "lookups", azurite._LOOKUPS),
        }
        for step in range(STEPS):
            for what, wire in wires.items():
                names = [f"{number:06d}.txt" for number in range(step * STEP, (step + 1) * STEP)]
                list(pool.map(lambda name, wire=wire: wire.write("data", "data", name, b"x"), names))
                blobs = list(wire.listed("data", "data", f"{step * STEP:06d}"[:3], 500))[:READ]
                began = time.perf_counter()
                list(pool.map(lambda blob, wire=wire: wire.read("data", "data", blob.name, blob.etag), blobs))
                took = 1_000 * (time.perf_counter() - began) / len(blobs)
                print(f"{(step + 1) * STEP} blobs, {what}: {took:.2f} ms a GET")


if __name__ == "__main__":
    main()
