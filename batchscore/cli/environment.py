"""Where a command finds its settings: the environment, a running dev host, or local.settings.json."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from batchscore.devhost.configuration import is_development_event_hub
from batchscore.errors import SettingsError, StorageUnavailableError
from batchscore.settings import (
    DATA_CONNECTION,
    DEVELOPMENT_STORAGE,
    EVENT_HUB_CONNECTION,
    SYSTEM_CONNECTION,
    Connection,
    EventHub,
    Settings,
    event_hub_of,
)

if TYPE_CHECKING:
    from batchscore.application import Application

LOCAL_SETTINGS = "local.settings.json"
CHECKOUT = Path(__file__).resolve().parents[2]
LOOPBACK = ("127.0.0.1", "localhost", "::1")
AZURITE = "http://127.0.0.1:10000/devstoreaccount1"
CONNECT_TIMEOUT_S = 2.0
RELOAD_PATIENCE_S = 30.0
RELOAD_POLL_S = 0.2
FOLDER_SETTINGS = ("WORKLOADS_FOLDER", "LOCAL_WORK_FOLDER")


def settings() -> Settings:
    """The settings of this command; SettingsError says how to give them."""
    return Settings.from_environment(values(os.environ, (Path.cwd(), CHECKOUT)))


def event_hub() -> EventHub:
    """The event hub that settings name; the environment alone may say it. SettingsError where nothing does."""
    hub = event_hub_of(os.environ) or event_hub_of(values(os.environ, (Path.cwd(), CHECKOUT)))
    if hub is None:
        raise SettingsError(
            f"{EVENT_HUB_CONNECTION} is not set. Start a dev host with 'make start', or give a connection string."
        )
    if is_development_event_hub(hub.connection_string or ""):
        raise StorageUnavailableError(
            f"{EVENT_HUB_CONNECTION} asks for the event hub of a dev host, and none is running here. Start one with "
            "'make start' or 'batchscore start'."
        )
    return hub


def values(environment: Mapping[str, str], folders: tuple[Path, ...]) -> dict[str, str]:
    """Every setting, from the first that says where storage is: the environment alone; a dev host that runs for one
    of `folders`; local.settings.json in the first of them. The environment may change single other settings."""
    if any(
        name.startswith((SYSTEM_CONNECTION, DATA_CONNECTION)) and environment[name] for name in environment
    ):
        return dict(environment)
    for folder in folders:
        host = host_environment(folder)
        if host is not None:
            return {**_local_settings(folder), **absolute_folders(folder, host), **environment}
    found = _local_settings(folders[0])
    if SYSTEM_CONNECTION not in found:
        raise SettingsError(
            "no dev host is running here, and nothing says where storage is. Start one with 'make start' (or "
            f"'batchscore start'), or set {SYSTEM_CONNECTION} and {DATA_CONNECTION} in the environment or in "
            f"{LOCAL_SETTINGS} in this folder."
        )
    return {**found, **environment}


def host_environment(folder: Path) -> dict[str, str] | None:
    """What the dev host that runs for this folder says about storage; None when there is none."""
    from batchscore.devhost.address import running_host

    host = running_host(folder)
    return None if host is None else dict(host.environment)


def host_is_running() -> bool:
    """Whether a dev host runs for this folder or for the checkout."""
    return any(host_environment(folder) is not None for folder in (Path.cwd(), CHECKOUT))


def workloads_folder() -> Path:
    """The folder of workloads, for commands that need no storage."""
    text = os.environ.get("WORKLOADS_FOLDER", "").strip() or _local_settings(Path.cwd()).get(
        "WORKLOADS_FOLDER", ""
    )
    folder = Path(text).absolute() if text else CHECKOUT / "scoring"
    if not folder.is_dir():
        raise SettingsError(f"WORKLOADS_FOLDER is {str(folder)!r}, which is not a folder.")
    return folder


def local_values() -> dict[str, str]:
    """What the environment and local.settings.json say, for commands that need no storage."""
    return {**_local_settings(Path.cwd()), **os.environ}


def must_listen(connection: Connection) -> None:
    """StorageUnavailableError when storage is on this machine and nothing listens there: that is known at once,
    while a distant account deserves patience, and so does a dev host that just starts its storage again."""
    text = connection.connection_string or ""
    parts = dict(part.split("=", 1) for part in text.split(";") if "=" in part)
    endpoint = parts.get("BlobEndpoint", "")
    if text.strip(" ;") == DEVELOPMENT_STORAGE:
        endpoint = AZURITE
    address = urlsplit(endpoint)
    if address.hostname not in LOOPBACK or not address.port:
        return
    deadline = time.monotonic() + RELOAD_PATIENCE_S
    while True:
        try:
            socket.create_connection((address.hostname, address.port), timeout=CONNECT_TIMEOUT_S).close()
            return
        except OSError as error:
            if time.monotonic() > deadline or not _belongs_to_a_host(text):
                raise StorageUnavailableError(
                    f"no storage listens at {address.hostname}:{address.port} ({connection.name}). Start it with "
                    "'make start' or 'batchscore start'."
                ) from error
        time.sleep(RELOAD_POLL_S)


def _belongs_to_a_host(connection: str) -> bool:
    """Whether a dev host runs whose storage this is: it is back in seconds, after a reload or by itself."""
    hosts = (host_environment(folder) for folder in (Path.cwd(), CHECKOUT))
    return any(host is not None and connection in host.values() for host in hosts)


@contextmanager
def application() -> Iterator[Application]:
    """The control plane with this command's settings."""
    found = settings()
    for connection in (found.system, found.data):
        must_listen(connection)
    from batchscore.application import Application

    opened = Application(found)
    try:
        yield opened
    finally:
        opened.close()


def _local_settings(folder: Path) -> dict[str, str]:
    file = folder / LOCAL_SETTINGS
    try:
        document = json.loads(file.read_text("utf-8-sig"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise SettingsError(f"{file} cannot be read: {error}. Correct it, or remove it.") from error
    found = document.get("Values") if isinstance(document, dict) else None
    if not isinstance(found, dict):
        raise SettingsError(f'{file} has no "Values". Copy local.settings.example.json.')
    if document.get("IsEncrypted"):
        raise SettingsError(f"{file} is encrypted. Decrypt it with 'func settings decrypt'.")
    return absolute_folders(folder, {name: str(value) for name, value in found.items()})


def absolute_folders(app: Path, values: Mapping[str, str]) -> dict[str, str]:
    """An app's settings with the folders that are relative to the app made absolute."""
    return {
        name: str(app / value) if name in FOLDER_SETTINGS and value else value
        for name, value in values.items()
    }
