"""The run of an hour: where it may write, when it may start, and that it is published before it is over."""

from __future__ import annotations

from pathlib import Path

import pytest

from batchscore import runs
from batchscore.cli.accounts import account, cause_words, next_steps, what_words
from batchscore.compute.base import JobState, JobStatus, Location, StepProgress
from batchscore.errors import HourUnreadableError, RequestError, RunConflictError, StorageUnavailableError
from batchscore.hours import cause_of, hour_named
from batchscore.planning import obstacle
from batchscore.runs import Cause, Run, RunState
from batchscore.triggers import RunRequest, parse
from batchscore.workloads import Workloads
from tests.unit.test_reconciler import FakeCatalog, World

HOUR = hour_named("2026-11-21T17")
PIPELINE = """\
$schema: https://azuremlschemas.azureedge.net/latest/pipelineComponent.schema.json
type: pipeline
name: score
version: "1"
inputs:
  readings: {type: uri_folder}
  manifest: {type: uri_file}
  hour: {type: string}
  models: {type: custom_model}
  interval: {type: string, default: 1m, enum: [1m, 5m]}
outputs:
  predictions: {type: uri_folder}
jobs:
  score:
    type: command
    component: ./score.yml
    inputs:
      readings: ${{parent.inputs.readings}}
      manifest: ${{parent.inputs.manifest}}
      hour: ${{parent.inputs.hour}}
      models: ${{parent.inputs.models}}
      interval: ${{parent.inputs.interval}}
    outputs:
      predictions: ${{parent.outputs.predictions}}
"""
SCORE = """\
$schema: https://azuremlschemas.azureedge.net/latest/commandComponent.schema.json
type: command
name: score_step
version: "1"
is_deterministic: false
inputs:
  readings: {type: uri_folder}
  manifest: {type: uri_file}
  hour: {type: string}
  models: {type: custom_model}
  interval: {type: string}
outputs:
  predictions: {type: uri_folder}
code: .
environment: azureml:any:1
command: >-
  python score.py ${{inputs.readings}} ${{inputs.manifest}} ${{inputs.hour}} ${{inputs.models}} ${{inputs.interval}}
  ${{outputs.predictions}}
"""


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    folder = world.settings.workloads_folder / "hourly"
    folder.mkdir()
    (folder / "score.pipeline.yml").write_text(PIPELINE)
    (folder / "score.yml").write_text(SCORE)
    (folder / "score.py").write_text("")
    world.catalog.folders.add("readings/2026/11/21/17")
    world.catalog.blobs.add("hours/2026-11-21T17/v2.json")
    return world


def request(**inputs: str) -> RunRequest:
    given = {
        "readings": "readings/2026/11/21/17",
        "manifest": "hours/2026-11-21T17/v2.json",
        "hour": "2026-11-21T17",
        "models": "net",
    }
    return RunRequest("hourly/score", {**given, **inputs})


def accept(world: World, cause: Cause | None = None) -> Run:
    return world.store.create(runs.accepted(cause or cause_of(HOUR, 2), request(), world.now))[0]


def succeeded(world: World, run: Run, *, failed: int = 0) -> None:
    steps = (StepProgress("score", JobState.SUCCEEDED, 5, 5 - failed, failed),)
    world.compute.answers[f"{run.id}-1"] = JobStatus(JobState.SUCCEEDED, steps=steps)


def test_an_hours_predictions_lie_under_its_name_and_version(world: World) -> None:
    run = accept(world)
    world.tick()
    (job,) = world.compute.submitted
    place = Location("data", "data", "predictions/2026-11-21T17/v2")
    assert job.outputs["predictions"] == place
    assert world.store.get(run.id).results == {"predictions": place}


@pytest.mark.parametrize("kind", ["trigger_file", "http", "cli"])
def test_any_other_run_keeps_its_predictions_to_itself(world: World, kind: str) -> None:
    run = accept(world, Cause(kind, "2026-11-21T17", "v2"))
    world.tick()
    (job,) = world.compute.submitted
    assert job.outputs["predictions"].path == f"runs/{run.id}/predictions"
    succeeded(world, run)
    world.tick()
    assert world.store.get(run.id).state is RunState.SUCCEEDED
    assert world.hours.published == []


def test_a_trigger_file_cannot_name_a_place_for_an_output(world: World) -> None:
    body = b'{"workload": "hourly/score", "outputs": {"predictions": "predictions/2026-11-21T17/v2"}}'
    with pytest.raises(RequestError, match="'outputs' is not a key"):
        parse(body, Workloads(world.settings.workloads_folder), 65_536)


