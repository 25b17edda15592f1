"""The entry script of both workloads: develops each file, leaves a receipt, and notes that it did the work.

In the file `--computed` an item leaves two lines: `computed` when its output is made and `receipted` once its
receipt is written. After the second, the same item from the same input must never be computed again.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "scoring"))

from common.output_files import sha256_of, write_whole
from common.receipts import FileVersion, MiniBatch, ReceiptBook, parameters_hash

SLOW_EVERY = 3
arguments = argparse.Namespace()
book: list[ReceiptBook] = []


def init() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float)
    for name in ("--computed", "--results", "--receipts"):
        parser.add_argument(name, type=Path)
    parser.parse_known_args(namespace=arguments)
    book.append(ReceiptBook(arguments.receipts, arguments.results, parameters_hash({})))


def run(mini_batch: list[str]) -> list[str]:
    done = []
    with MiniBatch(book[0], [Path(path).name for path in mini_batch]) as batch:
        for path in map(Path, mini_batch):
            data = path.read_bytes()
            version = sha256_of(path)
            if batch.skip(path.name, version):
                continue
            if int("".join(filter(str.isdigit, path.name)) or 0) % SLOW_EVERY == 0:
                time.sleep(arguments.seconds)
            target = arguments.results / path.name
            write_whole(target, developed(data))
            note("computed", path.name, version)
            batch.ok(path.name, version, f"{path.name},{version}", [FileVersion.of(target)], {"total": 1.0})
            done.append((path.name, version))
    for name, version in done:
        note("receipted", name, version)
    return batch.rows


def developed(data: bytes) -> bytes:
    """What becomes of an item: the harness knows it, too."""
    return data.upper() * 3


def note(what: str, item: str, version: str) -> None:
    line = f"{what} {item} {version} {os.getpid()} {time.time():.3f}\n".encode()
    descriptor = os.open(arguments.computed, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, line)
    os.close(descriptor)
