"""Pipeline files as people write them: what is read from them, in which order steps run, what is only noticed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from batchscore.definitions import (
    CommandStep,
    Literal,
    LocalPath,
    ParallelStep,
    ParentInput,
    Pipeline,
    Retry,
    StepOutput,
    intermediates,
    load_pipeline,
    resolve_inputs,
)
from batchscore.errors import DefinitionError

Write = Callable[[dict[str, str]], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes files below a folder and returns the folder; a path that ends in / is a folder."""

    def files(content: dict[str, str]) -> Path:
        for name, text in content.items():
            path = tmp_path / name
            (path if name.endswith("/") else path.parent).mkdir(parents=True, exist_ok=True)
            if not name.endswith("/"):
                path.write_text(text)
        return tmp_path

    return files


INLINE_JOB = """\
$schema: https://azuremlschemas.azureedge.net/latest/pipelineJob.schema.json
type: pipeline
display_name: Read the meters
description: Cuts the photographs and reads each
experiment_name: meters
tags:
  owner: water
  year: 2024
compute: azureml:cpu-cluster
settings:
  default_datastore: azureml:workspaceblobstore
  default_compute: azureml:cpu-cluster
  continue_on_step_failure: true
  force_rerun: false

inputs:
  photographs:
    type: uri_folder
    path: ./photographs
    mode: ro_mount
  model:
    type: custom_model
    path: azureml:meter-reader@latest
  threshold: 0.5
  rotate: false
  label: "summer 2024"

outputs:
  readings:
    mode: rw_mount
  cut:
    type: uri_folder
    path: azureml://datastores/${{default_datastore}}/paths/meters/${{name}}/cut

jobs:
  read_all:
    type: parallel
    compute: azureml:gpu-cluster
    inputs:
      pictures:
        type: uri_folder
        path: ${{parent.jobs.cut.outputs.pieces}}
        mode: ro_mount
      model:
        path: ${{parent.inputs.model}}
      threshold: ${{ parent.inputs.threshold }}
      names: {type: uri_file, path: lists/names.csv}
      digits: 6
    outputs:
      readings:
        type: uri_file
        path: ${{parent.outputs.readings}}
        mode: rw_mount
    input_data: ${{inputs.pictures}}
    mini_batch_size: "20"
    resources:
      instance_count: 2
      instance_type: Standard_NC4as_T4_v3
      shm_size: 2g
    max_concurrency_per_instance: 2
    retry_settings:
      max_retries: 0
      timeout: 120
    error_threshold: "10"
    mini_batch_error_threshold: -1
    logging_level: DEBUG
    environment_variables:
      OMP_NUM_THREADS: "2"
      RATE: 5
    task:
      type: run_function
      code: ./src
      entry_script: reading/read.py
      environment:
        name: meters
        image: mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu20.04
        conda_file: src/conda.yml
      program_arguments: >-
        --model ${{inputs.model}} --threshold ${{inputs.threshold}}
        --names ${{inputs.names}} --digits ${{inputs.digits}}
        --progress_update_timeout 600 --copy_logs_to_parent True
        --resource_monitor_interval 20 --batch-size 4
      append_row_to: ${{outputs.readings}}

  cut:
    type: command
    code: src/cutting
    command: >-
      python cut.py --in ${{inputs.photographs}} --rotate ${{inputs.rotate}}
      --label "${{inputs.label}}" --out ${{outputs.pieces}} && ls
    environment: azureml:AzureML-sklearn-1.0@latest
    inputs:
      photographs: ${{parent.inputs.photographs}}
      rotate: ${{parent.inputs.rotate}}
      label: ${{parent.inputs.label}}
    outputs:
      pieces: ${{parent.outputs.cut}}
      log:
    resources:
      instance_count: 2
    distribution:
      type: mpi
      process_count_per_instance: 1
    limits:
      timeout: 3600
    identity:
      type: user_identity
    services:
      my_tensorboard:
        type: tensor_board
"""

INLINE_FILES = {
    "job.yml": INLINE_JOB,
    "photographs/a.jpg": "",
    "lists/names.csv": "",
    "src/conda.yml": "",
    "src/reading/read.py": "def run(mini_batch): ...",
    "src/cutting/cut.py": "",
}


@pytest.fixture
def inline(write: Write) -> Pipeline:
    return load_pipeline(write(INLINE_FILES) / "job.yml")


def test_steps_run_after_those_they_read_from(inline: Pipeline) -> None:
    assert [step.name for step in inline.steps] == ["cut", "read_all"]


