"""`python -m batchscore.devhost.eventhubs`: a stand-in for Event Hubs on this machine, until Ctrl-C."""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from batchscore.devhost.eventhubs.log import Retention
from batchscore.devhost.eventhubs.namespace import HubOptions
from batchscore.devhost.eventhubs.server import Server
from batchscore.errors import BatchscoreError, SettingsError

FOLDER_TIMEOUT_S = 10.0
_PORT_FILE = "port"
_PORT_WAIT_S = 3.0


def parser() -> argparse.ArgumentParser:
    """The command line; docs/event-hubs.md explains each option."""
    parser = argparse.ArgumentParser(prog="python -m batchscore.devhost.eventhubs", description=__doc__)
    parser.add_argument(
        "--hub",
        action="append",
        type=_hub,
        metavar="NAME[:PARTITIONS]",
        help="an event hub; again for more (readings:4)",
    )
    parser.add_argument(
        "--consumer-group", action="append", default=[], metavar="NAME", help="of every hub, besides $Default"
    )
    parser.add_argument("--folder", type=Path, help="keeps the events; without it they are in memory only")
    parser.add_argument("--port", type=int, default=0, help="0 takes the one of last time, or a free one")
    parser.add_argument(
        "--retention-hours",
        type=float,
        default=Retention.hours,
        help="how long events are kept (%(default)s)",
    )
    parser.add_argument(
        "--retention-mib", type=int, metavar="MIB", help="kept per partition (1024 with a folder, 64 without)"
    )
    parser.add_argument("--stop-with-stdin", action="store_true", help="stop when standard input ends")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Serve until stopped; returns the exit code."""
    given = parser().parse_args(arguments)
    try:
        asyncio.run(_serve(given))
    except BatchscoreError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 2
    return 0


async def _serve(given: argparse.Namespace) -> None:
    hubs = given.hub or [HubOptions("readings")]
    mebibytes = given.retention_mib or (64 if given.folder is None else 1024)
    lock = -1
    if given.folder is not None:
        given.folder.mkdir(parents=True, exist_ok=True)
        lock = _lock(given.folder)
    server = Server(
        [replace(hub, consumer_groups=tuple(given.consumer_group)) for hub in hubs],
        folder=given.folder,
        port=given.port,
        retention=Retention(partition_bytes=mebibytes << 20, hours=given.retention_hours),
    )
    await _start(server, given.folder)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop.set)
    if given.stop_with_stdin:
        threading.Thread(target=_wait_for_the_owner, args=(loop, stop), daemon=True).start()
    for hub in server.namespace.hubs.values():
        print(f"Event hub {hub.name}: {len(hub.partitions)} partitions")  # noqa: T201
    print(f"Listening: {server.connection_string}", flush=True)  # noqa: T201
    await stop.wait()
    await server.stop()
    if lock >= 0:
        os.close(lock)


async def _start(server: Server, folder: Path | None) -> None:
    """Listen at the port asked for; else at that of last time; else at any. A port may be held for a moment."""
    asked = server.port
    file = folder and folder / _PORT_FILE
    if file is not None and not asked:
        with suppress(OSError, ValueError):
            earlier = int(file.read_text(encoding="utf-8"))
            server.port = earlier if 0 < earlier < 65536 else 0
    deadline = time.monotonic() + _PORT_WAIT_S
    while True:
        try:
            await server.start()
            break
        except SettingsError:
            if time.monotonic() > deadline:
                if asked or not server.port:
                    raise
                server.port = 0
            await asyncio.sleep(0.1)
    if file is not None:
        file.write_text(str(server.port), encoding="utf-8")


def _lock(folder: Path) -> int:
    """The lock of a folder: two servers on one folder would tear each other's files."""
    lock = os.open(folder / "lock", os.O_WRONLY | os.O_CREAT, 0o600)
    deadline = time.monotonic() + FOLDER_TIMEOUT_S
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return lock
        except BlockingIOError:
            if time.monotonic() > deadline:
                os.close(lock)
                raise SettingsError(
                    f"Another Event Hubs stand-in uses the folder {folder}. Stop it, or name another folder."
                ) from None
            time.sleep(0.1)


def _wait_for_the_owner(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    while os.read(0, 1024):
        pass
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(stop.set)


def _hub(text: str) -> HubOptions:
    name, _, partitions = text.partition(":")
    try:
        return HubOptions(name, int(partitions or HubOptions.partitions))
    except (ValueError, SettingsError) as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not such as readings:4 ({error})") from None


if __name__ == "__main__":
    sys.exit(main())
