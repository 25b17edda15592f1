"""`python -m tests.faults --faults 1000 --seed 7`: worlds side by side, and a table of what they went through."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.faults.disk import with_mounts
from tests.faults.play import Play, Score
from tests.faults.sequence import KINDS
from tests.faults.world import World


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--faults", type=int, default=60)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--worlds", type=int, default=2, help="side by side")
    parser.add_argument("--per-round", type=int, default=20)
    parser.add_argument("--folder", type=Path, help="kept; a temporary one else")
    parser.add_argument("--world", type=int, help="play this one alone, in this process")
    return parser


def main() -> int:
    given = parser().parse_args()
    if given.folder is None:
        with tempfile.TemporaryDirectory(prefix="faults-") as folder:
            given.folder = Path(folder)
            return _all(given)
    return _one(given) if given.world is not None else _all(given)


def _one(given: argparse.Namespace) -> int:
    share = given.faults // given.worlds + (given.world < given.faults % given.worlds)
    with World(given.folder / f"world-{given.world}", given.seed) as world:
        play = Play(world, given.seed, given.world, lambda line: print(line, flush=True))
        score = play.rounds(share, given.per_round)
        if score.problems:
            print("what the hosts said last:", world.host_log()[-8000:], sep="\n")
    (given.folder / f"score-{given.world}.json").write_text(json.dumps(vars(score)))
    return 1 if score.problems else 0


def _all(given: argparse.Namespace) -> int:
    began = time.monotonic()
    given.folder.mkdir(parents=True, exist_ok=True)
    plays = []
    for number in range(given.worlds):
        log = (given.folder / f"events-{number}.txt").open("wb")
        command = [sys.executable, "-m", "tests.faults", "--world", str(number)]
        for name in ("faults", "seed", "worlds", "per_round", "folder"):
            command += [f"--{name.replace('_', '-')}", str(getattr(given, name))]
        plays.append(
            (number, log, subprocess.Popen(with_mounts(command), stdout=log, stderr=subprocess.STDOUT))
        )
    failed = False
    for number, log, process in plays:
        code = process.wait()
        log.close()
        if code:
            failed = True
            print(f"World {number} of seed {given.seed}: exit code {code}. Its events:")
            print(Path(log.name).read_text(errors="replace"))
    scores = [
        json.loads(file.read_text())
        for number in range(given.worlds)
        if (file := given.folder / f"score-{number}.json").exists()
    ]
    print(table(scores, given.seed, time.monotonic() - began))
    return 1 if failed else 0


def table(scores: list[dict[str, object]], seed: int, seconds: float) -> str:
    """What was survived, by kind."""
    total = Score()
    for each in scores:
        for name in ("hits", "missed", "retried"):
            getattr(total, name).update(Counter(each[name]))  # type: ignore[arg-type]
        for name in ("runs", "attempts", "missing", "healed_s", "problems"):
            setattr(total, name, getattr(total, name) + each[name])
    lines = [f"| fault (seed {seed}) | how many |", "|---|---|"]
    lines += [f"| {kind} | {total.hits[kind]} |" for kind in KINDS]
    lines.append(f"| **all** | **{total.hits.total()}** |")
    lines.append("")
    healed = total.healed_s or [0.0]
    lines += [
        f"{total.runs} runs in {total.attempts} attempts; {len(healed)} rounds in {seconds:.0f} s; after healing, all was "
        f"over within {max(healed):.1f} s (median {sorted(healed)[len(healed) // 2]:.1f} s).",
        f"Retried as a person would: {dict(total.retried)}. Trigger files gone before they were read: {total.missing}.",
        f"Problems: {len(total.problems)}.",
        *(f"- {problem}" for problem in total.problems),
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
