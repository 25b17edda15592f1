"""The stand-in as a server in this process: `async with Server([HubOptions("readings")]) as server:`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from types import TracebackType

from batchscore.devhost.eventhubs.connection import Connection
from batchscore.devhost.eventhubs.log import Retention
from batchscore.devhost.eventhubs.namespace import HubOptions, Namespace, Switches
from batchscore.errors import SettingsError

_MOST_REQUEST_BYTES = 64 << 10
_CLOSE_TIMEOUT_S = 1.0


class Server:
    """Listens on 127.0.0.1 from `start` to `stop`; `folder` keeps the events beyond its end."""

    def __init__(
        self,
        hubs: Sequence[HubOptions],
        *,
        folder: Path | None = None,
        port: int = 0,
        retention: Retention | None = None,
    ) -> None:
        self.namespace = Namespace(hubs, folder, retention)
        self.port = port
        self._connections: set[Connection] = set()
        self._server: asyncio.Server | None = None

    @property
    def connection_string(self) -> str:
        return connection_string(self.port, self.namespace.key_name, self.namespace.key)

    async def start(self) -> None:
        """Listen; SettingsError where the port is taken."""
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(
                lambda: Connection(self.namespace, self._connections, self._serve_http),
                "127.0.0.1",
                self.port,
            )
        except OSError as error:
            raise SettingsError(f"Event Hubs cannot listen on port {self.port}: {error.strerror}.") from error
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            for connection in tuple(self._connections):
                connection.end("amqp:connection:forced", "The server stops.")
            try:
                async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                    await self._server.wait_closed()
            except TimeoutError:  # somebody does not read what we say
                self._server.abort_clients()
        self.namespace.close()

    async def __aenter__(self) -> Server:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    def drop_connections(self) -> int:
        """Cut every connection without a word, and tell how many there were."""
        connections = tuple(self._connections)
        for connection in connections:
            connection.drop()
        return len(connections)

    def _serve_http(self, transport: asyncio.Transport, begun: bytes) -> None:
        door = _AdminDoor(self)
        transport.set_protocol(door)
        door.connection_made(transport)
        door.data_received(begun)

    def administer(self, method: str, path: str, body: bytes) -> object:
        """One request to the admin door. ValueError or LookupError tells what is wrong with it."""
        switches = self.namespace.switches
        match method, path:
            case "GET", "/":
                return {"hubs": self.namespace.state(), "switches": asdict(switches)}
            case "POST", "/drop":
                return {"dropped": self.drop_connections()}
            case "POST", "/switches":
                given = json.loads(body)
                known = {field.name: type(getattr(Switches(), field.name)) for field in fields(Switches)}
                if not isinstance(given, dict) or not given.keys() <= known.keys():
                    raise ValueError(f"a JSON object with some of {', '.join(known)} is wanted")
                for name, value in given.items():
                    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
                        raise ValueError(f"{name} must be a number, 0 or more")
                    setattr(switches, name, known[name](value))
                return asdict(switches)
        raise LookupError(f"there is no {method} {path}")


class _AdminDoor(asyncio.Protocol):
    """Just enough HTTP for `curl`: one request, one answer, and the connection ends.

    Only a host of loopback is served, and a change must be sent as JSON: so no web page in a browser reaches it.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, end, body = self._buffer.partition(b"\r\n\r\n")
        if not end and len(self._buffer) <= _MOST_REQUEST_BYTES:
            return
        lines = head.decode("latin-1").split("\r\n")
        headers = {
            name.strip().lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines[1:])
        }
        length = headers.get("content-length", "0")
        wanted = int(length) if length.isdecimal() and len(length) < 9 else _MOST_REQUEST_BYTES
        if len(body) < wanted < _MOST_REQUEST_BYTES:
            return
        method, _, rest = lines[0].partition(" ")
        host = headers.get("host", "").partition(":")[0]
        if host not in ("127.0.0.1", "localhost") or wanted >= _MOST_REQUEST_BYTES:
            self._answer(400, {"error": "a small request to 127.0.0.1 or localhost is wanted"})
        elif method == "POST" and not headers.get("content-type", "").startswith("application/json"):
            self._answer(415, {"error": "Content-Type: application/json is wanted"})
        else:
            try:
                self._answer(200, self._server.administer(method, rest.partition(" ")[0], body))
            except LookupError as error:
                self._answer(404, {"error": str(error)})
            except ValueError as error:
                self._answer(400, {"error": str(error)})

    def _answer(self, status: int, document: object) -> None:
        body = json.dumps(document, indent=1).encode() + b"\n"
        head = f"HTTP/1.1 {status} -\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        self._transport.write(head.encode() + body)
        self._transport.close()


def connection_string(port: int, key_name: str, key: str) -> str:
    """What a client of Event Hubs needs; `UseDevelopmentEmulator` makes it do without TLS."""
    return (
        f"Endpoint=sb://127.0.0.1:{port};SharedAccessKeyName={key_name};SharedAccessKey={key};"
        "UseDevelopmentEmulator=true;"
    )
