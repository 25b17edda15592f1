"""What the environment says, read once and validated; secrets are never printed."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from batchscore.errors import SettingsError
from batchscore.inbox import Rule, read_rules, shipped_rules
from batchscore.prices import Prices, load_prices, shipped_prices

SYSTEM_CONNECTION = "AzureWebJobsStorage"
DATA_CONNECTION = "DATA_STORAGE"
EVENT_HUB_CONNECTION = "EVENT_HUB"
MOST_HOURS = 744
"""The most hours that the timer looks back: a month."""
CLUSTER_SETTINGS = (
    "AML_COMPUTE_CLUSTER_NAME",
    "AML_COMPUTE_CLUSTER_SKU",
    "AML_COMPUTE_CLUSTER_MIN_NODES",
    "AML_COMPUTE_CLUSTER_MAX_NODES",
    "AML_COMPUTE_CLUSTER_TIER",
    "GPU_ENABLED",
    "AML_GPU_COMPUTE_CLUSTER_NAME",
    "AML_GPU_COMPUTE_CLUSTER_SKU",
    "AML_GPU_COMPUTE_CLUSTER_MIN_NODES",
    "AML_GPU_COMPUTE_CLUSTER_MAX_NODES",
    "AML_GPU_COMPUTE_CLUSTER_TIER",
)
DEVELOPMENT_STORAGE = "UseDevelopmentStorage=true"
DEVELOPMENT_WORKSPACE = "UseDevelopmentWorkspace=true"
_ENTITY_PATH = re.compile(r"(?:^|;)\s*EntityPath\s*=\s*([^;\s]+)", re.IGNORECASE)
_GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_RESOURCE_GROUP = re.compile(r"[\w().-]{0,89}[\w()-]")
_WORKSPACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{2,32}")
_ENDPOINT = re.compile(r"https://(localhost|127\.0\.0\.1|\[::1\]):\d{1,5}/?")


@dataclass(frozen=True)
class Connection:
    """How to reach one storage account: a connection string (Azurite), or service addresses and an identity."""

    name: str
    connection_string: str | None = field(default=None, repr=False)
    blob_service_uri: str | None = None
    queue_service_uri: str | None = None
    client_id: str | None = None


@dataclass(frozen=True)
class EventHub:
    """The event hub that readings come from: a connection string, or a namespace and an identity."""

    name: str
    consumer_group: str
    connection_string: str | None = field(default=None, repr=False)
    namespace: str | None = None
    client_id: str | None = None


@dataclass(frozen=True)
class EventLimits:
    """What an event may be; one beyond that becomes a dead letter."""

    event_bytes: int = 1_048_576
    readings: int = 10_000
    ahead_s: int = 3_600


@dataclass(frozen=True)
class Workspace:
    """The Azure Machine Learning workspace that jobs are submitted to, and the identity that does it."""

    subscription_id: str
    resource_group: str
    name: str
    client_id: str | None = None
    """Of a user-assigned identity; None is the system-assigned one, or whoever is signed in."""
    endpoint: str | None = None
    """Where the stand-in listens on this machine; None is Azure."""
    ca_file: Path | None = None
    """The certificate authority of the stand-in."""

    @property
    def resource_id(self) -> str:
        return (
            f"/subscriptions/{self.subscription_id}/resourceGroups/{self.resource_group}"
            f"/providers/Microsoft.MachineLearningServices/workspaces/{self.name}"
        )

    @property
    def place(self) -> str:
        """What tells it from every other workspace, in the spelling of the settings."""
        return f"{self.subscription_id}/{self.resource_group}/{self.name}"

    def studio(self, job: str) -> str:
        """The page of a job in Azure Machine Learning studio; the stand-in has none."""
        return "" if self.endpoint else f"https://ml.azure.com/runs/{job}?wsid={self.resource_id}"


@dataclass(frozen=True)
class Settings:
    """Every setting of the control plane; docs/settings.md explains each one."""

    system: Connection
    data: Connection
    compute: str = "local"
    workspace: Workspace | None = None
    trigger_container: str = "triggers"
    data_container: str = "data"
    blob_trigger_source: str = "LogsAndContainerScan"
    inbox_rules: tuple[Rule, ...] = ()
    event_hub: EventHub | None = None
    event_limits: EventLimits = field(default_factory=EventLimits)
    reconcile_schedule: str = "0 * * * * *"
    poll_interval_s: int = 5
    max_active_runs: int = 2
    max_attempts: int = 3
    max_trigger_bytes: int = 65_536
    stalled_after_s: int = 21_600
    queued_after_s: int = 86_400
    keep_intermediates: bool = False
    scores_hours: bool = False
    """Whether the hourly timer is there: SCORING_SCHEDULE or EVENT_HUB is set."""
    scoring_schedule: str = "0 5 * * * *"
    scoring_workload: str = "sensors/score"
    scoring_inputs: Mapping[str, str | int | float | bool] = field(
        default_factory=lambda: {"models": "sensors"}
    )
    catch_up_hours: int = 24
    late_hours: int = 24
    workloads_folder: Path = Path(__file__).resolve().parent.parent / "scoring"
    local_work_folder: Path = Path(".batchscore")
    local_python: Mapping[str, str] = field(default_factory=dict)
    local_map: Path | None = None
    clusters: Mapping[str, str] = field(default_factory=dict)
    """The settings that change a cluster (`AML_COMPUTE_CLUSTER_SKU`, …), for `load_targets`, which checks them."""
    prices: Prices = field(default_factory=shipped_prices)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Settings:
        """Read the settings; SettingsError names the first one that is missing or wrong, never a secret's value."""
        env = os.environ if environment is None else environment
        defaults = cls(system=Connection(SYSTEM_CONNECTION), data=Connection(DATA_CONNECTION))
        workloads_folder = _folder(env, "WORKLOADS_FOLDER", defaults.workloads_folder)
        inbox_rules = _text(env, "INBOX_RULES", "")
        prices = _file(env, "PRICES", "a YAML file of prices")
        compute = _choice(env, "COMPUTE", defaults.compute, ("local", "azureml"))
        return cls(
            system=_connection(env, SYSTEM_CONNECTION),
            data=_connection(env, DATA_CONNECTION),
            compute=compute,
            workspace=_workspace(env, required=compute == "azureml"),
            trigger_container=_text(env, "TRIGGER_CONTAINER", defaults.trigger_container),
            data_container=_text(env, "DATA_CONTAINER", defaults.data_container),
            blob_trigger_source=_choice(
                env,
                "BLOB_TRIGGER_SOURCE",
                defaults.blob_trigger_source,
                ("LogsAndContainerScan", "EventGrid"),
            ),
            inbox_rules=read_rules(inbox_rules, workloads_folder)
            if inbox_rules
            else shipped_rules(workloads_folder),
            event_hub=event_hub_of(env),
            event_limits=EventLimits(
                event_bytes=_integer(env, "MAX_EVENT_BYTES", defaults.event_limits.event_bytes, 1),
                readings=_integer(env, "MAX_EVENT_READINGS", defaults.event_limits.readings, 1),
                ahead_s=_integer(env, "MAX_AHEAD_S", defaults.event_limits.ahead_s, 0),
            ),
            reconcile_schedule=_text(env, "RECONCILE_SCHEDULE", defaults.reconcile_schedule),
            poll_interval_s=_integer(env, "POLL_INTERVAL_S", defaults.poll_interval_s, 1),
            max_active_runs=_integer(env, "MAX_ACTIVE_RUNS", defaults.max_active_runs, 1),
            max_attempts=_integer(env, "MAX_ATTEMPTS", defaults.max_attempts, 1),
            max_trigger_bytes=_integer(env, "MAX_TRIGGER_BYTES", defaults.max_trigger_bytes, 2),
            stalled_after_s=_integer(env, "STALLED_AFTER_S", defaults.stalled_after_s, 1),
            queued_after_s=_integer(env, "QUEUED_AFTER_S", defaults.queued_after_s, 1),
            keep_intermediates=_choice(env, "KEEP_INTERMEDIATES", "false", ("true", "false")) == "true",
            scores_hours=event_hub_of(env) is not None or _text(env, "SCORING_SCHEDULE", "") != "",
            scoring_schedule=_text(env, "SCORING_SCHEDULE", defaults.scoring_schedule),
            scoring_workload=_text(env, "SCORING_WORKLOAD", defaults.scoring_workload),
            scoring_inputs=_scoring_inputs(env, "SCORING_INPUTS", defaults.scoring_inputs),
            catch_up_hours=_integer(env, "CATCH_UP_HOURS", defaults.catch_up_hours, 0, MOST_HOURS),
            late_hours=_integer(env, "LATE_HOURS", defaults.late_hours, 0, MOST_HOURS),
            workloads_folder=workloads_folder,
            local_work_folder=Path(
                _text(env, "LOCAL_WORK_FOLDER", str(defaults.local_work_folder))
            ).absolute(),
            local_python=_interpreters(env, "LOCAL_PYTHON"),
            local_map=_file(env, "LOCAL_MAP", "a YAML file of references and paths"),
            prices=load_prices(prices) if prices else shipped_prices(),
            clusters={name: env[name] for name in CLUSTER_SETTINGS if env.get(name, "").strip()},
        )


