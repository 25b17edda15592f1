"""Blob triggers: new blobs are noticed by the access log and by scans, receipted, queued and worked off.

The layout in storage is the real host's: a receipt per function and blob version keeps a blob from being handled
twice, a queue carries it to the function, and what fails too often goes to `webjobs-blobtrigger-poison`.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from azure.core.exceptions import AzureError, HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.storage.blob import BlobProperties
from azure.storage.blob.aio import BlobClient
from azure.storage.queue import QueueMessage

from batchscore.devhost.accesslog import BlobWritten
from batchscore.devhost.configuration import HOST_STORAGE, BlobOptions
from batchscore.devhost.console import Console
from batchscore.devhost.functions import BlobTrigger, Function
from batchscore.devhost.invocations import Invoker, deferred_blob
from batchscore.devhost.queues import PumpOptions, QueuePump, send
from batchscore.devhost.storage import HostStorage, reason
from batchscore.devhost.worker import TypedData
from batchscore.paths import is_blob_name
from batchscore.process_mark import is_mark_of_a_dead_process, process_mark
from batchscore.storage import LIST_PAGE

POISON_QUEUE = "webjobs-blobtrigger-poison"
SCAN_EVERY_S = 10.0

_INCOMPLETE = "Incomplete"
_RECEIPT_LEASE_S = 30
_ABOUT_TO = timedelta(seconds=30)
_SCAN_SHARE = 10
"""A scan may take one part in so many of the time, so that a large container does not keep storage busy."""
_CONSIDERED_AT_ONCE = 4
_TRIES = 2
_CAPTURE = re.compile(r"\{(\w+)\}")


def pattern(text: str) -> re.Pattern[str]:
    """A path pattern such as `{name}.json` as an expression; a capture may span `/`, as in the real host."""
    expression, position = "", 0
    for found in _CAPTURE.finditer(text):
        expression += re.escape(text[position : found.start()]) + f"(?P<{found[1]}>.*)"
        position = found.end()
    return re.compile(f"^{expression}{re.escape(text[position:])}$", re.DOTALL)


@dataclass(frozen=True)
class _Watched:
    function: Function
    trigger: BlobTrigger
    expression: re.Pattern[str]


class BlobListener:
    """All functions with a blob trigger."""

    def __init__(
        self,
        functions: Iterable[tuple[Function, BlobTrigger]],
        options: BlobOptions,
        host_id: str,
        storage: HostStorage,
        invoker: Invoker,
        console: Console,
    ) -> None:
        self._watched = {f.full_name: _Watched(f, t, pattern(t.pattern)) for f, t in functions}
        self._host_id = host_id
        self._storage = storage
        self._invoker = invoker
        self._console = console
        self._queue = storage.queue(HOST_STORAGE, f"azure-webjobs-blobtrigger-{host_id}")
        self._written: asyncio.Queue[tuple[_Watched, str]] = asyncio.Queue()
        self._coming: set[tuple[str, str]] = set()
        self._known: dict[str, dict[str, str]] = {name: {} for name in self._watched}
        limit = options.max_degree_of_parallelism
        self.pump = QueuePump(
            self._queue,
            PumpOptions(
                room=lambda running: limit - running,
                max_dequeue_count=options.poison_blob_threshold,
                retry_after_s=0,
                max_polling_interval_s=2.0,
            ),
            self._handle,
            self._set_aside,
            console,
        )

    @property
    def queue_name(self) -> str:
        return self._queue.queue_name

    def written(self, blob: BlobWritten) -> None:
        """The access log reports a blob of an account that this Azurite serves."""
        for watched in self._watched.values():
            trigger = watched.trigger
            if trigger.container == blob.container and watched.expression.match(blob.name):
                account = self._storage.blobs(trigger.connection).account_name
                key = watched.function.full_name, blob.name
                if account == blob.account and key not in self._coming:
                    self._coming.add(key)
                    self._written.put_nowait((watched, blob.name))

    async def run(self) -> None:
        """Follow and scan and work off the queue until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.pump.run())
            group.create_task(self._scan())
            for _ in range(_CONSIDERED_AT_ONCE):
                group.create_task(self._follow())

    async def invoke(self, function: Function, path: str) -> bool:
        """Run a function on a blob given as `container/name`, whatever its receipts say."""
        watched = self._watched[function.full_name]
        container, _, name = path.partition("/")
        return await self._invoke(watched, container, name)

    async def _follow(self) -> None:
        while True:
            watched, name = await self._written.get()
            self._coming.discard((watched.function.full_name, name))
            try:
                for _ in range(_TRIES):
                    properties = await self._blob(watched, name).get_blob_properties()
                    etag = _quoted(properties.etag)
                    if await self._consider(watched, name, etag):
                        self._known[watched.function.full_name][name] = etag
                        break
            except ResourceNotFoundError:
                pass
            except AzureError as error:
                self._trouble(watched, error)  # the next scan finds the blob

    async def _scan(self) -> None:
        for watched in self._watched.values():
            if not watched.trigger.event_grid:
                await self._recall(watched)
        while True:
            began = time.monotonic()
            for watched in self._watched.values():
                if not watched.trigger.event_grid:
                    try:
                        await self._scan_container(watched)
                    except ResourceNotFoundError:
                        pass  # no container yet
                    except AzureError as error:
                        self._trouble(watched, error)
            await asyncio.sleep(max(SCAN_EVERY_S, _SCAN_SHARE * (time.monotonic() - began)))

    async def _scan_container(self, watched: _Watched) -> None:
        trigger = watched.trigger
        container = self._storage.blobs(trigger.connection).get_container_client(trigger.container)
        known = self._known[watched.function.full_name]
        gone = set(known)
        prefix = trigger.pattern.partition("{")[0]
        async for blob in container.list_blobs(name_starts_with=prefix or None, results_per_page=LIST_PAGE):
            if watched.expression.match(blob.name) is None:
                continue
            gone.discard(blob.name)
            etag = _quoted(blob.etag)
            if known.get(blob.name) == etag or (watched.function.full_name, blob.name) in self._coming:
                continue
            if await self._consider(watched, blob.name, etag):
                known[blob.name] = etag
        for name in gone:
            del known[name]

    async def _recall(self, watched: _Watched) -> None:
        """Learn from the receipts which blobs were handled before, in one listing."""
        known: dict[str, str] = {}
        prefix = self._receipts_prefix(watched)
        receipts = self._storage.hosts.list_blobs(
            name_starts_with=prefix, include=["metadata"], results_per_page=LIST_PAGE
        )
        with suppress(AzureError):  # then each receipt is looked up when its blob is
            async for receipt in receipts:
                etag, _, path = receipt.name.removeprefix(prefix).partition("/")
                container, _, name = path.partition("/")
                if container == watched.trigger.container and not (receipt.metadata or {}).get(_INCOMPLETE):
                    known[name] = etag
        self._known[watched.function.full_name] |= known

    async def _consider(self, watched: _Watched, name: str, etag: str) -> bool:
        """Queue this version of a blob unless that was done; False where another host is about to."""
        if watched.trigger.event_grid:
            await self._enqueue(watched, name, etag)
            return True
        hosts = self._storage.hosts
        path = f"{self._receipts_prefix(watched)}{etag}/{watched.trigger.container}/{name}"
        receipt = hosts.get_blob_client(path)
        try:
            await receipt.upload_blob(b"", metadata={_INCOMPLETE: "true", **process_mark()}, overwrite=False)
        except ResourceExistsError:
            return await self._consider_again(watched, name, etag, receipt)
        except ResourceNotFoundError:
            await self._storage.create_hosts()  # lost with a storage that was killed
            return False
        await self._enqueue(watched, name, etag)
        await receipt.set_blob_metadata({})
        return True

    async def _consider_again(self, watched: _Watched, name: str, etag: str, receipt: BlobClient) -> bool:
        """Queue a blob whose receipt is there, unless it is complete or whoever wrote it is about to complete it."""
        properties = await receipt.get_blob_properties()
        metadata = properties.metadata or {}
        if not metadata.get(_INCOMPLETE):
            return True
        age = datetime.now(UTC) - properties.last_modified
        if age < _ABOUT_TO and not is_mark_of_a_dead_process(metadata):
            return False
        try:
            lease = await receipt.acquire_lease(_RECEIPT_LEASE_S)
        except HttpResponseError as error:
            if error.status_code == 409:
                return False
            raise
        try:
            if not await _complete(receipt):
                await self._enqueue(watched, name, etag)
                await receipt.set_blob_metadata({}, lease=lease)
        finally:
            with suppress(AzureError):
                await lease.release()
        return True

    async def _enqueue(self, watched: _Watched, name: str, etag: str) -> None:
        message = {
            "Type": "BlobTrigger",
            "FunctionId": watched.function.full_name,
            "BlobType": "BlockBlob",
            "ContainerName": watched.trigger.container,
            "BlobName": name,
            "ETag": etag,
        }
        await send(self._queue, base64.b64encode(json.dumps(message).encode()).decode())
        self.pump.kick()

    async def _handle(self, message: QueueMessage) -> bool:
        try:
            document = json.loads(base64.b64decode(message.content))
            watched = self._watched.get(document["FunctionId"])
            container, name, etag = document["ContainerName"], document["BlobName"], document["ETag"]
            name, container = _text(name), _text(container)
        except (ValueError, KeyError, TypeError, RecursionError):
            self._console.host(f"queue {self.queue_name}: a message is not one of a blob trigger", "failed")
            return False
        if watched is None or container != watched.trigger.container or not is_blob_name(name):
            return True  # the function is gone from the app, or looks elsewhere now
        return await self._invoke(watched, container, name, etag)

    async def _invoke(self, watched: _Watched, container: str, name: str, etag: str | None = None) -> bool:
        """Run the function; a blob that is gone or has changed since is done with (a change has its own event)."""
        trigger = watched.trigger
        client = self._storage.blobs(trigger.connection).get_blob_client(container, name)
        try:
            properties = await client.get_blob_properties()
            if etag is not None and not trigger.event_grid and _quoted(properties.etag) != _quoted(etag):
                return True
            data = deferred_blob(trigger.connection, container, name)
            if not trigger.deferred:
                data = TypedData(bytes=await (await client.download_blob()).readall())
        except ResourceNotFoundError:
            if etag is None:
                self._console.host(f"{watched.function.name}: there is no blob {container}/{name}", "failed")
            return True
        except AzureError as error:
            self._trouble(watched, error)
            return False
        found = watched.expression.match(name)
        captures = found.groupdict() if found else {}
        path = f"{container}/{name}"
        metadata = {
            "BlobTrigger": TypedData(string=path),
            "Uri": TypedData(json=json.dumps(client.url.partition("?")[0])),
            "Properties": TypedData(json=json.dumps(_described(properties))),
            "Metadata": TypedData(json=json.dumps(dict(properties.metadata or {}))),
            **{key: TypedData(string=value) for key, value in captures.items()},
        }
        values = {**captures, "blobTrigger": path}
        outcome = await self._invoker.run(watched.function, path, {trigger.parameter: data}, metadata, values)
        return outcome.failure is None

    async def _set_aside(self, content: str) -> None:
        """Keep a message that failed too often in the account of the blob that it speaks of."""
        connection, what = HOST_STORAGE, "a message"
        with suppress(ValueError, KeyError, TypeError, RecursionError):
            document = json.loads(base64.b64decode(content))
            connection = self._watched[document["FunctionId"]].trigger.connection
            what = f"{document['ContainerName']}/{document['BlobName']}"
        await send(self._storage.queue(connection, POISON_QUEUE), content)
        self._console.host(f"{what} failed too often; its message is in {POISON_QUEUE}", "failed")

    def _blob(self, watched: _Watched, name: str) -> BlobClient:
        service = self._storage.blobs(watched.trigger.connection)
        return service.get_blob_client(watched.trigger.container, name)

    def _receipts_prefix(self, watched: _Watched) -> str:
        return f"blobreceipts/{self._host_id}/{watched.function.full_name}/"

    def _trouble(self, watched: _Watched, error: AzureError) -> None:
        self._console.host(f"{watched.function.name}: storage does not answer: {reason(error)}", "warning")


async def _complete(receipt: BlobClient) -> bool:
    properties = await receipt.get_blob_properties()
    return not (properties.metadata or {}).get(_INCOMPLETE)


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    raise TypeError(f"{value!r} is no text")


def _quoted(etag: str) -> str:
    return '"' + etag.strip('"') + '"'


def _described(properties: BlobProperties) -> dict[str, Any]:
    """The `Properties` of the trigger's metadata."""
    settings = properties.content_settings
    return {
        "ContentLength": properties.size,
        "ContentType": settings.content_type,
        "ContentEncoding": settings.content_encoding,
        "ETag": _quoted(properties.etag),
        "LastModified": properties.last_modified.isoformat(),
        "CreatedOn": properties.creation_time.isoformat() if properties.creation_time else None,
        "BlobType": 0,
    }
