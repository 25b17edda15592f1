"""What survives what on Azure Machine Learning, on the stand-in: runs from their trigger file to their end.

The table is in docs/reliability.md. Every run's items are scored once unless a test says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from batchscore.compute.azureml import patience
from batchscore.compute.base import Job, JobState
from batchscore.devhost.azureml import AzureMLWorkspace
from batchscore.devhost.azurite import Azurite
from batchscore.runs import Run, RunState
from tests.acceptance.hosts import user_of_a_host, wait_until
from tests.azureml_client import asked, microsofts_schemas
from tests.azureml_world import World, azureml_environment, azureml_world, jobs_made

pytestmark = pytest.mark.slow

EVERY = ["a.txt", "b.txt", "c.txt"]
DONE = "TEXT A\nTEXT B\nTEXT C"

OpenWorld = Callable[..., World]


@pytest.fixture(scope="module")
def storage_here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An Azurite of this module alone: one reconciler moves all runs of an account."""
    with Azurite(tmp_path_factory.mktemp("azurite")) as process:
        yield process.connection_string


@pytest.fixture(scope="module")
def workspace_here(storage_here: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AzureMLWorkspace]:
    folder = tmp_path_factory.mktemp("workspace")
    with AzureMLWorkspace(folder=folder, storage=storage_here, schemas=microsofts_schemas()) as workspace:
        yield workspace


@pytest.fixture
def open_world(storage_here: str, workspace_here: AzureMLWorkspace, tmp_path: Path) -> Iterator[OpenWorld]:
    """A world with the settings that a test gives; one per test."""
    opened: list[object] = []

    def open_it(**environment: str) -> World:
        workspace_here.clear()
        context = azureml_world(storage_here, workspace_here, tmp_path, **environment)
        world = context.__enter__()
        opened.append(context)
        return world

    yield open_it
    for context in opened:
        context.__exit__(None, None, None)  # type: ignore[attr-defined]
    workspace_here.clear()


@pytest.fixture
def world(open_world: OpenWorld) -> World:
    return open_world()


def running(world: World, run_id: str, items: int = 1) -> Run:
    return world.until(run_id, lambda run: run.state is RunState.RUNNING and run.items[1] >= items)


def made(world: World, run: Run) -> list[str]:
    """The jobs that were made for a run."""
    return jobs_made(world.workspace, run.id)


def succeeded(world: World, run: Run, attempts: int = 1) -> None:
    assert (run.state, run.reason) == (RunState.SUCCEEDED, "")
    assert len(run.attempts) == attempts
    assert made(world, run) == [attempt.job_name for attempt in run.attempts]
    assert world.result(run) == DONE


def test_preempted_nodes_cost_an_attempt_that_nobody_counts_and_no_item_that_was_done(
    open_world: OpenWorld,
) -> None:
    world = open_world(MAX_ATTEMPTS="1")
    run_id = world.drop(inputs={"mode": "gated"})
    running(world, run_id)
    world.workspace.switch(preempt_jobs=1)
    world.until(run_id, lambda run: len(run.attempts) == 2)
    world.gate.touch()
    run = world.ended(run_id)
    succeeded(world, run, attempts=2)
    first = run.attempts[0]
    assert (first.outcome, first.blameless) == ("lost", True)
    assert "Azure took its nodes back (low priority)" in first.message
    assert "In the studio: https://ml.azure.com/runs/" in first.message
    assert set(world.worked_on()) == set(EVERY)
    assert world.worked_on().count("a.txt") == 1


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("ServiceError", "AzureMLCompute job failed.\nJobNodeLost: The node became unusable"),
        ("AllocationFailed", "no capacity for Standard_NC24ads_A100_v4"),
    ],
)
def test_lost_nodes_and_missing_machines_count_against_nobody(
    open_world: OpenWorld, code: str, message: str
) -> None:
    world = open_world(MAX_ATTEMPTS="1")
    world.workspace.switch(fail_jobs=2, fail_step="score", fail_code=code, fail_message=message)
    run = world.ended(world.drop())
    succeeded(world, run, attempts=3)
    assert [attempt.blameless for attempt in run.attempts] == [True, True, False]


