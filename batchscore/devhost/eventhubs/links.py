"""The links of a session: producers, consumers, and the request and reply links of `$cbs` and `$management`."""

from __future__ import annotations

import re
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from batchscore.devhost.eventhubs import amqp, frames, messages
from batchscore.devhost.eventhubs.amqp import AmqpError
from batchscore.devhost.eventhubs.frames import Performative
from batchscore.devhost.eventhubs.log import PartitionLog
from batchscore.devhost.eventhubs.namespace import Hub, Namespace, Partition

if TYPE_CHECKING:
    from batchscore.devhost.eventhubs.connection import Session

MAX_MESSAGE_BYTES = 1 << 20
CREDIT = 1000
_BURST_BYTES = 256 << 10
_BURST_EVENTS = 500
_BUSY = "com.microsoft:server-busy"
_SELECTOR = re.compile(
    r"\s*amqp\.annotation\.x-opt-(offset|sequence-number|enqueued-time|enqueuedtimeutc)\s*(>=?)\s*'([^']*)'\s*"
)
_UINT = 1 << 32


class Link:
    """One end of a link; the client's handle is ours too."""

    def __init__(self, session: Session, handle: int) -> None:
        self.session = session
        self.handle = handle
        self.delivery_count = 0

    def detach(self, error: AmqpError | None) -> None:
        """End it from our side."""
        self.session.links.pop(self.handle, None)
        self.closed()
        told = frames.error(error.condition, error.description) if error else amqp.NULL
        self.session.send(frames.DETACH, amqp.uint(self.handle), amqp.TRUE, told)

    def closed(self) -> None:
        """It has ended, whoever ended it."""

    def on_flow(self, frame: Performative) -> None:
        """The peer told its state."""

    def on_transfer(self, frame: Performative) -> None:  # noqa: ARG002
        raise AmqpError("amqp:not-allowed", "A transfer on a link that only receives.")

    def flow(self, credit: int, available: bytes = amqp.NULL, drain: bool = False) -> None:
        self.session.flow(
            amqp.uint(self.handle),
            amqp.uint(self.delivery_count),
            amqp.uint(credit),
            available,
            amqp.boolean(drain),
        )


class IncomingLink(Link, ABC):
    """The client sends here. A message may come in several frames."""

    def __init__(self, session: Session, handle: int, delivery_count: int) -> None:
        super().__init__(session, handle)
        self.delivery_count = delivery_count
        self._credit = 0
        self._message = bytearray()
        self._first: Performative | None = None

    def give_credit(self) -> None:
        self._credit = CREDIT
        self.flow(CREDIT)

    def on_flow(self, frame: Performative) -> None:
        if frame.field(9) is True:  # echo
            self.flow(self._credit)

    def on_transfer(self, frame: Performative) -> None:
        self._first = self._first or frame
        self._message += frame.data[frame.payload_at :]
        if len(self._message) > MAX_MESSAGE_BYTES:
            size = f"A message is larger than {MAX_MESSAGE_BYTES} bytes."
            self.detach(AmqpError("amqp:link:message-size-exceeded", size))
            return
        if frame.field(5) is True and frame.field(9) is not True:  # more to come, and not aborted
            return
        first, self._first = self._first, None
        payload = bytes(self._message)
        self._message.clear()
        self.delivery_count = (self.delivery_count + 1) % _UINT
        self._credit -= 1
        if frame.field(9) is not True:
            settled = frame.field(4) is True or first.field(4) is True
            delivery_id = first.number(1)
            outcome = self.receive(payload, first.number(3, 0))
            if not settled:
                self.session.settle(delivery_id, outcome)
        if self._credit <= CREDIT // 2:
            self.give_credit()

    @abstractmethod
    def receive(self, payload: bytes, message_format: int) -> bytes:
        """Take a whole message and return its outcome."""


class EventSender(IncomingLink):
    """A producer sends events to a hub, or to one of its partitions."""

    def __init__(
        self,
        session: Session,
        handle: int,
        delivery_count: int,
        namespace: Namespace,
        where: tuple[Hub, Partition | None],
    ) -> None:
        super().__init__(session, handle, delivery_count)
        self._namespace = namespace
        self._hub, self._partition = where

    def receive(self, payload: bytes, message_format: int) -> bytes:
        try:
            found = messages.unpacked(payload, message_format)
        except AmqpError as error:
            return frames.rejected(error.condition, error.description)
        if self._namespace.refuses(len(found)):
            return frames.rejected(_BUSY, "The server is busy. Wait a moment and send again.")
        partition = self._partition or self._hub.partition_for(found[0].key if found else None)
        try:
            partition.append(found)
        except OSError as error:
            return frames.rejected("amqp:internal-error", f"The events cannot be written: {error.strerror}.")
        if self._namespace.switches.drop_unanswered > 0:
            self._namespace.switches.drop_unanswered -= 1
            self.session.connection.drop()
        self.session.connection.passed(1)
        return frames.accepted()


