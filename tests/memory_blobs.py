"""Blob containers in memory, with the service's conditions: for tests that stop, cut off or reorder every single call.

`tests/contract/test_hour_store.py` holds them to what Azurite does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from azure.core.exceptions import ResourceExistsError, ResourceModifiedError, ResourceNotFoundError

Before = Callable[[str, str], Any]
"""Called before each call with its name and the blob's; what it raises, the call raises. What it gives back is called
after the call has done its work, and may raise as well: the answer is lost."""


@dataclass
class MemoryBlobs:
    """The blobs of one container, shared by the clients of all hosts."""

    blobs: dict[str, tuple[bytes, str, dict[str, str]]] = field(default_factory=dict)
    changes: int = 0

    def client(self, before: Before = lambda call, name: None) -> MemoryContainer:
        return MemoryContainer(self, before)


class MemoryContainer:
    """What the stores use of a ContainerClient."""

    def __init__(self, kept: MemoryBlobs, before: Before) -> None:
        self._kept = kept
        self._before = before

    def upload_blob(
        self,
        name: str,
        data: bytes,
        *,
        overwrite: bool = False,
        etag: str | None = None,
        match_condition: object = None,
        metadata: dict[str, str] | None = None,
    ) -> dict[str, str]:
        conditional = match_condition is not None
        after = self._before("swap" if conditional else "upload" if overwrite else "create", name)
        there = self._kept.blobs.get(name)
        if conditional and (there is None or there[1] != etag):
            raise refusal("swap")
        if not overwrite and there is not None:
            raise refusal("create")
        self._kept.changes += 1
        new = f'"{self._kept.changes}"'
        self._kept.blobs[name] = (bytes(data), new, metadata or {})
        _answered(after)
        return {"etag": new}

    def download_blob(self, name: str) -> SimpleNamespace:
        after = self._before("download", name)
        data, etag, _ = self._there(name)
        _answered(after)
        return SimpleNamespace(readall=lambda: data, properties=SimpleNamespace(etag=etag))

    def delete_blob(self, name: str, *, etag: str | None = None, match_condition: object = None) -> None:
        after = self._before("delete", name)
        there = self._there(name)
        if match_condition is not None and there[1] != etag:
            raise refusal("swap")
        del self._kept.blobs[name]
        _answered(after)

    def list_blobs(self, name_starts_with: str = "", results_per_page: int = 0) -> Iterator[SimpleNamespace]:
        after = self._before("list", name_starts_with)
        found = [
            _properties(name, *self._kept.blobs[name])
            for name in sorted(self._kept.blobs)
            if name.startswith(name_starts_with)
        ]
        _answered(after)
        return iter(found)

    def list_blob_names(self, name_starts_with: str = "", results_per_page: int = 0) -> Iterator[str]:
        return iter([blob.name for blob in self.list_blobs(name_starts_with)])

    def get_blob_client(self, name: str) -> SimpleNamespace:
        return SimpleNamespace(
            upload_blob=lambda data, **options: self.upload_blob(name, data, **options),
            get_blob_properties=lambda: self._properties_of(name),
        )

    def _properties_of(self, name: str) -> SimpleNamespace:
        after = self._before("properties", name)
        found = _properties(name, *self._there(name))
        _answered(after)
        return found

    def _there(self, name: str) -> tuple[bytes, str, dict[str, str]]:
        if name not in self._kept.blobs:
            raise _error(ResourceNotFoundError, 404)
        return self._kept.blobs[name]


class MemoryStorage:
    """What the stores use of a Storage: a container of each account, seen by one host."""

    def __init__(
        self, system: MemoryBlobs, data: MemoryBlobs, before: Before = lambda call, name: None
    ) -> None:
        self._containers = {"system": system.client(before), "data": data.client(before)}

    def container(self, account: str, name: str, *, create: bool = False) -> MemoryContainer:
        return self._containers[account]


def _properties(name: str, data: bytes, etag: str, metadata: dict[str, str]) -> SimpleNamespace:
    md5 = bytearray(hashlib.md5(data, usedforsecurity=False).digest())
    settings = SimpleNamespace(content_md5=md5)
    return SimpleNamespace(name=name, size=len(data), etag=etag, metadata=metadata, content_settings=settings)


def _answered(after: Any) -> None:
    if after is not None:
        after()


def refusal(call: str) -> Exception:
    """What the service says to a swap or a create that comes too late."""
    return _error(ResourceExistsError, 409) if call == "create" else _error(ResourceModifiedError, 412)


def _error(kind: type[Exception], status: int) -> Exception:
    error = kind(f"status {status}")
    error.status_code = status  # type: ignore[attr-defined]
    return error
