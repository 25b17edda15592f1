"""Azure Machine Learning as a compute: jobs are submitted by the SDK, and looked after by plain requests."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Mapping
from typing import TypeVar

from batchscore import paths
from batchscore.compute.azureml.api import WorkspaceApi
from batchscore.compute.azureml.described import (
    JobDescription,
    StepDescription,
    StepRun,
    described,
    step_runs,
)
from batchscore.compute.azureml.errors import is_already_there, is_unknown, token_refused
from batchscore.compute.azureml.faults import fault_of
from batchscore.compute.azureml.job_document import RUN_TAG
from batchscore.compute.azureml.logs import copy_logs
from batchscore.compute.azureml.outcomes import (
    Outcome,
    Reported,
    is_known,
    outcome,
    state_of,
    vanished,
)
from batchscore.compute.azureml.patience import Gate
from batchscore.compute.azureml.progress import MOST_REMEMBERED, Progress
from batchscore.compute.azureml.submission import Submitter
from batchscore.compute.azureml.waiting import waiting_for
from batchscore.compute.base import Job, JobState, JobStatus, Location, StepProgress
from batchscore.errors import ComputeError, ComputeUnavailableError, JobRefusedError
from batchscore.settings import Workspace
from batchscore.storage import Storage

log = logging.getLogger("batchscore.compute.azureml")

Answer = TypeVar("Answer")
TRIES_OF_LOGS = 3
"""How many looks at a job that has ended wait for its logs before it is over without them."""
_JOB_NAME = re.compile(r"([0-9a-f]{20})-([1-9]\d*)")


class AzureMLCompute:
    """Jobs of one workspace. Thread-safe; nothing is contacted, and no SDK loaded, before it is needed."""

    def __init__(self, workspace: Workspace, storage: Storage, data_container: str) -> None:
        self._workspace = workspace
        self._storage = storage
        self._data_container = data_container
        self._progress = Progress(storage)
        self._causes: dict[str, dict[str, str]] = {}
        """Of the jobs whose logs were copied: what they say of each step that failed, by node."""
        self._log_tries: dict[str, int] = {}
        self._gate = Gate()
        self._lock = threading.Lock()
        self._opened_api: WorkspaceApi | None = None
        self._opened_submitter: Submitter | None = None

    def submit(self, job: Job) -> None:
        """PUT the job's document under the job's name. A job that is there by that name is this one: the answer to an
        earlier try got lost. JobRefusedError when it is another run's, or the service does not take the document."""
        if not job.document:
            raise JobRefusedError(
                f"job {job.name} was planned for another compute than Azure Machine Learning. "
                f"'batchscore retry {job.run_id}' plans it anew."
            )

        def put() -> bool:
            try:
                self._submitter().submit(job.document)
            except Exception as error:
                if is_already_there(error):
                    return False
                raise
            return True

        if not self._asked(f"submit job {job.name}", put):
            found = self._found(job.name)
            if found is None:
                # another thing was there already, such as a blob of a submit at the same time
                raise ComputeUnavailableError(
                    f"cannot submit job {job.name}: Azure Machine Learning says that it is there already, and then knows no "
                    "such job. It is tried again."
                )
            if found.run_id not in ("", job.run_id):
                raise JobRefusedError(f"the workspace has a job {job.name} of another run, {found.run_id}.")

    def status(self, job_name: str) -> JobStatus:
        """How the job is, by what the service says of it and of its steps, and by the receipts. When it has ended, its
        logs have been copied."""
        found = self._found(job_name)
        if found is None:
            return _status(vanished(job_name))
        runs = self._runs(job_name, found)
        ended = state_of(Reported(found.state)).ended
        causes = self._copied_logs(job_name, found, runs) if ended else {}
        reported = {step.name: _reported(runs.get(step.node), causes.get(step.node)) for step in found.steps}
        waits_for = "" if ended else self._waits_for(found, reported)
        steps = self._steps(job_name, found, runs, reported)
        return _status(outcome(self._job(job_name, found, reported), reported, found.link, waits_for), steps)

    def cancel(self, job_name: str) -> None:
        """Ask the service to stop the job."""
        found = self._found(job_name)
        if found is not None and not state_of(Reported(found.state)).ended:
            self._known(f"cancel job {job_name}", lambda: self._api().cancel(job_name))

    def close(self) -> None:
        with self._lock:
            if self._opened_api is not None:
                self._opened_api.close()
            self._opened_api = self._opened_submitter = None

    def _found(self, job_name: str) -> JobDescription | None:
        """The job; None where the workspace has none of this name."""
        if _JOB_NAME.fullmatch(job_name) is None:
            return None
        document = self._known(f"look at job {job_name}", lambda: self._api().job(job_name))
        return None if document is None else described(document, self._data_container, RUN_TAG)

    def _runs(self, job_name: str, found: JobDescription) -> dict[str, StepRun]:
        children = self._known(
            f"look at the steps of job {job_name}", lambda: list(self._api().children(job_name))
        )
        return step_runs(children or [], found.steps)

    def _job(self, job_name: str, found: JobDescription, reported: Mapping[str, Reported]) -> Reported:
        """The job itself; where no step tells why it failed, or its state says nothing, the run history may."""
        plain = Reported(found.state)
        untold = state_of(plain) is JobState.FAILED and not any(step.fault for step in reported.values())
        if not untold and is_known(found.state):
            return plain
        run = self._known(f"look at the run of job {job_name}", lambda: self._api().run(job_name)) or {}
        return Reported(found.state, fault_of(run.get("error")), bool(run.get("endTimeUtc")))

    def _steps(
        self,
        job_name: str,
        found: JobDescription,
        runs: Mapping[str, StepRun],
        reported: Mapping[str, Reported],
    ) -> tuple[StepProgress, ...]:
        states = {step.node: state_of(reported[step.name]) for step in found.steps}
        return tuple(
            self._progress.of(
                job_name,
                step,
                runs.get(step.node),
                states[step.node],
                written=states.get(step.items_from) is JobState.SUCCEEDED,
                over=state_of(Reported(found.state)).ended,
            )
            for step in found.steps
        )

    def _waits_for(self, found: JobDescription, reported: Mapping[str, Reported]) -> str:
        """What the cluster of the first waiting step says, when no step runs."""
        states = {step.name: state_of(reported[step.name]) for step in found.steps}
        waiting = [step for step in found.steps if states[step.name] is JobState.QUEUED and step.cluster]
        if not waiting or JobState.RUNNING in states.values():
            return ""
        name = waiting[0].cluster
        cluster = self._known(f"look at cluster {name}", lambda: self._api().compute(name))
        if cluster is None:
            return f"waits for the cluster {name!r}, which is not in the workspace. Run 'batchscore deploy'."
        return waiting_for(cluster)

    def _copied_logs(
        self, job_name: str, found: JobDescription, runs: Mapping[str, StepRun]
    ) -> dict[str, str]:
        """What the logs of the steps say, by node; they are copied once. A job is not kept from ending by logs that
        cannot be had."""
        if job_name not in self._causes:
            try:
                causes = {
                    step.node: self._copied_logs_of(job_name, step, runs[step.node])
                    for step in found.steps
                    if step.node in runs
                }
            except ComputeError as error:
                tries = self._log_tries.get(job_name, 0) + 1
                if tries < TRIES_OF_LOGS and isinstance(error, ComputeUnavailableError):
                    _remember(self._log_tries, job_name, tries)
                    raise
                log.warning("job %s is over without its logs: %s", job_name, error)
                causes = {}
            _remember(self._causes, job_name, causes)
        return self._causes[job_name]

    def _copied_logs_of(self, job_name: str, step: StepDescription, run: StepRun) -> str:
        match = _JOB_NAME.fullmatch(job_name)
        assert match is not None, "only jobs of ours are looked at"
        place = paths.logs_location(match[1], int(match[2]))
        below = Location(place.account, place.container, f"{place.path}/{step.name}")
        return (
            self._known(
                f"copy the logs of step {step.name!r} of job {job_name}",
                lambda: copy_logs(self._api(), self._storage, run.id, below),
            )
            or ""
        )

    def _asked(self, doing: str, call: Callable[[], Answer]) -> Answer:
        """What the service answers; its errors come out in the product's words. Where it refuses the token, it is asked
        again with a new one."""
        with self._gate.calling(doing):
            try:
                return call()
            except Exception as error:
                if not token_refused(error):
                    raise
            self.close()
            return call()

    def _known(self, doing: str, call: Callable[[], Answer]) -> Answer | None:
        """The same; None where the workspace does not have what is asked for."""

        def perhaps() -> Answer | None:
            try:
                return call()
            except Exception as error:
                if is_unknown(error):
                    return None
                raise

        return self._asked(doing, perhaps)

    def _api(self) -> WorkspaceApi:
        with self._lock:
            if self._opened_api is None:
                self._opened_api = WorkspaceApi(self._workspace)
            return self._opened_api

    def _submitter(self) -> Submitter:
        with self._lock:
            if self._opened_submitter is None:
                self._opened_submitter = Submitter(self._workspace)
            return self._opened_submitter


def _reported(run: StepRun | None, cause: str | None) -> Reported:
    """A step as the service reports it. One that has no run yet waits, and so does one that was canceled before it began,
    because a step before it failed."""
    if run is None:
        return Reported("NotStarted")
    reported = Reported(run.state, fault_of(run.error), run.ended_at is not None, cause or "")
    never_began = run.started_at is None and state_of(reported) is JobState.CANCELED
    return Reported("NotStarted") if never_began and reported.fault is None else reported


def _status(end: Outcome, steps: tuple[StepProgress, ...] = ()) -> JobStatus:
    return JobStatus(end.state, end.message, steps, end.blameless)


def _remember(memory: dict[str, Answer], job_name: str, value: Answer) -> None:
    while len(memory) >= MOST_REMEMBERED:
        del memory[next(iter(memory))]
    memory[job_name] = value
