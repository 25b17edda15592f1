"""The work that the harness gives out: small runs of both workloads, and what must come of them."""

from __future__ import annotations

import hashlib
import json
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

WORDS = [
    "amber",
    "birch",
    "cedar",
    "delta",
    "ember",
    "fjord",
    "grove",
    "heath",
    "isle",
    "jade",
    "knoll",
    "larch",
    "moss",
    "north",
    "oak",
    "pine",
]


def developed(data: bytes) -> bytes:
    """What the entry script makes of an item."""
    return data.upper() * 3


def text(draw: random.Random) -> bytes:
    return " ".join(draw.choices(WORDS, k=draw.randint(5, 60))).encode()


def film(draw: random.Random) -> bytes:
    return b"\n\n".join(text(draw) + f" {draw.random()}".encode() for _ in range(draw.randint(2, 6)))


@dataclass
class Errand:
    """One run that was asked for. `versions` holds every content that each of its inputs has ever had."""

    number: int
    workload: str
    trigger: str
    seconds: float
    computed: Path
    versions: dict[str, list[bytes]]
    deleted: set[str] = field(default_factory=set)
    run_id: str = ""
    etag: str = ""
    cancelled: bool = False
    may_be_missing: bool = False
    """Its trigger file was deleted before anybody can have read it."""
    killed_commands: int = 0
    killed_attempts: int = 0
    told: list[str] = field(default_factory=list)
    """What was done to it, in words."""

    @property
    def is_film(self) -> bool:
        return self.workload == "film/develop"

    @property
    def body(self) -> bytes:
        where = next(iter(self.versions)) if self.is_film else f"files-{self.number}"
        inputs: dict[str, Any] = {
            "film" if self.is_film else "files": where,
            "seconds": self.seconds,
            "computed": str(self.computed),
        }
        return json.dumps({"workload": self.workload, "inputs": inputs}).encode()

    def content(self, item: str, version: str) -> bytes | None:
        """The content of an item whose hash is `version`, where it ever had it."""
        for data in self.item_contents(item):
            if hashlib.sha256(data).hexdigest() == version:
                return data
        return None

    def item_contents(self, item: str) -> list[bytes]:
        if not self.is_film:
            return self.versions.get(f"files-{self.number}/{item}", [])
        (films,) = self.versions.values()
        number = int(item.removeprefix("seg-").removesuffix(".txt"))
        cuts = [each.split(b"\n\n") for each in films]
        return [cut[number] for cut in cuts if number < len(cut)]


def new_errand(number: int, draw: random.Random, folder: Path) -> Errand:
    """Films and rows in turn; some with items that take a while, so that faults hit them at work."""
    seconds = draw.choice((0.0, 0.5, 1.5))
    computed = folder / f"computed-{number}.txt"
    if number % 2:
        names = [f"files-{number}/item-{index:02d}.txt" for index in range(draw.randint(3, 8))]
        versions = {name: [text(draw) + f" {name}".encode()] for name in names}
        return Errand(number, "rows/score", f"rows-{number}.json", seconds, computed, versions)
    versions = {f"films/film-{number}.txt": [film(draw)]}
    return Errand(number, "film/develop", f"film-{number}.json", seconds, computed, versions)
