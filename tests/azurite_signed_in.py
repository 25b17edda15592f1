"""An Azurite that takes Microsoft Entra's tokens, over HTTPS, and gives user-delegation keys: the data account of people who
sign in."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

import trustme
from azure.core.credentials import AccessToken

from batchscore.devhost.azurite import _GUARD, ACCOUNT, _program
from batchscore.devhost.server_process import ServerProcess

ISSUER = "11059fcc-5514-4800-b5f8-49808b9cfab6"
"""The object id of who is signed in."""
TENANT = "ab1f708d-50f6-404c-a006-d71b2ac7a606"
_LISTENING = re.compile(r"Blob service successfully listens on https://.*:(\d+)")
_DELEGATION = Path(__file__).with_name("azurite_delegation.mjs").as_uri()


class SignedIn:
    """A credential whose tokens this Azurite takes; it looks at what they say, and not who signed them."""

    def get_token(self, *scopes: str, **options: object) -> AccessToken:
        now = int(time.time())
        claims = {
            "aud": "https://storage.azure.com",
            "iss": f"https://sts.windows-ppe.net/{TENANT}/",
            "iat": now - 60,
            "nbf": now - 60,
            "exp": now + 3_600,
            "oid": ISSUER,
            "tid": TENANT,
        }
        parts = ({"alg": "none", "typ": "JWT"}, claims)
        token = ".".join(
            base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts
        )
        return AccessToken(f"{token}.c2lnbmVk", now + 3_600)


class SecureAzurite(ServerProcess):
    """Blob storage on a free port, with a certificate of its own; `ca_file` is what a client needs to know."""

    NAME = "Azurite over HTTPS"
    READY_TIMEOUT_S = 60.0

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self.ca_file = folder / "ca.pem"
        self._port = 0

    @property
    def blob_endpoint(self) -> str:
        return f"https://127.0.0.1:{self._port}/{ACCOUNT}"

    def _launched(self) -> subprocess.Popen[str]:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(self.ca_file))
        certificate = authority.issue_cert("localhost", "127.0.0.1")
        certificate.cert_chain_pems[0].write_to_path(str(self.folder / "server.pem"))
        certificate.private_key_pem.write_to_path(str(self.folder / "server.key"))
        node, script = _program()
        blob_script = script.parent / "blob" / "main.js"
        return self._spawned(
            [
                *(node, "--import", _GUARD, "--import", _DELEGATION),
                *(str(blob_script), "--skipApiVersionCheck", "--silent", "--disableTelemetry"),
                *("--location", str(self.folder), "--blobHost", "127.0.0.1", "--blobPort", "0"),
                *("--oauth", "basic", "--cert", str(self.folder / "server.pem")),
                *("--key", str(self.folder / "server.key")),
            ]
        )

    def _follow(self, lines: Iterable[str]) -> None:
        for line in lines:
            found = _LISTENING.search(line)
            if found:
                self._port = int(found[1])
                self._ready()
            self._last_words.append(line.strip())
