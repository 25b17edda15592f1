"""Readings from events to blobs: what is written, and what happens when storage does not answer."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from batchscore import storage as storage_module
from batchscore.errors import StorageUnavailableError
from batchscore.ingest import Ingest
from batchscore.settings import Settings
from batchscore.storage import Storage
from tests.azurite import blob_names, blob_text, settings_for

ENQUEUED = datetime(2026, 11, 21, 17, 30, tzinfo=UTC)


@dataclass(frozen=True)
class Sent:
    """An event as the worker hands it over."""

    body: bytes
    sequence_number: int
    enqueued_time: datetime = ENQUEUED
    metadata: Mapping[str, Any] = field(default_factory=lambda: {"PartitionContext": {"PartitionId": "3"}})

    def get_body(self) -> bytes:
        return self.body


def batch(*times: str) -> Sequence[Sent]:
    return [
        Sent(json.dumps({"ts": ts, "device": 1, "tag": 2, "value": 3}).encode(), number)
        for number, ts in enumerate(times)
    ]


EVENTS = batch("2026-11-21T16:30:00", "2026-11-21T17:30:00", "never")
NAMES = [
    "dead-letter/2026/11/21/17/3-0-2-1795282200000.jsonl",
    "readings/2026/11/21/16/3-0-2-1795282200000.jsonl",
    "readings/2026/11/21/17/3-0-2-1795282200000.jsonl",
]


def test_everything_is_in_storage_when_a_batch_is_taken_and_again_is_the_same(
    settings: Settings, storage: Storage, caplog: pytest.LogCaptureFixture
) -> None:
    ingest = Ingest(settings, storage)

    def seen() -> list[tuple[str, str]]:
        names = blob_names(storage, "data", settings.data_container)
        return [(name, blob_text(storage, "data", settings.data_container, name)) for name in names]

    ingest.take(EVENTS)
    first = seen()
    assert [name for name, _ in first] == NAMES
    assert "1 bad in a batch of 3 events, the first: ts: Invalid RFC3339" in caplog.text
    assert NAMES[0] in caplog.text
    ingest.take(EVENTS)
    assert seen() == first


def test_a_blob_tells_the_hash_of_its_content(settings: Settings, storage: Storage) -> None:
    Ingest(settings, storage).take(EVENTS)
    blob = storage.container("data", settings.data_container).get_blob_client(NAMES[2])
    described = blob.get_blob_properties().content_settings
    digest = hashlib.md5(blob.download_blob().readall()).digest()
    assert base64.b64encode(bytes(described.content_md5)) == base64.b64encode(digest)
    assert described.content_type == "application/x-ndjson"


def test_a_container_that_was_deleted_is_made_again(settings: Settings, storage: Storage) -> None:
    ingest = Ingest(settings, storage)
    ingest.take(EVENTS)
    storage.container("data", settings.data_container).delete_container()
    ingest.take(EVENTS)
    assert blob_names(storage, "data", settings.data_container) == NAMES


def test_storage_that_does_not_answer_is_the_only_thing_that_raises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(storage_module._PATIENCE, "retry_total", 0)
    nowhere = (
        "DefaultEndpointsProtocol=http;AccountName=a;AccountKey=a2V5;BlobEndpoint=http://127.0.0.1:9/a;"
        "QueueEndpoint=http://127.0.0.1:9/a"
    )
    settings = settings_for(nowhere, tmp_path)
    storage = Storage(settings)
    with pytest.raises(StorageUnavailableError):
        Ingest(settings, storage).take(EVENTS)
    storage.close()
