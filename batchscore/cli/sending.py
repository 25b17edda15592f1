"""`send`: simulated sensors, or those of a CSV, send events to the event hub."""

from __future__ import annotations

import asyncio
import itertools
import json as json_text
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, TextIO

import typer

from batchscore.cli import terminal
from batchscore.errors import RequestError

SOURCES, FAULTS, WORK = "What is sent", "What is wrong with it", "How it is sent"


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
    from batchscore.cli import replayed, sent, simulated
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
    now = now.replace(microsecond=now.microsecond // 1000 * 1000)
    if csv is not None:
        source = replayed.moved(csv, now if shift else None)
    else:
        first = now - timedelta(seconds=total / rate) if at_once else now
        if start is not None:
            first = start.replace(tzinfo=UTC)
        source = simulated.readings(seed, first, rate, devices, tags, anomalies)
    shares = simulated.Shares(anomalies, malformed, duplicates, late)
    stream = simulated.events(
        itertools.islice(source, total or None), seed=seed, per_event=per_event, shares=shares
    )
    if csv is not None:
        stream = sent.paced(stream, rate)
    with ExitStack() as stack:
        lines = stack.enter_context(_opened(record)) if record is not None else None
        counts = stack.enter_context(_opened(report)) if report is not None else None
        work = sent.Sending(HubProducer(event_hub()), stream, total, lines, wait=not at_once)
        seconds = asyncio.run(work.run())
        told = sent.report(work.tally, work.producer, now, seconds, seed)
        if counts is not None:
            counts.write(json_text.dumps(told, indent=1) + "\n")
    if json:
        terminal.answer_json(told)
    else:
        sent.tell(work.tally, work.producer, seconds)


def _opened(file: Path) -> TextIO:
    """The file to write to, before anything is sent that could not be told afterwards."""
    try:
        return file.open("w", encoding="utf-8")
    except OSError as error:
        raise RequestError(f"{file} cannot be written: {error.strerror}.") from error
