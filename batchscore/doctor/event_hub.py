"""The event hub: does it answer, and is what it holds being landed; by what the host's checkpoints say."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from batchscore.cli.wording import counted, duration
from batchscore.devhost.configuration import CHECKPOINTS_CONTAINER, is_development_event_hub
from batchscore.doctor import accounts
from batchscore.doctor.findings import Finding
from batchscore.printable import unsigned
from batchscore.settings import EVENT_HUB_CONNECTION, EventHub, Settings

if TYPE_CHECKING:
    from azure.eventhub import EventHubConsumerClient

WHAT = "event hub"
PATIENCE = timedelta(minutes=10)
"""So old may a checkpoint be while events wait: longer than any batch takes to fill."""
STREAM_ANALYTICS = "stream-analytics"
"""The consumer group of the Stream Analytics job (infra/main.bicep), which keeps its place to itself."""
MANY = 100_000
"""So many events may wait however fresh the checkpoint is."""


@dataclass(frozen=True)
class Partition:
    """How far a partition goes, and how far it is landed."""

    id: str
    first: int
    """Sequence numbers: of the oldest event that is there, of the newest, and of the last that was landed."""
    last: int
    last_enqueued: datetime
    landed: int | None = None
    landed_at: datetime | None = None

    @property
    def waiting(self) -> int:
        return max(
            0, self.last - (self.first - 1 if self.landed is None else max(self.landed, self.first - 1))
        )

    @property
    def removed(self) -> int:
        """Events that the hub removed before they were landed."""
        return 0 if self.landed is None else max(0, self.first - 1 - self.landed)


def read(settings: Settings) -> Iterator[Finding]:
    """Nothing is said where no readings come."""
    hub = settings.event_hub
    if hub is None:
        return
    if is_development_event_hub(hub.connection_string or ""):
        yield Finding.warn(
            WHAT,
            f"{EVENT_HUB_CONNECTION} asks for that of a dev host, and none runs here",
            "'make start' starts it",
        )
        return
    try:
        partitions = _partitions(settings, hub)
    except Exception as error:  # the SDK's errors share no base with those of its credentials and transports
        yield _unreachable(hub, error)
        return
    if hub.consumer_group == STREAM_ANALYTICS:
        told = f"{hub.name} answers; {counted(len(partitions), 'partition')}, read by Stream Analytics"
        yield Finding.ok(WHAT, f"{told}: the job's page in the portal tells how far it is")
        return
    yield from judged(hub.name, partitions, datetime.now(UTC))


def judged(name: str, partitions: Sequence[Partition], now: datetime) -> Iterator[Finding]:
    """What the state of the partitions means."""
    waiting = sum(partition.waiting for partition in partitions)
    told = (
        f"{name} answers; {counted(len(partitions), 'partition')}, {counted(waiting, 'event')} not landed yet"
    )
    stale = [partition for partition in partitions if partition.waiting and _is_stale(partition, now)]
    if stale:
        oldest = min((partition.landed_at for partition in stale if partition.landed_at), default=None)
        since = (
            f"the last checkpoint is {duration((now - oldest).total_seconds())} old"
            if oldest
            else "there is no checkpoint"
        )
        names = ", ".join(partition.id for partition in stale)
        yield Finding.warn(
            WHAT,
            f"{told}; in {'partition' if len(stale) == 1 else 'partitions'} {names} {since}",
            "is a host running, and what does its log say of 'land_readings'? (docs/ingest.md)",
        )
    elif waiting > MANY:
        yield Finding.warn(
            WHAT, told, "the host falls behind: more partitions, or larger events (docs/ingest.md)"
        )
    else:
        yield Finding.ok(WHAT, told)
    for partition in partitions:
        if partition.removed:
            yield Finding.warn(
                WHAT,
                f"{counted(partition.removed, 'event')} of partition {partition.id} were removed before they were landed",
                "send them again; and give the hub a longer retention",
            )
        if partition.landed is not None and partition.landed > partition.last:
            yield Finding.fail(
                WHAT,
                f"partition {partition.id} ends at {partition.last}, but is landed up to {partition.landed}: the hub "
                "was made anew",
                f"stop the host and remove the hub's checkpoints from container {CHECKPOINTS_CONTAINER!r}",
            )


def _is_stale(partition: Partition, now: datetime) -> bool:
    """Whether what waits has waited too long. An event that has just come may be the first in hours."""
    if now - partition.last_enqueued < PATIENCE and partition.waiting <= MANY:
        return False
    return partition.landed_at is None or now - partition.landed_at > PATIENCE


def _partitions(settings: Settings, hub: EventHub) -> list[Partition]:
    logging.getLogger("azure.eventhub").setLevel(logging.CRITICAL)  # what goes wrong is told here, once
    with _client(hub) as client, contextlib.closing(accounts.blob_service(settings.system)) as blobs:
        found = [client.get_partition_properties(name) for name in client.get_partition_ids()]
        prefix = f"{_namespace(hub)}/{client.eventhub_name}/{hub.consumer_group}/checkpoint/".lower()
        container = blobs.get_container_client(CHECKPOINTS_CONTAINER)
        notes: dict[str, tuple[int, datetime]] = {}
        if container.exists():
            for blob in container.list_blobs(name_starts_with=prefix, include=["metadata"]):
                text = (blob.metadata or {}).get("sequencenumber", "")
                if text.lstrip("-").isdecimal():
                    notes[blob.name.rpartition("/")[2]] = (int(text), blob.last_modified)
    return [
        Partition(
            told["id"],
            told["beginning_sequence_number"],
            told["last_enqueued_sequence_number"],
            told["last_enqueued_time_utc"],
            *notes.get(told["id"], (None, None)),
        )
        for told in found
    ]


def _client(hub: EventHub) -> EventHubConsumerClient:
    from azure.eventhub import EventHubConsumerClient

    options: dict[str, Any] = {"retry_total": 0, "auth_timeout": 15}
    if hub.connection_string is not None:
        return EventHubConsumerClient.from_connection_string(
            hub.connection_string, hub.consumer_group, eventhub_name=hub.name, **options
        )
    from azure.identity import DefaultAzureCredential

    credential = DefaultAzureCredential(managed_identity_client_id=hub.client_id)
    return EventHubConsumerClient(str(hub.namespace), hub.name, hub.consumer_group, credential, **options)


def _namespace(hub: EventHub) -> str:
    from azure.eventhub import parse_connection_string

    if hub.connection_string is None:
        return str(hub.namespace)
    return parse_connection_string(hub.connection_string).fully_qualified_namespace


def _unreachable(hub: EventHub, error: Exception) -> Finding:
    from azure.eventhub.exceptions import AuthenticationError

    words = unsigned((str(error).strip().splitlines() or [type(error).__name__])[0])[:200]
    if isinstance(error, AuthenticationError):
        remedy = (
            "correct the key in the connection string"
            if hub.connection_string
            else "give this identity Azure Event Hubs Data Receiver on the namespace"
        )
        return Finding.fail(WHAT, f"{hub.name} refuses: {words}", remedy)
    if "Status code: 404" in words:
        where = _namespace(hub)
        return Finding.fail(
            WHAT, f"there is no event hub {hub.name!r} at {where}", "correct EVENT_HUB_NAME, or create it"
        )
    return Finding.fail(
        WHAT,
        f"{hub.name} does not answer: {words}",
        f"'make start' starts one on this machine; else check {EVENT_HUB_CONNECTION}, EVENT_HUB_NAME and the network",
    )
