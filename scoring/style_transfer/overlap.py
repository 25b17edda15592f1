"""Three stages at work at once: a source, a transformation and a sink, with bounded hand-overs between."""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

A = TypeVar("A")
B = TypeVar("B")
_STAGE_NICENESS = 10


class Handover(Generic[A]):
    """A bounded queue between two threads that either side can close, with or without an error."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._items: deque[A] = deque()
        self._change = threading.Condition()
        self._closed = False
        self._error: BaseException | None = None

    def put(self, item: A) -> bool:
        """Hand an item over, waiting for room; False when the other side has closed."""
        with self._change:
            self._change.wait_for(lambda: self._closed or len(self._items) < self._size)
            if self._closed:
                return False
            self._items.append(item)
            self._change.notify_all()
            return True

    def close(self, error: BaseException | None = None) -> None:
        """No more items; the reader gets what is there and then the error, if there is one."""
        with self._change:
            self._closed = True
            self._error = self._error or error
            self._change.notify_all()

    def __iter__(self) -> Iterator[A]:
        while True:
            with self._change:
                self._change.wait_for(lambda: self._closed or bool(self._items))
                if not self._items:
                    if self._error is not None:
                        raise self._error
                    return
                item = self._items.popleft()
                self._change.notify_all()
            yield item


def overlapped(
    source: Iterable[A], transform: Callable[[A], B], sink: Callable[[B], None], *, ahead: int = 2
) -> None:
    """Feed every item of `source` through `transform` into `sink`, in order, each stage in its own thread.

    `transform` runs in the calling thread, the others give way to it where processors are short. At most `ahead` items wait between two stages. The first
    exception of any stage ends the others and is raised here, after all threads have ended.
    """
    before: Handover[A] = Handover(ahead)
    after: Handover[B] = Handover(ahead)

    def produce() -> None:
        _give_way()
        error: BaseException | None = None
        try:
            for item in source:
                if not before.put(item):
                    break
        except BaseException as raised:
            error = raised
        finally:
            if (close := getattr(source, "close", None)) is not None:
                close()
            before.close(error)

    failure: list[BaseException] = []

    def consume() -> None:
        _give_way()
        try:
            for item in after:
                sink(item)
        except BaseException as raised:
            failure.append(raised)
            after.close()

    workers = [
        threading.Thread(target=produce, name="decode"),
        threading.Thread(target=consume, name="encode"),
    ]
    for worker in workers:
        worker.start()
    try:
        for item in before:
            if not after.put(transform(item)):
                break
    finally:
        before.close()
        after.close()
        for worker in workers:
            worker.join()
    if failure:
        raise failure[0]


def _give_way() -> None:
    """Lower this thread's priority (and that of threads it starts), so that it fills the gaps of the others."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _STAGE_NICENESS)
