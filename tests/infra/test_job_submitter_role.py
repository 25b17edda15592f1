"""The Function app's role in the workspace covers every request that the app makes there."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

import pytest

from batchscore.devhost.azureml import AzureMLWorkspace
from batchscore.devhost.azurite import Azurite
from batchscore.runs import RunState
from tests.azureml_client import microsofts_schemas
from tests.azureml_world import azureml_world
from tests.infra.bicep import Files
from tests.infra.scenarios import ROOT, Infra

ROLES = "Microsoft.Authorization/roleDefinitions"
WORKSPACES = "Microsoft.MachineLearningServices/workspaces"
VERBS = {"GET": "read", "PUT": "write", "PATCH": "write", "DELETE": "delete"}
HISTORY = re.compile(r"/history/v1\.0/subscriptions/.*/workspaces/[^/]+/runs/.*")
UNGUARDED = "/discovery"
"""Where the history lies is told to everybody."""
ARM = re.compile(r"/subscriptions/[^/]+/resourceGroups/[^/]+/providers/" + WORKSPACES + r"/[^/]+(/.*)?")


def action(method: str, path: str) -> str:
    """The action that the Resource Manager asks for: types without names, then what is done. The run history is guarded
    by the same roles, as runs of experiments."""
    if HISTORY.fullmatch(path):
        return f"{WORKSPACES}/experiments/runs/{VERBS[method]}"
    inside = ARM.fullmatch(path)
    assert inside is not None, f"nobody said which action guards {method} {path}"
    parts = (inside[1] or "").split("/")[1:]
    types = "/".join([WORKSPACES, *parts[::2]])
    return f"{types}/action" if method == "POST" else f"{types}/{VERBS[method]}"


def allows(permission: dict[str, list[str]], asked: str) -> bool:
    def within(actions: list[str]) -> bool:
        return any(fnmatchcase(asked.lower(), each.lower()) for each in actions)

    return within(permission["actions"]) and not within(permission["notActions"])


@cache
def granted() -> dict[str, list[str]]:
    usual = Infra(Files(ROOT)).deployments["as it comes"]
    [role] = [each for each in usual.of(ROLES) if each.symbol == "jobSubmitter"]
    [permission] = role.properties["permissions"]
    return permission  # type: ignore[no-any-return]


@pytest.fixture
def requests(tmp_path: Path) -> Iterator[list[tuple[str, str]]]:
    """Method and path of what the app asks the workspace for: a run that succeeds, one that fails and one that is stopped."""
    with (
        Azurite(tmp_path / "azurite") as azurite,
        AzureMLWorkspace(
            folder=tmp_path / "ws", storage=azurite.connection_string, schemas=microsofts_schemas()
        ) as workspace,
        azureml_world(azurite.connection_string, workspace, tmp_path) as world,
    ):
        deployed_by = len(workspace.requests())
        world.gate.touch()
        done = world.ended(world.drop())
        assert done.state is RunState.SUCCEEDED, done.reason
        assert world.ended(world.drop(inputs={"mode": "broken"})).state is RunState.FAILED
        world.gate.unlink()
        stopped = world.drop(inputs={"mode": "gated"})
        world.until(stopped, lambda run: run.state is RunState.RUNNING)
        world.application.cancel(stopped)
        assert world.ended(stopped).state is RunState.CANCELED
        yield [(str(each["method"]), str(each["path"])) for each in workspace.requests()[deployed_by:]]


@pytest.mark.slow
def test_every_request_of_the_app_is_granted(requests: list[tuple[str, str]]) -> None:
    asked = {action(method, path) for method, path in requests if path != UNGUARDED}
    assert [each for each in sorted(asked) if not allows(granted(), each)] == []
    told = {each.removeprefix(f"{WORKSPACES}/") for each in asked}
    assert told >= {"read", "jobs/read", "jobs/write", "jobs/cancel/action", "experiments/runs/read"}


@pytest.mark.parametrize(
    "asked",
    [
        "write",
        "delete",
        "computes/write",
        "computes/delete",
        "computes/start/action",
        "datastores/write",
        "datastores/listSecrets/action",
        "components/versions/write",
        "models/versions/write",
        "environments/versions/delete",
        "jobs/delete",
        "listKeys/action",
        "onlineEndpoints/write",
    ],
)
def test_what_the_app_never_does_is_not_granted(asked: str) -> None:
    assert not allows(granted(), f"{WORKSPACES}/{asked}")


def test_the_actions_are_named_as_microsofts_operations_have_them() -> None:
    folder = microsofts_schemas()
    if folder is None:
        pytest.skip("Microsoft's list of operations is not on this machine")
    known = json.loads((folder / "arm_operations.json").read_text())
    paths = {(each["method"], re.sub(r"{\w+}", "x", each["url"])) for each in known.values() if each["url"]}
    actions = {action(method, path).lower() for method, path in paths if ARM.fullmatch(path)}
    # `*/read` and `jobs/*` are meant to take in more than these; what only the service asks for is in no public operation
    service = {"environments/write", "environments/build/action", "environments/readsecrets/action"}
    service |= {"metadata/artifacts/write"}
    for each in granted()["actions"] + granted()["notActions"]:
        name = each.lower().removeprefix(f"{WORKSPACES.lower()}/")
        assert name in service or any(fnmatchcase(there, each.lower()) for there in actions), each