def _connection(env: Mapping[str, str], name: str) -> Connection:
    text = env.get(name, "").strip()
    if text:
        return Connection(name, connection_string=text)
    blob = env.get(f"{name}__blobServiceUri", "").strip()
    queue = env.get(f"{name}__queueServiceUri", "").strip()
    if not blob:
        raise SettingsError(
            f"{name} is not set. Give a connection string ({DEVELOPMENT_STORAGE} for Azurite), or "
            f"{name}__blobServiceUri and {name}__queueServiceUri for an identity."
        )
    return Connection(
        name,
        blob_service_uri=blob,
        queue_service_uri=queue or blob.replace(".blob.", ".queue."),
        client_id=env.get(f"{name}__clientId", "").strip() or None,
    )


def _workspace(env: Mapping[str, str], *, required: bool) -> Workspace | None:
    """None where no setting names a workspace, unless it is required."""
    name = _text(env, "AZUREML_WORKSPACE_NAME", "")
    if not name and not required:
        return None
    if name == DEVELOPMENT_WORKSPACE:  # the host that starts the stand-in replaces all of it
        return Workspace("", "", name)
    endpoint = _text(env, "AZUREML_ENDPOINT", "") or None
    if endpoint is not None and not _ENDPOINT.fullmatch(endpoint):
        raise SettingsError(
            f"AZUREML_ENDPOINT is {endpoint!r}; it is for the stand-in on this machine alone, such as "
            "https://localhost:10443. Leave it out for a workspace on Azure."
        )
    return Workspace(
        _matching(
            env,
            "AZURE_SUBSCRIPTION_ID",
            _GUID,
            "the subscription's id, such as 1b2c3d4e-0000-4000-8000-000000000000",
        ),
        _matching(env, "AZURE_RESOURCE_GROUP", _RESOURCE_GROUP, "the name of the workspace's resource group"),
        _matching(
            env, "AZUREML_WORKSPACE_NAME", _WORKSPACE, f"the workspace's name, or {DEVELOPMENT_WORKSPACE}"
        ),
        client_id=_matching(env, "AZUREML_CLIENT_ID", _GUID, "the client id of a user-assigned identity")
        if _text(env, "AZUREML_CLIENT_ID", "")
        else None,
        endpoint=endpoint,
        ca_file=_file(env, "AZUREML_CA_FILE", "the certificate authority of the stand-in, a PEM file"),
    )


