"""Microsoft's own JSON schemas of Azure Resource Manager templates, against which every body that is PUT is checked.

The folder holds `schemas/<api-version>.json.gz` (of Azure/azure-resource-manager-schemas) and
`schemas/common-definitions.json`, which all of them refer to.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from batchscore.devhost.azureml.address import PROVIDER
from batchscore.devhost.azureml.answers import Document, ServiceError
from batchscore.errors import SettingsError

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

_COMMON: Final = "https://schema.management.azure.com/schemas/common/definitions.json"
_MOST_SAID: Final = 5
_VAGUE: Final = ("const", "pattern", "type")
KINDS: Final = {
    "computes": "workspaces_computes",
    "datastores": "workspaces_datastores",
    "jobs": "workspaces_jobs",
    **{
        f"{kind}/versions": f"workspaces_{kind}_versions"
        for kind in ("codes", "components", "environments", "models")
    },
    **{kind: f"workspaces_{kind}" for kind in ("codes", "components", "environments", "models")},
}


class Schemas:
    """Checks bodies. A version of the interface without a schema of its own is checked against the next newer one,
    or the newest there is."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder and folder / "schemas"
        self._documents: dict[str, dict[str, Any]] = {}
        self._validators: dict[tuple[str, str], Validator] = {}
        self.versions = self._found()

    def _found(self) -> tuple[str, ...]:
        if self._folder is None:
            return ()
        found = tuple(sorted(file.name.removesuffix(".json.gz") for file in self._folder.glob("*.json.gz")))
        if not found or not (self._folder / "common-definitions.json").is_file():
            raise SettingsError(
                f"{self._folder} holds no schemas: <api-version>.json.gz and common-definitions.json are wanted."
            )
        return found

    def check(self, kind: str, name: str, api_version: str, body: Document) -> None:
        """ServiceError where a body does not obey the schema of its kind (`computes`, `codes/versions`, …)."""
        if not self.versions:
            return
        version = self.standing_for(api_version)
        resource = {
            "name": name,
            "apiVersion": version,
            "type": f"{PROVIDER}/workspaces/{kind}",
            **body,
        }
        errors = list(self._validator(version, KINDS[kind]).iter_errors(_lenient(kind, resource)))
        if errors:
            said = "; ".join(_said(error) for error in errors[:_MOST_SAID])
            raise ServiceError(
                400,
                "ValidationError",
                f"The body of {kind} {name!r} breaks Microsoft's schema {version}: {said}",
            )

    def standing_for(self, api_version: str) -> str:
        """The version whose schema is used for another."""
        newer = [version for version in self.versions if version >= api_version]
        return newer[0] if newer else self.versions[-1]

    def _validator(self, version: str, resource: str) -> Validator:
        key = (version, resource)
        if key not in self._validators:
            from jsonschema import (
                Draft6Validator,
            )  # the schemas say draft 4 and use `const`, which is of draft 6
            from referencing import Registry
            from referencing.jsonschema import DRAFT6

            document = self._document(version)
            assert self._folder is not None
            common = json.loads((self._folder / "common-definitions.json").read_text(encoding="utf-8"))
            registry: Registry[Any] = Registry().with_resources(
                (address, DRAFT6.create_resource(content))
                for address, content in (
                    (f"{_COMMON}#", common),
                    (_COMMON, common),
                    ("arm", document),
                )
            )
            schema = {"$ref": f"arm#/resourceDefinitions/{resource}"}
            self._validators[key] = Draft6Validator(schema, registry=registry)
        return self._validators[key]

    def _document(self, version: str) -> dict[str, Any]:
        if version not in self._documents:
            assert self._folder is not None
            with gzip.open(self._folder / f"{version}.json.gz") as stream:
                document = json.load(stream)
            document.pop("id", None)
            document.pop("$schema", None)
            self._documents[version] = _opened(document)
        return self._documents[version]


def _opened(node: Any) -> Any:
    """The schema without a flaw of its generator: a base in an `allOf` must not refuse what its heirs declare."""
    if isinstance(node, list):
        return [_opened(each) for each in node]
    if not isinstance(node, dict):
        return node
    opened = {key: _opened(value) for key, value in node.items()}
    for base in opened.get("allOf", ()):
        if isinstance(base, dict) and base.get("additionalProperties") is False:
            del base["additionalProperties"]
    return opened


def _lenient(kind: str, resource: dict[str, Any]) -> dict[str, Any]:
    """What the client library sends against the schema and the service takes: a number where a code's properties
    hold texts, and nulls for what is not said."""
    resource = _without_nulls(resource)
    properties = resource.get("properties")
    if kind == "codes/versions" and isinstance(properties, dict):
        inner = properties.get("properties")
        if isinstance(inner, dict) and isinstance(inner.get("hash_version"), int):
            inner["hash_version"] = str(inner["hash_version"])
    return resource


def _without_nulls(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _without_nulls(value) for key, value in node.items() if value is not None}
    return [_without_nulls(each) for each in node] if isinstance(node, list) else node


def _said(error: Any) -> str:
    """The deepest error below an error, for a `oneOf` alone says nothing."""
    best = max(_leaves(error), key=_telling)
    where = "/".join(str(part) for part in best.absolute_path) or "the body"
    return f"{where}: {best.message[:300]}"


def _telling(leaf: Any) -> tuple[int, bool, bool]:
    """How much an error says: that a branch is of another kind (`jobInputType`, `const`) or no template expression
    (`pattern`) counts only where there is nothing better."""
    path = leaf.absolute_path
    return len(path), leaf.validator not in _VAGUE, not (path and str(path[-1]).endswith("Type"))


def _leaves(error: Any) -> list[Any]:
    return [leaf for inner in error.context for leaf in _leaves(inner)] if error.context else [error]
