"""The contract of containers as the stores of hours use them: the ones in memory do what the service does."""

from __future__ import annotations

import base64
import uuid
from dataclasses import replace
from typing import cast

import pytest
from azure.core.exceptions import ResourceNotFoundError
from azure.storage.blob import ContainerClient

from batchscore import hours, paths
from batchscore.compare_and_swap import read, swap
from batchscore.hour_store import HourStore
from batchscore.hours import Hour, Manifest
from batchscore.settings import Settings
from batchscore.storage import Storage
from tests.memory_blobs import MemoryBlobs, MemoryStorage

T17 = hours.hour_named("2026-11-21T17")


class ContainerContract:
    @pytest.fixture
    def container(self) -> ContainerClient:
        raise NotImplementedError

    @pytest.fixture
    def name(self) -> str:
        return f"test/{uuid.uuid4().hex}.json"

    def test_a_blob_that_is_not_there_is_none(self, container: ContainerClient, name: str) -> None:
        assert read(container, name) == (None, None)

    def test_it_is_created_once(self, container: ContainerClient, name: str) -> None:
        assert swap(container, name, b"1", None)
        assert not swap(container, name, b"2", None)
        assert read(container, name)[0] == b"1"

    def test_it_is_replaced_by_those_who_saw_what_is_there(
        self, container: ContainerClient, name: str
    ) -> None:
        swap(container, name, b"1", None)
        _, seen = read(container, name)
        assert swap(container, name, b"2", seen)
        assert not swap(container, name, b"3", seen)
        assert read(container, name)[0] == b"2"

    def test_one_that_was_removed_meanwhile_is_not_replaced(
        self, container: ContainerClient, name: str
    ) -> None:
        swap(container, name, b"1", None)
        _, seen = read(container, name)
        container.delete_blob(name)
        assert not swap(container, name, b"2", seen)
        assert read(container, name) == (None, None)

    def test_the_same_content_again_is_another_version(self, container: ContainerClient, name: str) -> None:
        swap(container, name, b"1", None)
        _, first = read(container, name)
        swap(container, name, b"1", first)
        assert read(container, name)[1] != first

    def test_what_is_not_there_cannot_be_removed(self, container: ContainerClient, name: str) -> None:
        with pytest.raises(ResourceNotFoundError):
            container.delete_blob(name)


class TestMemoryContainer(ContainerContract):
    @pytest.fixture
    def container(self) -> ContainerClient:
        return cast("ContainerClient", MemoryBlobs().client())


class TestAzuriteContainer(ContainerContract):
    @pytest.fixture
    def container(self, storage: Storage) -> ContainerClient:
        return storage.container("system", paths.RUNS)


class HourStoreContract:
    @pytest.fixture
    def storage_of_hours(self) -> Storage:
        raise NotImplementedError

    @pytest.fixture
    def store(self, storage_of_hours: Storage, settings: Settings) -> HourStore:
        return HourStore(storage_of_hours, settings)

    @pytest.fixture
    def hour(self) -> Hour:
        """An hour that no other test has: the system account is shared."""
        return T17.before(uuid.uuid4().int % 10_000_000)

    def land(self, storage: Storage, settings: Settings, hour: Hour, name: str, data: bytes) -> None:
        container = storage.container("data", settings.data_container)
        container.upload_blob(f"{paths.readings_prefix(hour.start)}/{name}", data, overwrite=True)

    def test_readings_are_listed_by_name_with_size_and_md5(
        self, storage_of_hours: Storage, store: HourStore, settings: Settings, hour: Hour
    ) -> None:
        for name in ("b.jsonl", "a/part.json", "empty.json"):
            self.land(storage_of_hours, settings, hour, name, b"" if "empty" in name else b"{}")
        self.land(storage_of_hours, settings, hour.before(1), "c.jsonl", b"{}")
        found = store.readings(hour)
        assert [blob.name for blob in found] == ["a/part.json", "b.jsonl"]
        assert {blob.size for blob in found} == {2}
        md5 = base64.b64encode(bytes.fromhex("99914b932bd37a50b983c5e7c90ae93b")).decode()
        assert {blob.md5 for blob in found} == {md5}

    def test_without_anything_landed_there_are_no_readings(self, store: HourStore, hour: Hour) -> None:
        assert store.readings(hour) == ()

    def test_a_manifest_is_kept_by_its_content(self, store: HourStore, hour: Hour) -> None:
        data = Manifest(hour.name, 1, ()).encode()
        for _ in range(2):
            store.freeze(hour, data)
        assert store.frozen(hour, hours.digest_of(data)) == data

    def test_a_note_goes_unless_somebody_wrote_it_anew(self, store: HourStore, hour: Hour) -> None:
        first = store.begin(hour)
        second = store.begin(hour)
        store.done(hour, first)
        assert store.begun()[hour] == second
        store.done(hour, second)
        store.done(hour, second)
        assert hour not in store.begun()


class TestMemoryHourStore(HourStoreContract):
    @pytest.fixture
    def storage_of_hours(self) -> Storage:
        return cast("Storage", MemoryStorage(MemoryBlobs(), MemoryBlobs()))


class TestAzuriteHourStore(HourStoreContract):
    @pytest.fixture
    def storage_of_hours(self, storage: Storage) -> Storage:
        return storage

    def test_without_a_data_container_there_are_no_readings(
        self, storage: Storage, settings: Settings
    ) -> None:
        store = HourStore(storage, replace(settings, data_container="not-made-yet"))
        assert store.readings(T17) == ()
