"""Azurite's access log: which blob was written, which queue received a message."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import parse_qs, unquote, urlsplit

_LINE = re.compile(r'"(?P<method>[A-Z]+) (?P<target>\S+) HTTP/[\d.]+" (?P<status>\d{3})')
_WRITES_A_BLOB = frozenset({None, "blocklist", "appendblock", "page"})


@dataclass(frozen=True)
class BlobWritten:
    """A blob has new content: a whole upload, a copy, a committed block list, an appended block."""

    account: str
    container: str
    name: str


@dataclass(frozen=True)
class MessageSent:
    """A queue has a new message."""

    account: str
    queue: str


def parse(line: str) -> BlobWritten | MessageSent | None:
    """What a line of the log (the common log format) reports, or None where it is neither of the two."""
    found = _LINE.search(line)
    if found is None or not 200 <= int(found["status"]) < 300 or found["method"] not in ("PUT", "POST"):
        return None
    target = urlsplit(found["target"])
    parts = target.path.removeprefix("/").split("/", 2)
    query = parse_qs(target.query)
    if len(parts) < 3 or not parts[2]:
        return None
    account, holder, rest = parts
    if found["method"] == "POST":
        return MessageSent(account, holder) if rest == "messages" and "comp" not in query else None
    if "restype" in query or "popreceipt" in query:
        return None
    if query.get("comp", [None])[0] not in _WRITES_A_BLOB:
        return None
    return BlobWritten(account, holder, unquote(rest))
