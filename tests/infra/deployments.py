"""Deployments to try: main.bicep with the parameters that somebody may choose, and what comes of them."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from tests.infra.bicep_values import Bicep

ROOT = Path(__file__).parents[2]
CHOICES: dict[str, dict[str, Any]] = {
    "as shipped": {},
    "without sensors": {"sensorsEnabled": False},
    "with Stream Analytics": {"streamAnalyticsEnabled": True},
    "in a private network": {"vnetEnabled": True, "allowedAddresses": "203.0.113.7, 198.51.100.0/24"},
}


@cache
def deployment(choice: str = "as shipped") -> Bicep:
    return deployed(**CHOICES[choice])


def deployed(**parameters: Any) -> Bicep:
    given = {"environmentName": "demo", "location": "westeurope", **parameters}
    return Bicep(ROOT / "infra" / "main.bicep", given)


def app_settings(main: Bicep) -> dict[str, str]:
    site = main.module("functions").resource("app")
    listed = site["properties"]["siteConfig"]["appSettings"]
    found = {each["name"]: each["value"] for each in listed}
    assert len(found) == len(listed)
    return found
