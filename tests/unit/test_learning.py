"""What a run teaches about those after it, and which runs teach nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from batchscore import runs
from batchscore.compute.base import Job, JobState, JobStatus, Location, Overrides, StepProgress
from batchscore.definitions.placement import gpu_environments
from batchscore.estimates import Estimate, Place, Work, estimate
from batchscore.holdings import Amount
from batchscore.learning import sample
from batchscore.measured import RunSample, StepSample
from batchscore.receipts import ItemSummary
from batchscore.runs import Cause, Run
from batchscore.triggers import RunRequest
from tests.unit.test_expectations import WORKLOADS, Storehouse, at, video

T0 = datetime(2026, 1, 1, tzinfo=UTC)
ENVIRONMENTS = gpu_environments(WORKLOADS.folder)
VIDEO = "style_transfer/video"
STYLIZE = WORKLOADS.pipeline(VIDEO).tags["takes.stylize"]
"""22 worker-seconds and an item a megabyte, a second to start."""


def steps(**seconds: float) -> tuple[StepProgress, ...]:
    took = {"split": 1.0, "stylize": 60.0, "stitch": 2.0} | seconds
    done = JobState.SUCCEEDED
    return (
        StepProgress("split", done, seconds=took["split"]),
        StepProgress("stylize", done, 8, 8, nodes=2, seconds=took["stylize"]),
        StepProgress("stitch", done, seconds=took["stitch"]),
    )


def ended(
    status: JobStatus,
    summary: ItemSummary | None = None,
    expected: Estimate | None = None,
    lasted_s: float = 70,
) -> Run:
    """A run of the shipped video workload that begins at T0 and ends after so many seconds."""
    inputs = {"video": at("clip.mp4"), "style": Location("system", "models", "net/1"), "strength": 1.0}
    job = Job("j-1", "j", 1, VIDEO, "x.yml", inputs, {}, at("logs"), Overrides(mini_batch_size=1))
    run = runs.accepted(Cause("cli", "x"), RunRequest(VIDEO), T0)
    run = runs.submitted(runs.planned(run, job, {}, T0, expected), T0)
    return runs.after_status(run, status, T0 + timedelta(seconds=lasted_s), 3, summary)


def good(**seconds: float) -> JobStatus:
    return JobStatus(JobState.SUCCEEDED, steps=steps(**seconds))


def receipts(seconds: float, workers: int = 2, skipped: int = 0) -> ItemSummary:
    return ItemSummary(ok=8, workers=workers, skipped=skipped, total_milliseconds={"total": seconds * 1_000})


def taught(run: Run, megabytes: float = 4) -> RunSample:
    found = sample(run, WORKLOADS.pipeline(VIDEO), video(megabytes), ENVIRONMENTS)
    assert found is not None
    return found


def step(found: RunSample, name: str) -> StepSample:
    [each] = [each for each in found.steps if each.name == name]
    return each


def test_items_and_worker_time_are_compared_with_what_was_declared() -> None:
    found = step(taught(ended(good(), receipts(110))), "stylize")
    assert (found.size, found.declared) == ("local", STYLIZE)
    assert found.work == pytest.approx(110 / (22 * 4))
    assert found.items == pytest.approx(8 / 4)


def test_what_a_step_took_beside_its_items_is_their_workers_start() -> None:
    """Two workers with four mini-batches each of 110 / 8 s are done after 55 s."""
    assert step(taught(ended(good(), receipts(110))), "stylize").start_s == pytest.approx(5)
    assert step(taught(ended(good(stylize=50), receipts(110))), "stylize").start_s == 0


def test_without_receipts_the_clock_says_how_long_items_took() -> None:
    found = step(taught(ended(good())), "stylize")
    assert found.work == pytest.approx((60 - 1) * 2 / (22 * 4), rel=0.01)


def test_a_command_is_compared_by_the_clock() -> None:
    assert step(taught(ended(good(stitch=2.1))), "stitch").work == pytest.approx(
        2.1 / (0.5 + 0.05 * 4), rel=0.01
    )


def test_on_a_cluster_the_vm_size_and_the_wait_for_nodes_are_remembered() -> None:
    place = Place("gpu", "Standard_NC4as_T4_v3", max_nodes=2, start_s=240)
    works = [
        Work("split", place, seconds=1),
        Work("stylize", place, ("split",), seconds=1, items=8),
        Work("stitch", place, ("stylize",), seconds=1),
    ]
    expected = estimate(works, 2, 1)
    assert expected.starts == 2
    found = taught(ended(good(), receipts(110), expected, lasted_s=1 + 60 + 2 + 300))
    assert {each.size for each in found.steps} == {"Standard_NC4as_T4_v3"}
    assert found.node_start_s == 150
    assert step(found, "stylize").work == pytest.approx(110 / (3 * 4), rel=1e-3), "what is declared of GPUs"


@pytest.mark.parametrize(
    "run",
    [
        ended(JobStatus(JobState.FAILED, "no", steps())),
        ended(JobStatus(JobState.RUNNING, steps=steps())),
        ended(good(), receipts(110, skipped=1)),
        ended(good(split=0)),
        ended(JobStatus(JobState.SUCCEEDED, steps=steps()[:2])),
        replace(ended(good()), attempts=ended(good()).attempts * 2),
    ],
    ids=[
        "failed",
        "not over",
        "found work done",
        "a step does not say",
        "a step is missing",
        "second attempt",
    ],
)
def test_a_run_that_did_not_do_everything_at_once_teaches_nothing(run: Run) -> None:
    assert sample(run, WORKLOADS.pipeline(VIDEO), video(4), ENVIRONMENTS) is None


def test_what_was_taught_is_what_the_next_run_expects() -> None:
    """The estimate of the same run on the same machine comes out as what it took."""
    from batchscore.compute.local.machine import Machine
    from batchscore.expectations import expect
    from tests.unit.test_expectations import settings

    run = ended(good(), receipts(110, workers=Machine.here().cores or 1))
    assert run.job is not None
    store = Storehouse({"clip.mp4": Amount(1, 4_000_000)}, (taught(run),))
    request = RunRequest(VIDEO, overrides=Overrides(mini_batch_size=1))
    found = expect(request, WORKLOADS.pipeline(VIDEO), run.job.inputs, settings(), store, "local").chosen
    assert [each.items for each in found.steps] == [None, 8, None]
    for each, progress in zip(found.steps, steps(), strict=True):
        assert each.seconds == pytest.approx(progress.seconds, rel=0.02)
