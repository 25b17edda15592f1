"""The clients of the two accounts: no request leaves its container."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from azure.core.exceptions import HttpResponseError
from azure.storage.blob import ContainerClient

from batchscore.compute.local.wire import Wire
from batchscore.errors import RequestError, StorageUnavailableError
from batchscore.settings import Settings
from batchscore.storage import Storage


@pytest.mark.parametrize("name", ["../runs/records/x.json", "a/../../runs/x", "a/./b", "..", "."])
def test_a_name_that_leads_out_of_its_container_is_never_asked_for(
    storage: Storage, settings: Settings, name: str
) -> None:
    container = storage.container("data", settings.data_container)
    for act in (
        lambda: container.download_blob(name),
        lambda: container.upload_blob(name, b"x"),
        lambda: container.delete_blob(name),
    ):
        with pytest.raises(RequestError, match="leads out of its container"):
            act()
    wire = Wire(storage, 1)
    with pytest.raises(RequestError, match="leads out of its container"):
        wire.read("data", settings.data_container, name, "1")
    with pytest.raises(RequestError, match="leads out of its container"):
        wire.write("data", settings.data_container, name, b"x")


@pytest.mark.parametrize("name", ["%2e%2e/x", "a..b/c", "...", "a?b#c", "..a/b"])
def test_a_name_that_only_looks_so_is_a_name(storage: Storage, settings: Settings, name: str) -> None:
    container = storage.container("data", settings.data_container)
    container.upload_blob(name, b"x")
    assert list(container.list_blob_names()) == [name]


def test_as_many_threads_as_land_readings_keep_their_connections(
    storage: Storage, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """Four partitions with eight uploads each; a connection beyond those that are kept is closed with a warning."""
    container = storage.container("data", settings.data_container)
    together = Barrier(32)

    def ask(number: int) -> None:
        content = container.upload_blob(f"{number}", b"x").download_blob()
        together.wait(60)
        content.readall()

    with ThreadPoolExecutor(32) as pool:
        list(pool.map(ask, range(32)))
    assert [record.getMessage() for record in caplog.records if "pool is full" in record.getMessage()] == []


def test_who_has_a_role_on_a_container_alone_need_not_be_allowed_to_make_it(
    storage: Storage, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the Function app on Azure, in the data account."""

    def refuse(_: ContainerClient) -> None:
        refusal = HttpResponseError("AuthorizationPermissionMismatch")
        refusal.status_code = 403
        raise refusal

    monkeypatch.setattr(ContainerClient, "create_container", refuse)
    there = storage.container("data", settings.data_container, create=True)
    there.upload_blob("x", b"x")
    with pytest.raises(StorageUnavailableError, match="403"):
        storage.container("data", "not-there", create=True)
