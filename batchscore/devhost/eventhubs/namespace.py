"""What the stand-in holds: event hubs, their partitions and consumer groups, and who reads from them."""

from __future__ import annotations

import json
import re
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from batchscore.devhost.eventhubs import sas
from batchscore.devhost.eventhubs.amqp import AmqpError
from batchscore.devhost.eventhubs.log import PartitionLog, Retention
from batchscore.devhost.eventhubs.messages import Incoming
from batchscore.errors import SettingsError

DEFAULT_GROUP = "$Default"
MOST_READERS = 5
"""Readers without an epoch on one partition and consumer group."""

_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,254}[A-Za-z0-9])?")
_MOST_PARTITIONS = 1024


@dataclass(frozen=True)
class HubOptions:
    """An event hub that is wanted."""

    name: str
    partitions: int = 4
    consumer_groups: tuple[str, ...] = ()
    """Besides `$Default`, which every hub has."""

    def __post_init__(self) -> None:
        for name in (self.name, *self.consumer_groups):
            if name != DEFAULT_GROUP and not _NAME.fullmatch(name):
                raise SettingsError(
                    f"{name!r} is no name of an event hub or consumer group. Use letters, digits, '.', '-' and '_'."
                )
        if not 1 <= self.partitions <= _MOST_PARTITIONS:
            raise SettingsError(
                f"{self.name} has {self.partitions} partitions; 1 to {_MOST_PARTITIONS} are possible."
            )


@dataclass
class Switches:
    """Faults on demand. Each works until it is set back or, where it counts, used up."""

    refuse_sends: int = 0
    """So many sends to come are refused as a busy server does."""
    events_per_second: float = 0.0
    """Sends beyond this rate are refused as a busy server does; 0 sets no limit."""
    drop_after: int = 0
    """A connection is cut after every so many messages that pass, in either direction; 0 cuts none."""
    drop_unanswered: int = 0
    """So many sends to come are kept, but the connection is cut before the producer hears of it."""


class Reader(Protocol):
    """Whoever receives from a partition."""

    epoch: int | None

    def wake(self) -> None: ...

    def detach(self, error: AmqpError | None) -> None: ...


@dataclass
class Partition:
    """One partition and its readers by consumer group."""

    id: str
    log: PartitionLog
    readers: dict[str, list[Reader]] = field(default_factory=dict)

    def append(self, messages: Sequence[Incoming]) -> None:
        if messages:
            self.log.append(messages)
            for readers in self.readers.values():
                for reader in readers:
                    reader.wake()

    def admit(self, group: str, reader: Reader) -> None:
        """Let a reader in and whom it displaces out, by their epochs; AmqpError where it has to give way itself."""
        present = self.readers.setdefault(group, [])
        highest = max((other.epoch for other in present if other.epoch is not None), default=None)
        if highest is not None and (reader.epoch is None or reader.epoch < highest):
            raise AmqpError(
                "amqp:link:stolen", f"Partition {self.id} is read by a receiver with epoch {highest}."
            )
        if reader.epoch is None and len(present) >= MOST_READERS:
            raise AmqpError(
                "amqp:resource-limit-exceeded",
                f"Partition {self.id} has {MOST_READERS} readers in this group.",
            )
        if reader.epoch is not None:
            for other in tuple(present):
                other.detach(
                    AmqpError("amqp:link:stolen", f"A receiver with epoch {reader.epoch} has taken over.")
                )
        present.append(reader)

    def leave(self, group: str, reader: Reader) -> None:
        if reader in self.readers.get(group, ()):
            self.readers[group].remove(reader)


