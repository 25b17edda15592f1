"""Fixtures of the whole suite: one Azurite per session, settings and clients per test."""

from __future__ import annotations

import asyncio
import inspect
import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from batchscore.devhost.azureml import AzureMLWorkspace
from batchscore.devhost.azurite import Azurite
from batchscore.settings import Settings
from batchscore.storage import Storage
from tests.azureml_client import microsofts_schemas
from tests.azurite import settings_for

# The same examples at every run, however fast the machine is; HYPOTHESIS_PROFILE=search looks for new ones.
hypothesis.settings.register_profile(
    "usual",
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(hypothesis.HealthCheck),
)
hypothesis.settings.register_profile(
    "search", hypothesis.settings.get_profile("usual"), derandomize=False, max_examples=5_000, print_blob=True
)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "usual"))


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """A test that is a coroutine runs in an event loop of its own."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True


@pytest.fixture(scope="session")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The connection string of an Azurite that lives as long as the session."""
    with Azurite(tmp_path_factory.mktemp("azurite")) as process:
        yield process.connection_string


@pytest.fixture
def settings(azurite: str, tmp_path: Path) -> Settings:
    """Settings on the session's Azurite: trigger and data containers and work folder are this test's own."""
    return settings_for(azurite, tmp_path / "work")


@pytest.fixture
def storage(settings: Settings) -> Iterator[Storage]:
    """Clients for `settings`; the trigger and data containers and the system containers exist."""
    storage = Storage(settings)
    storage.container("data", settings.trigger_container, create=True)
    storage.container("data", settings.data_container, create=True)
    for name in ("runs", "models", "logs"):
        storage.container("system", name, create=True)
    yield storage
    storage.close()


@pytest.fixture(scope="session")
def shared_workspace(azurite: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AzureMLWorkspace]:
    """An Azure ML workspace that lives as long as the session."""
    folder = tmp_path_factory.mktemp("azureml")
    with AzureMLWorkspace(folder=folder, storage=azurite, schemas=microsofts_schemas()) as workspace:
        yield workspace


@pytest.fixture
def workspace(shared_workspace: AzureMLWorkspace) -> Iterator[AzureMLWorkspace]:
    """The session's workspace, without faults before the test and after it."""
    shared_workspace.clear()
    yield shared_workspace
    shared_workspace.clear()