def test_a_service_that_fails_by_itself_is_tried_again_as_often_as_allowed(open_world: OpenWorld) -> None:
    world = open_world(MAX_ATTEMPTS="2")
    world.workspace.switch(
        fail_jobs=9,
        fail_step="score",
        fail_code="ServiceError",
        fail_message="AzureMLCompute job failed.\nOrchestrateJobError: it broke",
    )
    run = world.ended(world.drop())
    assert run.state is RunState.FAILED
    assert len(run.attempts) == 2
    assert "2 attempts were lost and got no further, as many as MAX_ATTEMPTS allows" in run.reason
    assert "step 'score' failed: Azure Machine Learning itself failed" in run.reason
    world.workspace.clear()
    world.application.retry(run.id)
    succeeded(world, world.ended(run.id), attempts=3)


@pytest.mark.parametrize(
    ("code", "message", "told"),
    [
        ("ClusterCoreQuotaReached", "Limit 0, needed 24", "Ask for more quota"),
        ("ImageBuildFailure", "pip failed", "Look at the environment's build log"),
    ],
)
def test_what_a_person_must_mend_fails_at_once_with_the_remedy(
    world: World, code: str, message: str, told: str
) -> None:
    world.workspace.switch(fail_jobs=1, fail_step="score", fail_code=code, fail_message=message)
    run = world.ended(world.drop())
    assert (run.state, len(run.attempts)) == (RunState.FAILED, 1)
    assert message in run.reason
    assert told in run.reason
    world.application.retry(run.id)
    succeeded(world, world.ended(run.id), attempts=2)


def test_a_step_that_fails_is_told_by_its_own_last_words_and_retry_redoes_what_is_missing(
    world: World,
) -> None:
    run = world.ended(world.drop(inputs={"mode": "broken-at-the-end"}))
    assert (run.state, len(run.attempts)) == (RunState.FAILED, 1)
    assert "step 'collect' failed" in run.reason
    assert "the collection is broken" in run.reason
    assert "In the studio: https://ml.azure.com/runs/" in run.reason
    world.gate.touch()
    world.application.retry(run.id)
    succeeded(world, world.ended(run.id), attempts=2)
    assert world.worked_on() == EVERY


def test_a_job_that_vanished_is_made_again_and_does_what_is_missing(world: World) -> None:
    run_id = world.drop(inputs={"mode": "gated"})
    running(world, run_id)
    world.workspace.switch(vanish_jobs=1)
    run = world.until(run_id, lambda run: len(run.attempts) == 2)
    assert run.attempts[0].outcome == "lost"
    assert f"the workspace knows no job '{run.attempts[0].job_name}'" in run.attempts[0].message
    world.gate.touch()
    run = world.ended(run_id)
    assert run.state is RunState.SUCCEEDED
    assert world.worked_on().count("a.txt") == 1
    assert world.result(run) == DONE


@pytest.mark.parametrize(
    ("status", "code", "times"),
    [
        (429, "TooManyRequests", 2),
        (500, "InternalServerError", 2),
        (503, "ServiceUnavailable", 2),
        (503, "ServiceUnavailable", 9),
    ],
)
def test_a_service_that_is_busy_delays_a_run_and_nothing_else(
    world: World, status: int, code: str, times: int
) -> None:
    """Few refusals pass within a call; more of them are told in the record until a later pass succeeds."""
    world.workspace.fault(method="PUT", path="/jobs/", times=times, status=status, code=code)
    run_id = world.drop()
    world.pass_()
    run = world.application.store.get(run_id)
    if times == 9:
        assert run.state is RunState.SUBMITTING
        assert f"cannot submit job {run_id}-1: Azure Machine Learning answered {status}" in run.reason
    world.workspace.fault(method="GET", path="/jobs/", times=times, status=status, code=code)
    succeeded(world, world.ended(run_id))
    assert world.worked_on() == EVERY


