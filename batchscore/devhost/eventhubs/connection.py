"""One client's connection: headers, SASL, sessions, the attaching of links, and authorization."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from batchscore.devhost.eventhubs import amqp, frames, management, sas
from batchscore.devhost.eventhubs.amqp import AmqpError, Described
from batchscore.devhost.eventhubs.frames import Performative
from batchscore.devhost.eventhubs.links import (
    MAX_MESSAGE_BYTES,
    EventReceiver,
    EventSender,
    IncomingLink,
    Link,
    OutgoingLink,
    ReplyLink,
    RequestLink,
    start_of,
)
from batchscore.devhost.eventhubs.messages import Request
from batchscore.devhost.eventhubs.namespace import Namespace

WINDOW = 1 << 20
CHANNEL_MAX = 255
HANDLE_MAX = 1023
_NODES = ("$cbs", "$management")
_FILTER = "apache.org:selector-filter:string"
_EPOCH = "com.microsoft:epoch"
_METRICS = "com.microsoft:enable-receiver-runtime-metric"
_HTTP = (b"GET ", b"POST")
_UINT = 1 << 32


class Session:
    """A session; our channel is the client's channel."""

    def __init__(self, connection: Connection, channel: int, begin: Performative) -> None:
        self.connection = connection
        self.channel = channel
        self.links: dict[int, Link] = {}
        self._next_incoming_id = begin.number(1)
        self._next_outgoing_id = 0
        self._delivery_id = 0
        self._window = begin.number(2)
        window = amqp.uint(WINDOW)
        self.send(
            frames.BEGIN,
            *(amqp.ushort(channel), amqp.uint(0), window, window, amqp.uint(HANDLE_MAX)),
            *([amqp.NULL] * 3),
        )

    @property
    def can_send(self) -> bool:
        return self._window > 0 and self.connection.can_write

    def send(self, code: int, *fields: bytes) -> None:
        self.connection.write(frames.frame(self.channel, code, *fields))

    def flow(self, *link: bytes) -> None:
        """Tell our state, and a link's: handle, delivery count, credit, available, drain."""
        window = amqp.uint(WINDOW)
        numbers = (amqp.uint(self._next_incoming_id), window, amqp.uint(self._next_outgoing_id), window)
        told = link or [amqp.NULL] * 5
        self.send(frames.FLOW, *numbers, *told, amqp.FALSE, amqp.NULL)

    def settle(self, delivery_id: int, outcome: bytes) -> None:
        place = amqp.uint(delivery_id % _UINT)
        self.send(frames.DISPOSITION, amqp.TRUE, place, place, amqp.TRUE, outcome, amqp.FALSE)

    def send_messages(self, handle: int, ready: Sequence[bytes]) -> None:
        parts: list[bytes] = []
        for message in ready:
            sent = frames.transfers(
                self.channel, handle, self._delivery_id, message, self.connection.max_frame_bytes
            )
            parts += sent
            self._delivery_id = (self._delivery_id + 1) % _UINT
            count = len(sent) // 3
            self._window -= count
            self._next_outgoing_id = (self._next_outgoing_id + count) % _UINT
        self.connection.write(b"".join(parts))

    def on_frame(self, frame: Performative) -> None:
        match frame.code:
            case frames.ATTACH:
                self._attach(frame)
            case frames.FLOW:
                self._window = (frame.number(0, 0) + frame.number(1) - self._next_outgoing_id) % _UINT
                if frame.field(4) is None:
                    if frame.field(9) is True:
                        self.flow()
                    self.wake()
                elif (link := self.links.get(frame.number(4))) is not None:
                    link.on_flow(frame)
            case frames.TRANSFER:
                self._next_incoming_id = (self._next_incoming_id + 1) % _UINT
                if (link := self.links.get(frame.number(0))) is not None:  # else it crossed our detach
                    link.on_transfer(frame)
            case frames.DETACH:
                handle = frame.number(0)
                link = self.links.pop(handle, None)
                if link is not None:
                    link.closed()
                    self.send(
                        frames.DETACH, amqp.uint(handle), amqp.boolean(frame.field(1) is True), amqp.NULL
                    )

    def wake(self) -> None:
        for link in self.links.values():
            if isinstance(link, OutgoingLink):
                link.wake()

    def closed(self) -> None:
        for link in self.links.values():
            link.closed()
        self.links.clear()

    def _attach(self, frame: Performative) -> None:
        handle = frame.number(1)
        receives = frame.field(2) is True
        if handle in self.links or len(self.links) > HANDLE_MAX:
            raise AmqpError(
                "amqp:session:handle-in-use", f"Handle {handle} is in use, or there are too many."
            )
        refusal: AmqpError | None = None
        try:
            link = self._receiving(frame, handle) if receives else self._sending(frame, handle)
        except AmqpError as error:
            link, refusal = Link(self, handle), error
        self.links[handle] = link
        self.send(
            frames.ATTACH,
            *(frame.raw(0), amqp.uint(handle), amqp.boolean(not receives), frame.raw(3), frame.raw(4)),
            *(_terminus(frame, 5, frames.SOURCE), _terminus(frame, 6, frames.TARGET), amqp.NULL, amqp.NULL),
            amqp.uint(0) if receives else amqp.NULL,
            amqp.ulong(MAX_MESSAGE_BYTES),
            *([amqp.NULL] * 3),
        )
        if refusal is not None:
            link.detach(refusal)
        elif isinstance(link, IncomingLink):
            link.give_credit()

    def _sending(self, frame: Performative, handle: int) -> Link:
        """The link of a client that sends."""
        connection, count = self.connection, frame.number(9, 0)
        path = sas.path_of(_address(frame, 6))
        if path.endswith("$cbs"):
            return RequestLink(self, handle, count, "$cbs", connection.authorize)
        if path.endswith("$management"):
            return RequestLink(self, handle, count, "$management", connection.describe)
        connection.check_access(path)
        return EventSender(self, handle, count, connection.namespace, connection.namespace.target(path))

    def _receiving(self, frame: Performative, handle: int) -> Link:
        """The link of a client that receives."""
        path = sas.path_of(_address(frame, 5))
        node = next((node for node in _NODES if path.endswith(node)), None)
        if node is not None:
            return ReplyLink(self, handle, node, _address(frame, 6))
        self.connection.check_access(path)
        partition, group = self.connection.namespace.source(path)
        wanted = frame.field(12)
        properties = frame.field(13)
        epoch = properties.get(_EPOCH) if isinstance(properties, dict) else None
        receiver = EventReceiver(
            self,
            handle,
            (partition, group),
            sequence=start_of(_selector(frame), partition.log),
            epoch=epoch if isinstance(epoch, int) else None,
            metrics=_METRICS in (wanted if isinstance(wanted, list) else [wanted]),
        )
        partition.admit(group, receiver)
        return receiver


