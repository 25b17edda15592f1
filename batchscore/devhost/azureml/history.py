"""Run history: the runs of a job's steps, their details, and the addresses of their logs."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from typing import Final

from batchscore.devhost.azureml.answers import Answer, Document, ServiceError, object_of, text_of
from batchscore.devhost.azureml.jobs import Jobs
from batchscore.devhost.azureml.storage import ARTIFACTS_CONTAINER, WorkspaceStorage

_ADDRESS: Final = re.compile(
    r"/history/v1\.0(?P<scope>/subscriptions/.+?/workspaces/[^/]+)"
    r"(?:/experiment(?:id)?s/[^/]+)?/(?:runs/(?P<run>[^/]+)(?:/(?P<what>children|details))?|(?P<data>rundata))",
    re.IGNORECASE,
)


def logs_prefix(job: str) -> str:
    """Where the logs of all steps of a job are, in the container of artifacts."""
    return f"ExperimentRun/dcid.{job}"


class History:
    """Answers what is asked about runs."""

    def __init__(self, jobs: Jobs, storage: WorkspaceStorage, in_scope: Callable[[str], object]) -> None:
        self._jobs = jobs
        self._storage = storage
        self._in_scope = in_scope

    def answer(self, method: str, path: str, body: Document) -> Answer | None:
        """The answer to a request for run history; None for another kind of address."""
        found = _ADDRESS.fullmatch(path)
        if found is None:
            return None
        self._in_scope(found["scope"])
        if found["data"] and method == "POST":
            run = self._run(text_of(body, "runId"))
            return Answer(200, {"runMetadata": run, "runDefinition": None, "jobSpecification": None})
        if method != "GET" or found["run"] is None:
            raise ServiceError(405, "UserError", f"The stand-in has no {method} {path}.")
        if found["what"] == "children":
            return Answer(
                200, {"value": self._children(found["run"]), "continuationToken": None, "nextLink": None}
            )
        run = self._run(found["run"])
        if found["what"] == "details":
            run["logFiles"] = self._logs(found["run"])
        return Answer(200, run)

    def _children(self, job: str) -> list[Document]:
        document = self._jobs.document(job)
        return [_step(job, document, name) for name in object_of(document, "_children")]

    def _run(self, run: str) -> Document:
        parent = self._jobs.step_of(run)
        if parent is None:
            document = self._jobs.document(run)
            return _root(run, {**document, **self._jobs.shown(document)})
        job, step = parent
        return _step(job, self._jobs.document(job), step)

    def _logs(self, run: str) -> Document:
        """The signed address of each log of a run, by its name."""
        parent = self._jobs.step_of(run)
        job, step = parent or (run, "")
        prefix = posixpath.join(logs_prefix(job), step, "") if step else f"{logs_prefix(job)}/"
        names = self._storage.names(ARTIFACTS_CONTAINER, prefix)
        if not step:  # of the job itself: what is not a step's
            names = [name for name in names if "/" not in name.removeprefix(prefix)]
        return {
            _log_name(name.removeprefix(prefix), step): self._storage.readable_url(ARTIFACTS_CONTAINER, name)
            for name in names
        }


def _log_name(name: str, step: str) -> str:
    """The name under which Azure ML shows a log of the engine."""
    if not step:
        return f"logs/azureml/{name}"
    worker = re.fullmatch(r"worker-(\d+)\.txt", name)
    if worker:
        return f"logs/user/stdout/10.0.0.4/process{int(worker[1]):03}.stdout.txt"
    return f"user_logs/{name}" if name == "std_log.txt" else f"logs/sys/{name}"


def _root(job: str, document: Document) -> Document:
    properties = object_of(document, "properties")
    system = object_of(document, "systemData")
    return {
        "runId": job,
        "runUuid": job,
        "parentRunId": None,
        "rootRunId": job,
        "experimentId": text_of(properties, "experimentName"),
        "displayName": properties.get("displayName"),
        "name": properties.get("displayName"),
        "status": properties.get("status"),
        "runType": "azureml.PipelineRun",
        "runTypeV2": {"orchestrator": "Moonshot", "traits": ["pipeline"], "attribution": "PipelineRun"},
        "createdUtc": system.get("createdAt"),
        "createdTimeUtc": system.get("createdAt"),
        "startTimeUtc": document.get("_startedAt"),
        "endTimeUtc": document.get("_endedAt"),
        "error": document.get("_error"),
        "warnings": None,
        "tags": properties.get("tags"),
        "properties": properties.get("properties"),
        "target": None,
        "outputs": {},
        "logFiles": {},
    }


def _step(job: str, document: Document, step: str) -> Document:
    child = object_of(object_of(document, "_children"), step)
    node = object_of(object_of(object_of(document, "properties"), "jobs"), step)
    properties = object_of(document, "properties")
    return {
        **_root(job, document),
        "runId": child.get("name"),
        "runUuid": child.get("name"),
        "parentRunId": job,
        "displayName": text_of(node, "display_name", step),
        "name": text_of(node, "display_name", step),
        "status": child.get("status"),
        "runType": "azureml.StepRun",
        "runTypeV2": {"orchestrator": "AmlCompute", "traits": [], "attribution": "Execution"},
        "startTimeUtc": child.get("startedAt"),
        "endTimeUtc": child.get("endedAt"),
        "error": child.get("error"),
        "tags": {},
        "target": text_of(node, "computeId").rsplit("/", 1)[-1]
        or object_of(properties, "properties").get("azureml.defaultComputeName"),
        "properties": {
            "azureml.moduleid": text_of(node, "componentId").rsplit("/", 1)[-1],
            "azureml.moduleName": step,
            "azureml.runsource": "azureml.StepRun",
            "azureml.pipelinerunid": job,
            "azureml.pipeline": job,
            "StepType": "PythonScriptStep",
            "ContentSnapshotId": child.get("name"),
        },
    }
