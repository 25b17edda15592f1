"""Who this process is to Azure: one credential per identity, made when it is first needed."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential


@cache
def credential_of(client_id: str | None) -> TokenCredential:
    """The managed identity with this client id; for None that of the app, or whoever is signed in on a workstation.
    azure-identity is imported here alone, for what needs no identity does without it."""
    from azure.identity import DefaultAzureCredential

    return DefaultAzureCredential(managed_identity_client_id=client_id)
