"""What moves jobs on: nodes for those that wait, the local engine for those that have some, and their misfortunes.

A job goes Preparing → Running and its steps NotStarted → Queued → Provisioning → Running → Completed or Failed, as those of the
service do; at its end it is Finalizing for a while. All of it is in the job's document, so that another process goes on.
"""

from __future__ import annotations

import re
import threading
import time
import traceback
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final

from batchscore.compute.base import JobState, JobStatus, Location
from batchscore.devhost.azureml import ends
from batchscore.devhost.azureml.answers import Document, ServiceError, object_of, text_of
from batchscore.devhost.azureml.assets import Assets
from batchscore.devhost.azureml.execution import Component, Execution
from batchscore.devhost.azureml.faults import Switches
from batchscore.devhost.azureml.infrastructure import Infrastructure, NodeUse
from batchscore.devhost.azureml.jobs import ENDED, Jobs
from batchscore.devhost.azureml.scheduling import admitted, too_many
from batchscore.errors import BatchscoreError, RequestError, StorageUnavailableError

LOOK_S = 0.1
_STEP_STATES: Final = {
    JobState.QUEUED: "NotStarted",
    JobState.RUNNING: "Running",
    JobState.SUCCEEDED: "Completed",
    JobState.FAILED: "Failed",
    JobState.CANCELED: "Canceled",
}
_ADDRESS: Final = re.compile(r"azureml://(?:.+/)?datastores/(?P<datastore>[^/]+)/paths/(?P<path>.*)")


