"""Shared access signatures: the tokens that a client of Event Hubs makes from its key."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from dataclasses import dataclass
from urllib.parse import parse_qsl

KEY_NAME = "RootManageSharedAccessKey"
KEY = "bm90LWEtc2VjcmV0LW9ubHktdGhpcy1tYWNoaW5lLXNlZXMtaXQ="
"""The key of every stand-in; it is published and opens nothing else."""


@dataclass(frozen=True)
class Grant:
    """What a valid token opens: everything at or below a path, until a moment."""

    path: str
    expires: float

    def opens(self, path: str) -> bool:
        return time.time() < self.expires and (not self.path or f"{path}/".startswith(f"{self.path}/"))


def check(token: str, key_name: str, key: str) -> Grant | str:
    """What a token opens, or why it opens nothing."""
    kind, _, parts = token.partition(" ")
    fields = dict(parse_qsl(parts))
    signed_address = next((part[3:] for part in parts.split("&") if part.startswith("sr=")), "")
    if kind != "SharedAccessSignature" or not {"sr", "sig", "se", "skn"} <= fields.keys():
        return "The token is no shared access signature; this stand-in takes no other."
    if fields["skn"] != key_name:
        return f"There is no key named {fields['skn']!r}."
    signed = f"{signed_address}\n{fields['se']}".encode()
    digest = hmac.new(key.encode(), signed, hashlib.sha256).digest()
    if not hmac.compare_digest(base64.b64encode(digest), fields["sig"].encode()):
        return "The signature does not match the key."
    if not fields["se"].isdecimal() or float(fields["se"]) < time.time():
        return "The token has expired."
    return Grant(path_of(fields["sr"]), float(fields["se"]))


def path_of(address: str) -> str:
    """The path of an address, whole URL or not, without slashes around it and in lower case."""
    _, found, behind = address.partition("://")
    return (behind.partition("/")[2] if found else address).strip("/").lower()
