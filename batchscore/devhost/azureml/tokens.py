"""The tokens that requests carry: read without checking who signed them, refused when they are no tokens or are over."""

from __future__ import annotations

import base64
import binascii
import json
import time
from collections.abc import Mapping, Set

from batchscore.devhost.azureml.answers import ServiceError
from batchscore.printable import quoted

ARM_AUDIENCES = frozenset({"https://management.azure.com", "https://management.core.windows.net"})
PIPELINE_AUDIENCE = "https://ml.azure.com"
HISTORY_AUDIENCES = ARM_AUDIENCES | {PIPELINE_AUDIENCE}
"""The client library brings the run history tokens for Resource Manager, others bring those for Azure ML."""
PIPELINE_HEADER = "x-azureml-token"
_CHALLENGE = 'Bearer authorization_uri="https://login.windows.net/common", error="invalid_token"'


class Tokens:
    """Which tokens have been seen, and which of them are over by order of a test."""

    def __init__(self) -> None:
        self._seen: dict[str, bool] = {}

    def expire(self) -> None:
        """Refuse from now on every token that has been used so far."""
        self._seen = dict.fromkeys(self._seen, False)

    def check(self, headers: Mapping[str, str], audiences: Set[str] = ARM_AUDIENCES) -> None:
        """ServiceError (401) unless the request carries a token that is still good and made out to one of these."""
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise _refused(
                "AuthenticationFailed", "Authentication failed. The 'Authorization' header is missing."
            )
        claims = _claims(token)
        if claims is None:
            raise _refused("InvalidAuthenticationToken", "The access token is invalid.")
        if str(claims.get("aud")).rstrip("/") not in audiences:
            raise _refused(
                "InvalidAuthenticationTokenAudience",
                "The access token has been obtained for wrong audience or resource "
                f"{quoted(str(claims.get('aud')))}. It should exactly match with one of the allowed audiences "
                f"{', '.join(sorted(audiences))}.",
            )
        expires = claims.get("exp")
        if (isinstance(expires, int | float) and expires < time.time()) or not self._seen.setdefault(
            token, True
        ):
            raise _refused(
                "ExpiredAuthenticationToken",
                "The access token expiry UTC time is earlier than current UTC time. Acquire a new token.",
            )

    def check_pipeline(self, headers: Mapping[str, str]) -> None:
        """ServiceError unless a pipeline job comes with a second token, made out to the service that runs it."""
        claims = _claims(headers.get(PIPELINE_HEADER, ""))
        audience = None if claims is None else claims.get("aud")
        if not isinstance(audience, str) or audience.rstrip("/") != PIPELINE_AUDIENCE:
            raise ServiceError(
                400,
                "UserError",
                f"A pipeline job needs the header {PIPELINE_HEADER} with a token for {PIPELINE_AUDIENCE}.",
            )


def _claims(token: str) -> dict[str, object] | None:
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, binascii.Error):
        return None
    return claims if isinstance(claims, dict) else None


def _refused(code: str, message: str) -> ServiceError:
    return ServiceError(401, code, message, {"WWW-Authenticate": _CHALLENGE})
