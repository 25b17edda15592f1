"""The ways in which somebody may deploy: what the azd environment says beyond what azd asks for."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from tests.infra.bicep import Files, Template
from tests.infra.deployment import GROUP, SUBSCRIPTION, Deployment, deploy
from tests.infra.syntax import BicepError

ROOT = Path(__file__).resolve().parents[2]
MAIN = "infra/main.bicep"
PARAMETERS = "infra/main.parameters.json"
EVENT_SUBSCRIPTIONS = "infra/event-subscriptions.bicep"
PRINCIPAL = "77777777-2222-4333-8444-555555555555"
ASKED = {
    "AZURE_ENV_NAME": "paper",
    "AZURE_LOCATION": "eastus",
    "AZURE_PRINCIPAL_ID": PRINCIPAL,
    "BUDGET_START": "2026-11-01",
}
SCENARIOS: dict[str, dict[str, str]] = {
    "as it comes": {},
    "an address for alerts": {"ALERT_EMAIL": "operator@example.com"},
    "nobody's sign-in": {"AZURE_PRINCIPAL_ID": ""},
    "private network": {"VNET_ENABLED": "true"},
    "private network, people from outside": {
        "VNET_ENABLED": "true",
        "ALLOWED_ADDRESSES": "198.51.100.7, 203.0.113.0/24",
        "ALERT_EMAIL": "operator@example.com",
    },
    "private network, NAT gateway": {
        "VNET_ENABLED": "true",
        "NAT_GATEWAY_ID": f"{SUBSCRIPTION}/resourceGroups/rg-theirs/providers/Microsoft.Network/natGateways/nat",
    },
    "Stream Analytics": {"STREAM_ANALYTICS_ENABLED": "true", "ALERT_EMAIL": "operator@example.com"},
    "no sensors": {"SENSORS_ENABLED": "false", "ALERT_EMAIL": "operator@example.com"},
    "no sensors, private network": {"SENSORS_ENABLED": "false", "VNET_ENABLED": "true"},
    "no GPU, low priority": {"GPU_ENABLED": "false", "AML_COMPUTE_CLUSTER_TIER": "low_priority"},
    "no budget, own settings": {"BUDGET_AMOUNT": "0", "APP_SETTINGS": '{"MAX_ACTIVE_RUNS": "5"}'},
    "access logged": {"ACCESS_LOG_ENABLED": "true"},
    "a key of one's own": {
        "ENCRYPTION_KEY_URI": "https://theirs.vault.azure.net/keys/theirs",
        "ENCRYPTION_IDENTITY_ID": f"{SUBSCRIPTION}/resourceGroups/rg-theirs/providers/"
        "Microsoft.ManagedIdentity/userAssignedIdentities/theirs",
    },
}
_SUBSTITUTION = re.compile(r"\$\{(\w+)(?:=([^}]*))?}")


class Infra:
    """What the rules look at: the files, and what they come to in every scenario."""

    def __init__(self, files: Files) -> None:
        self.files = files
        self.broken: list[str] = []
        """Why a scenario came to nothing."""

    @cached_property
    def main(self) -> Template:
        return self.files.template(MAIN)

    @cached_property
    def deployments(self) -> dict[str, Deployment]:
        """What main.bicep comes to, by scenario; one that does not work out is in `broken`."""
        found = {}
        for name, environment in SCENARIOS.items():
            try:
                found[name] = deploy(self.files, MAIN, self.parameters({**ASKED, **environment}))
            except (BicepError, LookupError, TypeError, ValueError, AttributeError) as error:
                self.broken.append(f"{name}: {type(error).__name__} {error}")
        return found

    @cached_property
    def subscriptions(self) -> dict[str, Deployment]:
        """What the second stage comes to, with what the post-deploy hook gives it."""
        found = {}
        for name, deployment in self.deployments.items():
            said = deployment.outputs
            given = {
                "functionAppName": said.get("FUNCTION_APP_NAME"),
                "systemTopicName": said.get("SYSTEM_TOPIC_NAME"),
                "systemStorageAccountName": said.get("SYSTEM_STORAGE_ACCOUNT_NAME"),
            }
            try:
                group = GROUP.replace("rg-paper", said["AZURE_RESOURCE_GROUP"])
                found[name] = deploy(self.files, EVENT_SUBSCRIPTIONS, given, group)
            except (BicepError, LookupError, TypeError, ValueError, AttributeError) as error:
                self.broken.append(f"{name}: {type(error).__name__} {error}")
        return found

    def parameters(self, environment: Mapping[str, str]) -> dict[str, Any]:
        """Values for main.bicep as azd makes them of main.parameters.json: texts are filled in, true, false and whole
        numbers become such where the template wants them, so does JSON, and an empty text gives way to a default."""
        given = {}
        for name, entry in json.loads(self.files[PARAMETERS])["parameters"].items():
            parameter = self.main.parameters.get(name)
            if parameter is None:
                continue
            value = entry["value"]
            if isinstance(value, str):
                value = _SUBSTITUTION.sub(
                    lambda match: environment.get(match[1], "") or match[2] or "", value
                )
                if parameter.type == "bool" and value in ("true", "false"):
                    value = value == "true"
                elif parameter.type == "int" and re.fullmatch(r"-?\d+", value):
                    value = int(value)
                elif not value and parameter.default is not None:
                    continue
                elif parameter.type in ("object", "array"):
                    value = json.loads(value)
            given[name] = value
        return given


def variables(text: str) -> list[tuple[str, str | None]]:
    """The variables of azd that a text names, with their defaults."""
    return [(match[1], match[2]) for match in _SUBSTITUTION.finditer(text)]