def test_an_hours_run_is_published_with_what_failed_before_it_is_over(world: World) -> None:
    run = accept(world)
    world.tick()
    succeeded(world, run, failed=2)
    world.hours.publish_error = StorageUnavailableError("down")
    world.tick()
    assert world.store.get(run.id).state is RunState.RUNNING
    world.hours.publish_error = None
    world.tick()
    assert world.hours.published == [(run.id, 2)]
    assert world.store.get(run.id).state is RunState.SUCCEEDED_WITH_ERRORS


def test_a_reconciler_that_died_between_publishing_and_the_record_publishes_again(world: World) -> None:
    run = accept(world)
    world.tick()
    succeeded(world, run)
    update, world.store.update = world.store.update, fail  # type: ignore[method-assign]
    world.tick()
    world.store.update = update  # type: ignore[method-assign]
    world.tick()
    assert world.hours.published == [(run.id, 0)] * 2
    assert world.store.get(run.id).state is RunState.SUCCEEDED


def fail(*_: object) -> Run:
    raise StorageUnavailableError("down")


@pytest.mark.parametrize(
    "error",
    [
        RequestError("the run made no predictions."),
        HourUnreadableError("the record of hour 2026-11-21T17 cannot be read: mend it."),
    ],
)
def test_an_hours_run_that_cannot_be_published_fails_and_says_why(world: World, error: Exception) -> None:
    """It does not stay among those that run: there is room for few."""
    run = accept(world)
    world.tick()
    succeeded(world, run)
    world.hours.publish_error = error
    world.tick()
    ended = world.store.get(run.id)
    assert ended.state is RunState.FAILED
    assert ended.reason == f"nothing was published: {error}"


def test_a_failed_run_publishes_nothing(world: World) -> None:
    run = accept(world)
    world.tick()
    world.compute.answers[f"{run.id}-1"] = JobStatus(JobState.FAILED, "broken")
    world.tick()
    assert world.store.get(run.id).state is RunState.FAILED
    assert world.hours.published == []


def test_a_run_that_must_wait_for_another_of_its_hour_waits(world: World) -> None:
    run = accept(world)
    world.hours.check_error = RunConflictError("it waits for run 1 of the same hour.")
    world.tick()
    assert world.store.get(run.id).state is RunState.ACCEPTED
    world.hours.check_error = None
    world.tick()
    assert world.store.get(run.id).state is RunState.RUNNING


def test_a_superseded_run_never_starts(world: World) -> None:
    run = accept(world)
    world.hours.check_error = RequestError("hour 2026-11-21T17 has a newer version, v3.")
    world.tick()
    assert world.compute.submitted == []
    assert world.store.get(run.id).state is RunState.REJECTED


def test_an_hours_run_is_told_by_its_hour(world: World) -> None:
    run = accept(world)
    assert cause_words(run.cause) == "hour 2026-11-21T17, v2"
    assert what_words(run) == "hourly/score 2026-11-21T17 v2"
    chapters = {chapter.title: chapter.lines for chapter in account(run, world.now)}
    assert chapters["Cause"][0].startswith("hour 2026-11-21T17, v2, 2026-01-01")
    rejected = runs.rejected(run.cause, "there is no model", world.now)
    assert next_steps(rejected) == (
        "mend what the reason names, then 'batchscore hours rescore 2026-11-21T17': a new version",
    )


@pytest.mark.parametrize(
    ("workload", "inputs", "said"),
    [
        ("hourly/score", {}, None),
        ("hourly/score", {"interval": "5m"}, None),
        ("hourly/score", {"models": "nothing"}, "there is no model 'nothing'"),
        ("hourly/score", {"interval": "7m"}, "input 'interval'"),
        ("hourly/score", {"intervall": "5m"}, "Did you mean 'interval'"),
        ("hourly/scores", {}, "Did you mean 'hourly/score'"),
        ("demo/copy", {}, "has no input 'readings'"),
    ],
)
def test_what_keeps_hours_from_being_scored_is_said(
    world: World, workload: str, inputs: dict[str, str], said: str | None
) -> None:
    asked = RunRequest(workload, request(**inputs).inputs)
    found = obstacle(asked, Workloads(world.settings.workloads_folder), FakeCatalog())
    assert found is None if said is None else said in str(found)


def test_a_workload_without_predictions_scores_no_hour(world: World) -> None:
    file = world.settings.workloads_folder / "hourly" / "score.pipeline.yml"
    file.write_text(
        PIPELINE.replace("predictions:", "results:").replace("outputs.predictions", "outputs.results")
    )
    (file.parent / "score.yml").write_text(SCORE.replace("predictions", "results"))
    found = obstacle(request(), Workloads(world.settings.workloads_folder), FakeCatalog())
    assert found == "workload 'hourly/score' has no output 'predictions', which an hour publishes."
