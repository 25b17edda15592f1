"""What carries an attempt's outputs, receipts and logs to storage while it runs and when it ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from batchscore.compute.local.mirror import Mirror, Push

LEAST_PAUSE_S = 2.0
BUSY_SHARE = 5
"""A round may take one part in so many of the time, so that reading large folders again stays cheap."""
CLOCK_MARGIN_NS = 100_000_000


@dataclass(frozen=True)
class Cargo:
    """What goes to storage, in this order: receipts speak of outputs, so they leave after them; logs last."""

    outputs: tuple[Push, ...]
    receipts: tuple[Push, ...]
    logs: tuple[Push, ...]


class Courier:
    """Pushes what is new every few seconds, on a thread of its own, until it is stopped."""

    def __init__(
        self, mirror: Mirror, cargo: Callable[[], Cargo], on_fault: Callable[[Exception], None]
    ) -> None:
        self._mirror = mirror
        self._cargo = cargo
        self._on_fault = on_fault
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="courier", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End after the round at hand."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        pause_s = LEAST_PAUSE_S
        while not self._stopped.wait(pause_s):
            since = time.monotonic()
            try:
                deliver(self._mirror, self._cargo(), writing=True)
            except Exception as error:  # the next round, and at last the end, tries again
                self._on_fault(error)
            pause_s = max(LEAST_PAUSE_S, BUSY_SHARE * (time.monotonic() - since))


def deliver(mirror: Mirror, cargo: Cargo, *, writing: bool) -> None:
    """One round. While steps are `writing`, only receipts older than the round leave: their outputs are complete."""
    before = time.time_ns() - CLOCK_MARGIN_NS if writing else None
    mirror.push(cargo.outputs)
    mirror.push(cargo.receipts, changed_before_ns=before)
    mirror.push(cargo.logs)
