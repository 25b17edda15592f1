"""Faults that somebody might make, each as one exact change of a text, with what must find it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tests.infra.bicep import Files
from tests.infra.scenarios import ROOT

MAIN = "infra/main.bicep"
PARAMETERS = "infra/main.parameters.json"
SUBSCRIPTIONS = "infra/event-subscriptions.bicep"
ROLES = "infra/modules/role-assignments.bicep"
ACCOUNT = "infra/modules/storage-account.bicep"
STORAGE = "infra/modules/storage.bicep"
FUNCTIONS = "infra/modules/functions.bicep"
NETWORK = "infra/modules/network.bicep"
ENDPOINTS = "infra/modules/private-endpoints.bicep"
LEARNING = "infra/modules/machine-learning.bicep"
CLUSTERS = "infra/modules/clusters.bicep"
HUB = "infra/modules/event-hub.bicep"


@dataclass(frozen=True)
class Fault:
    name: str
    path: str
    old: str
    """Is in the file `times` times, else the fault is not the one that was meant."""
    new: str
    caught_by: tuple[str, ...]
    """The rules and checkers that find it: these, and no other."""
    times: int = 1


def planted(faults: Iterable[Fault]) -> Files:
    """The repository with these faults."""
    changed: dict[str, str] = {}
    whole = Files(ROOT)
    for fault in faults:
        text = changed.get(fault.path, whole[fault.path])
        assert text.count(fault.old) == fault.times, f"{fault.name}: {fault.path} has {text.count(fault.old)}"
        assert fault.old != fault.new
        changed[fault.path] = text.replace(fault.old, fault.new)
    return Files(ROOT, changed)


CHECKOV_FAULTS = [
    Fault(
        "the registry gives images to anybody",
        "infra/modules/container-registry.bicep",
        "anonymousPullEnabled: false",
        "anonymousPullEnabled: true",
        ("CKV_AZURE_138",),
    ),
    Fault(
        "the app can be debugged from outside",
        FUNCTIONS,
        "remoteDebuggingEnabled: false",
        "remoteDebuggingEnabled: true",
        ("CKV_AZURE_72",),
    ),
    Fault(
        "files come in by FTP",
        FUNCTIONS,
        "ftpsState: 'Disabled'",
        "ftpsState: 'AllAllowed'",
        ("CKV_AZURE_78",),
    ),
    Fault(
        "the app speaks old HTTP", FUNCTIONS, "http20Enabled: true", "http20Enabled: false", ("CKV_AZURE_18",)
    ),
    Fault(
        "what is deleted from the vault is gone",
        "infra/modules/key-vault.bicep",
        "enableSoftDelete: true",
        "enableSoftDelete: false",
        ("CKV_AZURE_111",),
    ),
]
