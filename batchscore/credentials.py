"""Who this process is to Azure: one credential per identity, made when it is first needed."""

from __future__ import annotations

import logging
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential


@cache
def credential_of(client_id: str | None) -> TokenCredential:
    """The managed identity with this client id; for None that of the app, or whoever is signed in on a workstation.
    azure-identity is imported here alone, for what needs no identity does without it."""
    from azure.identity import DefaultAzureCredential

    # it logs the ten ways that it tried at every failure, and raises the same text, which is told where it arrives
    logging.getLogger("azure.identity").setLevel(logging.ERROR)
    return DefaultAzureCredential(managed_identity_client_id=client_id)
