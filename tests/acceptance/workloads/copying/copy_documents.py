"""Copies each document and leaves a receipt. "bad" ones fail; "wait" ones take very long; "die" ones kill the worker."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import time
from datetime import UTC, datetime
from pathlib import Path

arguments = argparse.Namespace()


def init() -> None:
    global arguments
    parser = argparse.ArgumentParser()
    for name in ("--copies", "--names", "--receipts", "--style-image"):
        parser.add_argument(name)
    arguments, _ = parser.parse_known_args()


def run(mini_batch: list[str]) -> list[str]:
    rows = []
    for item in mini_batch:
        path = Path(item)
        print(f"copying {path.name}")
        data = path.read_bytes()
        if data == b"wait":
            time.sleep(100)
        if data == b"die":
            os._exit(9)
        error = "it says bad" if data == b"bad" else None
        if error is None:
            Path(arguments.copies, path.name).write_bytes(data)
            Path(arguments.names, f"{path.name}.name").touch()
            rows.append(path.name)
        leave_receipt(path.name, data, error)
    return rows


def leave_receipt(item: str, data: bytes, error: str | None) -> None:
    digest = hashlib.sha256(data).hexdigest()
    receipt = {
        "item": item,
        "status": "failed" if error else "ok",
        "row": None if error else item,
        "outputs": [] if error else [{"name": item, "size_bytes": len(data), "sha256": digest}],
        "input": digest,
        "parameters": "",
        "milliseconds": {"infer": 2.0, "total": 3.0},
        "worker": "here:1",
        "ended_at": datetime.now(UTC).isoformat(),
        "error": error,
    }
    key = hashlib.sha256(item.encode()).hexdigest()[:12]
    counts = "0ok.1failed" if error else "1ok.0failed"
    name = f"{key}.{counts}.{time.time_ns() // 1_000_000}.jsonl"
    Path(arguments.receipts, name).write_text(json.dumps(receipt) + "\n")
