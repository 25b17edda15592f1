"""Whose partitions are free: those of dead processes of this machine at once, others when their time is over."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from azure.storage.blob.aio import BlobServiceClient

from batchscore.devhost.checkpoints import MARKS, Checkpoints
from batchscore.devhost.configuration import HOST_STORAGE
from batchscore.devhost.storage import HostStorage
from batchscore.process_mark import machine
from batchscore.storage import BLOB_API_VERSION

HUB = {"fully_qualified_namespace": "ns", "eventhub_name": "hub", "consumer_group": "$Default"}


@asynccontextmanager
async def opened(azurite: str) -> AsyncIterator[tuple[Checkpoints, Any]]:
    storage = HostStorage({HOST_STORAGE: azurite})
    store = await storage.checkpoints()
    try:
        yield store, storage.blobs(HOST_STORAGE).get_container_client("azure-webjobs-eventhub")
    finally:
        await store.close()
        await storage.close()


async def owners(store: Checkpoints, group: str) -> dict[str, str]:
    found = await store.list_ownership("ns", "hub", group)
    return {ownership["partition_id"]: ownership["owner_id"] for ownership in found}


def claim(owner: str, group: str, partition: str = "0") -> list[dict[str, Any]]:
    return [{**HUB, "consumer_group": group, "owner_id": owner, "partition_id": partition}]


@pytest.fixture
def group() -> str:
    return uuid.uuid4().hex


async def test_a_living_owner_keeps_its_partition(azurite: str, group: str) -> None:
    owner = uuid.uuid4().hex
    async with opened(azurite) as (first, container), opened(azurite) as (second, _):
        await first.claim_ownership(claim(owner, group))
        assert await owners(second, group) == {"0": owner}
        assert await container.get_blob_client(f"{MARKS}{owner}").exists()
        await first.close()
        assert not await container.get_blob_client(f"{MARKS}{owner}").exists()


async def test_a_dead_owner_of_this_machine_has_given_up_its_partition(azurite: str, group: str) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    owner, heir = uuid.uuid4().hex, uuid.uuid4().hex
    async with opened(azurite) as (first, container), opened(azurite) as (second, _):
        await first.claim_ownership(claim(owner, group))
        mark = {"machine": machine(), "pid": str(dead.pid), "started": "1"}
        await container.get_blob_client(f"{MARKS}{owner}").set_blob_metadata(mark)
        assert await owners(second, group) == {"0": ""}
        (ownership,) = await second.list_ownership("ns", "hub", group)
        assert await second.claim_ownership([ownership | {"owner_id": heir}])
        assert await owners(first, group) == {"0": heir}


async def test_an_owner_without_a_mark_is_another_kind_of_host(azurite: str, group: str) -> None:
    owner = uuid.uuid4().hex
    async with opened(azurite) as (first, container), opened(azurite) as (second, _):
        await first.claim_ownership(claim(owner, group))
        await container.delete_blob(f"{MARKS}{owner}")
        assert await owners(second, group) == {"0": owner}


async def test_checkpoints_are_where_the_client_libraries_keep_them(azurite: str, group: str) -> None:
    async with opened(azurite) as (store, _):
        await store.update_checkpoint(
            {**HUB, "consumer_group": group, "partition_id": "3", "offset": "1200", "sequence_number": 41}
        )
        (read,) = await store.list_checkpoints("ns", "hub", group)
    assert (read["partition_id"], read["offset"], int(read["sequence_number"])) == ("3", "1200", 41)
    async with BlobServiceClient.from_connection_string(azurite, api_version=BLOB_API_VERSION) as service:
        blob = service.get_blob_client("azure-webjobs-eventhub", f"ns/hub/{group}/checkpoint/3")
        metadata = (await blob.get_blob_properties()).metadata
    assert metadata == {"offset": "1200", "sequencenumber": "41"}