def test_a_pipeline_job_gives_its_inputs_values(inline: Pipeline, tmp_path: Path) -> None:
    inputs = inline.inputs
    assert {name: (each.type, each.default) for name, each in inputs.items()} == {
        "photographs": ("uri_folder", None),
        "model": ("custom_model", None),
        "threshold": ("number", 0.5),
        "rotate": ("boolean", False),
        "label": ("string", "summer 2024"),
    }
    assert inputs["photographs"].path == str(tmp_path / "photographs")
    assert not inputs["photographs"].is_remote
    assert inputs["model"].path == "azureml:meter-reader@latest"
    assert inputs["model"].is_remote
    assert not any(each.required for each in inputs.values())
    assert inline.tags == {"owner": "water", "year": "2024"}


def test_an_inline_step_has_the_inputs_that_it_is_given(inline: Pipeline, tmp_path: Path) -> None:
    step = inline.step("read_all")
    assert {name: each.type for name, each in step.inputs.items()} == {
        "pictures": "uri_folder",
        "model": "custom_model",
        "threshold": "number",
        "names": "uri_file",
        "digits": "integer",
    }
    assert step.bindings == {
        "pictures": StepOutput("cut", "pieces"),
        "model": ParentInput("model"),
        "threshold": ParentInput("threshold"),
        "names": LocalPath(str(tmp_path / "lists/names.csv")),
        "digits": Literal(6),
    }
    assert step.inputs["pictures"].mode == "ro_mount"


def test_an_inline_parallel_step_is_read_whole(inline: Pipeline, tmp_path: Path) -> None:
    step = inline.step("read_all")
    assert isinstance(step, ParallelStep)
    assert (step.entry_script, step.code) == ("reading/read.py", tmp_path / "src")
    assert (step.input_data, step.append_row_to) == ("pictures", "readings")
    assert step.mini_batch_size == 20
    assert (step.instance_count, step.max_concurrency_per_instance) == (2, 2)
    assert step.retry == Retry(timeout_s=120, max_retries=0)
    assert (step.error_threshold, step.mini_batch_error_threshold) == (10, -1)
    assert step.logging_level == "DEBUG"
    assert step.environment == "meters"
    assert step.environment_variables == {"OMP_NUM_THREADS": "2", "RATE": "5"}
    assert step.program_arguments.endswith("--batch-size 4")


def test_an_inline_command_step_is_read_whole(inline: Pipeline, tmp_path: Path) -> None:
    step = inline.step("cut")
    assert isinstance(step, CommandStep)
    assert step.code == tmp_path / "src/cutting"
    assert step.environment == "azureml:AzureML-sklearn-1.0@latest"
    assert step.command.startswith("python cut.py --in ${{inputs.photographs}}")
    assert {name: each.type for name, each in step.outputs.items()} == {
        "pieces": "uri_folder",
        "log": "uri_folder",
    }


def test_an_output_without_a_type_takes_the_steps(inline: Pipeline) -> None:
    assert inline.outputs["readings"].type == "uri_file"
    assert inline.step("read_all").output_bindings == {"readings": "readings"}


def test_what_another_step_reads_is_an_intermediate(inline: Pipeline) -> None:
    assert intermediates(inline) == {"cut"}


def test_what_a_local_run_does_not_act_on_is_said_in_a_sentence_each(inline: Pipeline) -> None:
    said = "\n".join(inline.notices)
    for part in (
        "Environments are not built for a local run",
        "compute of read_all is not used",
        "identity of cut is not used",
        "services of cut is not used",
        "distribution of cut is not used: a local run runs as one process.",
        "Input 'model' is at azureml:meter-reader@latest",
        "Step 'cut' asks for 2 nodes and runs once",
    ):
        assert part in said
    assert "batch-size" not in said
    assert all(sentence.endswith(".") for sentence in inline.notices)
    assert len(set(inline.notices)) == len(inline.notices)


COMPONENT = """\
$schema: https://azuremlschemas.azureedge.net/latest/pipelineComponent.schema.json
type: pipeline
name: score_letters
version: 1.2.0
display_name: Score letters
description: Reads scanned letters
is_deterministic: false
inputs:
  letters: {type: uri_folder, description: scans}
  language: {type: string, default: de, enum: [de, en]}
  limit: {type: integer, optional: true, min: 1}
  confidence: {type: number, min: 0.0, max: 1.0, default: "0.9"}
  model: {type: custom_model, optional: true}
outputs:
  answers: {type: uri_file}
  receipts: {type: uri_folder, mode: rw_mount}
jobs:
  collect:
    component: file:../shared/collect.yml
    inputs:
      rows: ${{parent.jobs.score.outputs.rows}}
      title: 2024
    outputs:
      answers: ${{parent.outputs.answers}}
  score:
    type: parallel
    component: ./score.yml
    compute: ${{parent.inputs.language}}
    inputs:
      letters: ${{parent.inputs.letters}}
      language: ${{parent.inputs.language}}
      limit: ${{parent.inputs.limit}}
      confidence: ${{parent.inputs.confidence}}
      model: ${{parent.inputs.model}}
    outputs:
      receipts: ${{parent.outputs.receipts}}
    mini_batch_error_threshold: 0
    retry_settings:
      max_retries: 5
    environment_variables:
      LEVEL: node
"""