class Runner:
    """Looks after all jobs that have not ended, on a thread of its own. `lock` guards the documents."""

    def __init__(
        self,
        jobs: Jobs,
        assets: Assets,
        infrastructure: Infrastructure,
        execution: Execution,
        switches: Switches,
        lock: threading.RLock,
    ) -> None:
        self._jobs = jobs
        self._assets = assets
        self._infrastructure = infrastructure
        self._execution = execution
        self._switches = switches
        self._lock = lock
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="runner", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Let go; what runs goes on by itself and is found again."""
        self._stop.set()
        self._thread.join()

    def use(self, cluster: str) -> NodeUse:
        """The nodes of a cluster that jobs have and wait for."""
        running = coming = waiting = 0
        for document in self._jobs.active().values():
            count = object_of(document, "_nodes").get(cluster, 0)
            match document.get("_phase"):
                case "running" | "finalizing":
                    running += count
                case "nodes":
                    coming += count
                case "waiting":
                    waiting += count
        return NodeUse(running, coming, without_quota=bool(waiting and self._switches.queued_s))

    def drop(self, name: str) -> None:
        """Stop a job and let it never have been there."""
        self._execution.cancel(name)
        self._jobs.forget(name)

    def _run(self) -> None:
        while not self._stop.wait(LOOK_S):
            try:
                self._admit()
            except Exception:  # a full disk, say: without this thread every job would hang without a word
                traceback.print_exc()
            for name in self._under_way():
                self._guarded(name)

    def _guarded(self, name: str) -> None:
        """Move a job on; what cannot run fails, as it would there, and storage that is away is waited for."""
        try:
            self._move(name)
        except StorageUnavailableError:
            return
        except Exception as error:  # whatever it is, the other jobs go on
            if not isinstance(error, ServiceError | BatchscoreError):
                traceback.print_exc()
            with suppress(ServiceError):  # it has vanished meanwhile
                self._fail(name, _first_step(self._jobs.document(name)), str(error) or type(error).__name__)

    def _admit(self) -> None:
        """Give nodes to the jobs that get theirs at this look."""
        with self._lock:
            documents = self._jobs.active()
            waiting = [(name, each) for name, each in documents.items() if each.get("_phase") == "waiting"]
            held = [
                object_of(each, "_nodes")
                for each in documents.values()
                if each.get("_phase") in ("nodes", "running", "finalizing")
            ]
            now, most = time.time(), self._infrastructure.most_nodes()
            ready = []
            for name, document in waiting:
                impossible = too_many(object_of(document, "_nodes"), most)
                if impossible:
                    self._fail(name, _first_step(document), impossible)
                elif _since(document, now) >= self._switches.queued_s:
                    ready.append((name, object_of(document, "_nodes")))
            for name in admitted(ready, most, held):
                self._step_states(name, "Provisioning", ("NotStarted", "Queued"))
                self._phase(name, "nodes")

    def _under_way(self) -> list[str]:
        with self._lock:
            return [
                name
                for name, each in self._jobs.active().items()
                if each.get("_phase") != "waiting" or Jobs.status(each) == "CancelRequested"
            ]

    def _move(self, name: str) -> None:
        """One step on."""
        with self._lock:
            document = self._jobs.document(name)
        phase, now = document.get("_phase"), time.time()
        if Jobs.status(document) == "CancelRequested" and phase in (None, "waiting", "nodes"):
            return self._end(name, "Canceled")
        match phase:
            case None:
                with self._lock:
                    self._jobs.update(name, status="Running", startedAt=stamp())
                    self._step_states(name, "Queued", ("NotStarted",))
                    self._phase(name, "waiting")
            case "nodes" if _since(document, now) >= self._switches.provisioning_s:
                self._begin(name, document)
            case "running":
                self._look(name, document)
            case "finalizing" if _since(document, now) >= self._switches.finalizing_s:
                self._end(name, "Completed")
        return None

    def _begin(self, name: str, document: Document) -> None:
        switches = self._switches
        if switches.fail_jobs:
            switches.fail_jobs -= 1
            step = switches.fail_step or _first_step(document)
            said = switches.fail_message or "ExecutionFailed: a fault on demand"
            return self._fail(name, step, said, switches.fail_code)
        if not switches.pretend:
            self._execution.start(
                name, object_of(document, "properties"), self._components(document), self._place
            )
        with self._lock:
            self._step_states(name, "Running" if switches.pretend else "NotStarted", ("Provisioning",))
            self._phase(name, "running")
        return None

    def _look(self, name: str, document: Document) -> None:
        switches = self._switches
        if switches.pretend:
            if Jobs.status(document) == "CancelRequested":
                return self._end(name, "Canceled")
            if _since(document, time.time()) >= switches.pretend_s:
                self._finalize(name)
            return None
        if switches.preempt_jobs and self._execution.mini_batches_done(name) >= switches.preempt_after:
            switches.preempt_jobs -= 1
            step = next(
                (s.name for s in self._execution.status(name).steps if s.state is JobState.RUNNING), ""
            )
            self._execution.kill(name)
            return self._fail(name, step or _first_step(document), ends.PREEMPTED)
        if Jobs.status(document) == "CancelRequested":
            self._execution.cancel(name)
        status = self._execution.status(name)
        self._tell_steps(name, document, status)
        match status.state:
            case JobState.SUCCEEDED:
                self._finalize(name)
            case JobState.CANCELED:
                self._end(name, "Canceled")
            case JobState.FAILED:
                step = next(
                    (s.name for s in status.steps if s.state is JobState.FAILED), _first_step(document)
                )
                self._fail(name, step, ends.exit_of(status.message))
            case JobState.LOST:
                self._fail(name, _first_step(document), ends.LOST if not status.blameless else ends.PREEMPTED)
        return None

    def _finalize(self, name: str) -> None:
        with self._lock:
            if self._switches.finalizing_s:
                self._jobs.update(name, status="Finalizing")
            self._phase(name, "finalizing")

    def _end(self, name: str, status: str) -> None:
        with self._lock:
            unfinished = ("NotStarted", "Queued", "Provisioning", "Running")
            self._step_states(name, status, unfinished)
            self._jobs.update(name, status=status, endedAt=stamp())
        self._execution.forget(name)

    def _fail(self, name: str, step: str, said: str, code: str = "UserError") -> None:
        """The step and with it the job fails, with the errors that they have there."""
        with self._lock:
            self._jobs.update(
                name,
                children={step: {"status": "Failed", "endedAt": stamp(), "error": ends.of_step(said, code)}},
                error=ends.of_job(step),
            )
            self._step_states(name, "Canceled", ("NotStarted", "Queued", "Provisioning", "Running"))
            self._jobs.update(name, status="Failed", endedAt=stamp())
        self._execution.forget(name)

    def _tell_steps(self, name: str, document: Document, status: JobStatus) -> None:
        """Put the engine's states of steps into the document where they changed."""
        known = object_of(document, "_children")
        changes: dict[str, Document] = {}
        for step in status.steps:
            state = _STEP_STATES.get(step.state)
            child = object_of(known, step.name)
            if state is None or step.name not in known or child.get("status") == state:
                continue
            changes[step.name] = {"status": state}
            if state != "NotStarted" and not child.get("startedAt"):
                changes[step.name]["startedAt"] = stamp()
            if state in ENDED:
                changes[step.name]["endedAt"] = stamp()
        if changes:
            with self._lock:
                self._jobs.update(name, children=changes)

    def _step_states(self, name: str, status: str, of: tuple[str, ...]) -> None:
        """Give the steps that are in one of these states another one."""
        children = object_of(self._jobs.document(name), "_children")
        changes: dict[str, Document] = {
            step: {"status": status, **({"endedAt": stamp()} if status in ENDED else {})}
            for step in children
            if object_of(children, step).get("status") in of
        }
        if changes:
            self._jobs.update(name, children=changes)

    def _phase(self, name: str, phase: str) -> None:
        self._jobs.update(name, phase=phase, phaseAt=time.time())

    def _components(self, document: Document) -> dict[str, Component]:
        """What every step runs."""
        found = {}
        for name, node in object_of(object_of(document, "properties"), "jobs").items():
            spec = self._assets.spec(text_of(node, "componentId"))
            code = text_of(spec, "code") or text_of(object_of(spec, "task"), "code")
            found[name] = Component(node, spec, self._assets.code_uri(code) if code else None)
        return found

    def _place(self, uri: str) -> Location:
        """What an address means: a place in a datastore, or the files of a registered model."""
        found = _ADDRESS.fullmatch(uri)
        if found is None:
            try:
                return self._place(self._assets.model_uri(uri))
            except ServiceError:
                raise RequestError(f"{uri!r} is no address that jobs can read here.") from None
        container = self._infrastructure.container(found["datastore"])
        return Location("system", container, found["path"].strip("/"))


def stamp() -> str:
    """Now, as run history writes times."""
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _since(document: Document, now: float) -> float:
    at = document.get("_phaseAt")
    return now - at if isinstance(at, int | float) else now


def _first_step(document: Document) -> str:
    return next(iter(object_of(document, "_children")), "")