def _matching(env: Mapping[str, str], name: str, pattern: re.Pattern[str], meaning: str) -> str:
    text = _text(env, name, "")
    if not text:
        raise SettingsError(f"{name} is not set, and COMPUTE=azureml needs it: {meaning}.")
    if not pattern.fullmatch(text):
        raise SettingsError(f"{name} is {text!r}; it must be {meaning}.")
    return text


def event_hub_of(env: Mapping[str, str]) -> EventHub | None:
    """None where no setting names a connection: then no readings come."""
    name = EVENT_HUB_CONNECTION
    text = env.get(name, "").strip()
    namespace = env.get(f"{name}__fullyQualifiedNamespace", "").strip()
    if not text and not namespace:
        return None
    named = _ENTITY_PATH.search(text)  # as the Functions host: what the connection string names goes first
    return EventHub(
        named[1] if named else _text(env, "EVENT_HUB_NAME", "readings"),
        _text(env, "EVENT_HUB_CONSUMER_GROUP", "$Default"),
        connection_string=text or None,
        namespace=None if text else namespace,
        client_id=env.get(f"{name}__clientId", "").strip() or None,
    )


def _text(env: Mapping[str, str], name: str, default: str) -> str:
    return env.get(name, "").strip() or default


def _choice(env: Mapping[str, str], name: str, default: str, choices: tuple[str, ...]) -> str:
    value = _text(env, name, default)
    if value not in choices:
        raise SettingsError(f"{name} is {value!r}; it must be one of {', '.join(choices)}.")
    return value


