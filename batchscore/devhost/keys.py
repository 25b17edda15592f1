"""Function keys: one for function-level routes, the master key for admin routes; kept from start to start."""

from __future__ import annotations

import hmac
import json
import os
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

KEYS_FILE = "keys.json"


@dataclass(frozen=True)
class Keys:
    """The key of function-level routes, and the master key, which opens admin routes too."""

    function: str
    master: str

    @classmethod
    def kept(cls, file: Path) -> Keys:
        """The keys in a file; new ones, which only the owner of the file can read, where there are none."""
        try:
            document = json.loads(file.read_text(encoding="utf-8"))
            keys = cls(str(document["function"]), str(document["master"]))
            if len(keys.function) >= 20 and len(keys.master) >= 20:
                return keys
        except (OSError, ValueError, KeyError, TypeError):
            pass
        keys = cls(secrets.token_urlsafe(24), secrets.token_urlsafe(24))
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.with_name(f"{file.name}.{os.getpid()}")
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as stream:
            json.dump(asdict(keys), stream, indent=1)
        temporary.replace(file)
        return keys

    def opens(self, level: str, given: str) -> bool:
        """Whether a key that came with a request is enough for a route's level."""
        allowed = {"anonymous": None, "admin": (self.master,)}.get(level, (self.function, self.master))
        encoded = given.encode("utf-8", "surrogateescape")
        return allowed is None or any(hmac.compare_digest(key.encode(), encoded) for key in allowed)


def masked(key: str) -> str:
    """A key as it may be printed."""
    return f"{key[:4]}…"
