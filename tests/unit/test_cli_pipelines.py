"""`batchscore run` and `batchscore check`: a pipeline file on this machine."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from batchscore.cli import app
from batchscore.cli.outcome import Exit

PIPELINE = """\
$schema: https://azuremlschemas.azureedge.net/latest/pipelineComponent.schema.json
type: pipeline
name: upper
version: "1"
inputs:
  files: {type: uri_folder}
  suffix: {type: string, default: "!"}
  times: {type: integer, default: 1, min: 1, max: 3}
  model: {type: custom_model, optional: true}
outputs:
  upper: {type: uri_folder, mode: rw_mount}
  logs: {type: uri_file}
jobs:
  shout:
    type: parallel
    component: ./shout.yml
    inputs: {files: "${{parent.inputs.files}}", suffix: "${{parent.inputs.suffix}}", times: "${{parent.inputs.times}}"}
    outputs: {upper: "${{parent.outputs.upper}}"}
  count:
    type: command
    component: ./count.yml
    inputs: {upper: "${{parent.jobs.shout.outputs.upper}}"}
    outputs: {number: "${{parent.outputs.logs}}"}
"""
SHOUT = """\
$schema: https://azuremlschemas.azureedge.net/latest/parallelComponent.schema.json
type: parallel
name: shout
version: "1"
inputs:
  files: {type: uri_folder}
  suffix: {type: string}
  times: {type: integer}
outputs:
  upper: {type: uri_folder, mode: rw_mount}
input_data: ${{inputs.files}}
mini_batch_size: "2"
error_threshold: -1
mini_batch_error_threshold: 0
retry_settings: {timeout: 60, max_retries: 0}
resources: {instance_count: 1}
task:
  type: run_function
  code: .
  entry_script: shout.py
  environment: azureml:any:1
  program_arguments: --upper ${{outputs.upper}} --suffix ${{inputs.suffix}} --times ${{inputs.times}}
"""
COUNT = """\
$schema: https://azuremlschemas.azureedge.net/latest/commandComponent.schema.json
type: command
name: count
version: "1"
inputs:
  upper: {type: uri_folder}
outputs:
  number: {type: uri_file}
code: .
environment: azureml:any:1
command: ls ${{inputs.upper}} | wc -l > ${{outputs.number}}
"""
ENTRY = """\
import argparse
import time
from pathlib import Path


def init():
    global args
    parser = argparse.ArgumentParser()
    for name in ("--upper", "--suffix", "--times"):
        parser.add_argument(name)
    args, _ = parser.parse_known_args()


def run(mini_batch):
    for item in mini_batch:
        if "slow" in item:
            Path(args.upper, "begun").touch()
            time.sleep(60)
        text = Path(item).read_text()
        if text == "bad":
            raise ValueError("this one is bad")
        Path(args.upper, Path(item).name).write_text(text.upper() + args.suffix * int(args.times))
    return mini_batch
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of workloads with `words/upper`, and two files to score in `in/`; the current folder."""
    workload = tmp_path / "workloads" / "words"
    workload.mkdir(parents=True)
    for name, text in {
        "upper.pipeline.yml": PIPELINE,
        "shout.yml": SHOUT,
        "count.yml": COUNT,
        "shout.py": ENTRY,
    }.items():
        (workload / name).write_text(text)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text("hello")
    (tmp_path / "in" / "b.txt").write_text("world")
    monkeypatch.setenv("WORKLOADS_FOLDER", str(workload.parent))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def cli() -> Iterator[CliRunner]:
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield CliRunner()
    assert handlers == {number: signal.getsignal(number) for number in handlers}


def test_what_a_step_leaves_outside_the_pipelines_outputs_is_said_too(folder: Path, cli: CliRunner) -> None:
    """Azure's samples of parallel jobs bind `append_row_to` to no output of the pipeline."""
    (folder / "job.yml").write_text(
        """\
type: pipeline
jobs:
  say:
    command: echo hello > ${{outputs.words}} && echo rest > ${{outputs.rest}}
    environment: azureml:any:1
    outputs:
      words: {type: uri_file}
      rest: {type: uri_file}
  read:
    command: cat ${{inputs.words}}
    environment: azureml:any:1
    inputs: {words: "${{parent.jobs.say.outputs.words}}"}
"""
    )

    result = cli.invoke(app, ["run", "job.yml", "-o", "out", "--json"])

    assert result.exit_code == Exit.OK, result.output
    outputs = json.loads(result.stdout)["outputs"]
    assert {name: Path(path).read_text() for name, path in outputs.items()} == {"say.rest": "rest\n"}


def test_a_workload_runs_by_its_name_and_says_where_things_are(folder: Path, cli: CliRunner) -> None:
    result = cli.invoke(app, ["run", "words/upper", "--input", "files=in", "-i", "times=2", "-o", "out"])

    assert result.exit_code == Exit.OK, result.output
    assert (folder / "out" / "upper" / "a.txt").read_text() == "HELLO!!"
    assert (folder / "out" / "logs-output").read_text().strip() == "2"
    assert "upper: out/upper" in result.stdout
    assert "logs: out/logs/" in result.stdout
    assert "shout: succeeded, 2 of 2 items" in result.stderr


