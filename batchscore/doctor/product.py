"""What came with the product and may have been lost or changed: workloads, shipped models, interpreters."""

from __future__ import annotations

import hashlib
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from batchscore.doctor.findings import Finding

_CARD_LINE = re.compile(
    r"^\| `(?P<name>[^`]+)` \| (?P<size>[\d,]+) \| `(?P<sha256>[0-9a-f]{64})` \|$", re.MULTILINE
)
PYTHON_TIMEOUT_S = 30
TRAINING_FOLDER = ".venv-torch"


def workloads(folder: Path) -> Iterator[Finding]:
    """Every pipeline file can be read."""
    from batchscore.errors import DefinitionError
    from batchscore.workloads import Workloads

    found = Workloads(folder)
    names = found.names()
    if not names:
        remedy = "set WORKLOADS_FOLDER to a folder that holds <folder>/<name>.pipeline.yml"
        yield Finding.fail("workloads", f"there are none in {folder}", remedy)
        return
    broken = 0
    for name in names:
        try:
            found.pipeline(name)
        except DefinitionError as error:
            broken += 1
            more = f" (and {len(error.problems) - 1} more)" if len(error.problems) > 1 else ""
            yield Finding.fail(
                "workloads", f"{name}: {error.problems[0]}{more}", "'batchscore check' lists every mistake"
            )
    if broken < len(names):
        good = len(names) - broken
        yield Finding.ok("workloads", f"{good} of {len(names)} in {folder} can be read: {', '.join(names)}")


def shipped_models(folder: Path) -> Iterator[Finding]:
    """Every file that a card names is there with that content: a checkout may lack large files or hold pointers."""
    cards = sorted(folder.glob("*/CARD.md"))
    if not cards:
        yield Finding.fail("models", f"there are none in {folder}", "take the checkout anew")
        return
    wrong, count = [], 0
    for card in cards:
        for line in _CARD_LINE.finditer(card.read_text("utf-8")):
            file, count = card.parent / line["name"], count + 1
            if not file.is_file():
                wrong.append(f"{file} is missing")
            elif _sha256(file) != line["sha256"]:
                wrong.append(f"{file} is not what its card says")
    if wrong:
        remedy = f"'git checkout -- {folder}' brings it back, 'make models' makes it again"
        yield Finding.fail("models", "; ".join(wrong[:3]), remedy)
    else:
        names = ", ".join(card.parent.name for card in cards)
        yield Finding.ok(
            "models", f"{count} files of {len(cards)} shipped models are as their cards say: {names}"
        )


def interpreters(python: Mapping[str, str]) -> Iterator[Finding]:
    """Every interpreter that LOCAL_PYTHON names starts. The one that the product's own settings name for training is
    made by whoever trains: without it all other runs work."""
    for environment, program in python.items():
        if TRAINING_FOLDER in Path(program).parts and not Path(program).exists():
            found = f"{program} is not there: styles cannot be trained, everything else works"
            yield Finding.warn("LOCAL_PYTHON", found, "'make torch' makes it")
            continue
        try:
            done = subprocess.run(
                [program, "--version"],
                capture_output=True,
                text=True,
                timeout=PYTHON_TIMEOUT_S,
                check=True,
                stdin=subprocess.DEVNULL,
            )
        except (OSError, subprocess.SubprocessError) as error:
            why = getattr(error, "strerror", None) or error
            remedy = f"install it, or correct LOCAL_PYTHON for {environment!r}"
            yield Finding.fail("LOCAL_PYTHON", f"{program} cannot be started: {why}", remedy)
        else:
            yield Finding.ok("LOCAL_PYTHON", f"{environment}: {done.stdout.strip()}, {program}")


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