def _integer(env: Mapping[str, str], name: str, default: int, least: int, most: int | None = None) -> int:
    text = env.get(name, "").strip()
    if not text:
        return default
    try:
        value = int(text)
    except ValueError:
        value = least - 1
    if value < least or (most is not None and value > most):
        bounds = f"{least} or more" if most is None else f"from {least} to {most}"
        raise SettingsError(f"{name} is {text!r}; it must be a whole number, {bounds}.")
    return value


def _scoring_inputs(
    env: Mapping[str, str], name: str, default: Mapping[str, str | int | float | bool]
) -> Mapping[str, str | int | float | bool]:
    text = env.get(name, "").strip()
    if not text:
        return default
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict) or not all(
        isinstance(item, (str, int, float, bool)) for item in value.values()
    ):
        raise SettingsError(
            f'{name} must be a JSON object of texts, numbers, true and false, such as {{"interval": "5m"}}.'
        )
    taken = sorted({"readings", "manifest", "hour"} & value.keys())
    if taken:
        raise SettingsError(f"{name} gives {taken[0]!r}, which every hour sets by itself. Leave it out.")
    return value


def _folder(env: Mapping[str, str], name: str, default: Path) -> Path:
    folder = Path(_text(env, name, str(default))).absolute()
    if not folder.is_dir():
        raise SettingsError(f"{name} is {str(folder)!r}, which is not a folder.")
    return folder


def _file(env: Mapping[str, str], name: str, meaning: str) -> Path | None:
    text = env.get(name, "").strip()
    if not text:
        return None
    file = Path(text).expanduser()
    if not file.is_file():
        raise SettingsError(f"{name} is {text!r}, which is not a file. Name {meaning}.")
    return file.absolute()


def _interpreters(env: Mapping[str, str], name: str) -> dict[str, str]:
    """Environment -> the path of a Python; a relative path is one from the working folder, a bare word is kept."""
    text = env.get(name, "").strip()
    if not text:
        return {}
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
        raise SettingsError(
            f'{name} must be a JSON object of strings, such as {{"environment": "/path/to/python"}}.'
        )
    return {key: str(Path(path).absolute()) if "/" in path else path for key, path in value.items()}
