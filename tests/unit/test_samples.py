"""`make samples`: what a folder of sample pipelines comes to, a line each."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

import samples

JOB = """\
$schema: https://azuremlschemas.azureedge.net/latest/pipelineJob.schema.json
type: pipeline
{inputs}
jobs:
  hello:
    type: {kind}
    environment: azureml:any@latest
    command: {command}
"""


@pytest.fixture
def examples(tmp_path: Path) -> Path:
    jobs = tmp_path / "cli" / "jobs"
    for name, text in {
        "good": JOB.format(inputs="", kind="command", command="echo hello"),
        "wants": JOB.format(
            inputs='inputs: {data: {type: uri_folder, path: "azureml:data:1"}}',
            kind="command",
            command="echo hello",
        ),
        "sweeps": JOB.format(inputs="", kind="sweep", command="echo hello"),
        "breaks": JOB.format(inputs="", kind="command", command="exit 4"),
        "hangs": JOB.format(inputs="", kind="command", command="tail -f /dev/null"),
    }.items():
        (jobs / name).mkdir(parents=True)
        (jobs / name / "pipeline.yml").write_text(text)
    (jobs / "good" / "component.yml").write_text("type: command\n")
    return tmp_path


def test_each_pipeline_runs_or_loads_or_is_refused_with_its_line(examples: Path) -> None:
    jobs = examples / "cli" / "jobs"
    results = {
        path.parent.name: samples.tried(path, path.name, None, 1 if path.parent.name == "hangs" else 60)
        for path in samples.pipelines_in(jobs)
    }
    assert {name: sample.result for name, sample in results.items()} == {
        "good": "runs",
        "wants": "loads",
        "sweeps": "refused",
        "breaks": "failed",
        "hangs": "failed",
    }
    assert results["sweeps"].why.startswith("line 6: step 'hello': type 'sweep'")
    assert "azureml:data:1" in results["wants"].why
    assert "exit code 4" in results["breaks"].why
    assert "cancelled" in results["hangs"].why


def test_the_table_names_the_samples_and_counts_them(
    examples: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["samples", str(examples), "--limit", "1"])
    assert samples.main() == 0
    printed = capsys.readouterr().out
    assert "good/pipeline.yml" in printed
    assert "1 runs, 1 loads, 1 refused, 2 failed" in printed


def test_a_folder_that_is_no_checkout_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["samples", str(tmp_path)])
    assert samples.main() == 2
    assert "Name a checkout of Azure/azureml-examples" in " ".join(capsys.readouterr().out.split())
