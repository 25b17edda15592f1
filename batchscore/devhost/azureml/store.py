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
        self._documents: dict[Key, Document] = {}
        for file in folder.rglob("*.json"):
            key = tuple(unquote(part) for part in file.relative_to(folder).with_suffix("").parts)
            self._documents[key] = json.loads(file.read_text(encoding="utf-8"))

    def get(self, *key: str) -> Document | None:
        return self._documents.get(_lower(key))

    def put(self, *key: str, document: Document) -> None:
        key = _lower(key)
        file = self._folder.joinpath(*(quote(part, safe="") for part in key))
        file = file.with_name(f"{file.name}.json")
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, json.dumps(document).encode())
        self._documents[key] = document

    def remove(self, *key: str) -> None:
        """Nothing happens where there is no such document."""
        key = _lower(key)
        if self._documents.pop(key, None) is not None:
            file = self._folder.joinpath(*(quote(part, safe="") for part in key))
            file.with_name(f"{file.name}.json").unlink(missing_ok=True)

    def below(self, *key: str) -> list[tuple[Key, Document]]:
        """The documents whose key begins so and has one more part, the oldest first."""
        return [each for each in self.of(*key) if len(each[0]) == len(key) + 1]

    def of(self, *key: str) -> list[tuple[Key, Document]]:
        """The documents whose key begins so, the oldest first."""
        key = _lower(key)
        found = [entry for entry in self._documents.items() if entry[0][: len(key)] == key]
        return sorted(found, key=_made)


def _made(entry: tuple[Key, Document]) -> tuple[str, Key]:
    system = entry[1].get("systemData")
    made = system.get("createdAt") if isinstance(system, dict) else ""
    return str(made), entry[0]


def _lower(key: Key) -> Key:
    """The kind is compared as Resource Manager compares it: in whatever case."""
    return (key[0].lower(), *key[1:])
