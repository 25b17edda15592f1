"""docs/extend.md, followed word by word in an empty folder: its files are written, its commands are run, what it
promises to be seen is seen."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from batchscore.application import Application
from tests.azurite import settings_for

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "extend.md"
_BLOCK = re.compile(
    r"(?:^`(?P<file>[^`\n]+)`:\n\n)?^```(?P<kind>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True)
class Block:
    """A fenced block of the page: a file to write, commands to run (`bash`), or lines to be seen (`text`)."""

    kind: str
    text: str
    file: str | None


def blocks() -> list[Block]:
    return [Block(each["kind"], each["text"], each["file"]) for each in _BLOCK.finditer(PAGE.read_text())]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What the page needs of a checkout."""
    for name in ("scoring/common", "scoring/digits", "samples/paintings"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


@pytest.fixture
def environment(checkout: Path, azurite: str) -> Iterator[dict[str, str]]:
    """The environment of the page's commands, with a thread that does what `make start` does for runs."""
    variables = {
        "AzureWebJobsStorage": azurite,
        "DATA_STORAGE": azurite,
        "WORKLOADS_FOLDER": str(checkout / "scoring"),
        "LOCAL_WORK_FOLDER": str(checkout / "work"),
    }
    settings = settings_for(azurite, checkout / "work", WORKLOADS_FOLDER=str(checkout / "scoring"))
    names = {"TRIGGER_CONTAINER": settings.trigger_container, "DATA_CONTAINER": settings.data_container}
    application, stopped = Application(settings), threading.Event()

    def reconcile() -> None:
        while not stopped.wait(0.1):
            application.reconciler.tick()

    thread = threading.Thread(target=reconcile)
    thread.start()
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    yield {**os.environ, **variables, **names, "PATH": path}
    stopped.set()
    thread.join()
    application.close()


@pytest.mark.slow
def test_the_page_makes_a_workload_that_works(checkout: Path, environment: dict[str, str]) -> None:
    said, files = "", []
    for block in blocks():
        if block.file is not None:
            (checkout / block.file).write_text(block.text)
            files.append(block.file)
        elif block.kind == "bash":
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", block.text],
                cwd=checkout,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
                timeout=120,
            )
            assert done.returncode == 0, f"{block.text}\n{done.stdout}\n{done.stderr}"
            said = done.stdout
        elif block.kind == "text":
            for line in block.text.splitlines():
                assert line in said
    assert files == [
        f"scoring/brightness/{name}" for name in ("measure.py", "measure.yml", "measure.pipeline.yml")
    ]
    rows = (checkout / "results" / "brightness" / "brightness.csv").read_text().splitlines()
    assert len(rows) == 1 + len(list((checkout / "samples" / "paintings").glob("*.jpg")))


def test_no_block_is_left_out() -> None:
    """A fence that the pattern misses would be a part of the page that nobody follows."""
    assert 2 * len(blocks()) == len(re.findall(r"^```", PAGE.read_text(), re.MULTILINE))
    assert {block.kind for block in blocks() if block.file is None} == {"bash", "text"}
