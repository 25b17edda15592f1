"""`python -m batchscore.devhost`: run a function app on this machine, with Azurite for storage, Event Hubs for events and a workspace for jobs."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import threading
from pathlib import Path

from batchscore.devhost.azurite import Ports
from batchscore.devhost.eventhubs import HubOptions

PATIENCE_S = 5.0


def parser() -> argparse.ArgumentParser:
    """The command line; docs/dev-host.md explains each option."""
    parser = argparse.ArgumentParser(prog="python -m batchscore.devhost", description=__doc__)
    parser.add_argument(
        "--app", type=Path, default=Path.cwd(), metavar="FOLDER", help="holds function_app.py"
    )
    parser.add_argument("--port", type=int, help="of the functions' HTTP routes; 0 takes a free one")
    parser.add_argument(
        "--settings", type=Path, metavar="FILE", help="instead of the app's local.settings.json"
    )
    parser.add_argument(
        "--azurite-folder", type=Path, metavar="FOLDER", help="instead of .azurite in the app"
    )
    parser.add_argument(
        "--azurite-ports", type=_ports, metavar="BLOB,QUEUE,TABLE", help="instead of free ones"
    )
    parser.add_argument(
        "--event-hub-folder", type=Path, metavar="FOLDER", help="instead of .eventhubs in the app"
    )
    parser.add_argument(
        "--event-hub-port", type=int, default=0, metavar="PORT", help="instead of that of last time"
    )
    parser.add_argument(
        "--event-hub-partitions",
        type=int,
        default=HubOptions.partitions,
        metavar="N",
        help="%(default)s by itself",
    )
    parser.add_argument(
        "--compute", choices=("local", "azureml"), help="where jobs run, instead of the setting COMPUTE"
    )
    parser.add_argument(
        "--azureml-folder", type=Path, metavar="FOLDER", help="instead of .azureml in the app"
    )
    parser.add_argument(
        "--azureml-port", type=int, default=0, metavar="PORT", help="instead of that of last time"
    )
    parser.add_argument(
        "--address-file", type=Path, metavar="FILE", help="instead of .batchscore/devhost.json"
    )
    parser.add_argument("--keys", action="store_true", help="ask for function keys, as Azure does")
    parser.add_argument(
        "--no-reload", action="store_true", help="keep the app as it was started when its files change"
    )
    parser.add_argument("--stop-with-stdin", action="store_true", help="stop when standard input ends")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run a host until it is stopped; returns the exit code."""
    given = parser().parse_args(arguments)
    from batchscore.devhost.host import Host, Options

    options = Options(
        app_folder=given.app.absolute(),
        settings_file=given.settings and given.settings.absolute(),
        azurite_folder=given.azurite_folder and given.azurite_folder.absolute(),
        azurite_ports=given.azurite_ports,
        event_hub_folder=given.event_hub_folder and given.event_hub_folder.absolute(),
        event_hub_port=given.event_hub_port,
        event_hub_partitions=given.event_hub_partitions,
        compute=given.compute,
        azureml_folder=given.azureml_folder and given.azureml_folder.absolute(),
        azureml_port=given.azureml_port,
        address_file=given.address_file and given.address_file.absolute(),
        port=given.port,
        keys=given.keys,
        reload=not given.no_reload,
        stop_with_stdin=given.stop_with_stdin,
    )

    async def run() -> tuple[int, Host]:
        host = Host(options)
        return await host.run(), host

    code, host = asyncio.run(run())
    if host.reload_at is not None and code == 0:
        sys.stdout.flush()
        os.execve(  # noqa: S606
            sys.executable, [*sys.orig_argv, "--port", str(host.reload_at)], host.environment
        )
    leftover = threading.Timer(
        PATIENCE_S, os._exit, [code]
    )  # threads that the app left running would keep us
    leftover.daemon = True
    leftover.start()
    return code


def _ports(text: str) -> Ports:
    try:
        blob, queue, table = (int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not three ports such as 10000,10001,10002") from None
    return Ports(blob, queue, table)


if __name__ == "__main__":
    sys.exit(main())
