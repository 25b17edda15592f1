"""What host.json, local.settings.json and the environment say, as the Functions host reads them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from batchscore.errors import SettingsError

DEVELOPMENT_STORAGE = "usedevelopmentstorage=true"
DEVELOPMENT_EVENT_HUB = "usedevelopmenteventhub=true"
DEVELOPMENT_WORKSPACE = "usedevelopmentworkspace=true"
WORKSPACE_SETTING = "AZUREML_WORKSPACE_NAME"
COMPUTE_SETTING = "COMPUTE"
HOST_STORAGE = "AzureWebJobsStorage"
OVERRIDE_PREFIX = "AzureFunctionsJobHost__"
BLOB_ADDRESS = "blobServiceUri"
EVENT_HUB_ADDRESS = "fullyQualifiedNamespace"
"""What, after `<setting>__`, names the address of a service that is reached by an identity."""
LONGEST_WAIT_S = 600.0
CHECKPOINTS_CONTAINER = "azure-webjobs-eventhub"
"""Where the Functions host notes how far each partition of an event hub is read."""

_TIMESPAN = re.compile(
    r"^(?:(?P<days>\d+)\.)?(?P<hours>\d{1,2}):(?P<minutes>\d{2}):(?P<seconds>\d{2}(?:\.\d+)?)$"
)
_PLACEHOLDER = re.compile(r"%([^%]+)%")


@dataclass(frozen=True)
class QueueOptions:
    """`extensions.queues` of host.json."""

    batch_size: int = 16
    new_batch_threshold: int = 8
    max_dequeue_count: int = 5
    visibility_timeout_s: float = 0.0
    max_polling_interval_s: float = 2.0
    base64: bool = True


@dataclass(frozen=True)
class BlobOptions:
    """`extensions.blobs` of host.json."""

    max_degree_of_parallelism: int = 8
    poison_blob_threshold: int = 5


@dataclass(frozen=True)
class EventHubOptions:
    """`extensions.eventHubs` of host.json."""

    max_event_batch_size: int = 100
    min_event_batch_size: int = 1
    max_wait_time_s: float = 60.0
    prefetch_count: int = 300


@dataclass(frozen=True)
class HostJson:
    """The parts of host.json that this host honours."""

    queues: QueueOptions = field(default_factory=QueueOptions)
    blobs: BlobOptions = field(default_factory=BlobOptions)
    event_hubs: EventHubOptions = field(default_factory=EventHubOptions)
    route_prefix: str = "api"
    log_levels: Mapping[str, str] = field(default_factory=dict)


def read_host_json(app_folder: Path, environment: Mapping[str, str]) -> HostJson:
    """host.json of an app; a setting `AzureFunctionsJobHost__extensions__queues__batchSize` overrides a value."""
    path = app_folder / "host.json"
    if not path.is_file():
        raise SettingsError(
            f"{app_folder} has no host.json, so it is not a Functions app. Name one with --app."
        )
    document = _object(path)
    for name, value in environment.items():
        if name.lower().startswith(OVERRIDE_PREFIX.lower()):
            _override(document, name[len(OVERRIDE_PREFIX) :].split("__"), value)
    if document.get("version") != "2.0":
        raise SettingsError(f'{path.name}: "version" is {document.get("version")!r}; it must be "2.0".')
    reader = _Reader(path.name, document)
    batch_size = reader.number("extensions.queues.batchSize", 16, 1, 32)
    return HostJson(
        queues=QueueOptions(
            batch_size=batch_size,
            new_batch_threshold=reader.number(
                "extensions.queues.newBatchThreshold", batch_size // 2, 0, 1000
            ),
            max_dequeue_count=reader.number("extensions.queues.maxDequeueCount", 5, 1, 1_000_000),
            visibility_timeout_s=reader.seconds("extensions.queues.visibilityTimeout", 0.0),
            max_polling_interval_s=reader.seconds("extensions.queues.maxPollingInterval", 2.0),
            base64=reader.choice("extensions.queues.messageEncoding", ("base64", "none")) == "base64",
        ),
        blobs=BlobOptions(
            max_degree_of_parallelism=reader.number("extensions.blobs.maxDegreeOfParallelism", 8, 1, 1000),
            poison_blob_threshold=reader.number("extensions.blobs.poisonBlobThreshold", 5, 1, 1_000_000),
        ),
        event_hubs=_event_hub_options(reader),
        route_prefix=str(reader.value("extensions.http.routePrefix", "api")).strip("/"),
        log_levels={str(k): str(v) for k, v in dict(reader.value("logging.logLevel", {})).items()},
    )


def _event_hub_options(reader: _Reader) -> EventHubOptions:
    section = "extensions.eventHubs"
    most = reader.number(f"{section}.maxEventBatchSize", 100, 1, 1_000_000)
    wait_s = reader.seconds(f"{section}.maxWaitTime", 60.0)
    if wait_s > LONGEST_WAIT_S:
        raise SettingsError(
            f"{reader.file}: {section}.maxWaitTime is {wait_s:.0f} s; at most 00:10:00 is allowed."
        )
    return EventHubOptions(
        max_event_batch_size=most,
        min_event_batch_size=reader.number(f"{section}.minEventBatchSize", 1, 1, most),
        max_wait_time_s=wait_s,
        prefetch_count=reader.number(f"{section}.prefetchCount", 300, 1, 1_000_000),
    )


@dataclass(frozen=True)
class LocalSettings:
    """local.settings.json: settings for the app, and the port asked for."""

    values: Mapping[str, str] = field(default_factory=dict)
    port: int | None = None


def read_local_settings(path: Path) -> LocalSettings:
    """The file's `Values` and `Host.LocalHttpPort`; SettingsError where it is not as Core Tools write it."""
    document = _object(path)
    if document.get("IsEncrypted"):
        raise SettingsError(f"{path.name} is encrypted. Decrypt it with `func settings decrypt`.")
    values = document.get("Values", {})
    if not isinstance(values, dict):
        raise SettingsError(f'{path.name}: "Values" must be an object of strings.')
    for name, value in values.items():
        if not isinstance(value, str):
            raise SettingsError(
                f'{path.name}: the value of {name} must be a string, such as "{json.dumps(value)}".'
            )
    host = document.get("Host", {})
    port = host.get("LocalHttpPort") if isinstance(host, dict) else None
    return LocalSettings(values, port if isinstance(port, int) else None)


