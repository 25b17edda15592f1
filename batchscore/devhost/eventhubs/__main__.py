"""`python -m batchscore.devhost.eventhubs`: a stand-in for Event Hubs on this machine, until Ctrl-C."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import replace
from pathlib import Path

from batchscore.devhost.eventhubs.log import Retention
from batchscore.devhost.eventhubs.namespace import HubOptions
from batchscore.devhost.eventhubs.server import Server
from batchscore.devhost.server_folder import listen_again, lock_folder, served, stop_asked
from batchscore.errors import SettingsError


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
    return served(_serve(parser().parse_args(arguments)))


async def _serve(given: argparse.Namespace) -> None:
    hubs = given.hub or [HubOptions("readings")]
    mebibytes = given.retention_mib or (64 if given.folder is None else 1024)
    lock = -1 if given.folder is None else lock_folder(given.folder, "Event Hubs stand-in")
    server = Server(
        [replace(hub, consumer_groups=tuple(given.consumer_group)) for hub in hubs],
        folder=given.folder,
        port=given.port,
        retention=Retention(partition_bytes=mebibytes << 20, hours=given.retention_hours),
    )

    async def listen(port: int) -> int:
        server.port = port
        await server.start()
        return server.port

    await listen_again(given.folder, given.port, listen)
    stop = stop_asked(with_stdin=given.stop_with_stdin)
    for hub in server.namespace.hubs.values():
        print(f"Event hub {hub.name}: {len(hub.partitions)} partitions")  # noqa: T201
    print(f"Listening: {server.connection_string}", flush=True)  # noqa: T201
    await stop.wait()
    await server.stop()
    if lock >= 0:
        os.close(lock)


def _hub(text: str) -> HubOptions:
    name, _, partitions = text.partition(":")
    try:
        return HubOptions(name, int(partitions or HubOptions.partitions))
    except (ValueError, SettingsError) as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not such as readings:4 ({error})") from None


if __name__ == "__main__":
    sys.exit(main())
