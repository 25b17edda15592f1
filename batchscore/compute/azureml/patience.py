"""How patient a call of the service is: short waits are sat out in the call, long ones by not calling at all.

Left to itself, the SDK sleeps for as long as the service asks, an hour if it must, while this process holds the lease
and no run moves. It sleeps through its transport, which is the one part that all its clients can share.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from azure.core.pipeline.transport import RequestsTransport

from batchscore.compute.azureml.errors import SERVICE, NoAnswerError, service
from batchscore.errors import ComputeUnavailableError

LONGEST_WAIT_S = 5
"""Of one wait within a call; what takes longer ends the call."""
LONGEST_PAUSE_S = 600
"""Between calls, whatever the service asks for."""
QUIET_S = 5
"""How long nobody calls a service that did not answer twice."""
CONNECT_S, READ_S = 10, 30


class LeftAloneError(ComputeUnavailableError):
    """The service asks not to be called for a while."""

    def __init__(self, wait_s: float) -> None:
        self.wait_s = wait_s
        super().__init__(
            f"{SERVICE} has too many requests and asks for a pause of {wait_s:.0f} s; the run waits."
        )


class ShortWaits(RequestsTransport):  # type: ignore[misc]  # the SDK exports it lazily, untyped
    """What requests go through; `connection_verify` is the file of the authority to trust, where it is not the usual."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"connection_timeout": CONNECT_S, "read_timeout": READ_S, **options})

    def sleep(self, duration: float) -> None:
        """LeftAloneError where the wait is too long to sit out."""
        if duration > LONGEST_WAIT_S:
            raise LeftAloneError(duration)
        super().sleep(duration)


class Gate:
    """What every call of one workspace goes through. None is made before the service wants to be called again; nor for a
    while when two in a row had no answer, or a pass over many runs would wait for each of them."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._closed_until = clock()
        self._unanswered = 0

    @contextmanager
    def calling(self, doing: str) -> Iterator[None]:
        """`errors.service` around a call; ComputeUnavailableError at once while the gate is closed."""
        left_s = self._closed_until - self._clock()
        if left_s > 0 and self._unanswered:
            raise ComputeUnavailableError(f"cannot {doing} yet: {SERVICE} did not answer a moment ago.")
        if left_s > 0:
            raise LeftAloneError(left_s)
        try:
            with service(doing):
                yield
        except NoAnswerError:
            self._unanswered += 1
            if self._unanswered > 1:
                self._closed_until = self._clock() + QUIET_S
            raise
        except LeftAloneError as error:
            self._unanswered = 0
            self._closed_until = self._clock() + min(error.wait_s, LONGEST_PAUSE_S)
            raise
        except BaseException:
            self._unanswered = 0
            raise
        self._unanswered = 0
