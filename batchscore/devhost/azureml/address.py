"""The addresses of Azure Resource Manager below a workspace, taken apart and checked against Microsoft's list."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from batchscore.devhost.azureml.answers import ServiceError
from batchscore.errors import SettingsError

PROVIDER = "Microsoft.MachineLearningServices"
_WORKSPACE = re.compile(
    r"/subscriptions/(?P<subscription>[^/]+)/resourcegroups/(?P<group>[^/]+)"
    r"/providers/microsoft\.machinelearningservices/workspaces(?:/(?P<workspace>[^/]+)(?P<rest>/.*)?)?",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Scope:
    """The one workspace that there is."""

    subscription: str
    group: str
    workspace: str
    location: str = "westeurope"

    @property
    def arm_id(self) -> str:
        return (
            f"/subscriptions/{self.subscription}/resourceGroups/{self.group}"
            f"/providers/{PROVIDER}/workspaces/{self.workspace}"
        )

    def parts(self, path: str) -> tuple[str, ...] | None:
        """What follows the workspace in an address, unquoted; None for an address that is not of this kind.
        ServiceError where it is another subscription, group or workspace."""
        found = _WORKSPACE.fullmatch(path)
        if found is None:
            return None
        if unquote(found["subscription"]).lower() != self.subscription.lower():
            raise ServiceError(
                404, "SubscriptionNotFound", f"The subscription '{found['subscription']}' could not be found."
            )
        if unquote(found["group"]).lower() != self.group.lower():
            raise ServiceError(
                404, "ResourceGroupNotFound", f"Resource group '{found['group']}' could not be found."
            )
        if found["workspace"] is None:
            return ("",)
        if unquote(found["workspace"]).lower() != self.workspace.lower():
            raise ServiceError(
                404,
                "ResourceNotFound",
                f"The Resource '{PROVIDER}/workspaces/{found['workspace']}' under resource group "
                f"'{self.group}' was not found. For more details please go to https://aka.ms/ARMResourceNotFoundFix",
            )
        rest = found["rest"] or ""
        return tuple(unquote(part) for part in rest.split("/")[1:])


DEVELOPMENT = Scope("00000000-0000-0000-0000-000000000000", "development", "development")
"""Where the stand-in's workspace is unless something else is said."""


@dataclass(frozen=True)
class Operation:
    """One operation of the service: its method, its address as a pattern, and the names that its query may have."""

    name: str
    method: str
    address: re.Pattern[str]
    query: frozenset[str]


class Operations:
    """Microsoft's list of operations; empty where there is none, and then nothing is checked."""

    def __init__(self, operations: Iterable[Operation] = ()) -> None:
        self._operations = tuple(operations)

    @classmethod
    def read(cls, folder: Path) -> Operations:
        """`arm_operations.json` of a folder; SettingsError where it is not there or is something else."""
        file = folder / "arm_operations.json"
        try:
            document = json.loads(file.read_text(encoding="utf-8"))
            return cls(
                Operation(name, said["method"], _pattern(said["url"]), frozenset(said["query"]))
                for name, said in document.items()
                if said["url"]
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise SettingsError(f"{file} cannot be read as a list of operations: {error!r}.") from error

    def check(self, method: str, path: str, query: Mapping[str, str]) -> None:
        """ServiceError for an address, a method or a query that Microsoft's service does not have."""
        if not self._operations:
            return
        of_path = [each for each in self._operations if each.address.fullmatch(path)]
        fitting = [each for each in of_path if each.method == method]
        if not fitting:
            methods = ", ".join(sorted({each.method for each in of_path}))
            why = f"there {methods} is allowed" if methods else "there is no such operation"
            raise ServiceError(
                405 if methods else 404, "InvalidResourceType", f"{method} {path}: {why} on Azure."
            )
        if "api-version" not in query:
            raise ServiceError(
                400,
                "MissingApiVersionParameter",
                "The api-version query parameter (?api-version=) is required for all requests.",
            )
        if not any(query.keys() <= each.query for each in fitting):
            strange = sorted(query.keys() - frozenset().union(*(each.query for each in fitting)))
            raise ServiceError(
                400, "InvalidQueryParameter", f"{method} {path}: Azure knows no query {', '.join(strange)}."
            )


def _pattern(template: str) -> re.Pattern[str]:
    parts = re.split(r"\{[^}]+\}", template)
    return re.compile("[^/]+".join(re.escape(part) for part in parts), re.IGNORECASE)
