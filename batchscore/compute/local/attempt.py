"""One attempt of a run, in a process of its own that outlives the host: pull, run the engine, push, tell.

Started by backend.LocalCompute as `python -m batchscore.compute.local.attempt <job folder> <lock>`; the lock is
an open descriptor that holds the job's lock for as long as this process lives.
"""

from __future__ import annotations

import errno
import os
import shutil
import sys
import threading
import time
import traceback
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from batchscore.compute.base import Job, JobState, JobStatus, Location, StepProgress
from batchscore.compute.local.courier import Cargo, Courier, deliver
from batchscore.compute.local.engine import Engine
from batchscore.compute.local.job_folder import JobFolder
from batchscore.compute.local.ledger import Ledger
from batchscore.compute.local.markers import BEGUN
from batchscore.compute.local.mirror import (
    Mirror,
    MissingDataError,
    Push,
    TransferStoppedError,
    UnnameableFileError,
)
from batchscore.compute.local.run_folder import RunFolder
from batchscore.definitions import Pipeline, Scalar, load_pipeline
from batchscore.definitions.modes import with_modes
from batchscore.errors import BatchscoreError, DefinitionError, StorageUnavailableError
from batchscore.paths import RECEIPTS_OUTPUT, job_name
from batchscore.settings import Settings
from batchscore.storage import Storage

BEAT_S = 5.0
LOOK_S = 0.25
HOLD_TIMEOUT_S = 20.0
LAST_WORD_S = 60.0
"""How long an attempt that has ended waits for room on a full disk to say so."""
LEAST_FREE_BYTES = 1 << 20
LAST_PUSH_S = 3.0
"""How long an attempt that was cancelled may take to bring away what it has finished."""


class Reporter:
    """Writes the state file: soon after every change, and a sign of life now and then. Sees the wish to stop."""

    def __init__(self, folder: JobFolder, cancelled: threading.Event) -> None:
        self._folder = folder
        self._cancelled = cancelled
        self._status = JobStatus(JobState.RUNNING)
        self.disk_was_full = False
        """Whether there was no room left at any look so far."""
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reporter", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def say(self, status: JobStatus) -> None:
        """What the state is now; returns at once."""
        self._status = status

    def end(self, status: JobStatus) -> None:
        """Write the last state."""
        self._ended.set()
        self._thread.join()
        deadline = time.monotonic() + LAST_WORD_S
        while True:
            try:
                return self._folder.write_status(status)
            except OSError:  # unsaid, it would count as lost
                if time.monotonic() > deadline:
                    raise
                time.sleep(LOOK_S)

    def _look_at_disk(self) -> None:
        with suppress(OSError):
            if shutil.disk_usage(self._folder.path).free < LEAST_FREE_BYTES:
                self.disk_was_full = True

    def _run(self) -> None:
        written: JobStatus | None = None
        looks = 0
        while True:
            status, looks = self._status, looks + 1
            if status is not written or looks * LOOK_S >= BEAT_S:
                with suppress(OSError):  # a full disk may have room again at the next look
                    self._folder.write_status(status)
                    written, looks = status, 0
            if self._folder.asked_to_stop:
                self._cancelled.set()
            self._look_at_disk()
            if self._ended.wait(LOOK_S):
                return


