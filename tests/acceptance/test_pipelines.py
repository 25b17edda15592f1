"""A pipeline job made of what public sample pipelines are made of, run by a person on files: no host, no storage."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PIPELINES = Path(__file__).parent / "pipelines"


def batchscore(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "batchscore.cli", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def line_of(pipelines: Path, text: str) -> int:
    """The first line of the job that has only this text."""
    lines = (pipelines / "job" / "pipeline.yml").read_text().splitlines()
    return [line.strip() for line in lines].index(text) + 1


@pytest.fixture
def pipelines(tmp_path: Path) -> Path:
    return Path(shutil.copytree(PIPELINES, tmp_path / "pipelines"))


def test_a_job_of_nested_parts_branches_mapped_names_and_declared_outputs_runs_unmodified(
    pipelines: Path,
) -> None:
    ran = batchscore(pipelines, "run", "job/pipeline.yml", "-o", "out", "--json")
    assert ran.returncode == 0, ran.stderr + ran.stdout
    answer = json.loads(ran.stdout)
    assert [(step["name"], step["state"]) for step in answer["steps"]] == [
        ("first/clean/clean", "succeeded"),
        ("first/count", "succeeded"),
        ("second/clean/clean", "succeeded"),
        ("second/count", "succeeded"),
        ("together", "succeeded"),
        ("find", "succeeded"),
        ("report", "succeeded"),
    ]
    assert (pipelines / "out" / "report" / "report.txt").read_text() == "first: wind\nsecond: lighthouse\n"
    assert sorted((pipelines / "out" / "found").read_text().splitlines()) == [
        "first: wind",
        "second: lighthouse",
    ]
    log = (Path(answer["logs"]) / "together" / "std_log.txt").read_text()
    assert "words, loud: True" in log
    assert {path.name for path in (pipelines / "components" / "count" / "src").iterdir()} == {"count.py"}


def test_check_says_once_what_a_local_run_does_not_act_on(pipelines: Path) -> None:
    checked = batchscore(pipelines, "check", "job/pipeline.yml", "--json")
    assert checked.returncode == 0, checked.stdout
    (report,) = json.loads(checked.stdout)["pipelines"]
    said = "\n".join(report["notices"])
    for part in (
        "compute of together is not used",
        "identity is not used",
        "The path of output 'found' of the pipeline is not used",
        "Output 'report' of the pipeline is not registered as 'word_report'",
        "Environments are not built for a local run",
    ):
        assert said.count(part) == 1, part


def test_without_the_map_every_name_is_refused_with_its_line_and_nothing_starts(pipelines: Path) -> None:
    (pipelines / "job" / "azureml-local.yml").unlink()
    refused = batchscore(pipelines, "run", "job/pipeline.yml", "-o", "out")
    assert refused.returncode != 0
    said = " ".join(refused.stderr.split())
    assert f"job/pipeline.yml:{line_of(pipelines, 'component: azureml:book@latest')}: step 'second'" in said
    assert "--map azureml:book@latest=PATH" in said
    given = batchscore(
        pipelines, "run", "job/pipeline.yml", "-o", "out", "--map", "azureml:book=parts/book.yml"
    )
    said, second = " ".join(given.stderr.split()), line_of(pipelines, "second_book:")
    assert (
        f"input 'second_book' (job/pipeline.yml:{second}) is https://library.example.org/books/second.txt"
        in said
    )
    assert f"input 'stop_words' (job/pipeline.yml:{line_of(pipelines, 'stop_words:')})" in said
    assert not (pipelines / "out").exists()
