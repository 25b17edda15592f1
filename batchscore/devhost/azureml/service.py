"""The whole service without its sockets: a request goes in, an answer comes out."""

from __future__ import annotations

import threading
import uuid
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from batchscore.devhost.azureml.address import Operations, Scope
from batchscore.devhost.azureml.answers import Answer, Document, ServiceError
from batchscore.devhost.azureml.assets import KINDS, Assets
from batchscore.devhost.azureml.execution import Execution
from batchscore.devhost.azureml.faults import Fault, Faults, Switches
from batchscore.devhost.azureml.history import History
from batchscore.devhost.azureml.infrastructure import Infrastructure
from batchscore.devhost.azureml.jobs import Jobs
from batchscore.devhost.azureml.runner import Runner
from batchscore.devhost.azureml.schemas import Schemas
from batchscore.devhost.azureml.storage import WorkspaceStorage
from batchscore.devhost.azureml.store import Store
from batchscore.devhost.azureml.tokens import ARM_AUDIENCES, HISTORY_AUDIENCES, Tokens

MOST_REQUESTS = 50_000
"""How many of the last requests are remembered."""
SOON = {"x-ms-retry-after-ms": "50", "Retry-After": "1"}


@dataclass(frozen=True)
class Request:
    """One request: its path is still quoted, its query is not; header names are in lower case."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Document


class Service:
    """Answers requests."""

    def __init__(self, scope: Scope, folder: Path, storage: WorkspaceStorage, schemas: Path | None) -> None:
        self.scope = scope
        self.endpoint = ""
        self.faults = Faults()
        self.switches = Switches()
        self.requests: deque[Document] = deque(maxlen=MOST_REQUESTS)
        self.lock = threading.RLock()
        self._tokens = Tokens()
        self._operations = Operations() if schemas is None else Operations.read(schemas)
        self._schemas = Schemas(schemas)
        store = Store(folder / "resources")
        self.assets = Assets(scope, store, storage)
        self.infrastructure = Infrastructure(scope, store, storage)
        self.jobs = Jobs(scope, store, self.assets, self.infrastructure, self.switches)
        self._history = History(self.jobs, storage, scope.parts)
        self._runner = Runner(
            self.jobs,
            self.assets,
            self.infrastructure,
            Execution(folder / "execution", storage),
            self.switches,
            self.lock,
        )

    def open(self, endpoint: str) -> None:
        """What is there from the beginning, once it is known where. StorageUnavailableError without storage."""
        self.endpoint = endpoint
        self.infrastructure.prepare()
        self._runner.start()

    def close(self) -> None:
        """Let go of jobs, which go on."""
        self._runner.stop()

    def answer(self, request: Request) -> Answer:
        """The answer to a request, errors included. What changes something waits for its turn, and so does what reads
        resources; checks, which take most of the time, and run history go side by side."""
        try:
            return self._answer(request)
        except ServiceError as error:
            return error.answer

    def _answer(self, request: Request) -> Answer:
        if request.path == "/discovery":
            return Answer(200, dict.fromkeys(("api", "history", "experimentation"), self.endpoint))
        in_history = request.path.startswith("/history/")
        self._tokens.check(request.headers, HISTORY_AUDIENCES if in_history else ARM_AUDIENCES)
        told = self._history.answer(request.method, request.path, request.body)
        if told is not None:
            return told
        if "/locations/" in request.path and "operation" in request.path.lower():  # of something begun before
            return Answer(200, {"status": "Succeeded"})
        parts = self.scope.parts(request.path)
        self._operations.check(request.method, request.path, request.query)
        if parts is None:
            raise ServiceError(404, "InvalidResourceType", f"The stand-in has no {request.path}.")
        self._check_body(request, parts)
        with self.lock:
            return self._resource(request, parts)

    def _check_body(self, request: Request, parts: tuple[str, ...]) -> None:
        if request.method == "PUT" and parts[:1] == ("jobs",):
            self._tokens.check_pipeline(request.headers)
        if request.method == "PUT" and len(parts) in (2, 4):
            self._schemas.check(
                "/".join(parts[::2]), parts[-1], request.query.get("api-version", ""), request.body
            )

    def _resource(self, request: Request, parts: tuple[str, ...]) -> Answer:
        method, query, body = request.method, request.query, request.body
        infrastructure, assets, jobs = self.infrastructure, self.assets, self.jobs
        match method, *parts:
            case "GET", *rest if not rest:
                return infrastructure.workspace(self.endpoint)
            case "GET", "computes":
                return infrastructure.computes()
            case "GET", "computes", name:
                return infrastructure.compute(name, self._runner.use(name))
            case "PUT", "computes", name:
                made = infrastructure.put_compute(name, body)
                return Answer(
                    made.status, made.body, {"Azure-AsyncOperation": self._operation(request), **SOON}
                )
            case "GET", "datastores":
                return infrastructure.datastores(query)
            case "GET", "datastores", name:
                return infrastructure.datastore(name)
            case "PUT", "datastores", name:
                return infrastructure.put_datastore(name, body)
            case "POST", "datastores", name, "listSecrets":
                return infrastructure.secrets(name)
            case "GET", kind, name if kind in KINDS:
                return assets.container(kind, name)
            case "GET", kind, name, "versions" if kind in KINDS:
                return assets.versions(kind, name, query)
            case "GET", kind, name, "versions", version if kind in KINDS:
                return assets.get(kind, name, version)
            case "PUT", kind, name, "versions", version if kind in KINDS:
                return assets.put(kind, name, version, body)
            case "POST", "codes", name, "versions", version, "startPendingUpload":
                return assets.start_upload(name, version)
            case "GET", "jobs":
                return jobs.list(query, f"{self.endpoint}{request.path}?{_query(query)}")
            case "GET", "jobs", name:
                self._vanish(name)
                return jobs.get(name)
            case "PUT", "jobs", name:
                answer = jobs.put(name, body)
                return Answer(answer.status, answer.body, {"Location": f"{self.endpoint}{request.path}"})
            case "POST", "jobs", name, "cancel":
                cancelled = jobs.cancel(name)
                return Answer(cancelled.status, None, {"Location": self._operation(request), **SOON})
        raise ServiceError(501, "NotImplemented", f"The stand-in does not have {method} {request.path}.")

    def _vanish(self, name: str) -> None:
        """Let a job be gone where that is asked for."""
        if self.switches.vanish_jobs and name in self.jobs.active():
            self.switches.vanish_jobs -= 1
            self._runner.drop(name)

    def _operation(self, request: Request) -> str:
        """The address of a long operation's result, which is there as soon as it is asked for."""
        version = request.query.get("api-version", "")
        return (
            f"{self.endpoint}/subscriptions/{self.scope.subscription}/providers/Microsoft.MachineLearningServices"
            f"/locations/{self.scope.location}/mfeOperationResults/{uuid.uuid4()}?api-version={version}"
        )

    def administer(self, method: str, path: str, body: Document) -> Document:
        """One request of whoever looks after the stand-in. ValueError or LookupError tells what is wrong with it."""
        with self.lock:
            match method, path:
                case "GET", "/":
                    return {"workspace": self.scope.workspace, "switches": asdict(self.switches)}
                case "GET", "/requests":
                    return {"requests": [*self.requests]}
                case "POST", "/switches":
                    self._switch(body)
                    return asdict(self.switches)
                case "POST", "/faults":
                    self.faults.add(Fault(**_fitting(Fault, body)))
                    return {}
                case "POST", "/clear":
                    self.faults.clear()
                    self._switch(asdict(Switches()))
                    return {}
        raise LookupError(f"there is no {method} {path}")

    def _switch(self, body: Document) -> None:
        given = _fitting(Switches, body)
        if given.pop("expire_tokens", 0):
            self._tokens.expire()
        for name, value in given.items():
            setattr(self.switches, name, value)


def _fitting(kind: type[Fault] | type[Switches], body: Document) -> dict[str, Any]:
    """The fields that a document gives, of the types that they have."""
    known = {field.name: field.default for field in fields(kind)}
    checked: dict[str, Any] = {}
    for name, value in body.items():
        if name not in known:
            raise ValueError(f"there is no {name!r}; there are {', '.join(known)}")
        wanted = str if isinstance(known[name], str) else (int, float)
        if (
            isinstance(value, bool)
            or not isinstance(value, wanted)
            or not isinstance(value, int | float | str)
        ):
            raise ValueError(f"{name} is {value!r}; it must be such as {known[name]!r}")  # noqa: TRY004
        if not isinstance(value, str) and value < 0:
            raise ValueError(f"{name} is {value!r}; it must be 0 or more")
        checked[name] = value
    return checked


def _query(query: Mapping[str, str]) -> str:
    return urlencode({name: value for name, value in query.items() if name != "$skip"})
