"""Queue triggers: messages are taken, renewed while a function runs, deleted, retried or set aside as poison."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from azure.core.exceptions import AzureError, HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.storage.queue import QueueMessage
from azure.storage.queue.aio import QueueClient

from batchscore.devhost.configuration import QueueOptions
from batchscore.devhost.console import Console
from batchscore.devhost.functions import Function, QueueTrigger
from batchscore.devhost.invocations import Invoker, json_properties
from batchscore.devhost.storage import HostStorage
from batchscore.devhost.worker import TypedData

VISIBILITY_S = 60
"""How long a taken message stays hidden unless renewed: a killed host's message is back after a minute."""
_RENEW_EVERY_S = 20.0
_FIRST_POLL_S = 0.1
_STORAGE_PATIENCE_S = 1.0
_MOST_PER_REQUEST = 32


@dataclass(frozen=True)
class PumpOptions:
    """How a queue is worked off."""

    room: Callable[[int], int]
    """How many messages to take while so many are being worked on."""
    max_dequeue_count: int
    retry_after_s: float
    max_polling_interval_s: float


class QueuePump:
    """Takes messages from one queue and gives each to `handle`, which says whether it went well.

    A message that failed `max_dequeue_count` times goes to `poison` and is deleted; others return to the queue.
    """

    def __init__(
        self,
        client: QueueClient,
        options: PumpOptions,
        handle: Callable[[QueueMessage], Awaitable[bool]],
        poison: Callable[[str], Awaitable[None]],
        console: Console,
    ) -> None:
        self._client = client
        self._options = options
        self._handle = handle
        self._poison = poison
        self._console = console
        self._kicked = asyncio.Event()
        self._tasks: dict[asyncio.Task[None], QueueMessage] = {}

    def kick(self) -> None:
        """Look at once: a message was sent."""
        self._kicked.set()

    async def run(self) -> None:
        """Work off the queue until cancelled; what is running then runs on."""
        pause = _FIRST_POLL_S
        while True:
            room = min(self._options.room(len(self._tasks)), _MOST_PER_REQUEST)
            if room <= 0:
                await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
                continue
            self._kicked.clear()
            messages = await self._receive(room)
            for message in messages:
                task = asyncio.create_task(self._process(message))
                self._tasks[task] = message
                task.add_done_callback(self._done)
            if messages:
                pause = _FIRST_POLL_S
                continue
            with suppress(TimeoutError):
                await asyncio.wait_for(self._kicked.wait(), pause)
                pause = _FIRST_POLL_S / 2
            pause = min(pause * 2, self._options.max_polling_interval_s)

    async def drain(self) -> None:
        """Wait until nothing that was taken is being worked on."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def release(self) -> None:
        """Give back the messages whose functions still run, so that the next host need not wait for them."""
        for message in self._tasks.values():
            with suppress(AzureError):
                await self._client.update_message(message, visibility_timeout=0)

    def _done(self, task: asyncio.Task[None]) -> None:
        del self._tasks[task]
        self._kicked.set()
        if not task.cancelled() and task.exception() is not None:
            self._console.host(f"queue {self._client.queue_name}: {task.exception()!r}", "failed")

    async def _receive(self, size: int) -> list[QueueMessage]:
        try:
            pages = self._client.receive_messages(
                messages_per_page=size, visibility_timeout=VISIBILITY_S
            ).by_page()
            async for page in pages:
                return [message async for message in page]
        except ResourceNotFoundError:
            return []
        except AzureError:
            await asyncio.sleep(_STORAGE_PATIENCE_S)
        return []

    async def _process(self, message: QueueMessage) -> None:
        options = self._options
        renewal = asyncio.create_task(self._renew(message))
        try:
            too_often = (message.dequeue_count or 1) > options.max_dequeue_count
            ok = not too_often and await self._handle(message)
        finally:
            renewal.cancel()
            with suppress(asyncio.CancelledError):
                await renewal
        try:
            if ok:
                await self._client.delete_message(message)
            elif (message.dequeue_count or 1) >= options.max_dequeue_count:
                await self._poison(message.content)
                await self._client.delete_message(message)
            else:
                await self._client.update_message(message, visibility_timeout=int(options.retry_after_s))
        except HttpResponseError as error:
            if error.status_code not in (400, 404):  # another host has it by now
                raise

    async def _renew(self, message: QueueMessage) -> None:
        while True:
            await asyncio.sleep(_RENEW_EVERY_S)
            with suppress(AzureError):
                updated = await self._client.update_message(message, visibility_timeout=VISIBILITY_S)
                message.pop_receipt = updated.pop_receipt


class QueueListener:
    """One function with a queue trigger."""

    def __init__(
        self,
        function: Function,
        trigger: QueueTrigger,
        options: QueueOptions,
        storage: HostStorage,
        invoker: Invoker,
        console: Console,
    ) -> None:
        self.function = function
        self.trigger = trigger
        self._base64 = options.base64
        self._invoker = invoker
        self._console = console
        self._poison_queue = storage.queue(trigger.connection, f"{trigger.queue}-poison")
        pump = PumpOptions(
            room=lambda running: options.batch_size if running <= options.new_batch_threshold else 0,
            max_dequeue_count=options.max_dequeue_count,
            retry_after_s=options.visibility_timeout_s,
            max_polling_interval_s=options.max_polling_interval_s,
        )
        client = storage.queue(trigger.connection, trigger.queue)
        self.pump = QueuePump(client, pump, self._handle, self._set_aside, console)

    async def invoke(self, text: str) -> bool:
        """Run the function on a message that is in no queue."""
        message = QueueMessage(content=text)
        message.id, message.dequeue_count = "by-hand", 1
        message.inserted_on = message.expires_on = message.next_visible_on = datetime.now(UTC)
        return await self._invoke(text.encode(), message)

    async def _handle(self, message: QueueMessage) -> bool:
        body = str(message.content).encode()
        if self._base64:
            try:
                body = base64.b64decode(body, validate=True)
            except binascii.Error:
                self._console.host(f"queue {self.trigger.queue}: a message is not base64", "failed")
                return False
        return await self._invoke(body, message)

    async def _invoke(self, body: bytes, message: QueueMessage) -> bool:
        try:
            text = body.decode()
            data = TypedData(string=text)
        except UnicodeDecodeError:
            text, data = "", TypedData(bytes=body)
        metadata = {
            "QueueTrigger": TypedData(string=text),
            "Id": TypedData(string=message.id or ""),
            "DequeueCount": TypedData(json=str(message.dequeue_count or 1)),
            "PopReceipt": TypedData(string=message.pop_receipt or ""),
            "InsertionTime": TypedData(string=_time(message.inserted_on)),
            "ExpirationTime": TypedData(string=_time(message.expires_on)),
            "NextVisibleTime": TypedData(string=_time(message.next_visible_on)),
        }
        outcome = await self._invoker.run(
            self.function,
            f"{self.trigger.queue} {_shortened(text)}".rstrip(),
            {self.trigger.parameter: data},
            metadata,
            {"queueTrigger": text, **json_properties(text)},
        )
        return outcome.failure is None

    async def _set_aside(self, content: str) -> None:
        await send(self._poison_queue, content)
        self._console.host(
            f"{self.function.name}: a message failed too often; it is in {self._poison_queue.queue_name}",
            "failed",
        )


async def send(client: QueueClient, content: str) -> None:
    """Send a message as it is, to a queue that is made first where it is not there."""
    try:
        await client.send_message(content)
    except ResourceNotFoundError:
        with suppress(ResourceExistsError):
            await client.create_queue()
        await client.send_message(content)


def _time(moment: datetime | None) -> str:
    return moment.isoformat() if moment else ""


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 60 else f"{line[:57]}..."
