"""Tokens for the stand-in on this machine: unsigned, good for an hour, refused by everything else."""

from __future__ import annotations

import base64
import json
import time
import uuid
from typing import Any

from azure.core.credentials import AccessToken

_GOOD_FOR_S = 3_600
_SCOPE = "/.default"


class DevelopmentCredential:
    """A credential whose tokens say for whom they are, each one another."""

    def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        expires = int(time.time()) + _GOOD_FOR_S
        claims = {
            "aud": scopes[0].removesuffix(_SCOPE),
            "exp": expires,
            "tid": str(uuid.UUID(int=0)),
            "jti": str(uuid.uuid4()),
        }
        parts = [_encoded({"alg": "none", "typ": "JWT"}), _encoded(claims), "unsigned"]
        return AccessToken(".".join(parts), expires)


def _encoded(document: dict[str, object]) -> str:
    return base64.urlsafe_b64encode(json.dumps(document).encode()).rstrip(b"=").decode()
