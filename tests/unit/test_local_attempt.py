"""Attempts of the local compute: what survives whose death, what is kept, what is resumed, what is never told."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import msgspec
import pytest
from azure.storage.blob import ContainerClient

from batchscore.compute.base import Job, JobState, JobStatus, Location, Overrides
from batchscore.compute.local import attempt, backend, run_folder, watchdog
from batchscore.compute.local.attempt import Attempt, Reporter
from batchscore.compute.local.backend import LocalCompute
from batchscore.compute.local.job_folder import JobFolder, write_whole
from batchscore.compute.local.mirror import UnnameableFileError
from batchscore.compute.local.run_folder import RunFolder
from batchscore.compute.local.watchdog import marked
from batchscore.errors import JobRefusedError, StorageUnavailableError
from batchscore.settings import Settings
from batchscore.storage import Storage
from tests.azurite import settings_for
from tests.local_pipelines import alive, until
from tests.local_workloads import Jobs, ended, running, write_workload

SUBMIT = """
import os, sys, msgspec
from batchscore.compute.base import Job
from batchscore.compute.local.attempt import Attempt, Reporter
from batchscore.compute.local.backend import LocalCompute
from batchscore.settings import Settings
LocalCompute(Settings.from_environment()).submit(msgspec.json.decode(sys.argv[1].encode(), type=Job))
print("submitted", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def local(settings: Settings, tmp_path: Path) -> Settings:
    return replace(settings, workloads_folder=write_workload(tmp_path / "workloads"))


@pytest.fixture
def compute(local: Settings) -> Iterator[LocalCompute]:
    compute = LocalCompute(local)
    yield compute
    compute.close()


@pytest.fixture
def jobs(local: Settings, storage: Storage, tmp_path: Path) -> Jobs:
    return Jobs(local, storage, tmp_path)


def folder(settings: Settings, job: Job) -> JobFolder:
    return JobFolder(settings.local_work_folder / job.name)


def holder(settings: Settings, job: Job) -> int:
    pid = folder(settings, job).holder
    assert pid is not None
    return pid


def host(settings: Settings, job: Job) -> subprocess.Popen[bytes]:
    """Another process that submits the job and then stays."""
    return subprocess.Popen(
        [sys.executable, "-c", SUBMIT, msgspec.json.encode(job).decode()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, **backend._environment(settings)},
    )


# Deaths


def test_when_the_attempt_is_killed_all_that_it_started_dies_and_the_job_is_lost(
    compute: LocalCompute, jobs: Jobs, local: Settings
) -> None:
    job = jobs.endless()
    compute.submit(job)
    running(compute, job)
    until(lambda: len(jobs.pids()) == 4)
    os.kill(holder(local, job), signal.SIGKILL)
    status = ended(compute, job)
    assert status.state is JobState.LOST
    assert "died without a word" in status.message
    assert status.steps[0].items_done == 1
    until(lambda: not any(alive(pid) for pid in jobs.pids()), 5)


def test_when_the_watchdog_dies_with_the_attempt_its_orphans_are_ended_and_its_half_written_files_removed(
    compute: LocalCompute, jobs: Jobs, local: Settings
) -> None:
    job = jobs.endless()
    compute.submit(job)
    running(compute, job)
    until(lambda: len(jobs.pids()) == 4)
    work = folder(local, job).path, local.local_work_folder / job.run_id
    halves = [work[0] / ".status.json.1.part", work[1] / "outputs" / "scored" / ".b.txt.host.1.part"]
    for half in halves:
        half.touch()
    watchdogs = [
        pid
        for pid in marked(str(folder(local, job).path), watchdog.JOB)
        if b"watchdog.py" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    assert len(watchdogs) == 1
    for pid in (*watchdogs, holder(local, job)):
        os.kill(pid, signal.SIGKILL)
    assert ended(compute, job).state is JobState.LOST
    assert not any(alive(pid) for pid in jobs.pids())
    assert not any(half.exists() for half in halves)


def test_when_the_host_is_killed_the_attempt_carries_on(
    compute: LocalCompute, jobs: Jobs, local: Settings
) -> None:
    job = jobs.gated()
    process = host(local, job)
    assert process.stdout is not None
    assert process.stdout.readline() == b"submitted\n"
    running(compute, job)
    process.kill()
    process.wait()
    process.stdout.close()
    assert process.stdin is not None
    process.stdin.close()
    assert compute.status(job.name).state is JobState.RUNNING
    jobs.gate.touch()
    assert ended(compute, job).state is JobState.SUCCEEDED


def test_an_attempt_that_hangs_is_killed_and_lost(
    compute: LocalCompute, jobs: Jobs, local: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = jobs.endless()
    compute.submit(job)
    running(compute, job)
    until(lambda: len(jobs.pids()) == 4)
    pid = holder(local, job)
    os.kill(pid, signal.SIGSTOP)
    assert compute.status(job.name).state is JobState.RUNNING
    monkeypatch.setattr(backend, "SILENT_AFTER_S", 0.5)
    status = ended(compute, job)
    assert status.state is JobState.LOST
    assert "no sign of life" in status.message
    until(lambda: not any(alive(each) for each in (pid, *jobs.pids())), 5)


@pytest.mark.parametrize("modes", [{}, {"scored": "upload"}])
def test_an_output_that_a_run_wants_uploaded_is_not_seen_while_its_step_runs(
    compute: LocalCompute, jobs: Jobs, modes: dict[str, str]
) -> None:
    job = replace(jobs.endless(), overrides=Overrides(modes=modes))
    compute.submit(job)
    until(lambda: jobs.blobs(job.outputs["receipts"]) != [])  # which follow what they speak of
    assert jobs.blobs(job.outputs["scored"]) == ([] if modes else ["a.txt"])
    compute.cancel(job.name)
    assert ended(compute, job).state is JobState.CANCELED


def test_an_attempt_that_has_ended_leaves_no_zombie(
    compute: LocalCompute, jobs: Jobs, local: Settings
) -> None:
    job = jobs.job()
    compute.submit(job)
    pid = holder(local, job)
    ended(compute, job)
    until(lambda: not Path(f"/proc/{pid}").exists(), 5)


def test_two_processes_that_submit_together_start_one_attempt(
    compute: LocalCompute, jobs: Jobs, local: Settings
) -> None:
    job = jobs.gated()
    hosts = [host(local, job) for _ in range(2)]
    for process in hosts:
        assert process.stdout is not None
        assert process.stdout.readline() == b"submitted\n"
    running(compute, job)
    jobs.gate.touch()
    assert ended(compute, job).state is JobState.SUCCEEDED
    assert jobs.worked_on() == ["a.txt", "b.txt", "c.txt"]
    assert (folder(local, job).logs / "attempt.txt").read_text() == "succeeded: \n"
    for process in hosts:
        process.communicate()


class _Unavailable(Storage):
    """Storage that does not answer."""

    def container(self, account: str, name: str, *, create: bool = False) -> ContainerClient:
        raise StorageUnavailableError(f"storage did not answer for {name}")


def test_storage_that_does_not_answer_leaves_the_job_to_another_attempt(jobs: Jobs, local: Settings) -> None:
    place = folder(local, job := jobs.job())
    with place.submitting():
        place.write_job(job)
    status = Attempt(place, local, _Unavailable(local)).run()
    assert status.state is JobState.LOST
    assert "storage did not answer" in status.message
    assert status.blameless
    assert place.read_beat() is not None
    assert LocalCompute(local).status(job.name) == status


# Resuming


def test_the_next_attempt_goes_on_where_a_killed_one_was(
    compute: LocalCompute, jobs: Jobs, local: Settings
) -> None:
    job = jobs.gated()
    compute.submit(job)
    running(compute, job)
    os.kill(holder(local, job), signal.SIGKILL)
    assert ended(compute, job).state is JobState.LOST
    jobs.gate.touch()
    again = jobs.next_attempt(job)
    compute.submit(again)
    assert ended(compute, again).state is JobState.SUCCEEDED
    assert jobs.worked_on().count("a.txt") == 1
    assert jobs.text(job.outputs["result"], "all.txt") == "TEXT A\nTEXT B\nTEXT C"


def test_attempts_that_died_at_once_do_not_lose_what_one_before_them_had_done(
    compute: LocalCompute, jobs: Jobs, local: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = jobs.gated()
    compute.submit(job)
    running(compute, job)
    os.kill(holder(local, job), signal.SIGKILL)
    assert ended(compute, job).state is JobState.LOST
    second = jobs.next_attempt(job)
    with monkeypatch.context() as patch:
        patch.setattr(backend, "_environment", lambda settings: {"DATA_STORAGE": ""})  # it ends at its start
        compute.submit(second)
    assert ended(compute, second).state is JobState.LOST
    jobs.remove(job.outputs["receipts"])  # so that only what lies on this machine can help
    jobs.gate.touch()
    third = jobs.next_attempt(second)
    compute.submit(third)
    assert ended(compute, third).state is JobState.SUCCEEDED
    assert jobs.worked_on().count("a.txt") == 1


def test_another_machine_goes_on_from_what_is_in_storage(
    compute: LocalCompute, jobs: Jobs, local: Settings, tmp_path: Path
) -> None:
    job = jobs.gated()
    compute.submit(job)
    running(compute, job)
    until(lambda: jobs.blobs(job.outputs["receipts"]))
    os.kill(holder(local, job), signal.SIGKILL)
    assert ended(compute, job).state is JobState.LOST
    jobs.gate.touch()
    elsewhere = LocalCompute(replace(local, local_work_folder=tmp_path / "elsewhere"))
    again = jobs.next_attempt(job)
    elsewhere.submit(again)
    assert ended(elsewhere, again).state is JobState.SUCCEEDED
    assert jobs.worked_on().count("a.txt") == 1


def test_another_machine_knows_from_what_an_earlier_attempt_began(
    compute: LocalCompute, jobs: Jobs, local: Settings, tmp_path: Path
) -> None:
    """Else it would take what was made of an item that is gone for a part of the result."""
    job = jobs.job(mode="broken-at-the-end", gate=str(jobs.gate))
    compute.submit(job)
    assert ended(compute, job).state is JobState.FAILED
    assert jobs.blobs(job.outputs["scored"]) == ["a.txt", "b.txt", "c.txt"]
    source = job.inputs["data"]
    assert isinstance(source, Location)
    jobs.storage.container(source.account, source.container).delete_blob(f"{source.path}/c.txt")
    jobs.gate.touch()
    elsewhere = LocalCompute(replace(local, local_work_folder=tmp_path / "elsewhere"))
    again = jobs.next_attempt(job)
    elsewhere.submit(again)
    assert ended(elsewhere, again).state is JobState.SUCCEEDED
    assert jobs.blobs(job.outputs["scored"]) == ["a.txt", "b.txt"]
    assert jobs.text(job.outputs["result"], "all.txt") == "TEXT A\nTEXT B"


def test_a_step_that_finished_is_left_out_by_the_next_attempt(
    compute: LocalCompute, jobs: Jobs, local: Settings
) -> None:
    job = jobs.job(mode="broken-at-the-end", gate=str(jobs.gate))
    compute.submit(job)
    status = ended(compute, job)
    assert status.state is JobState.FAILED
    assert "the collection is broken" in status.message
    assert jobs.blobs(job.outputs["result"]) == []  # mode upload: only a step that succeeded shows its output
    jobs.gate.touch()
    again = jobs.next_attempt(job)
    compute.submit(again)
    assert ended(compute, again).state is JobState.SUCCEEDED
    assert "left out" in jobs.text(again.logs, "score/std_log.txt")
    assert "score/worker-00.txt" not in jobs.blobs(again.logs)
    assert jobs.blobs(job.outputs["result"]) == ["all.txt"]


def test_what_somebody_removed_from_storage_meanwhile_is_brought_there_again(
    compute: LocalCompute, jobs: Jobs, local: Settings, storage: Storage
) -> None:
    job = jobs.job(mode="broken-at-the-end", gate=str(jobs.gate))
    compute.submit(job)
    assert ended(compute, job).state is JobState.FAILED
    scored = job.outputs["scored"]
    storage.container("data", local.data_container).delete_blob(f"{scored.path}/a.txt")
    jobs.gate.touch()
    again = jobs.next_attempt(job)
    compute.submit(again)
    assert ended(compute, again).state is JobState.SUCCEEDED
    assert jobs.worked_on().count("a.txt") == 1
    assert jobs.blobs(scored) == ["a.txt", "b.txt", "c.txt"]


def test_files_torn_by_a_power_cut_cost_an_attempt_and_no_more(
    compute: LocalCompute, jobs: Jobs, local: Settings
) -> None:
    job = jobs.gated()
    compute.submit(job)
    running(compute, job)
    os.kill(holder(local, job), signal.SIGKILL)
    assert ended(compute, job).state is JobState.LOST
    (local.local_work_folder / job.name / "status.json").write_bytes(b"")
    (local.local_work_folder / job.run_id / "ledger.db").write_bytes(b"torn" * 1_000)
    assert compute.status(job.name).state is JobState.LOST
    jobs.gate.touch()
    again = jobs.next_attempt(job)
    compute.submit(again)
    status = ended(compute, again)
    assert status.state is JobState.SUCCEEDED, status.message
    assert jobs.worked_on().count("a.txt") == 1


# What is kept


@pytest.mark.parametrize(("kind", "kept"), [("job", False), ("failing", True)])
def test_data_is_kept_only_while_another_attempt_could_use_it(
    compute: LocalCompute, jobs: Jobs, local: Settings, kind: str, kept: bool
) -> None:
    job = getattr(jobs, kind)()
    compute.submit(job)
    ended(compute, job)
    assert (local.local_work_folder / job.run_id).exists() is kept
    assert folder(local, job).is_one


def test_jobs_and_data_that_nobody_touched_for_days_are_removed(
    compute: LocalCompute, jobs: Jobs, local: Settings
) -> None:
    old, young, waiting = jobs.failing(), jobs.failing(), jobs.gated()
    for job in (old, young):
        compute.submit(job)
        ended(compute, job)
    compute.submit(waiting)
    running(compute, waiting)
    long_ago = time.time() - (backend.KEEP_DAYS + 1) * 24 * 3600
    for job in (old, waiting):
        os.utime(local.local_work_folder / job.name / "status.json", (long_ago, long_ago))
        os.utime(local.local_work_folder / job.run_id / "last-attempt", (long_ago, long_ago))
    compute.submit(jobs.job())
    there = {path.name for path in local.local_work_folder.iterdir()}
    assert not {old.name, old.run_id} & there
    assert {young.name, young.run_id, waiting.name, waiting.run_id} <= there
    assert compute.status(old.name).state is JobState.LOST
    jobs.gate.touch()
    assert ended(compute, waiting).state is JobState.SUCCEEDED


def test_data_of_which_a_part_was_removed_is_not_taken_for_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunFolder(tmp_path / "run")
    assert run.hold(0)
    run.begin(1)
    run.complete(1)
    with monkeypatch.context() as patch:
        patch.setattr(run_folder, "_remove", Mock(side_effect=KeyboardInterrupt))  # killed at the first entry
        with pytest.raises(KeyboardInterrupt):
            run.remove()
    assert not run.begin(2)
    run.release()


def test_two_attempts_of_one_run_never_work_at_once(tmp_path: Path) -> None:
    first, second = RunFolder(tmp_path / "run"), RunFolder(tmp_path / "run")
    assert first.hold(0)
    assert not second.hold(0.2)
    first.remove()
    first.release()
    assert second.hold(5)
    assert second.is_one
    second.release()


# What is told


def test_a_file_that_can_have_no_blob_is_the_jobs_own_fault(
    jobs: Jobs, local: Settings, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(self: Attempt) -> JobStatus:
        raise UnnameableFileError("the file has a name that is not UTF-8; rename it.")

    monkeypatch.setattr(Attempt, "_work", work)
    place = folder(local, job := jobs.job())
    with place.submitting():
        place.write_job(job)
    status = Attempt(place, local, storage).run()
    assert status.state is JobState.FAILED
    assert "rename it" in status.message


def test_a_full_disk_does_not_make_an_attempt_deaf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class FullDisk(JobFolder):
        def write_status(self, status: JobStatus) -> None:
            raise OSError(28, "No space left on device")

    place, cancelled = FullDisk(tmp_path), threading.Event()
    reporter = Reporter(place, cancelled)
    reporter.start()
    place.ask_to_stop()
    assert cancelled.wait(5)
    monkeypatch.setattr(attempt, "LAST_WORD_S", 0.0)
    with pytest.raises(OSError, match="No space"):
        reporter.end(JobStatus(JobState.CANCELED))


def test_a_failure_on_a_disk_that_was_full_is_no_fault_of_the_job(
    jobs: Jobs, local: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = folder(local, job := jobs.failing())
    with place.submitting():
        place.write_job(job)
    full = Mock(free=attempt.LEAST_FREE_BYTES - 1)
    monkeypatch.setattr(attempt.shutil, "disk_usage", lambda path: full)
    status = Attempt(place, local, Storage(local)).run()
    assert (status.state, status.blameless) == (JobState.LOST, True)
    assert "was full; free some room" in status.message


def test_a_file_for_which_there_is_no_room_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        write_whole(tmp_path, b"a folder cannot be replaced by a file")
    assert not list(tmp_path.parent.glob(".*.part"))


def test_a_submission_removes_what_a_host_that_was_killed_meanwhile_had_begun_to_write(
    compute: LocalCompute, jobs: Jobs, local: Settings
) -> None:
    place = folder(local, job := jobs.job())
    place.path.mkdir(parents=True)
    half = place.path / ".job.json.1.part"
    half.touch()
    compute.submit(job)
    assert not half.exists()
    assert ended(compute, job).state is JobState.SUCCEEDED


def test_the_last_word_waits_for_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = JobFolder(tmp_path)
    reporter = Reporter(place, threading.Event())
    reporter.start()
    write, faults = place.write_status, iter([OSError(errno.ENOSPC, "full")] * 2)

    def full_twice(status: JobStatus) -> None:
        if status.state is JobState.SUCCEEDED:
            for fault in faults:
                raise fault
        write(status)

    monkeypatch.setattr(place, "write_status", full_twice)
    reporter.end(JobStatus(JobState.SUCCEEDED))
    beat = place.read_beat()
    assert beat is not None
    assert beat.status.state is JobState.SUCCEEDED


def test_logs_are_in_storage_while_the_job_runs(compute: LocalCompute, jobs: Jobs) -> None:
    job = jobs.gated()
    compute.submit(job)
    running(compute, job)
    wanted = {
        "attempt.txt",
        "engine.txt",
        "score/mini_batches.jsonl",
        "score/std_log.txt",
        "score/worker-00.txt",
    }
    until(lambda: wanted <= set(jobs.blobs(job.logs)))
    until(lambda: "a.txt" in jobs.text(job.logs, "score/mini_batches.jsonl"))
    until(lambda: jobs.blobs(job.outputs["scored"]) == ["a.txt"])
    jobs.gate.touch()
    ended(compute, job)
    assert "working on c.txt" in "".join(
        jobs.text(job.logs, f"score/worker-{index:02d}.txt")
        for index in range(2)
        if f"score/worker-{index:02d}.txt" in jobs.blobs(job.logs)
    )
    assert "succeeded" in jobs.text(job.logs, "engine.txt")


def test_no_secret_is_written_to_disk_or_to_a_log(compute: LocalCompute, jobs: Jobs, local: Settings) -> None:
    job = jobs.failing()
    compute.submit(job)
    ended(compute, job)
    assert local.system.connection_string is not None
    key = local.system.connection_string.split("AccountKey=")[1].split(";")[0].encode()
    files = [path for path in local.local_work_folder.rglob("*") if path.is_file()]
    assert len(files) > 10
    assert not [path for path in files if key in path.read_bytes()]
    assert not [name for name in jobs.blobs(job.logs) if key.decode() in jobs.text(job.logs, name)]


def test_nothing_is_left_in_temporary_folders_or_beside_the_source(
    compute: LocalCompute, jobs: Jobs, local: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    before = sorted(local.workloads_folder.rglob("*"))
    job = jobs.job()
    compute.submit(job)
    assert ended(compute, job).state is JobState.SUCCEEDED
    assert list(temporary.iterdir()) == []
    assert sorted(local.workloads_folder.rglob("*")) == before
    assert {path.name for path in local.local_work_folder.iterdir()} == {job.name}


@pytest.mark.parametrize("name", ["../up", ".hidden", "a/b", ""])
def test_a_name_that_is_no_folder_is_refused(compute: LocalCompute, jobs: Jobs, name: str) -> None:
    with pytest.raises(JobRefusedError, match="letters, digits"):
        compute.submit(replace(jobs.job(), name=name))
    with pytest.raises(JobRefusedError, match=r"folder of workloads"):
        compute.submit(replace(jobs.job(), pipeline="../../etc/passwd"))


def test_settings_reach_the_attempt_whatever_the_hosts_environment_says(
    azurite: str, local: Settings, tmp_path: Path
) -> None:
    environment = backend._environment(local)
    assert Settings.from_environment(environment).local_work_folder == local.local_work_folder
    by_identity = settings_for(azurite, tmp_path)
    by_identity = replace(
        by_identity,
        data=replace(
            by_identity.data, connection_string=None, blob_service_uri="https://x.blob.core.windows.net"
        ),
    )
    again = Settings.from_environment(backend._environment(by_identity))
    assert again.data.blob_service_uri == "https://x.blob.core.windows.net"
    assert again.data.connection_string is None
