"""What nodes may do in the system account, which is the workspace's default one: their role and its condition, worked out
for one action on one thing after the other."""

from __future__ import annotations

import re
from functools import cache

import pytest

from batchscore import paths
from tests.infra.bicep import Files
from tests.infra.deployment import Deployment
from tests.infra.scenarios import ROOT, Infra

ACCOUNTS = "Microsoft.Storage/storageAccounts"
BLOBS, CONTAINER = f"{ACCOUNTS}/blobServices/containers/blobs", f"{ACCOUNTS}/blobServices/containers:name"
MESSAGES, QUEUE = f"{ACCOUNTS}/queueServices/queues/messages", f"{ACCOUNTS}/queueServices/queues:name"
ENTITIES = f"{ACCOUNTS}/tableServices/tables/entities"
WORDS = re.compile(
    r"\s*(?:(?P<bracket>[()])|(?P<negation>!)|(?P<word>AND|OR)\b|ActionMatches\{'(?P<action>[^']*)'\}"
    r"|@Resource\[(?P<attribute>[^]]*)\]\s+(?P<operator>[\w:]+)\s+(?P<values>'[^']*'|\{[^}]*\}))"
)
"""The words of a condition, version 2.0, that ours uses; Microsoft's "Azure role assignment condition format"."""


@cache
def usual() -> Deployment:
    return Infra(Files(ROOT)).deployments["as it comes"]


@cache
def condition() -> str:
    [grant] = [
        each
        for each in usual().of("Microsoft.Authorization/roleAssignments")
        if each.properties.get("condition")
    ]
    assert grant.properties["conditionVersion"] == "2.0"
    assert isinstance(grant.properties["condition"], str)
    return grant.properties["condition"]


@cache
def data_actions() -> frozenset[str]:
    [role] = [
        each for each in usual().of("Microsoft.Authorization/roleDefinitions") if each.symbol == "clusterRole"
    ]
    [permission] = role.properties["permissions"]
    assert not any("containers/delete" in each or "*" in each for each in permission["actions"])
    return frozenset(permission["dataActions"])


def compares(operator: str, found: str | None, values: list[str]) -> bool:
    """What is not there fails every comparison."""
    if found is None:
        return False
    if operator == "StringNotStartsWith":
        return not any(found.startswith(value) for value in values)
    assert operator in ("StringNotEquals", "ForAllOfAllValues:StringNotEquals"), operator
    return found not in values


def holds(action: str, things: dict[str, str]) -> bool:
    """Whether the condition is true of an action; `things` are the attributes of what it is done to."""
    said, at, text = [], 0, condition().strip()
    while at < len(text):
        word = WORDS.match(text, at)
        assert word is not None, f"no condition: {text[at : at + 60]!r}"
        at = word.end()
        if word["attribute"]:
            values = re.findall(r"'([^']*)'", word["values"])
            said.append(str(compares(word["operator"], things.get(word["attribute"]), values)))
        elif word["action"]:
            assert word["action"] in data_actions(), "an action that the role does not have"
            said.append(str(word["action"] == action))
        else:
            said.append(
                word["bracket"] or {"!": "not", "AND": "and", "OR": "or"}[word["negation"] or word["word"]]
            )
    assert set(said) <= {"(", ")", "not", "and", "or", "True", "False"}
    return bool(eval(" ".join(said)))


@pytest.mark.parametrize("action", sorted(data_actions()))
def test_what_is_azure_mls_is_open_to_every_action_of_the_role(action: str) -> None:
    thing = {"blobServices": CONTAINER, "queueServices": QUEUE}.get(action.split("/")[2], "")
    for name in ("azureml", "azureml-blobstore-1b2c3d4e", "snapshots", "prs0f1e2d"):
        assert holds(action, {thing: name} if thing else {})


@pytest.mark.parametrize("action", sorted(each for each in data_actions() if each.startswith(BLOBS)))
def test_no_blob_of_ours_is(action: str) -> None:
    containers = [
        each.name.rpartition("/")[2]
        for each in usual().of(f"{ACCOUNTS}/blobServices/containers")
        if each.id.split("/")[8].startswith("stsystem")
    ]
    assert {paths.RUNS, paths.MODELS, paths.LOGS, "app-package"} <= set(containers)
    for name in (*containers, "azure-webjobs-hosts", "azure-webjobs-secrets"):
        assert not holds(action, {CONTAINER: name}), name


@pytest.mark.parametrize("action", sorted(each for each in data_actions() if each.startswith(MESSAGES)))
def test_no_message_of_ours_is(action: str) -> None:
    for name in (paths.RECONCILE_QUEUE, "azure-webjobs-blobtrigger-batchscore"):
        assert not holds(action, {QUEUE: name}), name


def test_the_role_is_about_blobs_messages_and_entities_alone() -> None:
    assert all(each.startswith((BLOBS, MESSAGES, ENTITIES)) for each in data_actions())
