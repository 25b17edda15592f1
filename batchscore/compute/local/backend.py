"""The local compute: attempts as processes of this machine that outlive the host and are found again by name."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import msgspec

from batchscore.compute.base import Job, JobState, JobStatus
from batchscore.compute.local import watchdog
from batchscore.compute.local.job_folder import JobFolder, is_folder_name
from batchscore.compute.local.mirror import TEMPORARY
from batchscore.compute.local.run_folder import RunFolder
from batchscore.definitions import load_pipeline
from batchscore.errors import ComputeUnavailableError, DefinitionError, JobRefusedError
from batchscore.settings import Connection, Settings

SILENT_AFTER_S = 60.0
KILL_WAIT_S = 2.0
KEEP_DAYS = 7
_PACKAGE_PARENT = Path(__file__).resolve().parents[3]


class LocalCompute:
    """Runs each job in a detached process. All it knows lies in `settings.local_work_folder`, so any process of
    this machine may ask. Jobs and runs that nobody touched for KEEP_DAYS are removed when one is submitted."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._root = settings.local_work_folder.absolute()

    def submit(self, job: Job) -> None:
        """Start the job, unless it is there. JobRefusedError when its pipeline cannot be loaded."""
        if not is_folder_name(job.name) or not is_folder_name(job.run_id) or job.name == job.run_id:
            raise JobRefusedError(
                f"job {job.name!r} of run {job.run_id!r}: both need different names of letters, digits, '.', '_', '-'."
            )
        folder = self._folder(job.name)
        if folder.submitted:
            return
        self._check(job)
        try:
            with folder.submitting():
                if not folder.submitted:
                    self._prune()
                    self._start(job, folder)
        except OSError as error:
            raise ComputeUnavailableError(f"job {job.name} cannot be started: {error}") from error

    def status(self, job_name: str) -> JobStatus:
        """How the job is. LOST also when its process died, or gave no sign for SILENT_AFTER_S (then it is killed)."""
        folder = self._folder(job_name)
        beat = folder.read_beat() if is_folder_name(job_name) else None
        if beat is None:
            return JobStatus(JobState.LOST, f"the local compute knows no job {job_name!r}")
        if beat.status.state.ended:
            return beat.status
        if folder.alive:
            if beat.age_s <= SILENT_AFTER_S:
                return beat.status
            self._kill(folder)
            self._clear_up(folder)
            return JobStatus(
                JobState.LOST,
                f"the attempt gave no sign of life for {beat.age_s:.0f} s and was killed",
                beat.status.steps,
            )
        beat = folder.read_beat() or beat  # it may have ended between the two looks
        if beat.status.state.ended:
            return beat.status
        self._clear_up(folder)
        if beat.age_s < 0:
            return JobStatus(JobState.LOST, "the machine restarted", beat.status.steps, blameless=True)
        return JobStatus(
            JobState.LOST,
            "the attempt's process died without a word (it was killed, or the machine restarted)",
            beat.status.steps,
        )

    def cancel(self, job_name: str) -> None:
        """Ask the attempt to stop; it looks several times a second."""
        folder = self._folder(job_name)
        if is_folder_name(job_name) and folder.submitted and not self.status(job_name).state.ended:
            with suppress(FileNotFoundError):
                folder.ask_to_stop()

    def close(self) -> None:
        """Nothing is held: attempts go on by themselves."""

    def _folder(self, job_name: str) -> JobFolder:
        return JobFolder(self._root / job_name)

    def _check(self, job: Job) -> None:
        file = (self._settings.workloads_folder / job.pipeline).resolve()
        if not file.is_relative_to(self._settings.workloads_folder.resolve()) or not file.is_file():
            raise JobRefusedError(
                f"job {job.name}: there is no pipeline file {job.pipeline!r} in the folder of workloads."
            )
        try:
            load_pipeline(file, self._settings.local_map)
        except DefinitionError as error:
            raise JobRefusedError(f"job {job.name}: the pipeline cannot be loaded:\n{error}") from error

    def _start(self, job: Job, folder: JobFolder) -> None:
        """The attempt holds its lock from birth: it inherits the descriptor, and this process lets go of it."""
        remove_temporary(folder.path)  # of a host that was killed here
        folder.write_job(job)
        lock = folder.take_lock()
        try:
            folder.write_status(JobStatus(JobState.QUEUED))
            with (folder.logs / "attempt.txt").open("ab") as output:
                process = subprocess.Popen(
                    [sys.executable, "-m", "batchscore.compute.local.attempt", str(folder.path), str(lock)],
                    cwd=_PACKAGE_PARENT,
                    env={**os.environ, **_environment(self._settings), watchdog.JOB: str(folder.path)},
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    pass_fds=(lock,),
                    start_new_session=True,
                )
            folder.name_holder(lock, process.pid)
        finally:
            os.close(lock)
        threading.Thread(target=process.wait, name=f"reap {job.name}", daemon=True).start()

    def _kill(self, folder: JobFolder) -> None:
        """End an attempt that hangs; its watchdog ends what it had started."""
        pid = folder.holder
        if pid is None:
            return
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + KILL_WAIT_S
        while folder.alive and time.monotonic() < deadline:
            time.sleep(0.02)

    def _clear_up(self, folder: JobFolder) -> None:
        """After an attempt that was killed: end what it had started (its watchdog may have died with it, and an
        orphan would write beside the next attempt), and remove what was being written."""
        watchdog.kill_all(str(folder.path), watchdog.JOB)
        with suppress(OSError, msgspec.DecodeError):
            remove_temporary(folder.path)
            run = RunFolder(self._root / folder.read_job().run_id)
            if run.is_one and run.hold(0):
                remove_temporary(run.path)
                run.release()

    def _prune(self) -> None:
        """Remove jobs that ended, and data of runs that failed, when nobody touched them for days."""
        before = time.time() - KEEP_DAYS * 24 * 3600
        for path in self._root.iterdir():
            job, run = JobFolder(path), RunFolder(path)
            if job.is_one and job.changed_at < before and not job.alive:
                shutil.rmtree(path, ignore_errors=True)
            elif run.is_one and run.changed_at < before and run.hold(0):
                run.remove()
                run.release()


def _environment(settings: Settings) -> dict[str, str]:
    """The settings that an attempt needs, for its environment alone: secrets are written to no file."""
    return {
        **_connection(settings.system),
        **_connection(settings.data),
        "COMPUTE": "local",
        "WORKLOADS_FOLDER": str(settings.workloads_folder),
        "LOCAL_WORK_FOLDER": str(settings.local_work_folder.absolute()),
        "LOCAL_PYTHON": json.dumps(dict(settings.local_python)),
        "LOCAL_MAP": str(settings.local_map or ""),
    }


def _connection(connection: Connection) -> dict[str, str]:
    if connection.connection_string is not None:
        return {connection.name: connection.connection_string}
    parts = {
        "blobServiceUri": connection.blob_service_uri,
        "queueServiceUri": connection.queue_service_uri,
        "clientId": connection.client_id,
    }
    return {f"{connection.name}__{part}": value for part, value in parts.items() if value}


def remove_temporary(folder: Path) -> None:
    """Remove the files that somebody who is dead now was writing."""
    for where, _, names in os.walk(folder):
        for name in names:
            if TEMPORARY.fullmatch(name):
                Path(where, name).unlink(missing_ok=True)