SCORE = """\
$schema: https://azuremlschemas.azureedge.net/latest/parallelComponent.schema.json
name: score
type: parallel
version: "2"
is_deterministic: false
inputs:
  letters: {type: uri_folder, mode: ro_mount, optional: false}
  language: {type: string}
  limit: {type: integer, optional: true}
  confidence: {type: number, default: 0.5, min: 0, max: 1}
  model: {type: uri_folder, optional: true}
outputs:
  rows: {type: uri_file, description: a row per letter}
  receipts: {type: uri_folder}
input_data: ${{inputs.letters}}
mini_batch_size: "7"
mini_batch_error_threshold: 3
retry_settings:
  timeout: 90
  max_retries: 2
environment_variables:
  LEVEL: component
  OTHER: component
task:
  type: run_function
  code: .
  entry_script: score.py
  environment: azureml:letters:4
  append_row_to: ${{outputs.rows}}
  program_arguments: >-
    --language ${{inputs.language}} --confidence ${{inputs.confidence}} --receipts ${{outputs.receipts}}
    $[[--limit ${{inputs.limit}}]] $[[--model ${{inputs.model}}]] --error_threshold 12
"""

COLLECT = """\
type: command
name: collect
inputs:
  rows: {type: uri_file}
  title: {type: string}
outputs:
  answers: {type: uri_file}
code: src
environment:
  build: {path: ./docker}
command: python collect.py ${{inputs.rows}} ${{inputs.title}} ${{outputs.answers}}
"""

COMPONENT_FILES = {
    "letters/score.pipeline.yml": COMPONENT,
    "letters/score.yml": SCORE,
    "letters/score.py": "def run(mini_batch): ...",
    "shared/collect.yml": COLLECT,
    "shared/src/collect.py": "",
    "shared/docker/Dockerfile": "",
}


@pytest.fixture
def letters(write: Write) -> Pipeline:
    return load_pipeline(write(COMPONENT_FILES) / "letters/score.pipeline.yml")


def test_a_pipeline_component_declares_its_inputs(letters: Pipeline) -> None:
    inputs = letters.inputs
    assert (letters.name, letters.version, letters.display_name) == (
        "score_letters",
        "1.2.0",
        "Score letters",
    )
    assert inputs["letters"].required
    assert inputs["letters"].description == "scans"
    assert inputs["language"].enum == ("de", "en")
    assert (inputs["limit"].optional, inputs["limit"].min) == (True, 1)
    assert (inputs["confidence"].default, inputs["confidence"].max) == (0.9, 1.0)
    assert resolve_inputs(letters, {"letters": "inbox"}) == {
        "letters": "inbox",
        "language": "de",
        "confidence": 0.9,
    }


def test_paths_are_relative_to_the_file_that_says_them(letters: Pipeline, tmp_path: Path) -> None:
    assert letters.step("score").code == tmp_path / "letters"
    assert letters.step("collect").code == tmp_path / "shared/src"
    assert letters.step("collect").environment == "./docker"


def test_what_the_step_says_wins_over_its_component(letters: Pipeline) -> None:
    step = letters.step("score")
    assert isinstance(step, ParallelStep)
    assert step.mini_batch_size == 7
    assert step.mini_batch_error_threshold == 0
    assert step.retry == Retry(timeout_s=90, max_retries=5)
    assert step.environment_variables == {"LEVEL": "node", "OTHER": "component"}


def test_azure_ml_sending_the_components_threshold_for_a_zero_is_noticed(letters: Pipeline) -> None:
    assert any("SDK sends the component's 3 instead" in sentence for sentence in letters.notices)


def test_the_drivers_error_threshold_is_the_steps(letters: Pipeline) -> None:
    step = letters.step("score")
    assert isinstance(step, ParallelStep)
    assert step.error_threshold == 12


def test_an_optional_input_stays_bound(letters: Pipeline) -> None:
    step = letters.step("score")
    assert step.bindings["limit"] == ParentInput("limit")
    assert step.inputs["limit"].optional
    assert step.bindings["model"] == ParentInput("model")


def test_a_literal_takes_the_declared_type(letters: Pipeline) -> None:
    step = letters.step("collect")
    assert step.bindings == {"rows": StepOutput("score", "rows"), "title": Literal("2024")}
    assert isinstance(step, CommandStep), "the component says the type where the step does not"
    assert [each.name for each in letters.steps] == ["score", "collect"]


