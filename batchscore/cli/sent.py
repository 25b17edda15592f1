"""Events sent when they are due, with a bar; and what a person and a program are told of them afterwards."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, TextIO

from batchscore.cli import simulated, terminal
from batchscore.cli.producer import HubProducer
from batchscore.cli.simulated import Event, Tally
from batchscore.cli.wording import counted, duration

if TYPE_CHECKING:
    from rich.progress import Progress

_TICK_S = 0.1
_MOST_AT_ONCE = 2_000
_HOURS_TOLD = 12


def paced(events: Iterator[Event], rate: float) -> Iterator[Event]:
    """Events due at a rate of readings, whatever their times."""
    sent = 0
    for event in events:
        yield replace(event, due_s=sent / rate)
        sent += len(event.readings)


class Sending:
    """Sends events when they are due, until there are no more or Ctrl-C comes."""

    def __init__(
        self, producer: HubProducer, events: Iterator[Event], total: int, lines: TextIO | None, *, wait: bool
    ) -> None:
        self.producer = producer
        self.tally = Tally()
        self._events = events
        self._total = total
        self._lines = lines
        self._wait = wait
        self._stop = asyncio.Event()

    async def run(self) -> float:
        """How many seconds it took."""
        sending = asyncio.create_task(self._run())

        def on_interrupt() -> None:
            if self._stop.is_set():
                sending.cancel()
            else:
                terminal.note("Stopping when what was begun is sent. Ctrl-C again stops at once.")
                self._stop.set()

        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, on_interrupt)
        try:
            return await sending
        except asyncio.CancelledError:
            raise KeyboardInterrupt from None

    async def _run(self) -> float:
        stopping = asyncio.create_task(self._stop.wait())
        async with self.producer:
            began = time.monotonic()
            with _progress() as progress:
                task = progress.add_task("sending", total=self._total or None)
                ahead = next(self._events, None)
                while ahead is not None and not self._stop.is_set():
                    passed = time.monotonic() - began
                    due: list[Event] = []
                    while ahead is not None and len(due) < _MOST_AT_ONCE:
                        if self._wait and ahead.due_s > passed:
                            break
                        due.append(ahead)
                        ahead = next(self._events, None)
                    await self._send(due)
                    progress.update(task, completed=self.tally.readings)
                    if ahead is not None and self._wait and not due:
                        pause = min(max(ahead.due_s - passed, 0.001), _TICK_S)
                        await asyncio.wait({stopping}, timeout=pause)
            stopping.cancel()
            return time.monotonic() - began

    async def _send(self, events: list[Event]) -> None:
        await self.producer.send(events)
        for event in events:
            self.tally.add(event)
            if self._lines is not None:
                self._lines.write(json.dumps(_line(event)) + "\n")


def _line(event: Event) -> dict[str, Any]:
    """An event as `--record` tells it."""
    if event.malformed:
        body = event.body.decode("latin-1")  # byte by byte, whatever they are
        return {"malformed": event.malformed, "device": event.device, "body": body}
    return {
        "readings": [{**reading.document(), "anomaly": reading.anomaly} for reading in event.readings],
        "duplicate": event.duplicate,
        "late": event.late,
    }


def _progress() -> Progress:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn("readings", markup=False),
        TimeRemainingColumn(compact=True),
        console=terminal.err,
        disable=not terminal.err.is_terminal,
        transient=True,
    )


def report(tally: Tally, producer: HubProducer, began: datetime, seconds: float, seed: int) -> dict[str, Any]:
    return {
        "event_hub": producer.name,
        "seed": seed,
        "began": simulated.told(began),
        "seconds": round(seconds, 3),
        **asdict(tally),
        "malformed_events": tally.malformed.total(),
        "malformed": dict(sorted(tally.malformed.items())),
        "by_hour": dict(sorted(tally.by_hour.items())),
        "by_sensor": dict(sorted(tally.by_sensor.items())),
        "tries_again": producer.tries_again,
    }


def tell(tally: Tally, producer: HubProducer, seconds: float) -> None:
    rate = tally.readings / seconds if seconds else 0
    terminal.answer(
        f"{counted(tally.readings, 'reading')} of {counted(len(tally.by_sensor), 'sensor')} in "
        f"{counted(tally.events, 'event')} sent to {producer.name} in {duration(seconds)} ({rate:,.0f} a second)."
    )
    if tally.anomalies:
        terminal.answer(f"  anomalies   {counted(tally.anomalies, 'reading')}")
    if tally.late_events:
        terminal.answer(
            f"  late        {counted(tally.late_events, 'event')}, {counted(tally.late_readings, 'reading')}"
        )
    if tally.duplicated_events:
        terminal.answer(
            f"  duplicates  {counted(tally.duplicated_events, 'event')}, "
            f"{counted(tally.duplicated_readings, 'reading')} more"
        )
    if tally.malformed:
        kinds = ", ".join(f"{kind} {number:,}" for kind, number in sorted(tally.malformed.items()))
        terminal.answer(f"  malformed   {counted(tally.malformed.total(), 'event')}: {kinds}")
    if producer.tries_again:
        terminal.answer(
            f"  {counted(producer.tries_again, 'send')} tried again: their events may be there twice.",
            "yellow",
        )
    hours = sorted(tally.by_hour.items())
    for hour, number in hours[-_HOURS_TOLD:]:
        terminal.answer(f"  hour {hour}  {counted(number, 'reading')}")
    if len(hours) > _HOURS_TOLD:
        terminal.answer(f"  and {counted(len(hours) - _HOURS_TOLD, 'hour')} before")