def test_a_pipeline_file_answers_in_json(folder: Path, cli: CliRunner) -> None:
    file = "workloads/words/upper.pipeline.yml"

    result = cli.invoke(app, ["run", file, "-i", "files=in", "-o", "out", "--json"])

    answer = json.loads(result.stdout)
    assert answer["state"] == "succeeded"
    assert answer["outputs"]["upper"] == str(folder / "out" / "upper")
    assert [(step["name"], step["items_done"]) for step in answer["steps"]] == [("shout", 2), ("count", 0)]
    assert (Path(answer["logs"]) / "shout" / "std_log.txt").is_file()


def test_a_second_run_in_the_same_folder_leaves_out_what_is_done(folder: Path, cli: CliRunner) -> None:
    arguments = ["run", "words/upper", "-i", "files=in", "-o", "out", "--json"]
    cli.invoke(app, arguments)

    answer = json.loads(cli.invoke(app, arguments).stdout)

    assert "left out" in (Path(answer["logs"]) / "shout" / "std_log.txt").read_text()


def test_a_run_takes_no_folder_for_its_output_that_holds_files_of_somebody(
    folder: Path, cli: CliRunner
) -> None:
    """It would empty it when it begins from other inputs the next time."""
    mine = folder / "upper" / "letter.txt"
    mine.parent.mkdir()
    mine.write_text("Dear Theo")

    result = cli.invoke(app, ["run", "words/upper", "-i", "files=in", "-o", "."])

    assert result.exit_code == Exit.USAGE
    assert "upper, where there are files that no run has made" in result.stderr
    assert list(mine.parent.iterdir()) == [mine]


def test_a_failed_run_ends_with_1_and_says_why(folder: Path, cli: CliRunner) -> None:
    (folder / "in" / "c.txt").write_text("bad")

    result = cli.invoke(app, ["run", "words/upper", "-i", "files=in", "-o", "out", "--mini-batch-size", "1"])

    assert result.exit_code == Exit.FAILED
    assert "1 of 3 mini-batches failed" in result.stdout
    assert "this one is bad" in result.stdout


def test_a_run_whose_failed_items_are_within_its_threshold_lists_them_and_ends_with_5(
    folder: Path, cli: CliRunner
) -> None:
    component = next(folder.rglob("shout.yml"))
    component.write_text(
        component.read_text().replace("batch_error_threshold: 0", "batch_error_threshold: -1")
    )
    (folder / "in" / "c.txt").write_text("bad")
    arguments = ["run", "words/upper", "-i", "files=in", "-o", "out", "--mini-batch-size", "1"]

    result = cli.invoke(app, arguments)
    assert result.exit_code == Exit.WITH_ERRORS
    assert "succeeded_with_errors after" in result.stdout
    assert "1 item failed:" in result.stdout
    assert "  c.txt: ValueError: this one is bad" in result.stdout

    answer = json.loads(cli.invoke(app, [*arguments, "--json"]).stdout)
    assert answer["state"] == "succeeded_with_errors"
    assert [failure["item"] for failure in answer["failed_items"]] == ["c.txt"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["words/uper", "-i", "files=in"], "Did you mean 'words/upper'?"),
        (["nowhere.yml"], "there is no file 'nowhere.yml'"),
        (["words/upper"], "input 'files' is missing"),
        (["words/upper", "-i", "files=nowhere"], "input 'files': there is no folder 'nowhere'"),
        (["words/upper", "-i", "files=in/a.txt"], "there is no folder 'in/a.txt'"),
        (
            ["words/upper", "-i", "files=azureml:data:1"],
            "does not fetch. Give files of this machine: --input files=PATH.",
        ),
        (["words/upper", "-i", "files=in", "-i", "times=x"], "must be a whole number"),
        (["words/upper", "-i", "files=in", "-i", "times=9"], "at most 3"),
        (["words/upper", "-i", "files=in", "-i", "tims=1"], "has no input 'tims'"),
        (["words/upper", "-i", "files"], "must be NAME=VALUE"),
        (["words/upper", "-i", "files=in", "-i", "files=in"], "given twice"),
        (["words/upper", "-i", "files=in", "-i", "model=none"], "there is no model folder 'none'"),
        (["words/upper", "-i", "files=in", "--logging-level", "LOUD"], "DEBUG, INFO or WARNING"),
        (["words/upper", "-i", "files=in", "--python", "any"], "ENVIRONMENT=PATH"),
        (["words/upper", "-i", "files=in", "--map", "azureml:a:1"], "must be REFERENCE=PATH"),
        (["words/upper", "-i", "files=in", "--map", "azureml:a:1=nowhere"], "must be REFERENCE=PATH"),
    ],
)
def test_wrong_usage_ends_with_2_and_a_sentence(
    folder: Path, cli: CliRunner, arguments: list[str], message: str
) -> None:
    result = cli.invoke(app, ["run", *arguments])

    assert result.exit_code == Exit.USAGE
    assert message in result.stderr
    assert "Traceback" not in result.output
    assert not (folder / "output").exists()