def test_the_defaults_of_a_parallel_step_are_azure_mls(write: Write) -> None:
    text = SCORE.replace('mini_batch_size: "7"\nmini_batch_error_threshold: 3\n', "")
    text = text.replace("retry_settings:\n  timeout: 90\n  max_retries: 2\n", "").replace(
        " --error_threshold 12", ""
    )
    files = COMPONENT_FILES | {"letters/score.yml": text}
    files["letters/score.pipeline.yml"] = COMPONENT.replace(
        "    mini_batch_error_threshold: 0\n    retry_settings:\n      max_retries: 5\n", ""
    )
    step = load_pipeline(write(files) / "letters/score.pipeline.yml").step("score")
    assert isinstance(step, ParallelStep)
    assert (step.mini_batch_size, step.error_threshold, step.mini_batch_error_threshold) == (10, -1, -1)
    assert (step.retry, step.logging_level) == (Retry(60, 2), "INFO")
    assert (step.instance_count, step.max_concurrency_per_instance) == (1, None)


SMALL = """\
type: pipeline
inputs:
  word: {{type: string, optional: true}}
jobs:
  say:
    type: command
    environment: azureml:any@latest
    inputs:
      {inputs}
    command: echo {command}
"""


@pytest.mark.parametrize(
    ("inputs", "command"),
    [
        ("word: ${{parent.inputs.word}}", "$[[--word ${{inputs.word}}]]"),
        ("word: {path: '${{parent.inputs.word}}'}", "$[[--word ${{inputs.word}}]]"),
        ("word: hello world", "'${{inputs.word}}'"),
        ("word: 0.5", '"$HOME/${{ inputs.word }}" $(date)'),
        ("word: true", "${{inputs.word}} | cat > /dev/null"),
        ("other: &a hello\n      more: *a", "${{inputs.other}} ${{inputs.more}}"),
        ("word: 1e-3", "`date` ${{inputs.word}}"),
        ("word: 2024-05-01", "${{inputs.word}} # done"),
    ],
)
def test_small_pipelines_are_accepted(write: Write, inputs: str, command: str) -> None:
    folder = write({"x.pipeline.yml": SMALL.format(inputs=inputs, command=command)})
    pipeline = load_pipeline(folder / "x.pipeline.yml")
    assert pipeline.name == "x"
    assert pipeline.inputs["word"].optional


def test_a_step_with_a_command_and_no_type_is_a_command_step_as_in_azures_samples(write: Write) -> None:
    text = SMALL.format(inputs="word: hello", command="${{inputs.word}}").replace("    type: command\n", "")
    pipeline = load_pipeline(write({"x.yml": text}) / "x.yml")
    assert isinstance(pipeline.step("say"), CommandStep)


def test_an_inline_step_that_is_given_an_optional_input_has_an_optional_input(write: Write) -> None:
    text = SMALL.format(inputs="word: ${{parent.inputs.word}}", command="$[[${{inputs.word}}]]")
    pipeline = load_pipeline(write({"x.yml": text}) / "x.yml")
    assert pipeline.step("say").inputs["word"].optional


def test_merged_and_repeated_yaml_is_read_as_yaml_says(write: Write) -> None:
    text = """\
type: pipeline
jobs:
  one: &base
    type: command
    environment: azureml:any@latest
    command: echo one
  two:
    <<: *base
    command: echo two
"""
    pipeline = load_pipeline(write({"x.yml": text}) / "x.yml")
    assert [step.command for step in pipeline.steps if isinstance(step, CommandStep)] == [
        "echo one",
        "echo two",
    ]


def test_a_component_may_stand_in_the_step(write: Write) -> None:
    text = """\
type: pipeline
jobs:
  greet:
    type: command
    inputs: {name: world}
    component:
      type: command
      inputs:
        name: {type: string}
        times: {type: integer, default: 2}
      environment: {image: docker.io/python}
      command: echo ${{inputs.name}} ${{inputs.times}}
"""
    step = load_pipeline(write({"x.yml": text}) / "x.yml").step("greet")
    assert step.environment == "docker.io/python"
    assert step.inputs["times"].default == 2
    assert step.bindings == {"name": Literal("world")}


def test_repeating_anchors_do_not_make_a_file_grow(write: Write) -> None:
    levels = "\n".join(f"x{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 10) if n else 'a'}]" for n in range(30))
    folder = write({"x.yml": f"type: pipeline\n{levels}\n"})
    with pytest.raises(DefinitionError, match="'x0' is not a key of the pipeline"):
        load_pipeline(folder / "x.yml")


def test_importing_the_definitions_is_light() -> None:
    code = (
        "import sys, batchscore.definitions\n"
        "heavy = {'pydantic', 'numpy', 'azure', 'requests', 'jinja2'} & set(sys.modules)\n"
        "sys.exit(f'imports {heavy}' if heavy else 0)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