class OutgoingLink(Link, ABC):
    """The client receives here, as much as it gives credit for."""

    def __init__(self, session: Session, handle: int) -> None:
        super().__init__(session, handle)
        self.credit = 0
        self._drain = False
        self._woken = False

    def on_flow(self, frame: Performative) -> None:
        credit = frame.number(5, self.delivery_count) + frame.number(6, 0) - self.delivery_count
        self.credit = max(0, min(credit, _UINT))
        self._drain = frame.field(8) is True
        if frame.field(9) is True:  # echo
            self.flow(self.credit)
        self.wake()

    def wake(self) -> None:
        """There may be something to send, and room for it."""
        if not self._woken:
            self._woken = True
            self.session.connection.loop.call_soon(self._pump)

    def _pump(self) -> None:
        self._woken = False
        if self.session.links.get(self.handle) is not self or not self.session.can_send:
            return
        while self.credit > 0 and (ready := self.take(self.credit)):
            self.credit -= len(ready)
            self.delivery_count = (self.delivery_count + len(ready)) % _UINT
            self.session.send_messages(self.handle, ready)
            if not self.session.can_send or len(ready) > 1:
                self.wake()
                return
        if self._drain and self.credit:
            self.delivery_count = (self.delivery_count + self.credit) % _UINT
            self.credit = 0
            self.flow(0, drain=True)

    @abstractmethod
    def take(self, most: int) -> list[bytes]:
        """The messages to send next, at most so many."""


class EventReceiver(OutgoingLink):
    """A consumer reads a partition."""

    def __init__(
        self,
        session: Session,
        handle: int,
        where: tuple[Partition, str],
        *,
        sequence: int,
        epoch: int | None,
        metrics: bool,
    ) -> None:
        super().__init__(session, handle)
        self._partition, self._group = where
        self.epoch = epoch
        self._sequence = sequence
        self._metrics = metrics

    def closed(self) -> None:
        self._partition.leave(self._group, self)

    def take(self, most: int) -> list[bytes]:
        log = self._partition.log
        first, found = log.read(self._sequence, _BURST_BYTES, min(most, _BURST_EVENTS))
        self._sequence = first + len(found)
        if found:
            self.session.connection.passed(len(found))
        if not self._metrics:
            return found
        end = (log.next_sequence - 1, str(log.last_offset), log.last_time, int(time.time() * 1000))
        return [messages.with_metrics(message, *end) for message in found]


class ReplyLink(OutgoingLink):
    """The client receives answers of a node here."""

    def __init__(self, session: Session, handle: int, node: str, address: str | None) -> None:
        super().__init__(session, handle)
        self.node = node
        self.address = address
        self._answers: deque[bytes] = deque(maxlen=CREDIT)

    def answer(self, message: bytes) -> None:
        self._answers.append(message)
        self.wake()

    def take(self, most: int) -> list[bytes]:
        return [self._answers.popleft() for _ in range(min(most, len(self._answers)))]


class RequestLink(IncomingLink):
    """The client sends requests to a node here."""

    def __init__(
        self,
        session: Session,
        handle: int,
        delivery_count: int,
        node: str,
        answer: Callable[[messages.Request], bytes],
    ) -> None:
        super().__init__(session, handle, delivery_count)
        self._node = node
        self._answer = answer

    def receive(self, payload: bytes, message_format: int) -> bytes:  # noqa: ARG002
        try:
            request = messages.read_request(payload)
        except AmqpError as error:
            return frames.rejected(error.condition, error.description)
        replies = [
            link
            for link in self.session.links.values()
            if isinstance(link, ReplyLink) and link.node == self._node
        ]
        if not replies:
            return frames.rejected(
                "amqp:precondition-failed", f"There is no link for answers of {self._node}."
            )
        wanted = [link for link in replies if link.address == request.reply_to]
        (wanted or replies)[-1].answer(self._answer(request))
        return frames.accepted()


def start_of(selector: object, log: PartitionLog) -> int:
    """The sequence number at which a receiver with this selector begins; AmqpError where it is none."""
    if selector is None:
        return log.first_sequence
    found = _SELECTOR.fullmatch(selector) if isinstance(selector, str) else None
    if found is None:
        raise AmqpError("amqp:invalid-field", f"{selector!r} is no position in a partition.")
    what, comparison, value = found.groups()
    inclusive = comparison == ">="
    if value == "@latest":
        return log.next_sequence
    try:
        number = int(value)
    except ValueError:
        raise AmqpError("amqp:invalid-field", f"{value!r} is no position in a partition.") from None
    if what == "sequence-number":
        return max(number if inclusive else number + 1, log.first_sequence)
    if what == "offset":
        return log.sequence_at_offset(number, inclusive)
    return log.sequence_at_time(number, inclusive)
