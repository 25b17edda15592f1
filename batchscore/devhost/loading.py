"""An app as its files say: settings, host.json, functions; read alike by the host and by the trial of changed code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from batchscore.devhost import configuration
from batchscore.devhost.configuration import HostJson, LocalSettings
from batchscore.devhost.console import Console
from batchscore.devhost.functions import EventHubTrigger, Function, Unsupported, read_function
from batchscore.devhost.retries import read_policy
from batchscore.devhost.worker import Worker

HOST_JSON = "host.json"
LOCAL_SETTINGS = "local.settings.json"
EXAMPLE_SETTINGS = "local.settings.example.json"


@dataclass(frozen=True)
class AppFiles:
    """Where an app lies, and where its settings come from when not from local.settings.json."""

    folder: Path
    settings: Path | None = None

    @property
    def settings_file(self) -> Path | None:
        """The file that settings are read from; None when there is none."""
        if self.settings is not None:
            return self.settings
        candidates = (self.folder / LOCAL_SETTINGS, self.folder / EXAMPLE_SETTINGS)
        return next((file for file in candidates if file.is_file()), None)

    def local_settings(self) -> LocalSettings:
        """SettingsError where the file is not as Core Tools write it."""
        file = self.settings_file
        return configuration.read_local_settings(file) if file else LocalSettings()

    def host_json(self, settings: Mapping[str, str]) -> HostJson:
        """SettingsError names the value that cannot be used."""
        return configuration.read_host_json(self.folder, settings)


def environment_of(settings: Mapping[str, str], port: int) -> dict[str, str]:
    """The settings, and what the Functions host adds to them."""
    return {
        **settings,
        "FUNCTIONS_WORKER_RUNTIME": "python",
        "AZURE_FUNCTIONS_ENVIRONMENT": "Development",
        "WEBSITE_HOSTNAME": f"127.0.0.1:{port}",
    }


def load_functions(
    worker: Worker, app: AppFiles, settings: Mapping[str, str], host_json: HostJson, console: Console
) -> list[Function]:
    """Import the app and read its functions; IndexingError or SettingsError says what is wrong with it."""
    functions = []
    for item in worker.load(app.folder):
        if settings.get(f"AzureWebJobs.{item.name}.Disabled", "").lower() in ("1", "true"):
            console.host(f"{item.name} is disabled by a setting", "warning")
            continue
        function = read_function(item.name, item.id, item.raw_bindings, settings, host_json.route_prefix)
        if isinstance(function, Function) and isinstance(function.trigger, EventHubTrigger):
            function = replace(function, retry=read_policy(item.retry))
        elif item.retry is not None:
            console.host(f"{item.name}: its retry policy is not applied here", "warning")
        if isinstance(function, Unsupported):
            console.host(f"{function.name} is left out: this host has no {function.binding}", "warning")
        else:
            functions.append(function)
    return functions
