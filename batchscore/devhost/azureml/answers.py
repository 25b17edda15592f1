"""What the service answers with: a status, a JSON document, headers; and the errors of Azure Resource Manager."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Document = dict[str, Any]
"""A JSON object as it came or goes."""


@dataclass(frozen=True)
class Answer:
    """One answer; a body that is None stays empty."""

    status: int
    body: Document | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


class ServiceError(Exception):
    """The request is answered with an error of this status and code; without a code its body stays empty."""

    def __init__(
        self, status: int, code: str = "", message: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.headers = dict(headers or {})

    @property
    def answer(self) -> Answer:
        if not self.code:
            return Answer(self.status, None, self.headers)
        error: Document = {"code": self.code, "message": str(self)}
        if self.code in ("UserError", "ValidationError"):  # those of the service behind Resource Manager
            error |= {"target": "", "details": [], "additionalInfo": []}
        return Answer(self.status, {"error": error}, self.headers)


def not_found(what: str) -> ServiceError:
    return ServiceError(404, "UserError", f"Not found: {what}")


def text_of(document: Mapping[str, Any], key: str, default: str = "") -> str:
    """A text in a document, or the default where there is none."""
    value = document.get(key)
    return value if isinstance(value, str) else default


def object_of(document: Mapping[str, Any], key: str) -> Document:
    """An object in a document, or an empty one."""
    value = document.get(key)
    return value if isinstance(value, dict) else {}