def merged(local: Mapping[str, str], environment: Mapping[str, str]) -> dict[str, str]:
    """Settings of the file and of the environment; the environment wins. Host storage defaults to Azurite."""
    return {HOST_STORAGE: "UseDevelopmentStorage=true", **local, **environment}


def is_development_storage(value: str) -> bool:
    """Whether a connection string asks for the Azurite of this machine."""
    return value.strip().rstrip(";").lower() == DEVELOPMENT_STORAGE


def development_settings(settings: Mapping[str, str]) -> tuple[str, ...]:
    """The names of the settings that ask for Azurite."""
    return tuple(name for name, value in settings.items() if is_development_storage(value))


def is_development_event_hub(value: str) -> bool:
    """Whether a connection string asks for the Event Hubs stand-in of this machine."""
    return value.strip().rstrip(";").lower() == DEVELOPMENT_EVENT_HUB


def development_event_hubs(settings: Mapping[str, str]) -> tuple[str, ...]:
    """The names of the settings that ask for the Event Hubs stand-in."""
    return tuple(name for name, value in settings.items() if is_development_event_hub(value))


def with_compute(settings: Mapping[str, str], compute: str | None) -> dict[str, str]:
    """The settings with another compute; jobs go to the stand-in where no workspace is named."""
    if compute is None:
        return dict(settings)
    workspace = settings.get(WORKSPACE_SETTING, "").strip() or "UseDevelopmentWorkspace=true"
    return {**settings, COMPUTE_SETTING: compute, WORKSPACE_SETTING: workspace}


