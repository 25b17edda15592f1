"""`send`: simulated sensors, or those of a CSV, send events to the event hub."""

from __future__ import annotations

import asyncio
import itertools
import json as json_text
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from batchscore.cli import replayed, simulated, terminal
from batchscore.cli.simulated import Event, Reading, Shares, Tally
from batchscore.cli.wording import counted, duration
from batchscore.errors import RequestError

if TYPE_CHECKING:
    from rich.progress import Progress

    from batchscore.cli.producer import HubProducer

SOURCES, FAULTS, WORK = "What is sent", "What is wrong with it", "How it is sent"
_TICK_S = 0.1
_MOST_AT_ONCE = 2_000
_HOURS_TOLD = 12


def send(
    csv: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Replay this file: TS, Device, Tag, Value.", rich_help_panel=SOURCES
        ),
    ] = None,
    devices: Annotated[int, typer.Option(min=1, help="Simulated devices.", rich_help_panel=SOURCES)] = 10,
    tags: Annotated[int, typer.Option(min=1, help="Sensors of each.", rich_help_panel=SOURCES)] = 5,
    readings: Annotated[
        int,
        typer.Option(
            min=0,
            help="How many; 0: until Ctrl-C, of a file all.",
            show_default=False,
            rich_help_panel=SOURCES,
        ),
    ] = 0,
    per_event: Annotated[
        int, typer.Option(min=1, help="Readings of a device in one event.", rich_help_panel=SOURCES)
    ] = 5,
    seed: Annotated[int, typer.Option(help="The same seed, the same values.", rich_help_panel=SOURCES)] = 1,
    start: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%dT%H:%M:%S", "%Y-%m-%d"],
            help="Time of the first reading, UTC.",
            show_default="now",
            rich_help_panel=SOURCES,
        ),
    ] = None,
    shift: Annotated[
        bool,
        typer.Option("--shift", help="Move a file's times so that they end now.", rich_help_panel=SOURCES),
    ] = False,
    anomalies: Annotated[
        float, typer.Option(min=0, max=1, help="Share of readings far off.", rich_help_panel=FAULTS)
    ] = 0.01,
    malformed: Annotated[
        float,
        typer.Option(min=0, max=0.9, help="Share of events that cannot be read.", rich_help_panel=FAULTS),
    ] = 0.0,
    duplicates: Annotated[
        float, typer.Option(min=0, max=1, help="Share of events sent twice.", rich_help_panel=FAULTS)
    ] = 0.0,
    late: Annotated[
        float,
        typer.Option(min=0, max=1, help="Share of events one to three hours old.", rich_help_panel=FAULTS),
    ] = 0.0,
    rate: Annotated[float, typer.Option(min=0.001, help="Readings a second.", rich_help_panel=WORK)] = 50.0,
    at_once: Annotated[
        bool,
        typer.Option(
            "--at-once", help="Do not wait: times still follow the rate, and end now.", rich_help_panel=WORK
        ),
    ] = False,
    report: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write what was sent, counted, as JSON.", rich_help_panel=WORK),
    ] = None,
    record: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Write every event that was sent, a JSON line each.", rich_help_panel=WORK
        ),
    ] = None,
    json: terminal.Json = False,
) -> None:
    """Send readings to the event hub, and tell what was sent."""
    from batchscore.cli.environment import event_hub
    from batchscore.cli.producer import HubProducer

    if csv is not None and start is not None:
        raise RequestError(
            "--start and --csv cannot both be given: a file has its own times; --shift moves them."
        )
    if csv is None and shift:
        raise RequestError("--shift is for the times of a file; give one with --csv.")
    if csv is None and at_once and not readings:
        raise RequestError("--at-once without an end would never stop. Give --readings.")
    total = replayed.count(csv) if csv is not None else 0
    total = min(total, readings) if total and readings else total or readings
    now = datetime.now(UTC)
    if csv is not None:
        source: Iterator[Reading] = replayed.moved(csv, now if shift else None)
    else:
        first = now - timedelta(seconds=total / rate) if at_once else now
        if start is not None:
            first = start.replace(tzinfo=UTC)
        source = simulated.readings(seed, first, rate, devices, tags, anomalies)
    shares = Shares(anomalies, malformed, duplicates, late)
    stream = simulated.events(
        itertools.islice(source, total or None), seed=seed, per_event=per_event, shares=shares
    )
    if csv is not None:
        stream = _paced(stream, rate)
    with ExitStack() as stack:
        lines = stack.enter_context(record.open("w", encoding="utf-8")) if record is not None else None
        work = _Sending(HubProducer(event_hub()), stream, total, lines, wait=not at_once)
        seconds = asyncio.run(work.run())
    told = _report(work.tally, work.producer, now, seconds, seed)
    if report is not None:
        report.write_text(json_text.dumps(told, indent=1) + "\n", encoding="utf-8")
    if json:
        terminal.answer_json(told)
    else:
        _tell(work.tally, work.producer, seconds)


def _paced(events: Iterator[Event], rate: float) -> Iterator[Event]:
    """Events due at a rate of readings, whatever their times."""
    from dataclasses import replace

    sent = 0
    for event in events:
        yield replace(event, due_s=sent / rate)
        sent += len(event.readings)


class _Sending:
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
                self._lines.write(json_text.dumps(_line(event)) + "\n")


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


def _report(
    tally: Tally, producer: HubProducer, began: datetime, seconds: float, seed: int
) -> dict[str, Any]:
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


def _tell(tally: Tally, producer: HubProducer, seconds: float) -> None:
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
