"""The table of docs/security.md holds every grant that any deployment makes, and none that none makes."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path

import pytest

pytest.importorskip("tree_sitter_bicep", reason="make infra-check installs it")

from tests.infra.bicep import Files
from tests.infra.deployment import Deployment, Resource, later
from tests.infra.scenarios import PRINCIPAL, Infra

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text()
ROLES = {guid: name for name, guid in json.loads((ROOT / "infra" / "roles.json").read_text()).items()}
IDENTITIES = {"functions": "Function app", "workspace": "workspace", "clusters": "nodes"}
THINGS = {
    "Microsoft.EventHub/namespaces/eventhubs": "event hub",
    "Microsoft.MachineLearningServices/workspaces": "workspace",
    "Microsoft.ContainerRegistry/registries": "registry",
    "Microsoft.KeyVault/vaults": "Key Vault",
    "Microsoft.Insights/components": "Application Insights",
}
Grant = tuple[str, str, str]
"""Who, which role, on what."""


@cache
def infra() -> Infra:
    return Infra(Files(ROOT))


def who(deployment: Deployment, principal: str) -> str:
    if principal == PRINCIPAL:
        return "whoever deploys"
    for each in deployment.of("Microsoft.ManagedIdentity/userAssignedIdentities"):
        if later(each.id, "properties", "principalId") == principal:
            return next(told for mark, told in IDENTITIES.items() if mark in each.name)
    for kind, told in (
        ("Microsoft.EventGrid/systemTopics", "Event Grid topic"),
        ("Microsoft.StreamAnalytics/streamingjobs", "Stream Analytics job"),
    ):
        for each in deployment.of(kind):
            if later(each.id, "identity", "principalId") == principal:
                return told
    raise AssertionError(f"nobody is {principal}")


def what(deployment: Deployment, role: str) -> str:
    guid = role.rsplit("/", 1)[-1]
    if guid in ROLES:
        return ROLES[guid]
    (own,) = [each for each in deployment.of("Microsoft.Authorization/roleDefinitions") if each.name == guid]
    return str(own.properties["roleName"]).split(" (")[0]


def where(scope: str) -> str:
    parts = scope.rsplit("/providers/", 1)[1].split("/")
    kind, names = f"{parts[0]}/{'/'.join(parts[1::2])}", parts[2::2]
    if not kind.startswith("Microsoft.Storage/"):
        return THINGS[kind]
    account = "data account" if "data" in names[0] else "system account"
    return account if len(names) == 1 else f"{account}, container {names[-1]}"


def grant(deployment: Deployment, made: Resource) -> Grant:
    properties = made.properties
    return (
        who(deployment, properties["principalId"]),
        what(deployment, properties["roleDefinitionId"]),
        where(made.scope),
    )


def told() -> list[Grant]:
    chapter = PAGE.split("## Who may do what\n", 1)[1].split("\n## ", 1)[0]
    rows = re.findall(r"^\| (.+?) \| (.+?) \| (.+?) \|$", chapter, re.MULTILINE)
    return [(by, role, on.replace("`", "")) for by, role, on in rows[1:]]


def test_every_grant_is_in_the_table_and_every_row_is_a_grant() -> None:
    made = {
        grant(deployment, each)
        for deployment in infra().deployments.values()
        for each in deployment.of("Microsoft.Authorization/roleAssignments")
    }
    assert infra().broken == []
    assert sorted(told()) == sorted(made)


def test_there_are_as_many_identities_as_it_says() -> None:
    numbers = {6: "Six", 7: "Seven"}
    assert f"{numbers[len({by for by, _, _ in told()})]} identities." in PAGE


def test_it_names_every_container_that_nodes_are_kept_out_of() -> None:
    conditions = {
        each.properties["condition"]
        for deployment in infra().deployments.values()
        for each in deployment.of("Microsoft.Authorization/roleAssignments")
        if "condition" in each.properties
    }
    assert conditions
    for condition in conditions:
        names = re.findall(r"StringNotEquals\w* \{?((?:'[^']+'(?:, )?)+)", condition)
        assert names
        for name in re.findall(r"'([^']+)'", " ".join(names)):
            assert f"`{name}`" in PAGE
