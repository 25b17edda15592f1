"""One invocation from end to end: inputs read, the function run, outputs written, a line logged."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import time
import traceback
import uuid
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime

from azure.core.exceptions import ResourceExistsError, ResourceNotFoundError

from batchscore.devhost.console import Console
from batchscore.devhost.functions import BlobBinding, Function, QueueBinding
from batchscore.devhost.storage import HostStorage
from batchscore.devhost.worker import Failure, Outcome, TypedData, Worker
from batchscore.errors import RequestError
from batchscore.printable import printable

_EXPRESSION = re.compile(r"\{([\w.-]+)\}")


def expand(path: str, values: Mapping[str, str]) -> str:
    """Put values in place of `{name}`; `{rand-guid}` and `{DateTime}` are there always. RequestError if one is not."""

    def replace(found: re.Match[str]) -> str:
        name = found[1]
        if name == "rand-guid":
            return str(uuid.uuid4())
        if name == "DateTime":
            return f"{datetime.now(UTC):%Y-%m-%dT%H-%M-%SZ}"
        if name not in values:
            known = ", ".join(sorted(values)) or "none"
            raise RequestError(
                f"the path {path!r} needs {{{name}}}, which the trigger does not give ({known})."
            )
        return values[name]

    return _EXPRESSION.sub(replace, path)


def deferred_blob(connection: str, container: str, name: str) -> TypedData:
    """What a function with an SDK-type binding is sent: where the blob is, and none of its content."""
    content = json.dumps({"Connection": connection, "ContainerName": container, "BlobName": name})
    return TypedData(model_binding_data=_ModelBindingData(content))


class _ModelBindingData:
    """Stand-in for the worker's protobuf class of this name."""

    version = "1.0"
    source = "AzureStorageBlobs"
    content_type = "application/json"

    def __init__(self, content: str) -> None:
        self.content = content


class Invoker:
    """Runs functions for the listeners and knows which are running."""

    def __init__(
        self, worker: Worker, storage: HostStorage, console: Console, *, base64_messages: bool
    ) -> None:
        self._worker = worker
        self._storage = storage
        self._console = console
        self._base64 = base64_messages
        self._running: set[str] = set()
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def running(self) -> int:
        return len(self._running)

    async def wait_until_idle(self) -> None:
        await self._idle.wait()

    async def run(
        self,
        function: Function,
        what: str,
        inputs: Mapping[str, TypedData],
        metadata: Mapping[str, TypedData],
        values: Mapping[str, str] | None = None,
        *,
        retry_count: int = 0,
    ) -> Outcome:
        """Invoke once. `what` names the cause in the log; `values` fill `{expressions}` in paths."""
        identity, what = str(uuid.uuid4()), printable(what)
        self._running.add(identity)
        self._idle.clear()
        self._console.began(identity, function.name)
        start = time.perf_counter()
        try:
            values = values or {}
            given = dict(inputs)
            for binding in function.inputs:
                given[binding.parameter] = await self._read(binding, values)
            outcome = await self._worker.invoke(
                function.id, identity, given, metadata, retry_count=retry_count
            )
            if outcome.failure is None:
                await self._write_outputs(function, outcome, values)
        except Exception as error:  # a listener that saw no failure would take the work for done
            trace = "".join(traceback.format_exception(error))
            outcome = Outcome(failure=Failure(f"{type(error).__name__}: {_first_line(error)}", trace))
        finally:
            self._running.discard(identity)
            if not self._running:
                self._idle.set()
        milliseconds = (time.perf_counter() - start) * 1000
        if outcome.failure is None:
            self._console.ended(identity, what, milliseconds)
        else:
            self._console.failed(identity, what, milliseconds, outcome.failure.message, outcome.failure.trace)
        return outcome

    async def _read(self, binding: BlobBinding, values: Mapping[str, str]) -> TypedData:
        container, _, name = expand(binding.path, values).partition("/")
        if binding.deferred:
            return deferred_blob(binding.connection, container, name)
        client = self._storage.blobs(binding.connection).get_blob_client(container, name)
        content: bytes = await (await client.download_blob()).readall()
        if binding.binary:
            return TypedData(bytes=content)
        return TypedData(string=content.decode("utf-8", "replace"))  # as the real host does

    async def _write_outputs(self, function: Function, outcome: Outcome, values: Mapping[str, str]) -> None:
        for binding in function.outputs:
            value = (
                outcome.returned if binding.parameter == "$return" else outcome.outputs.get(binding.parameter)
            )
            if value is None:
                continue
            if isinstance(binding, QueueBinding):
                await self._send(binding, value)
            elif isinstance(binding, BlobBinding):
                await self._upload(binding, value, values)

    async def _send(self, binding: QueueBinding, value: TypedData) -> None:
        client = self._storage.queue(binding.connection, expand(binding.queue, {}))
        for message in messages_in(value):
            text = base64.b64encode(message).decode() if self._base64 else message.decode()
            try:
                await client.send_message(text)
            except ResourceNotFoundError:
                with suppress(ResourceExistsError):
                    await client.create_queue()
                await client.send_message(text)

    async def _upload(self, binding: BlobBinding, value: TypedData, values: Mapping[str, str]) -> None:
        container, _, name = expand(binding.path, values).partition("/")
        service = self._storage.blobs(binding.connection)
        content = value.value if isinstance(value.value, bytes) else str(value.value).encode()
        try:
            await service.get_blob_client(container, name).upload_blob(content, overwrite=True)
        except ResourceNotFoundError:
            with suppress(ResourceExistsError):
                await service.create_container(container)
            await service.get_blob_client(container, name).upload_blob(content, overwrite=True)


def json_properties(text: str) -> dict[str, str]:
    """The scalar properties of a JSON object, for `{expressions}` in paths; none where it is not one."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(document, dict):
        return {}
    return {
        key: value if isinstance(value, str) else json.dumps(value)
        for key, value in document.items()
        if isinstance(value, str | int | float | bool)
    }


def messages_in(value: TypedData) -> list[bytes]:
    """The queue messages in an output: one text, bytes, or a JSON list of texts and messages."""
    if value.kind == "bytes":
        return [value.value]
    if value.kind != "json":
        return [str(value.value).encode()]
    document = json.loads(value.value)
    items = document if isinstance(document, list) else [document]
    return [_message(item) for item in items]


def _message(item: object) -> bytes:
    if isinstance(item, str):
        return item.encode()
    if isinstance(item, dict) and set(item) == {"id", "body"}:
        return str(item["body"]).encode()
    return json.dumps(item).encode()


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0]
