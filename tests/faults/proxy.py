"""A TCP proxy between all clients and Azurite, which can be cut in every way in which a network is cut."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import threading
from collections.abc import Sequence
from enum import StrEnum


class Cut(StrEnum):
    """What happens to connections."""

    OPEN = "open"
    REFUSED = "refused"
    """Nobody listens: connections that are there are reset, new ones too."""
    SILENT = "silent"
    """What is sent goes nowhere, and nobody is told; the connections stay dead after the cut."""
    STALLED = "stalled"
    """Nothing moves, but nothing is lost: everything goes on after the cut."""
    TRUNCATED = "truncated"
    """Answers break off after some bytes."""
    UNANSWERED = "unanswered"
    """Storage does what it is asked, but its answers are lost."""


class Proxy:
    """One loopback port per target port. `cut` and `open` may be called from any thread."""

    def __init__(self, targets: Sequence[int], seed: int) -> None:
        self._targets = tuple(targets)
        self._random = random.Random(seed)
        self._mode = Cut.OPEN
        self._epoch = 0
        self._pairs: dict[asyncio.StreamWriter, asyncio.StreamWriter] = {}
        self._loop = asyncio.new_event_loop()
        self._moving: asyncio.Event
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="proxy", daemon=True)
        self.ports: tuple[int, ...] = ()
        self._servers: list[asyncio.Server] = []

    def start(self) -> None:
        self._thread.start()
        self._started.wait()

    def stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    async def _close(self) -> None:
        for server in self._servers:
            server.close()
        for client, server_writer in list(self._pairs.items()):
            _reset(client)
            _reset(server_writer)

    def cut(self, mode: Cut) -> None:
        """From now on."""
        asyncio.run_coroutine_threadsafe(self._set(mode), self._loop).result()

    def open(self) -> None:
        """Heal. Connections that the cut has killed stay dead."""
        self.cut(Cut.OPEN)

    async def _set(self, mode: Cut) -> None:
        before, self._mode = self._mode, mode
        if mode is not before:
            self._epoch += 1
        if mode is Cut.STALLED:
            self._moving.clear()
        else:
            self._moving.set()
        if mode is Cut.REFUSED:
            for client, server in list(self._pairs.items()):
                _reset(client)
                _reset(server)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._moving = asyncio.Event()
        self._moving.set()
        self._loop.set_exception_handler(lambda loop, context: None)
        self._loop.run_until_complete(self._listen())
        self._started.set()
        self._loop.run_forever()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.close()

    async def _listen(self) -> None:
        ports = []
        for target in self._targets:

            async def accept(
                reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: int = target
            ) -> None:
                await self._relay(reader, writer, target)

            server = await asyncio.start_server(accept, "127.0.0.1", 0)
            self._servers.append(server)
            ports.append(server.sockets[0].getsockname()[1])
        self.ports = tuple(ports)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: int) -> None:
        if self._mode is Cut.REFUSED:
            _reset(writer)
            return
        try:
            server_reader, server_writer = await asyncio.open_connection("127.0.0.1", target)
        except OSError:  # Azurite is down
            _reset(writer)
            return
        self._pairs[writer] = server_writer
        link = _Link()
        try:
            await asyncio.gather(
                self._pump(reader, server_writer, link, answers=False),
                self._pump(server_reader, writer, link, answers=True),
            )
        except OSError:
            pass
        finally:
            del self._pairs[writer]
            _reset(writer)
            _reset(server_writer)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, link: _Link, *, answers: bool
    ) -> None:
        """Pass on what comes, as the mode of the moment says, until either side ends."""
        while data := await reader.read(1 << 16):
            await self._moving.wait()
            if self._mode is Cut.SILENT:
                link.dead = True
            if link.dead:
                continue  # the sender believes that it was sent
            if answers and self._mode is Cut.UNANSWERED:
                raise ConnectionResetError
            if answers and self._mode is Cut.TRUNCATED:
                writer.write(data[: self._random.randrange(len(data))])
                with contextlib.suppress(OSError):
                    await writer.drain()
                raise ConnectionResetError
            writer.write(data)
            await writer.drain()
        raise ConnectionResetError  # whoever has hung up: the other is told


class _Link:
    """A connection from end to end; `dead` once something on it was swallowed."""

    dead = False


def _reset(writer: asyncio.StreamWriter) -> None:
    """End a connection without a goodbye."""
    with contextlib.suppress(OSError):
        connection = writer.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