def is_development_workspace(settings: Mapping[str, str]) -> bool:
    """Whether settings ask for the Azure ML stand-in of this machine, and for jobs to run there."""
    if settings.get(COMPUTE_SETTING, "").strip() != "azureml":
        return False
    return settings.get(WORKSPACE_SETTING, "").strip().rstrip(";").lower() == DEVELOPMENT_WORKSPACE


def resolve(text: str, settings: Mapping[str, str], function: str, what: str) -> str:
    """Put settings in place of `%NAME%`. SettingsError names the function and the setting that is missing."""

    def replace(found: re.Match[str]) -> str:
        value = _lookup(settings, found[1])
        if value is None:
            raise SettingsError(
                f"function {function}: {what} is {text!r}, but there is no setting {found[1]!r}. "
                "Add it to local.settings.json or to the environment."
            )
        return value

    return _PLACEHOLDER.sub(replace, text)


def connection_setting(
    name: str | None,
    settings: Mapping[str, str],
    function: str,
    address: str = BLOB_ADDRESS,
    example: str = "UseDevelopmentStorage=true for Azurite",
) -> str:
    """The name of the setting that holds a binding's connection; SettingsError where there is none."""
    wanted = name or HOST_STORAGE
    for candidate in (wanted, f"AzureWebJobs{wanted}"):
        if settings.get(candidate, "").strip() or f"{candidate}__{address}" in settings:
            return candidate
    raise SettingsError(
        f"function {function}: its connection is {wanted!r}, but there is no such setting. Add it to "
        f"local.settings.json ({example}) or to the environment."
    )


def timespan(text: str) -> timedelta | None:
    """`hh:mm:ss` or `d.hh:mm:ss` as a duration, or None where it is not one."""
    found = _TIMESPAN.match(text.strip())
    if found is None:
        return None
    return timedelta(
        days=int(found["days"] or 0),
        hours=int(found["hours"]),
        minutes=int(found["minutes"]),
        seconds=float(found["seconds"]),
    )


def _lookup(settings: Mapping[str, str], name: str) -> str | None:
    if name in settings:
        return settings[name]
    return next((value for key, value in settings.items() if key.lower() == name.lower()), None)


def _object(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise SettingsError(f"{path} does not exist.") from None
    except ValueError as error:
        raise SettingsError(f"{path.name} is not valid JSON: {error}.") from error
    if not isinstance(document, dict):
        raise SettingsError(f"{path.name} must hold a JSON object.")
    return document


def _override(document: dict[str, Any], names: list[str], value: str) -> None:
    for name in names[:-1]:
        inner: object = document.setdefault(_same(document, name), {})
        if not isinstance(inner, dict):
            return
        document = inner
    try:
        document[_same(document, names[-1])] = json.loads(value)
    except ValueError:
        document[_same(document, names[-1])] = value


def _same(document: Mapping[str, Any], name: str) -> str:
    return next((key for key in document if key.lower() == name.lower()), name)


@dataclass(frozen=True)
class _Reader:
    """Values of host.json by their dotted name, checked."""

    file: str
    document: Mapping[str, Any]

    def value(self, name: str, default: Any) -> Any:
        node: Any = self.document
        for part in name.split("."):
            if not isinstance(node, dict):
                return default
            node = node.get(_same(node, part))
        return default if node is None else node

    def number(self, name: str, default: int, least: int, most: int) -> int:
        value = self.value(name, default)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise SettingsError(
                f"{self.file}: {name} is {value!r}; it must be a whole number, {least} to {most}."
            )
        return value

    def seconds(self, name: str, default: float) -> float:
        value = self.value(name, None)
        if value is None:
            return default
        duration = timespan(value) if isinstance(value, str) else None
        if duration is None:
            raise SettingsError(
                f'{self.file}: {name} is {value!r}; it must be a time span such as "00:00:02".'
            )
        return duration.total_seconds()

    def choice(self, name: str, choices: tuple[str, ...]) -> str:
        value = str(self.value(name, choices[0])).lower()
        if value not in choices:
            raise SettingsError(f"{self.file}: {name} is {value!r}; it must be one of {', '.join(choices)}.")
        return value
