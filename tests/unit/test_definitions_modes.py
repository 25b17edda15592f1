"""How data reaches a step, and where a step runs: said by the step, its component, the pipeline or the run."""

from __future__ import annotations

from pathlib import Path

import pytest

from batchscore.definitions import load_pipeline
from batchscore.definitions.modes import mode_faults, with_modes

PIPELINE = """\
$schema: https://azuremlschemas.azureedge.net/latest/pipelineComponent.schema.json
type: pipeline
inputs:
  pictures: {type: uri_folder}
  table: {type: mltable}
  same: {type: uri_folder}
  cluster: {type: string, default: big}
outputs:
  made: {type: uri_folder, mode: rw_mount}
  same: {type: uri_folder}
jobs:
  first:
    type: command
    component: ./first.yml
    compute: azureml:small
    inputs:
      pictures: ${{parent.inputs.pictures}}
      table: {path: "${{parent.inputs.table}}", mode: direct}
      same: ${{parent.inputs.same}}
    outputs:
      made: ${{parent.outputs.made}}
  second:
    type: command
    command: ls ${{inputs.made}} > ${{outputs.same}}/list.txt
    environment: azureml:any:1
    compute: ${{parent.inputs.cluster}}
    inputs:
      made: ${{parent.jobs.first.outputs.made}}
    outputs:
      same: ${{parent.outputs.same}}
"""
FIRST = """\
$schema: https://azuremlschemas.azureedge.net/latest/commandComponent.schema.json
type: command
inputs:
  pictures: {type: uri_folder, mode: download}
  table: {type: mltable}
  same: {type: uri_folder}
outputs:
  made: {type: uri_folder}
environment: azureml:any:1
command: ls ${{inputs.pictures}} ${{inputs.table}} ${{inputs.same}} > ${{outputs.made}}/list.txt
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "first.yml").write_text(FIRST)
    (tmp_path / "a.pipeline.yml").write_text(PIPELINE)
    return tmp_path / "a.pipeline.yml"


def test_what_a_step_says_of_its_data_is_its_mode_else_what_its_component_says(file: Path) -> None:
    first = load_pipeline(file).step("first")
    assert {name: port.mode for name, port in first.inputs.items()} == {
        "pictures": "download",
        "table": "direct",
        "same": None,
    }


def test_a_run_changes_the_mode_of_the_pipelines_data_in_every_step_that_is_bound_to_it(file: Path) -> None:
    changed = with_modes(load_pipeline(file), {"pictures": "ro_mount", "made": "upload"})
    assert changed.inputs["pictures"].mode == "ro_mount"
    assert changed.step("first").inputs["pictures"].mode == "ro_mount"
    assert changed.step("first").inputs["table"].mode == "direct"
    assert changed.outputs["made"].mode == "upload"
    assert changed.step("first").outputs["made"].mode == "upload"
    assert changed.step("second").inputs["made"].mode is None


@pytest.mark.parametrize(
    ("mode", "read", "written"),
    [("download", "download", None), ("upload", None, "upload"), ("rw_mount", None, "rw_mount")],
)
def test_a_name_of_both_an_input_and_an_output_is_the_one_that_can_have_the_mode(
    file: Path, mode: str, read: str | None, written: str | None
) -> None:
    loaded = load_pipeline(file)
    assert mode_faults(loaded, {"same": mode}) == []
    changed = with_modes(loaded, {"same": mode})
    assert (changed.inputs["same"].mode, changed.outputs["same"].mode) == (read, written)
    assert changed.step("second").outputs["same"].mode == written


def test_the_compute_of_a_step_is_named_without_its_prefix_and_an_input_as_it_is_written(file: Path) -> None:
    loaded = load_pipeline(file)
    assert [step.compute for step in loaded.steps] == ["small", "${{parent.inputs.cluster}}"]


@pytest.mark.parametrize(
    "said", ["compute: azureml:for-all", "settings:\n  default_compute: azureml:for-all"]
)
def test_a_pipeline_job_says_the_compute_of_the_steps_that_say_none(tmp_path: Path, said: str) -> None:
    steps = "\n".join(
        f"  {name}:\n    command: echo\n    environment: azureml:any:1{compute}"
        for name, compute in (("a", ""), ("b", "\n    compute: azureml:own"))
    )
    path = tmp_path / "job.yml"
    path.write_text(
        "$schema: https://azuremlschemas.azureedge.net/latest/pipelineJob.schema.json\n"
        f"type: pipeline\n{said}\njobs:\n{steps}\n"
    )
    assert {step.name: step.compute for step in load_pipeline(path).steps} == {"a": "for-all", "b": "own"}