class Attempt:
    """Pulls the inputs of a job, runs its pipeline and pushes what it makes."""

    def __init__(self, folder: JobFolder, settings: Settings, storage: Storage) -> None:
        self._job: Job = folder.read_job()
        self._logs = folder.logs
        self._settings = settings
        self._storage = storage
        self._cancelled = threading.Event()
        self._reporter = Reporter(folder, self._cancelled)
        self._data = RunFolder(settings.local_work_folder / self._job.run_id)
        self._steps: tuple[StepProgress, ...] = ()

    def run(self) -> JobStatus:
        """Do it all; the state with which the job ended, which is written too."""
        self._reporter.start()
        status = JobStatus(JobState.LOST, "the attempt was interrupted")
        try:
            status = self._guarded()
            if status.state in (JobState.SUCCEEDED, JobState.CANCELED):
                self._data.remove()
        finally:
            self._data.release()
            self._reporter.end(status)
        return status

    def _guarded(self) -> JobStatus:
        """The faults of the job are its failure; those of the surroundings leave it to another attempt."""
        try:
            if not self._data.hold(HOLD_TIMEOUT_S):
                why = "another attempt of this run is still at work on this machine"
                return self._lost(why, blameless=True)
            return self._excused(self._work())
        except TransferStoppedError:
            return JobStatus(JobState.CANCELED, "cancelled while fetching inputs", self._steps)
        except (MissingDataError, UnnameableFileError, DefinitionError) as error:
            return JobStatus(JobState.FAILED, str(error), self._steps)
        except StorageUnavailableError as error:
            return self._lost(str(error), blameless=True)
        except BatchscoreError as error:
            return self._lost(str(error))
        except Exception as error:  # whatever it is, somebody must be told
            with suppress(OSError):  # its log may be on the disk that is full
                traceback.print_exc()
            full = self._reporter.disk_was_full or getattr(error, "errno", None) == errno.ENOSPC
            return self._lost(f"the attempt broke off: {type(error).__name__}: {error}", blameless=full)

    def _was_here(self, attempt: int) -> bool:
        folder = JobFolder(self._settings.local_work_folder / job_name(self._job.run_id, attempt))
        return folder.submitted

    def _lost(self, why: str, *, blameless: bool = False) -> JobStatus:
        return JobStatus(JobState.LOST, why, self._steps, blameless)

    def _excused(self, status: JobStatus) -> JobStatus:
        """A failure on a disk that was full meanwhile says nothing against the job: another attempt does the rest."""
        failed = status.state is JobState.FAILED or any(step.items_failed for step in status.steps)
        if not (failed and self._reporter.disk_was_full):
            return status
        why = f"the disk of {self._settings.local_work_folder} was full; free some room"
        return JobStatus(JobState.LOST, f"{why} ({status.message})", status.steps, blameless=True)

    def _work(self) -> JobStatus:
        job, data = self._job, self._data
        loaded = load_pipeline(self._settings.workloads_folder / job.pipeline, self._settings.local_map)
        pipeline = with_modes(loaded, job.overrides.modes)
        self._say(
            JobStatus(
                JobState.RUNNING,
                "fetching inputs",
                tuple(StepProgress(step.name, JobState.QUEUED) for step in pipeline.steps),
            )
        )
        kept = data.begin(job.attempt, self._was_here)
        ledger = Ledger(data.ledger)
        try:
            mirror = Mirror(self._storage, ledger, self._cancelled)
            if kept:
                for target in self._job.outputs.values():
                    mirror.forget_removed(target)
            else:
                self._pull_outputs(mirror, pipeline)
            data.complete(job.attempt)
            inputs = self._pull_inputs(mirror, pipeline)
            return self._run_engine(pipeline, inputs, ledger)
        finally:
            ledger.close()

    def _run_engine(self, pipeline: Pipeline, inputs: dict[str, Path | Scalar], ledger: Ledger) -> JobStatus:
        engine = Engine(
            pipeline,
            inputs,
            {name: self._data.outputs / name for name in pipeline.outputs},
            self._data.work,
            self._logs,
            self._job.overrides,
            self._settings.local_python,
            self._say,
            self._cancelled,
            on_cleared=self._data.note_cleared,
        )
        halt = threading.Event()
        courier = Courier(
            Mirror(self._storage, ledger, halt),
            lambda: self._cargo(pipeline),
            lambda error: _tell(f"push failed, trying again: {error}"),
        )
        courier.start()
        try:
            status = engine.run()
        finally:
            if self._cancelled.is_set():
                halt.set()
            courier.stop()
        self._steps = status.steps
        return self._deliver(status, pipeline, ledger)

    def _deliver(self, status: JobStatus, pipeline: Pipeline, ledger: Ledger) -> JobStatus:
        """The last push. What a cancelled attempt does not manage to bring away is made again when asked for."""
        halt = threading.Event()
        timer = threading.Timer(LAST_PUSH_S, halt.set)
        if status.state is JobState.CANCELED:
            timer.start()
        try:
            mirror = Mirror(self._storage, ledger, halt)
            deliver(mirror, self._cargo(pipeline), writing=False)
            if status.state is JobState.SUCCEEDED:
                for name in self._data.cleared:
                    mirror.remove_stale(Push(self._data.outputs / name, self._job.outputs[name]))
        except (TransferStoppedError, StorageUnavailableError):
            if status.state is not JobState.CANCELED:
                raise
        finally:
            timer.cancel()
        return status

    def _say(self, status: JobStatus) -> None:
        """The state while the attempt runs; how it ends is said once everything is in storage."""
        self._steps = status.steps
        if not status.state.ended:
            self._reporter.say(status)

    def _pull_inputs(self, mirror: Mirror, pipeline: Pipeline) -> dict[str, Path | Scalar]:
        inputs: dict[str, Path | Scalar] = {}
        for name, value in self._job.inputs.items():
            if not isinstance(value, Location):
                inputs[name] = value
                continue
            what, folder = f"input {name!r}", self._data.inputs / name
            file = folder / value.path.rsplit("/", 1)[-1]
            if pipeline.inputs[name].type == "uri_file":
                mirror.pull_file(what, value, file)
                inputs[name] = file
            else:
                if pipeline.inputs[name].is_model:
                    folder /= value.path.replace("/", "-")  # so that what a step says of it names the model
                if not mirror.pull_folder(what, value, folder):
                    raise MissingDataError(f"{what}: there is nothing below {value}/.")
                inputs[name] = folder
        return inputs

    def _pull_outputs(self, mirror: Mirror, pipeline: Pipeline) -> None:
        """What earlier attempts have made, on this machine or another, so that it need not be made again."""
        begun = self._begun()
        mirror.pull_folder("what steps began from", begun.target, begun.local)
        mirror.remember(begun)
        for name, target in self._job.outputs.items():
            what, local = f"output {name!r}", self._data.outputs / name
            if pipeline.outputs[name].type == "uri_file":
                with suppress(MissingDataError):
                    mirror.pull_file(what, target, local)
            else:
                mirror.pull_folder(what, target, local)
            if local.exists():
                mirror.remember(Push(local, target))

    def _begun(self) -> Push:
        place = self._job.logs
        return Push(self._data.work / BEGUN, replace(place, path=f"{place.path.rpartition('/')[0]}/{BEGUN}"))

    def _cargo(self, pipeline: Pipeline) -> Cargo:
        """What may leave now: of outputs that appear only when their step has ended, those whose step has."""
        ended = {step.name for step in self._steps if step.state is JobState.SUCCEEDED}
        late = {
            target
            for step in pipeline.steps
            for name, target in step.output_bindings.items()
            if "upload" in (step.outputs[name].mode, pipeline.outputs[target].mode) and step.name not in ended
        }
        pushes = {
            name: Push(self._data.outputs / name, target)
            for name, target in self._job.outputs.items()
            if name not in late
        }
        return Cargo(
            outputs=(
                self._begun(),
                *(push for name, push in pushes.items() if name != RECEIPTS_OUTPUT),
            ),
            receipts=tuple(push for name, push in pushes.items() if name == RECEIPTS_OUTPUT),
            logs=(Push(self._logs, self._job.logs),),
        )


def _tell(line: str) -> None:
    """Print a line into the attempt's log, if there is room for it."""
    with suppress(OSError):
        print(line, flush=True)  # noqa: T201


def main() -> None:
    lock = int(sys.argv[2])
    os.set_inheritable(lock, False)
    folder = JobFolder(Path(sys.argv[1]))
    folder.name_holder(lock, os.getpid())
    settings = Settings.from_environment()
    storage = Storage(settings)
    status = Attempt(folder, settings, storage).run()
    _tell(f"{status.state}: {status.message}")
    storage.close()


if __name__ == "__main__":
    main()