def test_what_a_job_names_in_azure_ml_is_refused_with_its_line_until_a_map_says_what_it_is(
    folder: Path, cli: CliRunner
) -> None:
    Path("job.yml").write_text(
        "type: pipeline\nexperiment_name: x\ninputs:\n  data: {type: uri_folder, path: 'azureml:data:1'}\n"
        "outputs:\n  out:\njobs:\n  copy:\n    type: command\n    environment: azureml:any:1\n"
        "    inputs: {data: '${{parent.inputs.data}}'}\n    outputs: {out: '${{parent.outputs.out}}'}\n"
        "    command: cp ${{inputs.data}}/a.txt ${{outputs.out}}\n"
    )
    refused = cli.invoke(app, ["run", "job.yml", "-o", "out"])
    assert refused.exit_code == Exit.USAGE
    assert (
        "input 'data' (job.yml:4) is azureml:data:1, which a local run does not fetch. Give files of this machine: "
        "--input data=PATH, or --map azureml:data:1=PATH." in " ".join(refused.stderr.split())
    )
    assert "must be given data" in cli.invoke(app, ["check", "job.yml"]).stdout
    assert "needs no inputs" in cli.invoke(app, ["check", "job.yml", "--map", "azureml:data=in"]).stdout
    ran = cli.invoke(app, ["run", "job.yml", "-o", "out", "--map", "azureml:data:1=in"])
    assert ran.exit_code == Exit.OK, ran.output
    assert Path("out/out/a.txt").is_file()


def test_an_interrupt_stops_the_steps_and_ends_with_130(folder: Path) -> None:
    (folder / "in" / "slow.txt").write_text("slow")
    command = [sys.executable, "-m", "batchscore.cli", "run", "words/upper", "-i", "files=in", "-o", "out"]
    begun = folder / "out" / "upper" / "begun"
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        wait_for(begun)
        asked = time.monotonic()
        os.kill(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert process.returncode == Exit.INTERRUPTED
    assert time.monotonic() - asked < 5
    assert "stopping; what is finished is kept." in err
    assert "canceled after" in out
    assert "Traceback" not in out + err


def wait_for(path: Path, timeout_s: float = 20) -> None:
    deadline = time.monotonic() + timeout_s
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not come"
        time.sleep(0.02)


def test_a_good_pipeline_is_good(folder: Path, cli: CliRunner) -> None:
    result = cli.invoke(app, ["check"])

    assert result.exit_code == Exit.OK
    assert "words/upper: good. 2 steps (shout, count); must be given files." in result.stdout


def test_every_mistake_has_its_file_and_line(folder: Path, cli: CliRunner) -> None:
    file = folder / "workloads" / "words" / "upper.pipeline.yml"
    file.write_text(
        PIPELINE.replace("${{parent.inputs.times}}", "${{parent.inputs.tmes}}").replace("max: 3", "max: x")
    )

    result = cli.invoke(app, ["check", str(file), "words/upper"])

    assert result.exit_code == Exit.FAILED
    lines = PIPELINE.splitlines()
    for mistake in ("times: {type", "inputs: {files"):
        line = next(number for number, text in enumerate(lines, 1) if mistake in text)
        assert f"{file}:{line}: " in result.stdout

    report = json.loads(cli.invoke(app, ["check", str(file), "--json"]).stdout)["pipelines"]
    assert report[0]["ok"] is False
    assert {problem["line"] for problem in report[0]["problems"]} >= {8}


def test_a_workload_is_checked_against_its_clusters_and_another_file_by_itself(
    folder: Path, cli: CliRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = folder / "workloads" / "words" / "upper.pipeline.yml"
    file.write_text(
        file.read_text().replace("    type: parallel", "    compute: azureml:nowhere\n    type: parallel", 1)
    )
    copy = folder / "elsewhere"
    shutil.copytree(folder / "workloads" / "words", copy)

    refused = cli.invoke(app, ["check", "words/upper"])
    assert refused.exit_code == Exit.FAILED
    line = next(n for n, text in enumerate(file.read_text().splitlines(), 1) if "azureml:nowhere" in text)
    said = f"{file}:{line}: step 'shout' is to run on 'nowhere', and there is no such cluster."
    assert said in refused.stdout.replace("\n", " ")
    assert cli.invoke(app, ["check", str(copy / "upper.pipeline.yml")]).exit_code == Exit.OK


def test_check_refuses_a_tag_that_says_nothing_of_what_a_step_takes(cli: CliRunner, folder: Path) -> None:
    file = folder / "workloads" / "words" / "upper.pipeline.yml"
    file.write_text(file.read_text().replace("inputs:", "tags:\n  takes.shout: item=2\ninputs:", 1))
    result = cli.invoke(app, ["check", str(file)])
    assert result.exit_code == Exit.FAILED
    assert "upper.pipeline.yml:6: the tag 'takes.shout' holds 'item=2'" in result.stdout
