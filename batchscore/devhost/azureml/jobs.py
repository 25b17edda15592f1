"""Pipeline jobs as resources: put, told, listed and cancelled. What runs them is runner.py."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from typing import Final

from batchscore.devhost.azureml.address import Scope
from batchscore.devhost.azureml.answers import (
    Answer,
    Document,
    ServiceError,
    not_found,
    object_of,
    text_of,
)
from batchscore.devhost.azureml.assets import Assets
from batchscore.devhost.azureml.faults import Switches
from batchscore.devhost.azureml.infrastructure import DEFAULT_DATASTORE, Infrastructure
from batchscore.devhost.azureml.resources import now, resource
from batchscore.devhost.azureml.store import Store
from batchscore.devhost.azureml.translation import Step, instance_count

ENDED: Final = frozenset({"Completed", "Failed", "Canceled"})
_CHANGEABLE: Final = frozenset({"description", "displayName", "tags", "isArchived"})
PAGE: Final = 25
_NAME: Final = re.compile(
    r"[a-zA-Z0-9][a-zA-Z0-9_-]{0,180}"
)  # 254 there: the engine's folders have longer names
_CHILDREN: Final = uuid.UUID("0b1a3d50-63bd-4b3e-8a3e-1b77a1d6a001")


class Jobs:
    """The jobs of a workspace."""

    def __init__(
        self, scope: Scope, store: Store, assets: Assets, infrastructure: Infrastructure, switches: Switches
    ) -> None:
        self._scope = scope
        self._store = store
        self._assets = assets
        self._infrastructure = infrastructure
        self._switches = switches
        self._active: dict[str, Document] = {}
        self._steps: dict[str, tuple[str, str]] = {}
        for name, document in self.all():
            self._know(name, document)

    def put(self, name: str, body: Document) -> Answer:
        """Take a job. One that is there with the same content is only told again, with other content refused."""
        given = object_of(body, "properties")
        if not _NAME.fullmatch(name):
            raise ServiceError(400, "UserError", f"The job name {name!r} is not a legal one.")
        if given.get("jobType") != "Pipeline":
            raise ServiceError(
                400, "UserError", f"The stand-in runs pipeline jobs only, not {given.get('jobType')!r}."
            )
        there = self._store.get("jobs", name)
        if there is not None:
            return Answer(200, self._changed(name, there, given))
        nodes = self._checked(given)
        document = resource(self._scope, ("jobs", name), self._told(name, given), made_at=now())
        document |= {
            "_given": _fixed(given),
            "_children": self._children(name, given),
            "_nodes": nodes,
            "_error": None,
        }
        self._keep(name, document)
        return Answer(201, self.shown(document))

    def _changed(self, name: str, there: Document, given: Document) -> Document:
        if there.get("_given") != _fixed(given):
            raise ServiceError(
                400,
                "UserError",
                "A job with this name already exists. If you are trying to create a new job, use a different name. "
                "If you are trying to update an existing job, the existing job's inputs, outputs and settings cannot "
                "be changed. Only description, displayName, tags, and isArchived can be updated.",
            )
        told = dict(object_of(there, "properties"))
        told.update({key: given[key] for key in _CHANGEABLE if key in given})
        changed = {**there, "properties": told}
        self._keep(name, changed)
        return self.shown(changed)

    def get(self, name: str) -> Answer:
        return Answer(200, self.shown(self.document(name)))

    def document(self, name: str) -> Document:
        """The job as it is kept. ServiceError where there is none."""
        found = self._store.get("jobs", name)
        if found is None:
            raise not_found(f"job {name}")
        return found

    def all(self) -> list[tuple[str, Document]]:
        """Every job by name, the oldest first."""
        return list(self._store.below("jobs").items())

    def list(self, query: Mapping[str, str], address: str) -> Answer:
        """The jobs, the newest first, a page at a time."""
        found = list(reversed(self._store.below("jobs").values()))
        if "tag" in query:
            tag, _, value = query["tag"].partition("=")
            found = [
                each
                for each in found
                if tag in object_of(object_of(each, "properties"), "tags")
                and value in ("", object_of(object_of(each, "properties"), "tags")[tag])
            ]
        if "jobType" in query:
            found = [
                each for each in found if object_of(each, "properties").get("jobType") == query["jobType"]
            ]
        skip = int(query["$skip"]) if query.get("$skip", "").isdecimal() else 0
        more = skip + PAGE < len(found)
        link = f"{address}&$skip={skip + PAGE}" if more else None
        return Answer(
            200, {"value": [self.shown(each) for each in found[skip : skip + PAGE]], "nextLink": link}
        )

    def cancel(self, name: str) -> Answer:
        """Ask a job to stop; one that has ended stays as it is."""
        document = self.document(name)
        if self.status(document) not in ENDED:
            self.update(name, status="CancelRequested")
        return Answer(202)

    def update(
        self,
        name: str,
        *,
        status: str | None = None,
        children: Mapping[str, Document] | None = None,
        error: Document | None = None,
        **more: str | float,
    ) -> None:
        """Change what a job says of itself; `children` changes steps by their name, `more` what is kept beside it."""
        document = dict(self.document(name))
        if status is not None:
            document["properties"] = {**object_of(document, "properties"), "status": status}
        if children is not None:
            steps = dict(object_of(document, "_children"))
            for step, changes in children.items():
                steps[step] = {**object_of(steps, step), **changes}
            document["_children"] = steps
        if error is not None:
            document["_error"] = error
        document |= {f"_{key}": value for key, value in more.items()}
        self._keep(name, document)

    def forget(self, name: str) -> None:
        """The job has never been there."""
        self._store.remove("jobs", name)
        self._active.pop(name, None)
        self._steps = {run: place for run, place in self._steps.items() if place[0] != name}

    def active(self) -> dict[str, Document]:
        """The jobs that have not ended, the oldest first."""
        return dict(self._active)

    def step_of(self, run: str) -> tuple[str, str] | None:
        """The job and the step whose run this is; None where it is no step's."""
        return self._steps.get(run)

    def _keep(self, name: str, document: Document) -> None:
        self._store.put("jobs", name, document=document)
        self._know(name, document)

    def _know(self, name: str, document: Document) -> None:
        for step, child in object_of(document, "_children").items():
            self._steps[text_of(child, "name")] = (name, step)
        if self.status(document) in ENDED:
            self._active.pop(name, None)
        else:
            self._active[name] = document

    def shown(self, document: Document) -> Document:
        """A job without what is kept beside it; one that has not ended says the state that a test asks for."""
        told = {key: value for key, value in document.items() if not key.startswith("_")}
        if self._switches.state and self.status(document) not in ENDED:
            told["properties"] = {**object_of(told, "properties"), "status": self._switches.state}
        return told

    @staticmethod
    def status(document: Document) -> str:
        return text_of(object_of(document, "properties"), "status")

    def _checked(self, given: Document) -> Document:
        """The nodes of each cluster that the job needs, as many as the largest of its steps there; after what the
        service looks at before it takes a job: that all it refers to is there."""
        nodes = object_of(given, "jobs")
        if not nodes:
            raise ServiceError(400, "UserError", "The pipeline job has no steps.")
        default = text_of(object_of(given, "settings"), "default_compute") or text_of(given, "computeId")
        needed: Document = {}
        for name in nodes:
            node = object_of(nodes, name)
            component = text_of(node, "componentId")
            if not component:
                raise ServiceError(400, "UserError", f"The step {name!r} has no componentId.")
            cluster = self._compute_of(name, node, default)
            count = instance_count(Step(node, self._assets.spec(component), None))
            needed[cluster] = max(needed.get(cluster, 0), count)
        return needed

    def _compute_of(self, name: str, node: Document, default: str) -> str:
        """The name of the cluster that a step runs on. ServiceError where it has none, or one that is not there."""
        said = text_of(node, "computeId") or text_of(node, "compute") or default
        compute = said.rstrip("/").rsplit("/", 1)[-1].removeprefix("azureml:")
        if not compute:
            raise ServiceError(
                400, "UserError", f"The step {name!r} has no compute, and there is no default_compute."
            )
        try:
            self._infrastructure.compute(compute)
        except ServiceError:
            raise ServiceError(
                400, "UserError", f"The step {name!r} names the compute {compute!r}, which was not found."
            ) from None
        return compute

    def _told(self, name: str, given: Document) -> Document:
        settings = object_of(given, "settings")
        studio = f"https://ml.azure.com/runs/{name}?wsid={self._scope.arm_id}"
        compute = text_of(settings, "default_compute").rsplit("/", 1)[-1]
        service = {"port": None, "status": None, "errorMessage": None, "properties": None, "nodes": None}
        return {
            "description": None,
            "tags": {},
            "displayName": name,
            "experimentName": "Default",
            "computeId": None,
            "isArchived": False,
            "identity": None,
            "componentId": None,
            **given,
            "properties": {
                **object_of(given, "properties"),
                "azureml.DevPlatv2": "true",
                "azureml.runsource": "azureml.PipelineRun",
                "runSource": "MFE",
                "runType": "HTTP",
                "azureml.parameters": "{}",
                "azureml.continue_on_step_failure": str(bool(settings.get("continue_on_step_failure"))),
                "azureml.continue_on_failed_optional_input": "True",
                "azureml.defaultComputeName": compute,
                "azureml.defaultDataStoreName": DEFAULT_DATASTORE,
                "azureml.pipelineComponent": "pipelinerun",
            },
            "status": "Preparing",
            "services": {
                "Tracking": {
                    "jobServiceType": "Tracking",
                    "endpoint": f"azureml://{self._scope.location}.api.azureml.ms/mlflow/v1.0{self._scope.arm_id}?",
                    **service,
                },
                "Studio": {"jobServiceType": "Studio", "endpoint": studio, **service},
            },
        }

    def _children(self, name: str, given: Document) -> Document:
        """The run of each step: its own name and state, by the step's name."""
        return {
            step: {"name": str(uuid.uuid5(_CHILDREN, f"{name}/{step}")), "status": "NotStarted"}
            for step in object_of(given, "jobs")
        }


def _fixed(given: Document) -> Document:
    """What must be the same for it to be the same job; `properties` tell of the sender's git checkout."""
    left_out = _CHANGEABLE | {"status", "services", "properties"}
    return {key: value for key, value in given.items() if key not in left_out}
