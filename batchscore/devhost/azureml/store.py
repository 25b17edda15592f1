"""The resources of a workspace: JSON documents by name, each a file of its own that is replaced as a whole."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import quote, unquote

from batchscore.compute.local.job_folder import write_whole
from batchscore.devhost.azureml.answers import Document

Key = tuple[str, ...]


class Store:
    """Documents by key, such as `("components", "split", "3")`, in the order in which they were made."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._documents: dict[Key, dict[str, Document]] = {}
        found: list[tuple[Key, Document]] = []
        for file in folder.rglob("*.json"):
            key = tuple(unquote(part) for part in file.relative_to(folder).with_suffix("").parts)
            found.append((key, json.loads(file.read_text(encoding="utf-8"))))
        for key, document in sorted(found, key=_made):
            self._documents.setdefault(key[:-1], {})[key[-1]] = document

    def get(self, *key: str) -> Document | None:
        return self._documents.get(_lower(key[:-1]), {}).get(key[-1])

    def put(self, *key: str, document: Document) -> None:
        file = self._file(key)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, json.dumps(document).encode())
        self._documents.setdefault(_lower(key[:-1]), {})[key[-1]] = document

    def remove(self, *key: str) -> None:
        """Nothing happens where there is no such document."""
        if self._documents.get(_lower(key[:-1]), {}).pop(key[-1], None) is not None:
            self._file(key).unlink(missing_ok=True)

    def below(self, *key: str) -> dict[str, Document]:
        """The documents whose key has one more part than this, by that part, the oldest first."""
        return dict(self._documents.get(_lower(key), {}))

    def versions_of_all(self, kind: str) -> list[Document]:
        """The documents two parts below a kind: every version of every name."""
        return [
            document
            for key, documents in self._documents.items()
            if len(key) == 2 and key[0] == kind
            for document in documents.values()
        ]

    def _file(self, key: Key) -> Path:
        parts = [quote(part, safe="") for part in (*_lower(key[:-1]), key[-1])]
        return self._folder.joinpath(*parts[:-1], f"{parts[-1]}.json")


def _made(entry: tuple[Key, Document]) -> tuple[str, Key]:
    system = entry[1].get("systemData")
    made = system.get("createdAt") if isinstance(system, dict) else ""
    return str(made), entry[0]


def _lower(key: Key) -> Key:
    """A key with its kind, which Resource Manager compares in whatever case."""
    return (key[0].lower(), *key[1:])
