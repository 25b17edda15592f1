"""How a resource looks in an answer: its identity, who made it and when, and component scalars as texts."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any, Final

from batchscore.devhost.azureml.address import PROVIDER, Scope
from batchscore.devhost.azureml.answers import Document, ServiceError
from batchscore.printable import quoted

_WHO = "Development User"


_NAME: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]{0,254}")


def check_name(what: str, name: str) -> None:
    """ServiceError for a name that nothing can have there."""
    if not _NAME.fullmatch(name):
        raise ServiceError(400, "UserError", f"The {what} {quoted(name)} is not a legal one.")


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "0+00:00")


def resource(scope: Scope, parts: tuple[str, ...], properties: Document, made_at: str = "") -> Document:
    """A resource below the workspace by the parts of its address, such as ("codes", "x", "versions", "1")."""
    at = now()
    return {
        "id": f"{scope.arm_id}/{'/'.join(parts)}",
        "name": parts[-1],
        "type": f"{PROVIDER}/workspaces/{'/'.join(parts[::2])}",
        "properties": properties,
        "systemData": {
            "createdAt": made_at or at,
            "createdBy": _WHO,
            "createdByType": "User",
            "lastModifiedAt": at,
            "lastModifiedBy": _WHO,
            "lastModifiedByType": "User",
        },
    }


def as_texts(node: Any) -> Any:
    """Scalars as the service returns those of a component: `"True"`, `"5"`."""
    if isinstance(node, dict):
        return {key: as_texts(value) for key, value in node.items()}
    if isinstance(node, list):
        return [as_texts(each) for each in node]
    return node if node is None or isinstance(node, str) else str(node)
