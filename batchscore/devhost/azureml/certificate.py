"""The certificate of the stand-in: made once per folder, by an authority of its own that nobody else trusts."""

from __future__ import annotations

import os
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

CA_FILE = "ca.pem"
_CHAIN_FILE = "server.pem"
_GOOD_FOR = timedelta(days=365)


def tls_context(folder: Path) -> ssl.SSLContext:
    """The server's side of TLS for `localhost` and 127.0.0.1; `ca.pem` in the folder is what a client needs to know."""
    import trustme

    chain = folder / _CHAIN_FILE
    if not chain.is_file() or _old(chain):
        authority = trustme.CA()
        certificate = authority.issue_cert(
            "localhost", "127.0.0.1", not_after=datetime.now(UTC) + 2 * _GOOD_FOR
        )
        authority.cert_pem.write_to_path(str(folder / CA_FILE))
        descriptor = os.open(chain, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(certificate.private_key_and_cert_chain_pem.bytes())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    return context


def _old(file: Path) -> bool:
    made = datetime.fromtimestamp(file.stat().st_mtime, UTC)
    return datetime.now(UTC) - made > _GOOD_FOR
