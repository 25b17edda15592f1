"""Workloads are loaded again when a file of theirs has changed, wherever it lies."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from batchscore.workloads import Workloads

PIPELINE = """\
type: pipeline
jobs:
  say: {type: command, component: azureml:say@latest}
"""
SAY = "type: command\nenvironment: azureml:any:1\ncommand: echo %s\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in {
        "scoring/words/say.pipeline.yml": PIPELINE,
        "parts/say.yml": SAY % "hello",
        "parts/other.yml": SAY % "other",
        "map.yml": "azureml:say: parts/say.yml\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def rewrite(file: Path, text: str) -> None:
    """Change a file so that its time differs, however coarse the clock of the disk is."""
    before = file.stat().st_mtime_ns if file.exists() else 0
    file.write_text(text)
    os.utime(file, ns=(before + 1_000_000_000, before + 1_000_000_000))


def test_a_change_is_seen_in_a_component_elsewhere_in_the_map_and_in_a_new_map(folder: Path) -> None:
    workloads = Workloads(folder / "scoring", folder / "map.yml")

    def command() -> object:
        return getattr(workloads.pipeline("words/say").step("say"), "command", None)

    assert command() == "echo hello"
    assert workloads.pipeline("words/say") is workloads.pipeline("words/say"), "nothing has changed"
    rewrite(folder / "parts" / "say.yml", SAY % "again")
    assert command() == "echo again"
    rewrite(folder / "map.yml", "azureml:say: parts/other.yml\n")
    assert command() == "echo other"
    rewrite(folder / "map.yml", "azureml:other: parts/other.yml\n")
    rewrite(folder / "scoring" / "words" / "azureml-local.yml", "azureml:say: ../../parts/say.yml\n")
    assert command() == "echo again"
