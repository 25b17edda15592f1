"""`python -m batchscore.devhost.azureml`: a stand-in for an Azure ML workspace on this machine, until Ctrl-C."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from batchscore.devhost.azureml.address import DEVELOPMENT, Scope
from batchscore.devhost.azureml.certificate import CA_FILE, tls_context
from batchscore.devhost.azureml.process import SCHEMAS_VARIABLE, STORAGE_VARIABLE
from batchscore.devhost.azureml.server import Server
from batchscore.devhost.azureml.service import Service
from batchscore.devhost.azureml.storage import WorkspaceStorage
from batchscore.devhost.server_folder import listen_again, lock_folder, served, stop_asked


def parser() -> argparse.ArgumentParser:
    """The command line; docs/azure-ml-stand-in.md explains each option."""
    parser = argparse.ArgumentParser(prog="python -m batchscore.devhost.azureml", description=__doc__)
    parser.add_argument(
        "--folder", type=Path, default=Path(".azureml"), help="keeps everything (%(default)s)"
    )
    parser.add_argument("--port", type=int, default=0, help="0 takes the one of last time, or a free one")
    parser.add_argument("--subscription", default=DEVELOPMENT.subscription, help="%(default)s by itself")
    parser.add_argument("--resource-group", default=DEVELOPMENT.group, help="%(default)s by itself")
    parser.add_argument("--workspace", default=DEVELOPMENT.workspace, help="%(default)s by itself")
    parser.add_argument("--stop-with-stdin", action="store_true", help="stop when standard input ends")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Serve until stopped; returns the exit code."""
    return served(_serve(parser().parse_args(arguments)))


async def _serve(given: argparse.Namespace) -> None:
    folder = given.folder.absolute()
    lock = lock_folder(folder, "Azure ML stand-in")
    storage = WorkspaceStorage(os.environ.get(STORAGE_VARIABLE, ""))
    schemas = os.environ.get(SCHEMAS_VARIABLE, "").strip()
    scope = Scope(given.subscription, given.resource_group, given.workspace)
    service = Service(scope, folder, storage, Path(schemas) if schemas else None)
    server = Server(service, tls_context(folder))
    await listen_again(folder, given.port, server.start)
    stop = stop_asked(with_stdin=given.stop_with_stdin)
    print(f"Workspace {given.workspace} (group {given.resource_group}, subscription {given.subscription})")  # noqa: T201
    print(f"Certificate: {folder / CA_FILE}")  # noqa: T201
    print(f"Listening: {service.endpoint}", flush=True)  # noqa: T201
    await stop.wait()
    await server.stop()
    service.close()
    storage.close()
    os.close(lock)


if __name__ == "__main__":
    sys.exit(main())
