"""A run whose output is a model: its name is checked, and it is published once the run has succeeded."""

from __future__ import annotations

from pathlib import Path

import pytest

from batchscore import runs
from batchscore.compute.base import JobState, JobStatus, Location, StepProgress
from batchscore.errors import RequestError, StorageUnavailableError
from batchscore.runs import Cause, Run, RunState
from batchscore.triggers import RunRequest
from tests.unit.test_reconciler import World

PIPELINE = """\
$schema: https://azuremlschemas.azureedge.net/latest/pipelineComponent.schema.json
type: pipeline
name: teach
version: "1"
inputs:
  net_name: {type: string}
outputs:
  net: {type: custom_model}
  report: {type: custom_model}
jobs:
  teach:
    type: command
    component: ./teach.yml
    outputs:
      net: ${{parent.outputs.net}}
      report: ${{parent.outputs.report}}
"""
STEP = """\
$schema: https://azuremlschemas.azureedge.net/latest/commandComponent.schema.json
type: command
name: teach
version: "1"
outputs:
  net: {type: custom_model}
  report: {type: custom_model}
code: .
environment: azureml:any:1
command: echo a > ${{outputs.net}}/model.onnx && echo b > ${{outputs.report}}/model.onnx
"""


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    (world.settings.workloads_folder / "demo" / "teach.pipeline.yml").write_text(PIPELINE)
    (world.settings.workloads_folder / "demo" / "teach.yml").write_text(STEP)
    return world


def teach(world: World, name: str = "klimt") -> Run:
    request = RunRequest("demo/teach", {"net_name": name})
    return world.store.create(runs.accepted(Cause("cli", name), request, world.now))[0]


def test_an_output_that_is_a_model_is_published_under_the_name_that_an_input_gives(world: World) -> None:
    run = teach(world)
    world.tick()
    place = Location("system", "logs", f"{run.id}/net")
    [job] = world.compute.submitted
    assert job.outputs["net"] == place, "outsiders do not get at models"
    assert job.models == {"net": "klimt"}, "no input names the other one"
    world.tick()
    assert world.published == []
    world.compute.answers[job.name] = JobStatus(JobState.SUCCEEDED)
    world.tick()
    done = world.store.get(run.id)
    assert world.published == [("klimt", place, job.name)]
    assert (done.state, done.published) == (RunState.SUCCEEDED, {"net": "klimt:1"})


def test_a_run_that_is_retried_publishes_what_its_next_attempt_made(world: World) -> None:
    run = teach(world)
    world.tick()
    some_failed = StepProgress("teach", JobState.SUCCEEDED, items_done=8, items_failed=1, items_total=9)
    world.compute.answers[f"{run.id}-1"] = JobStatus(JobState.SUCCEEDED, steps=(some_failed,))
    world.tick()
    assert world.store.get(run.id).state is RunState.SUCCEEDED_WITH_ERRORS
    world.store.update(run.id, lambda current: runs.retry(current, world.now))
    world.tick()
    world.compute.answers[f"{run.id}-2"] = JobStatus(JobState.SUCCEEDED)
    world.tick()
    assert [job for _, _, job in world.published] == [f"{run.id}-1", f"{run.id}-2"]


def test_a_run_is_not_over_before_its_model_is_published(world: World) -> None:
    run = teach(world)
    world.tick()
    world.compute.answers[f"{run.id}-1"] = JobStatus(JobState.SUCCEEDED)
    world.publish_error = StorageUnavailableError("storage did not answer")
    world.tick()
    assert world.store.get(run.id).state is RunState.RUNNING
    world.publish_error = None
    world.tick()
    assert world.store.get(run.id).state is RunState.SUCCEEDED


def test_a_run_that_made_no_model_fails_with_the_reason(world: World) -> None:
    run = teach(world)
    world.tick()
    world.compute.answers[f"{run.id}-1"] = JobStatus(JobState.SUCCEEDED)
    world.publish_error = RequestError("the folder holds no .onnx file")
    world.tick()
    done = world.store.get(run.id)
    assert done.state is RunState.FAILED
    assert done.reason == "no model was published: the folder holds no .onnx file"
    assert done.published == {}


def test_a_run_that_failed_publishes_nothing(world: World) -> None:
    run = teach(world)
    world.tick()
    world.compute.answers[f"{run.id}-1"] = JobStatus(JobState.FAILED, "it fell over")
    world.tick()
    assert world.store.get(run.id).state is RunState.FAILED
    assert world.published == []


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("../klimt", "cannot be a model's name"),
        ("a/b", "cannot be a model's name"),
        ("klimt:2", "cannot be a model's name"),
        ("klimt\n", "cannot be a model's name"),
        ("", "cannot be a model's name"),
        ("arbitrary", "a model that ships. Choose another name"),
    ],
)
def test_a_model_gets_no_name_that_it_must_not_have(world: World, name: str, said: str) -> None:
    run = teach(world, name)
    world.tick()
    done = world.store.get(run.id)
    assert done.state is RunState.REJECTED
    assert said in done.reason
    assert world.compute.submitted == []
