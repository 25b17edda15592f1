"""What every compute promises (batchscore/compute/base.py); each back end subclasses ComputeContract."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from batchscore.compute.base import Compute, Job, JobState
from batchscore.compute.registry import open_compute
from batchscore.definitions import load_pipeline
from batchscore.deploying.deploy import deploy_all
from batchscore.deployment import Deployment, deployed_workload
from batchscore.devhost.azureml import AzureMLWorkspace
from batchscore.errors import JobRefusedError, SettingsError
from batchscore.planning import documented
from batchscore.settings import Settings
from batchscore.storage import Storage
from tests.azureml_client import azureml_settings
from tests.local_pipelines import write
from tests.local_workloads import Jobs, ended, running, write_workload


class ComputeContract:
    """A back end gives the fixtures `compute`, and `jobs` for the sample workload of tests/local_workloads.py."""

    def test_a_job_runs_its_pipeline_and_leaves_outputs_and_logs_in_storage(
        self, compute: Compute, jobs: Jobs
    ) -> None:
        job = jobs.job()
        compute.submit(job)
        status = ended(compute, job)
        assert (status.state, status.message) == (JobState.SUCCEEDED, "")
        assert jobs.blobs(job.outputs["scored"]) == ["a.txt", "b.txt", "c.txt"]
        assert jobs.text(job.outputs["result"], "all.txt") == "TEXT A\nTEXT B\nTEXT C"
        assert len(jobs.blobs(job.outputs["receipts"])) == 3
        assert {name.split("/")[0] for name in jobs.blobs(job.logs)} >= {"score", "collect"}

    def test_the_steps_of_a_pipeline_component_have_progress_logs_and_outputs_like_others(
        self, compute: Compute, jobs: Jobs
    ) -> None:
        job = jobs.nested(jobs.job())
        compute.submit(job)
        status = ended(compute, job)
        assert (status.state, status.message) == (JobState.SUCCEEDED, "")
        assert [(step.name, step.items_done) for step in status.steps] == [
            ("part/score", 3),
            ("part/collect", 0),
        ]
        assert jobs.text(job.outputs["result"], "all.txt") == "TEXT A\nTEXT B\nTEXT C"
        assert "part/score/std_log.txt" in jobs.blobs(job.logs)

    def test_progress_counts_items_step_by_step(self, compute: Compute, jobs: Jobs) -> None:
        job = jobs.gated()
        compute.submit(job)
        score, collect = running(compute, job).steps
        assert (score.name, score.items_total, score.items_done, score.items_failed) == ("score", 3, 1, 0)
        assert (collect.name, collect.state, collect.items_total) == ("collect", JobState.QUEUED, 0)
        jobs.gate.touch()
        assert [step.items_done for step in ended(compute, job).steps] == [3, 0]

    def test_how_long_a_step_took_is_told_once_it_has_ended_and_not_before(
        self, compute: Compute, jobs: Jobs
    ) -> None:
        job = jobs.gated()
        compute.submit(job)
        assert [step.seconds for step in running(compute, job).steps] == [0, 0]
        jobs.gate.touch()
        steps = ended(compute, job).steps
        assert all(step.seconds > 0 and step.nodes == 1 for step in steps)

    def test_files_and_scalars_and_absent_options_reach_the_steps(self, compute: Compute, jobs: Jobs) -> None:
        jobs.storage.container("data", jobs.settings.data_container).upload_blob("notes/a note.txt", b"noted")
        job = jobs.job(note=jobs.at("notes/a note.txt"))
        compute.submit(job)
        assert ended(compute, job).state is JobState.SUCCEEDED
        assert jobs.text(job.outputs["result"], "all.txt").endswith("noted")

    def test_a_failed_step_fails_the_job_and_is_named_with_its_cause(
        self, compute: Compute, jobs: Jobs
    ) -> None:
        job = jobs.failing()
        compute.submit(job)
        status = ended(compute, job)
        assert status.state is JobState.FAILED
        assert "'score'" in status.message
        assert "ValueError: cannot read" in status.message
        assert [step.state for step in status.steps] == [JobState.FAILED, JobState.QUEUED]

    def test_overrides_change_every_parallel_step(self, compute: Compute, jobs: Jobs) -> None:
        jobs.overrides = replace(jobs.overrides, mini_batch_size=3, error_threshold=2)
        job = jobs.failing()
        compute.submit(job)
        status = ended(compute, job)
        assert "3 of 3 items failed, more than error_threshold 2" in status.message

    def test_submitting_a_name_twice_starts_one_job(self, compute: Compute, jobs: Jobs) -> None:
        job = jobs.gated()
        compute.submit(job)
        compute.submit(job)
        running(compute, job)
        jobs.gate.touch()
        compute.submit(job)
        assert ended(compute, job).state is JobState.SUCCEEDED
        compute.submit(job)
        assert ended(compute, job).state is JobState.SUCCEEDED
        assert jobs.worked_on() == ["a.txt", "b.txt", "c.txt"]

    def test_a_running_job_is_canceled_within_seconds(self, compute: Compute, jobs: Jobs) -> None:
        job = jobs.endless()
        compute.submit(job)
        running(compute, job)
        since = time.monotonic()
        compute.cancel(job.name)
        status = ended(compute, job)
        assert status.state is JobState.CANCELED
        assert status.message
        assert time.monotonic() - since < 8

    def test_a_job_canceled_at_once_ends_so(self, compute: Compute, jobs: Jobs) -> None:
        job = jobs.endless()
        compute.submit(job)
        compute.cancel(job.name)
        assert ended(compute, job).state is JobState.CANCELED

    def test_canceling_what_has_ended_or_is_unknown_does_nothing(self, compute: Compute, jobs: Jobs) -> None:
        job = jobs.job()
        compute.cancel(job.name)
        assert compute.status(job.name).state is JobState.LOST
        compute.submit(job)
        before = ended(compute, job)
        compute.cancel(job.name)
        assert compute.status(job.name) == before
        assert before.state is JobState.SUCCEEDED

    def test_an_unknown_job_is_lost(self, compute: Compute) -> None:
        for name in ("never-submitted", "../elsewhere", ""):
            status = compute.status(name)
            assert status.state is JobState.LOST
            assert status.message

    def test_a_later_attempt_redoes_only_what_is_missing(self, compute: Compute, jobs: Jobs) -> None:
        job = jobs.endless()
        compute.submit(job)
        running(compute, job)
        compute.cancel(job.name)
        ended(compute, job)
        done = jobs.blobs(job.outputs["receipts"])
        assert len(done) == 1
        again = jobs.next_attempt(replace(job, inputs={**job.inputs, "mode": "ok"}))
        compute.submit(again)
        assert ended(compute, again).state is JobState.SUCCEEDED
        assert jobs.worked_on().count("a.txt") == 1
        assert jobs.blobs(job.outputs["scored"]) == ["a.txt", "b.txt", "c.txt"]

    def test_after_a_success_with_failed_items_a_later_attempt_does_those_alone(
        self, compute: Compute, jobs: Jobs
    ) -> None:
        jobs.overrides = replace(jobs.overrides, error_threshold=-1)
        job = jobs.job(mode="broken", gate=str(jobs.gate))
        compute.submit(job)
        status = ended(compute, job)
        assert status.state is JobState.SUCCEEDED
        assert status.steps[0].items_failed == 2
        assert jobs.text(job.outputs["result"], "all.txt") == "TEXT A"
        again = jobs.next_attempt(replace(job, inputs={**job.inputs, "mode": "ok"}))
        compute.submit(again)
        assert ended(compute, again).steps[0].items_failed == 0
        assert jobs.worked_on() == ["a.txt", "b.txt", "b.txt", "c.txt", "c.txt"]
        assert jobs.text(job.outputs["result"], "all.txt") == "TEXT A\nTEXT B\nTEXT C"

    def test_a_job_whose_pipeline_is_missing_or_broken_is_refused(self, compute: Compute, jobs: Jobs) -> None:
        job = jobs.job()
        with pytest.raises(JobRefusedError, match=r"nothing\.pipeline\.yml"):
            compute.submit(replace(job, pipeline="sample/nothing.pipeline.yml"))
        with pytest.raises(JobRefusedError, match=r"score.yml:2"):
            compute.submit(replace(job, pipeline="sample/score.yml"))
        assert compute.status(job.name).state is JobState.LOST

    def test_an_input_that_is_not_in_storage_fails_the_job_and_is_named(
        self, compute: Compute, jobs: Jobs
    ) -> None:
        job = jobs.job(note=jobs.at("videos/missing.mp4"))
        compute.submit(job)
        status = ended(compute, job)
        assert status.state is JobState.FAILED
        assert "note" in status.message
        assert "videos/missing.mp4" in status.message

    def test_another_client_sees_the_job_after_this_one_is_closed(
        self, compute: Compute, jobs: Jobs, another: Compute
    ) -> None:
        job = jobs.gated()
        compute.submit(job)
        running(compute, job)
        compute.close()
        assert another.status(job.name).state is JobState.RUNNING
        jobs.gate.touch()
        assert ended(another, job).state is JobState.SUCCEEDED
        another.close()


class TestLocalCompute(ComputeContract):
    @pytest.fixture
    def local(self, settings: Settings, tmp_path: Path) -> Settings:
        return replace(settings, workloads_folder=write_workload(tmp_path / "workloads"))

    @pytest.fixture
    def compute(self, local: Settings, storage: Storage) -> Iterator[Compute]:
        compute = open_compute(local, storage)
        yield compute
        compute.close()

    @pytest.fixture
    def another(self, local: Settings, storage: Storage) -> Compute:
        return open_compute(local, storage)

    @pytest.fixture
    def jobs(self, local: Settings, storage: Storage, tmp_path: Path) -> Jobs:
        return Jobs(local, storage, tmp_path)


class Planned:
    """A compute whose jobs are planned as the reconciler plans them, just before they are submitted."""

    def __init__(self, compute: Compute, settings: Settings, deployment: Deployment) -> None:
        self._compute, self._settings, self._deployment = compute, settings, deployment
        self.status, self.cancel, self.close = compute.status, compute.cancel, compute.close

    def submit(self, job: Job) -> None:
        pipeline = load_pipeline(self._settings.workloads_folder / job.pipeline)
        deployed = deployed_workload(self._deployment, job.workload, pipeline)
        self._compute.submit(documented(job, pipeline, deployed, self._settings))


class TestAzureMLCompute(ComputeContract):
    """By Microsoft's SDK on the stand-in, which runs what is submitted on the local engine."""

    @pytest.fixture
    def azureml(self, settings: Settings, workspace: AzureMLWorkspace, tmp_path: Path) -> Settings:
        folder = write_workload(tmp_path / "workloads")
        write(folder / "environments" / "sample.yml", "name: sample\nimage: python:3.12\n")
        return azureml_settings(settings, workspace, WORKLOADS_FOLDER=str(folder))

    @pytest.fixture
    def deployment(self, azureml: Settings, storage: Storage) -> Deployment:
        return deploy_all(azureml, storage)

    @pytest.fixture
    def compute(self, azureml: Settings, storage: Storage, deployment: Deployment) -> Iterator[Compute]:
        compute = Planned(open_compute(azureml, storage), azureml, deployment)
        yield compute
        compute.close()

    @pytest.fixture
    def another(self, azureml: Settings, storage: Storage, deployment: Deployment) -> Compute:
        return Planned(open_compute(azureml, storage), azureml, deployment)

    @pytest.fixture
    def jobs(self, azureml: Settings, storage: Storage, tmp_path: Path) -> Jobs:
        return Jobs(azureml, storage, tmp_path)

    def test_a_job_whose_pipeline_is_missing_or_broken_is_refused(self, compute: Compute, jobs: Jobs) -> None:
        """Here that is seen when the job is planned; what is left is a job that was planned for another compute."""
        with pytest.raises(JobRefusedError, match="planned for another compute"):
            compute._compute.submit(jobs.job())  # type: ignore[attr-defined]


def test_a_compute_that_is_not_there_is_named_with_those_that_are(
    settings: Settings, storage: Storage
) -> None:
    with pytest.raises(SettingsError, match="COMPUTE is 'elsewhere'; there is local"):
        open_compute(replace(settings, compute="elsewhere"), storage)