class Connection(asyncio.Protocol):
    """A connection from its first byte to its last. `on_http` takes it over when it speaks HTTP."""

    def __init__(
        self,
        namespace: Namespace,
        connections: set[Connection],
        on_http: Callable[[asyncio.Transport, bytes], None],
    ) -> None:
        self.namespace = namespace
        self.max_frame_bytes = frames.MIN_MAX_FRAME_BYTES
        self.can_write = True
        self._connections = connections
        self._on_http = on_http
        self._buffer = bytearray()
        self._header_due = True
        self._opened = False
        self._sessions: dict[int, Session] = {}
        self._grants: list[sas.Grant] = []
        self._passed = 0
        self._heartbeat: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self.loop = asyncio.get_running_loop()
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._connections.discard(self)
        self.can_write = False
        if self._heartbeat is not None:
            self._heartbeat.cancel()
        for session in self._sessions.values():
            session.closed()
        self._sessions.clear()

    def pause_writing(self) -> None:
        self.can_write = False

    def resume_writing(self) -> None:
        self.can_write = True
        for session in self._sessions.values():
            session.wake()

    def write(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(data)

    def drop(self) -> None:
        """Cut it, without a word."""
        self._transport.abort()

    def end(self, condition: str, description: str) -> None:
        """Tell the client why, and close."""
        if self._opened:
            self.write(frames.frame(0, frames.CLOSE, frames.error(condition, description)))
        self._transport.close()

    def passed(self, count: int) -> None:
        """So many messages went by; a switch may cut the connection now."""
        limit = self.namespace.switches.drop_after
        self._passed += count
        if 0 < limit <= self._passed:
            self.loop.call_soon(self.drop)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        try:
            self._read()
        except AmqpError as error:
            self._buffer.clear()
            self.end(error.condition, error.description)

    def _read(self) -> None:
        at = 0
        while not self._transport.is_closing():
            if self._header_due:
                if len(self._buffer) - at < 8:
                    break
                header = bytes(self._buffer[at : at + 8])
                if header[:4] in _HTTP:
                    self._connections.discard(self)
                    self._on_http(self._transport, bytes(self._buffer))
                    return
                at += 8
                self._on_header(header)
                continue
            found = frames.cut(self._buffer, at)
            if found is None:
                break
            kind, channel, body, at = found
            if body:
                self._on_frame(kind, channel, frames.parse(body))
        del self._buffer[:at]

    def _on_header(self, header: bytes) -> None:
        self._header_due = False
        if header == frames.SASL_HEADER:
            mechanisms = amqp.symbols(["ANONYMOUS"])
            self.write(header + frames.frame(0, frames.SASL_MECHANISMS, mechanisms, kind=1))
        elif header == frames.AMQP_HEADER:
            self.write(header)
        else:
            self.write(frames.AMQP_HEADER)
            self._transport.close()

    def _on_frame(self, kind: int, channel: int, frame: Performative) -> None:
        if kind == 1:
            if frame.code == frames.SASL_INIT:
                self.write(frames.frame(0, frames.SASL_OUTCOME, amqp.ubyte(0), amqp.NULL, kind=1))
                self._header_due = True
            return
        if frame.code == frames.OPEN:
            self._open(frame)
        elif not self._opened:
            raise AmqpError("amqp:illegal-state", "A connection begins with an open.")
        elif frame.code == frames.CLOSE:
            self.write(frames.frame(0, frames.CLOSE, amqp.NULL))
            self._transport.close()
        elif frame.code == frames.BEGIN:
            if channel in self._sessions or channel > CHANNEL_MAX:
                raise AmqpError("amqp:not-allowed", f"Channel {channel} is in use, or too high.")
            self._sessions[channel] = Session(self, channel, frame)
        elif frame.code == frames.END:
            session = self._sessions.pop(channel, None)
            if session is not None:
                session.closed()
                session.send(frames.END, amqp.NULL)
        elif channel in self._sessions:  # a client may still detach after the end of a session
            self._sessions[channel].on_frame(frame)

    def _open(self, frame: Performative) -> None:
        self._opened = True
        wanted = frame.number(2, frames.MAX_FRAME_BYTES)
        self.max_frame_bytes = max(frames.MIN_MAX_FRAME_BYTES, min(wanted, frames.MAX_FRAME_BYTES))
        idle_ms = frame.number(4, 0)
        if idle_ms > 0:
            self._beat(max(0.05, idle_ms / 2000))
        self.write(
            frames.frame(
                0,
                frames.OPEN,
                *(amqp.string("batchscore"), amqp.NULL, amqp.uint(frames.MAX_FRAME_BYTES)),
                amqp.ushort(CHANNEL_MAX),
                *([amqp.NULL] * 6),
            )
        )

    def _beat(self, every_s: float) -> None:
        self.write(frames.empty_frame())
        self._heartbeat = self.loop.call_later(every_s, self._beat, every_s)

    def authorize(self, request: Request) -> bytes:
        """A request to `$cbs`: a token."""
        grant = sas.check(str(request.value), self.namespace.key_name, self.namespace.key)
        if isinstance(grant, sas.Grant):
            self._grants = [kept for kept in self._grants if kept.path != grant.path] + [grant]
        return management.token_answer(request, grant)

    def describe(self, request: Request) -> bytes:
        """A request to `$management`: what a hub or a partition is."""
        try:
            self.check_access(sas.path_of(str(request.properties.get("name", ""))))
            return management.description(request, self.namespace)
        except AmqpError as error:
            return management.refusal(request, error)

    def check_access(self, path: str) -> None:
        """AmqpError where no token was given that opens this path."""
        if not any(grant.opens(path) for grant in self._grants):
            raise AmqpError("amqp:unauthorized-access", f"No valid token was given for {path!r}.")


def _terminus(frame: Performative, index: int, descriptor: int) -> bytes:
    """A source or target as the client gave it; clients want one back in any case."""
    raw = frame.raw(index)
    return raw if raw != amqp.NULL else amqp.described(descriptor, amqp.listed([amqp.NULL]))


def _address(frame: Performative, index: int) -> str:
    terminus = frame.field(index)
    fields = terminus.value if isinstance(terminus, Described) else None
    address = fields[0] if isinstance(fields, list) and fields else None
    return address if isinstance(address, str) else ""


def _selector(frame: Performative) -> object:
    source = frame.field(5)
    fields = source.value if isinstance(source, Described) else None
    filters = fields[7] if isinstance(fields, list) and len(fields) > 7 else None
    found = filters.get(_FILTER) if isinstance(filters, dict) else None
    return found.value if isinstance(found, Described) else found
