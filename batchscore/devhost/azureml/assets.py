"""Codes, environments, components and models: versions that are made once and never change."""

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
from batchscore.devhost.azureml.resources import as_texts, check_name, now, resource
from batchscore.devhost.azureml.storage import WorkspaceStorage
from batchscore.devhost.azureml.store import Store

KINDS: Final = {
    "codes": "code",
    "components": "component",
    "environments": "environment",
    "models": "model",
}
_CHANGEABLE: Final = ("description", "tags", "isArchived", "stage")
_UPLOAD_NAMES: Final = uuid.UUID("6f0c1f0e-6d8c-4f0e-9a53-0a6c1f3f2f10")
_REFERENCE: Final = re.compile(
    r"(?:azureml:)?(?:/subscriptions/.+/workspaces/[^/]+/(?P<kind>\w+)/(?P<long>[^/:]+)/versions/(?P<long_version>[^/:]+)"
    r"|(?P<short>[^/:@]+):(?P<short_version>[^/:]+))",
    re.IGNORECASE,
)


class Assets:
    """The versioned assets of a workspace."""

    def __init__(self, scope: Scope, store: Store, storage: WorkspaceStorage) -> None:
        self._scope = scope
        self._store = store
        self._storage = storage

    def put(self, kind: str, name: str, version: str, body: Document) -> Answer:
        """Register a version. One that is there with the same content is only told again, with other content refused."""
        check_name(f"{KINDS[kind]} name", name)
        check_name(f"{KINDS[kind]} version", version)
        properties = dict(object_of(body, "properties"))
        if kind == "components":
            self._check_component(properties)
        there = self._store.get(kind, name, version)
        if there is not None:
            return Answer(200, self._changed(kind, name, version, there, properties))
        document = resource(
            self._scope, (kind, name, "versions", version), _told(kind, properties), made_at=now()
        )
        self._store.put(kind, name, version, document={**document, "_given": _fixed(properties)})
        return Answer(201, document)

    def _changed(self, kind: str, name: str, version: str, there: Document, properties: Document) -> Document:
        if there.get("_given") != _fixed(properties):
            what = KINDS[kind]
            raise ServiceError(
                400,
                "UserError",
                f"A {what} version with this name and version already exists. If you are trying to create a new "
                f"{what} version, use a different name or version. If you are trying to update an existing {what} "
                f"version, the existing asset's content cannot be changed. Only tags, description, and isArchived "
                "can be updated.",
            )
        told = dict(object_of(there, "properties"))
        told.update({key: properties[key] for key in _CHANGEABLE if key in properties})
        changed = {**there, "properties": told}
        self._store.put(kind, name, version, document=changed)
        return _shown(changed)

    def get(self, kind: str, name: str, version: str) -> Answer:
        return Answer(200, _shown(self.document(kind, name, version)))

    def document(self, kind: str, name: str, version: str) -> Document:
        """The resource as it is kept. ServiceError where there is none."""
        found = self._store.get(kind, name, version)
        if found is None:
            raise not_found(f"{KINDS[kind]} {name}:{version}")
        return found

    def referenced(self, kind: str, reference: str) -> tuple[str, str]:
        """Name and version in an ARM id or `azureml:name:version`; ServiceError where there is no such asset."""
        found = _REFERENCE.fullmatch(reference)
        if found is None or (found["kind"] or kind).lower() != kind:
            raise ServiceError(400, "UserError", f"{reference!r} is not the id of a {KINDS[kind]}.")
        name, version = found["long"] or found["short"], found["long_version"] or found["short_version"]
        try:
            self.document(kind, name, version)
        except ServiceError:
            raise ServiceError(
                400, "UserError", f"The {KINDS[kind]} {name}:{version} was not found in the workspace."
            ) from None
        return name, version

    def spec(self, reference: str) -> Document:
        """The specification of a component, as it was registered."""
        document = self.document("components", *self.referenced("components", reference))
        return object_of(object_of(document, "_given"), "componentSpec")

    def code_uri(self, reference: str) -> str:
        """Where the files of a code are."""
        document = self.document("codes", *self.referenced("codes", reference))
        return text_of(object_of(document, "properties"), "codeUri")

    def model_uri(self, reference: str) -> str:
        """Where the files of a model are."""
        document = self.document("models", *self.referenced("models", reference))
        return text_of(object_of(document, "properties"), "modelUri")

    def versions(self, kind: str, name: str, query: Mapping[str, str]) -> Answer:
        """The versions of a name, the newest first unless the query says otherwise; those of a hash among all names."""
        if "hash" in query:
            found = [
                each
                for each in self._store.versions_of_all(kind)
                if text_of(object_of(object_of(each, "properties"), "properties"), "hash_sha256")
                == query["hash"]
            ]
        else:
            found = list(self._store.below(kind, name).values())
        if query.get("$orderBy", "").lower().endswith("desc") or "$orderBy" not in query:
            found.reverse()
        if query.get("$top", "").isdecimal():
            found = found[: int(query["$top"])]
        return Answer(200, {"value": [_shown(each) for each in found], "nextLink": None})

    def container(self, kind: str, name: str) -> Answer:
        """What holds the versions of a name."""
        versions = self._store.below(kind, name)
        if not versions:
            raise not_found(f"{KINDS[kind]} container {name}")
        numbers = [int(version) for version in versions if version.isdecimal()]
        properties: Document = {
            "description": None,
            "tags": {},
            "properties": {},
            "isArchived": False,
            "latestVersion": next(reversed(versions)),
            "nextVersion": str(max(numbers, default=0) + 1),
        }
        return Answer(200, resource(self._scope, (kind, name), properties))

    def start_upload(self, name: str, version: str) -> Answer:
        """Where the files of a code go: a container of its own, with a signed address."""
        container = str(uuid.uuid5(_UPLOAD_NAMES, f"{name}:{version}"))
        self._storage.make(container)
        return Answer(
            200,
            {
                "pendingUploadId": str(uuid.uuid4()),
                "pendingUploadType": "TemporaryBlobReference",
                "blobReferenceForConsumption": {
                    "blobUri": self._storage.container_url(container),
                    "storageAccountArmId": f"/subscriptions/{self._scope.subscription}/resourceGroups/{self._scope.group}"
                    f"/providers/Microsoft.Storage/storageAccounts/{self._storage.account}",
                    "credential": {
                        "credentialType": "SAS",
                        "sasUri": self._storage.writable_url(container),
                    },
                },
            },
        )

    def _check_component(self, properties: Document) -> None:
        """A component whose code or environment is not there is refused, as the service does."""
        spec = object_of(properties, "componentSpec")
        for place in (spec, object_of(spec, "task")):
            for key, kind in (("code", "codes"), ("environment", "environments")):
                reference = text_of(place, key)
                if reference and "registries" not in reference:
                    self.referenced(kind, reference)


def _fixed(properties: Document) -> Document:
    return {key: value for key, value in properties.items() if key not in _CHANGEABLE}


def _told(kind: str, properties: Document) -> Document:
    """The properties as the service returns them."""
    told: Document = {"description": None, "tags": {}, "properties": {}, "isArchived": False, **properties}
    told |= {"isAnonymous": told.get("isAnonymous") or False, "provisioningState": "Succeeded"}
    if kind == "models":
        told.setdefault("flavors", {})
    if kind == "components":
        spec = dict(object_of(properties, "componentSpec"))
        if spec.get("type") == "parallel":
            spec.setdefault("retry_settings", {"max_retries": 3, "timeout": 60})
        told["componentSpec"] = as_texts(spec)
    return told


def _shown(document: Document) -> Document:
    return {key: value for key, value in document.items() if not key.startswith("_")}