def test_a_long_pause_that_the_service_asks_for_is_kept_between_calls(world: World) -> None:
    world.workspace.fault(method="PUT", path="/jobs/", status=429, code="TooManyRequests", retry_after_s=6)
    run_id = world.drop()
    world.pass_()
    run = world.application.store.get(run_id)
    assert run.state is RunState.SUBMITTING
    assert "asks for a pause of 6 s" in run.reason
    asked_before = len(world.workspace.requests())
    world.pass_()
    assert len(world.workspace.requests()) == asked_before
    succeeded(world, world.ended(run_id))


def test_a_token_that_expires_midway_is_replaced_unseen(world: World) -> None:
    run_id = world.drop(inputs={"mode": "gated"})
    running(world, run_id)
    world.workspace.switch(expire_tokens=1)
    world.pass_()
    run = world.application.store.get(run_id)
    assert (run.state, run.reason) == (RunState.RUNNING, "")
    world.workspace.switch(expire_tokens=1)
    second = world.drop()
    world.pass_()
    assert world.application.store.get(second).state is not RunState.SUBMITTING
    world.gate.touch()
    succeeded(world, world.ended(run_id))
    succeeded(world, world.ended(second))


@pytest.mark.parametrize(("kind", "times"), [("reset", 1), ("lose_answer", 1), ("lose_answer", 9)])
def test_a_submit_that_is_cut_off_or_whose_answer_is_lost_makes_one_job(
    world: World, kind: str, times: int
) -> None:
    world.workspace.fault(kind=kind, method="PUT", path="/jobs/", times=times)
    run = world.ended(world.drop())
    assert run.state is RunState.SUCCEEDED
    assert len(run.attempts) == 1
    assert len(set(made(world, run))) <= 1
    assert world.worked_on() == EVERY
    assert world.result(run) == DONE


def test_a_service_that_never_answers_keeps_no_pass_for_long(
    open_world: OpenWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "READ_S", 1)
    world = open_world()
    run_id = world.drop(inputs={"mode": "gated"})
    running(world, run_id)
    world.workspace.fault(kind="timeout", path="/jobs/", times=0)
    world.pass_()
    run = world.application.store.get(run_id)
    assert run.state is RunState.RUNNING
    assert "Azure Machine Learning did not answer" in run.reason
    world.workspace.clear()
    world.gate.touch()
    succeeded(world, world.ended(run_id))


class DeadError(BaseException):
    """The process ends here."""


