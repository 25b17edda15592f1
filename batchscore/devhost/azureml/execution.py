"""The jobs of the stand-in on the local engine: fetched, started, asked about, stopped; found again after a restart."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import yaml

from batchscore.compute.base import Job, JobStatus, Location
from batchscore.compute.local.backend import KILL_WAIT_S, LocalCompute
from batchscore.compute.local.job_folder import JobFolder
from batchscore.compute.local.parallel import RESULTS_NAME
from batchscore.devhost.azureml.answers import Document
from batchscore.devhost.azureml.history import logs_prefix
from batchscore.devhost.azureml.storage import ARTIFACTS_CONTAINER, DEFAULT_CONTAINER, WorkspaceStorage
from batchscore.devhost.azureml.translation import JOB_FILE, Step, translated
from batchscore.errors import RequestError
from batchscore.settings import DATA_CONNECTION, SYSTEM_CONNECTION, Settings

_PASSED_ON = ("LOCAL_PYTHON", "LOCAL_MAP")


@dataclass(frozen=True)
class Component:
    """A step as it was submitted, with its component's specification and the address of its code."""

    node: Document
    spec: Document
    code: str | None


class Execution:
    """Runs jobs in detached processes, whose folders are below `folder`; snapshots of code are kept there, too."""

    def __init__(self, folder: Path, storage: WorkspaceStorage) -> None:
        self._workloads = folder / "jobs"
        self._code = folder / "code"
        self._work = folder / "work"
        self._storage = storage
        for each in (self._workloads, self._code, self._work):
            each.mkdir(parents=True, exist_ok=True)
        self._compute = LocalCompute(
            Settings.from_environment(
                {
                    SYSTEM_CONNECTION: storage.connection_string,
                    DATA_CONNECTION: storage.connection_string,
                    "WORKLOADS_FOLDER": str(self._workloads),
                    "LOCAL_WORK_FOLDER": str(self._work),
                    **{name: os.environ[name] for name in _PASSED_ON if os.environ.get(name)},
                }
            )
        )

    def start(
        self,
        job: str,
        properties: Document,
        components: Mapping[str, Component],
        place: Callable[[str], Location],
    ) -> None:
        """Start a job, unless it was started. RequestError or JobRefusedError for one that cannot run here;
        StorageUnavailableError where its code cannot be fetched."""
        steps = {
            name: Step(each.node, each.spec, self._fetched(each.code) if each.code else None)
            for name, each in components.items()
        }
        translation = translated(
            properties,
            steps,
            place,
            lambda output: Location("system", DEFAULT_CONTAINER, f"azureml/{job}/{output}"),
        )
        folder = self._workloads / job
        folder.mkdir(exist_ok=True)
        for name, document in translation.files.items():
            (folder / name).write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
        self._compute.submit(
            Job(
                name=_attempt(job),
                run_id=_run(job),
                attempt=1,
                workload=job,
                pipeline=f"{job}/{JOB_FILE}",
                inputs=translation.inputs,
                outputs=translation.outputs,
                logs=Location("system", ARTIFACTS_CONTAINER, logs_prefix(job)),
            )
        )

    def status(self, job: str) -> JobStatus:
        return self._compute.status(_attempt(job))

    def cancel(self, job: str) -> None:
        self._compute.cancel(_attempt(job))

    def mini_batches_done(self, job: str) -> int:
        """How many mini-batches of all steps are done."""
        logs = JobFolder(self._work / _attempt(job)).logs
        return sum(len(file.read_bytes().splitlines()) for file in logs.glob(f"*/{RESULTS_NAME}"))

    def kill(self, job: str) -> None:
        """Take the machines away from under a job: all that it had not stored is lost."""
        folder = JobFolder(self._work / _attempt(job))
        holder = folder.holder
        if holder is not None and folder.alive:
            with suppress(ProcessLookupError):
                os.kill(holder, signal.SIGKILL)
        deadline = time.monotonic() + KILL_WAIT_S
        while folder.alive and time.monotonic() < deadline:
            time.sleep(0.02)
        self.status(job)  # ends what the attempt had started

    def forget(self, job: str) -> None:
        """Remove what an ended job left on this machine."""
        shutil.rmtree(self._work / _run(job), ignore_errors=True)
        shutil.rmtree(self._workloads / job, ignore_errors=True)

    def _fetched(self, uri: str) -> str:
        """The folder of a code snapshot, fetched once: it never changes."""
        path = urlsplit(uri).path.split(
            "/", 3
        )  # below the account's name, which an emulator has in its paths
        container, prefix = path[2], unquote(path[3]).strip("/") if len(path) > 3 else ""
        folder = self._code / container
        if not folder.is_dir():
            fetching = folder.with_name(f".{container}.part")
            shutil.rmtree(fetching, ignore_errors=True)
            for name in self._storage.names(container, f"{prefix}/" if prefix else ""):
                file = fetching / name.removeprefix(prefix).lstrip("/")
                if not file.resolve().is_relative_to(fetching.resolve()):
                    raise RequestError(f"the code {uri} has a file that leads out of it: {name!r}")
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(self._storage.read(container, name))
            if not fetching.is_dir():
                raise RequestError(f"there is nothing at the code's address {uri}")
            fetching.rename(folder)
        return str(folder)


def _run(job: str) -> str:
    return f"{job}.run"  # no job of the service has a point in its name, so this is never that of another job


def _attempt(job: str) -> str:
    return f"{job}.run-1"
