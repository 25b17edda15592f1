"""What a parallel step made of shards, each as its newest receipt describes it, or why the whole is not there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from common.output_files import sha256_of
from common.receipts import Receipt, read_folder
from sensors.errors import ResultError


def check_results(shards: Sequence[Path], outputs: Path, receipts: Path, done: str) -> None:
    """ResultError names the shards that are not `done` ("scored") wholly, in their present content.

    A part is never given out: who reads it would take it for the whole.
    """
    newest: dict[str, Receipt] = {receipt.item: receipt for receipt in read_folder(receipts)}
    problems = []
    for shard in shards:
        receipt = newest.get(shard.name)
        if receipt is None:
            problems.append(f"{shard.name}: no worker finished it")
        elif not receipt.succeeded:
            problems.append(f"{shard.name}: {receipt.error or 'no reason given'}")
        elif receipt.input != sha256_of(shard):
            problems.append(f"{shard.name}: it was {done} before it had its present content")
        elif not receipt.outputs or not all(output.is_at(outputs) for output in receipt.outputs):
            problems.append(f"{shard.name}: what was made of it is not what its receipt describes")
    if problems or not shards:
        what = "; ".join(problems[:5]) or "there is no shard"
        raise ResultError(
            f"{len(problems)} of {len(shards)} shards are not {done}, so nothing is published: {what}."
        )