@contextmanager
def dies_after_submit(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    compute = world.application.compute()
    submit = compute.submit

    def die(job: Job) -> None:
        submit(job)
        raise DeadError

    with monkeypatch.context() as patch:
        patch.setattr(compute, "submit", die)
        with pytest.raises(DeadError):
            world.pass_()
    yield


def test_a_process_that_dies_between_the_submit_and_the_record_leaves_one_job(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = world.drop()
    with dies_after_submit(world, monkeypatch):
        assert world.application.store.get(run_id).state is RunState.SUBMITTING
        world.restarted()
        succeeded(world, world.ended(run_id))
    assert world.worked_on() == EVERY


def test_a_host_that_is_killed_right_after_a_submit_leaves_one_job_for_the_next_host(
    storage_here: str, workspace_here: AzureMLWorkspace, tmp_path: Path
) -> None:
    workspace_here.clear()
    environment = azureml_environment(storage_here, workspace_here, tmp_path)
    with user_of_a_host(tmp_path, **environment) as user:
        user.upload("in/a.txt", b"text a")
        run_id = user.drop({"workload": "sample/score", "inputs": {"data": "in"}})
        wait_until(lambda: jobs_made(workspace_here, run_id), 60)
        user.host.kill()
    with user_of_a_host(tmp_path, **environment) as user:
        run = user.wait(run_id)
        assert (run.state, run.reason) == (RunState.SUCCEEDED, "")
        assert user.results(run, "result") == {"all.txt": b"TEXT A"}
    assert [attempt.job_name for attempt in run.attempts] == jobs_made(workspace_here, run_id)


def test_a_workspace_that_is_away_for_a_while_loses_and_doubles_nothing(world: World) -> None:
    run_id = world.drop(inputs={"mode": "gated"})
    running(world, run_id)
    world.workspace.kill()
    waiting = world.drop()
    world.pass_()
    for each in (run_id, waiting):
        assert "Azure Machine Learning did not answer" in world.application.store.get(each).reason
    world.workspace.start()
    world.gate.touch()
    for each in (run_id, waiting):
        run = world.ended(each)
        assert run.state is RunState.SUCCEEDED
        assert world.result(run) == DONE


@pytest.mark.parametrize("state", ["NotResponding", "Paused", "Dreaming"])
def test_a_state_that_is_no_end_ends_nothing_and_is_told(world: World, state: str) -> None:
    run_id = world.drop(inputs={"mode": "gated"})
    running(world, run_id)
    world.workspace.switch(state=state)
    run = world.until(run_id, lambda run: run.reason)
    assert run.state is RunState.RUNNING
    assert run.waits is (state == "Paused")
    world.workspace.switch(state="")
    assert world.until(run_id, lambda run: not run.reason).state is RunState.RUNNING
    world.gate.touch()
    succeeded(world, world.ended(run_id))


def test_a_run_that_waits_for_nodes_says_so_and_is_no_silent_one(open_world: OpenWorld) -> None:
    world = open_world(STALLED_AFTER_S="2")
    world.workspace.switch(provisioning_s=6)
    run_id = world.drop()
    run = world.until(run_id, lambda run: run.waits and run.reason)
    assert "waits for nodes of 'cpu-cluster'" in run.reason
    succeeded(world, world.ended(run_id))


def test_a_run_that_waits_for_quota_for_too_long_is_canceled_and_says_what_it_waited_for(
    open_world: OpenWorld,
) -> None:
    world = open_world(STALLED_AFTER_S="1", QUEUED_AFTER_S="3")
    world.workspace.switch(queued_s=600)
    run_id = world.drop()
    run = world.until(run_id, lambda run: run.waits and run.reason)
    assert "quota" in run.reason
    run = world.ended(run_id)
    assert run.state is RunState.CANCELED
    assert run.reason.startswith("canceled: it waited 3 s for machines (setting QUEUED_AFTER_S): ")
    assert "quota" in run.reason
    assert run.attempts[-1].outcome == "canceled"


def test_a_run_that_hangs_is_canceled_and_says_so(open_world: OpenWorld) -> None:
    world = open_world(STALLED_AFTER_S="3")
    run_id = world.drop(inputs={"mode": "gated"})
    running(world, run_id)
    run = world.ended(run_id)
    assert (run.state, run.reason) == (
        RunState.CANCELED,
        "canceled: no progress for 3 s (setting STALLED_AFTER_S).",
    )
    assert world.scored(run_id) == ["a.txt"]


def test_a_job_that_somebody_cancels_in_the_studio_is_a_canceled_run_that_can_be_retried(
    world: World,
) -> None:
    run_id = world.drop(inputs={"mode": "gated"})
    running(world, run_id)
    assert asked(world.workspace, "POST", f"jobs/{run_id}-1/cancel")[0] == 202
    run = world.ended(run_id)
    assert run.state is RunState.CANCELED
    assert "canceled in Azure Machine Learning" in run.reason
    world.gate.touch()
    world.application.retry(run_id)
    run = world.ended(run_id)
    assert run.state is RunState.SUCCEEDED
    assert world.worked_on().count("a.txt") == 1


def test_each_step_and_item_is_counted_once_over_all_attempts(world: World) -> None:
    run_id = world.drop(inputs={"mode": "gated"})
    running(world, run_id)
    world.workspace.switch(preempt_jobs=1)
    world.until(run_id, lambda run: len(run.attempts) == 2)
    world.gate.touch()
    run = world.ended(run_id)
    assert run.state is RunState.SUCCEEDED
    assert run.items == (3, 3, 0)
    assert {step.state for step in run.steps} == {JobState.SUCCEEDED}