class Hub:
    """An event hub; with a folder it goes on with what is there."""

    def __init__(self, options: HubOptions, folder: Path | None, retention: Retention) -> None:
        self.name = options.name
        self.created_ms = int(time.time() * 1000)
        self.groups = {group.lower() for group in (DEFAULT_GROUP, *options.consumer_groups)}
        count = options.partitions
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            about = folder / "hub.json"
            if about.exists():
                told = json.loads(about.read_text(encoding="utf-8"))
                self.created_ms = told["created_ms"]
                count = max(count, told["partitions"])  # partitions can be added, not taken away
            told = {"name": self.name, "created_ms": self.created_ms, "partitions": count}
            whole = about.with_suffix(".new")
            whole.write_text(json.dumps(told), encoding="utf-8")
            whole.replace(about)
        self.partitions = [
            Partition(str(number), PartitionLog(folder and folder / str(number), retention))
            for number in range(count)
        ]
        self._turn = 0

    def partition(self, partition_id: str) -> Partition:
        for partition in self.partitions:
            if partition.id == partition_id:
                return partition
        raise AmqpError(
            "com.microsoft:argument-out-of-range",
            f"Event hub {self.name} has no partition {partition_id!r}; it has 0 to {len(self.partitions) - 1}.",
        )

    def partition_for(self, key: str | None) -> Partition:
        """Where events with this key go, always; without a key each partition in turn."""
        if key is not None:
            return self.partitions[zlib.crc32(key.encode()) % len(self.partitions)]
        self._turn = (self._turn + 1) % len(self.partitions)
        return self.partitions[self._turn]


class Namespace:
    """All hubs of one stand-in, its key and its switches."""

    def __init__(
        self,
        hubs: Sequence[HubOptions],
        folder: Path | None = None,
        retention: Retention | None = None,
        *,
        key_name: str = sas.KEY_NAME,
        key: str = sas.KEY,
    ) -> None:
        self.key_name = key_name
        self.key = key
        self.switches = Switches()
        self._allowed = 0.0
        self._allowed_at = 0.0
        self.hubs = {
            options.name.lower(): Hub(
                options, folder and folder / options.name.lower(), retention or Retention()
            )
            for options in hubs
        }

    def hub(self, name: str) -> Hub:
        hub = self.hubs.get(name.lower())
        if hub is None:
            known = ", ".join(hub.name for hub in self.hubs.values())
            raise AmqpError("amqp:not-found", f"There is no event hub {name!r}; there is: {known}.")
        return hub

    def target(self, path: str) -> tuple[Hub, Partition | None]:
        """Where a producer wants to send: a hub, or one of its partitions."""
        match path.split("/"):
            case [name]:
                return self.hub(name), None
            case [name, "partitions", partition_id]:
                hub = self.hub(name)
                return hub, hub.partition(partition_id)
        raise AmqpError("amqp:not-found", f"Nothing can be sent to {path!r}.")

    def source(self, path: str) -> tuple[Partition, str]:
        """Where a consumer wants to read: a partition, through a consumer group."""
        match path.split("/"):
            case [name, "consumergroups", group, "partitions", partition_id]:
                hub = self.hub(name)
                if group not in hub.groups:
                    raise AmqpError(
                        "amqp:not-found", f"Event hub {hub.name} has no consumer group {group!r}."
                    )
                return hub.partition(partition_id), group
        raise AmqpError("amqp:not-found", f"Nothing can be read from {path!r}.")

    def refuses(self, events: int) -> bool:
        """Whether a send of so many events is refused by a switch; it counts against the rate if it is not."""
        if self.switches.refuse_sends > 0:
            self.switches.refuse_sends -= 1
            return True
        rate = self.switches.events_per_second
        if rate <= 0:
            return False
        now = time.monotonic()
        self._allowed = min(rate, self._allowed + (now - self._allowed_at) * rate)
        self._allowed_at = now
        if self._allowed <= 0:
            return True
        self._allowed -= events
        return False

    def state(self) -> dict[str, object]:
        """What is there, for a person and for tests."""
        return {
            hub.name: {
                "partitions": {
                    partition.id: {
                        "first_sequence": partition.log.first_sequence,
                        "next_sequence": partition.log.next_sequence,
                        "bytes": partition.log.size_bytes,
                        "readers": sum(map(len, partition.readers.values())),
                    }
                    for partition in hub.partitions
                }
            }
            for hub in self.hubs.values()
        }

    def close(self) -> None:
        for hub in self.hubs.values():
            for partition in hub.partitions:
                partition.log.close()
