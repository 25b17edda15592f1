"""What a pipeline's tags declare that its steps take."""

from __future__ import annotations

from pathlib import Path

import pytest

from batchscore.definitions import load_pipeline
from batchscore.definitions.model import ParallelStep
from batchscore.errors import DefinitionError
from batchscore.figures import GUESSED_COMMAND, GUESSED_ITEMS, Declared, Features, declared
from batchscore.workloads import Workloads

ROOT = Path(__file__).parents[2]

PIPELINE = """
$schema: https://azuremlschemas.azureedge.net/latest/pipelineComponent.schema.json
type: pipeline
name: demo
tags:
  owner: somebody
  TAG
inputs:
  files: {type: uri_folder}
  steps: {type: integer, default: 3}
  mode: {type: string, default: fast}
outputs:
  out: {type: uri_folder}
jobs:
  split:
    type: command
    component: {type: command, command: "true", environment: "azureml:e@latest", inputs: {files: {type: uri_folder}}, outputs: {parts: {type: uri_folder}}}
    inputs: {files: "${{parent.inputs.files}}"}
  score:
    type: parallel
    component:
      type: parallel
      inputs: {parts: {type: uri_folder}}
      outputs: {out: {type: uri_folder}}
      input_data: ${{inputs.parts}}
      task: {type: run_function, code: ., entry_script: score.py, environment: "azureml:e@latest"}
    inputs: {parts: "${{parent.jobs.split.outputs.parts}}"}
    outputs: {out: "${{parent.outputs.out}}"}
"""


def of_file(folder: Path, tag: str) -> dict[str, Declared]:
    (folder / "score.py").write_text("def run(mini_batch):\n    return mini_batch\n")
    file = folder / "demo.pipeline.yml"
    file.write_text(PIPELINE.replace("TAG", tag))
    return declared(load_pipeline(file))


def test_what_nobody_declares_is_guessed(tmp_path: Path) -> None:
    found = of_file(tmp_path, "")
    assert found["split"].cpu == GUESSED_COMMAND
    assert found["score"].gpu == GUESSED_ITEMS
    assert found["score"].cpu.text == ""


def test_time_is_fixed_by_item_by_megabyte_and_by_inputs(tmp_path: Path) -> None:
    found = of_file(tmp_path, "takes.score: seconds=1 start_s=4, item_s=2.5 mb_s=0.5 per_steps_s=10")
    figures = found["score"].cpu
    features = Features(megabytes=6, scalars={"steps": 7, "mode": "fast"})
    assert figures.work_s(features, 8) == 1 + 2.5 * 8 + 0.5 * 6 + 10 * 7
    assert figures.start_s == 4


def test_a_gpu_has_figures_of_its_own_where_they_are_declared(tmp_path: Path) -> None:
    found = of_file(tmp_path, "takes.score: item_s=9 start_s=4 gpu_item_s=0.5 gpu_per_steps_s=1")["score"]
    cpu, gpu = found.on(gpu=False), found.on(gpu=True)
    assert (cpu.item_s, cpu.start_s, cpu.per_input_s) == (9, 4, {})
    assert (gpu.item_s, gpu.start_s, gpu.per_input_s) == (0.5, 4, {"steps": 1})


@pytest.mark.parametrize(
    ("tag", "items"),
    [("items=12", 12), ("items=steps", 40), ("items_per_mb=2.5", 15), ("items_per_mb=0.01", 1)],
)
def test_items_that_another_step_makes_are_a_number_an_input_or_by_megabyte(
    tmp_path: Path, tag: str, items: float
) -> None:
    figures = of_file(tmp_path, f"takes.score: {tag}")["score"].cpu
    assert figures.expected_items(Features(6, {"steps": 40})) == items


@pytest.mark.parametrize(
    ("tag", "words"),
    [
        ("takes.scor: item_s=1", "the tag 'takes.scor' names no step. Did you mean 'score'?"),
        ("takes.score: item_s", "holds 'item_s'; item_s must be a number, such as item_s=2.5"),
        ("takes.score: item_s=-1", "holds 'item_s=-1'; item_s must be a number"),
        ("takes.score: item_s=nan", "holds 'item_s=nan'"),
        ("takes.score: items=mode", "holds 'items=mode'; items must be a number"),
        ("takes.score: per_mode_s=1", "holds 'per_mode_s=1'; it may hold name=number of seconds, start_s"),
        ("takes.score: speed=1", "gpu_per_steps_s"),
    ],
)
def test_a_wrong_tag_is_told_with_its_line(tmp_path: Path, tag: str, words: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        of_file(tmp_path, tag)
    [problem] = caught.value.problems
    assert words in problem.message
    assert problem.line == 7


@pytest.mark.parametrize("name", Workloads(ROOT / "scoring").names())
def test_every_shipped_workload_declares_what_each_of_its_steps_takes(name: str) -> None:
    pipeline = Workloads(ROOT / "scoring").pipeline(name)
    found = declared(pipeline)
    for step in pipeline.steps:
        figures = found[step.name].cpu
        assert figures.text, step.name
        assert figures.work_s(Features(10, {"steps": 200, "shards": 16}), 10) > 0, step.name
        if isinstance(step, ParallelStep):
            assert figures.start_s > 0
