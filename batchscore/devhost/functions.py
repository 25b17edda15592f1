"""The functions of an app as the host sees them: a trigger, inputs and outputs, with settings filled in."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from batchscore.devhost.configuration import EVENT_HUB_ADDRESS, connection_setting, resolve
from batchscore.devhost.ncrontab import Schedule, parse_schedule
from batchscore.devhost.retries import NO_RETRY, RetryPolicy
from batchscore.devhost.routes import Route
from batchscore.errors import SettingsError


@dataclass(frozen=True)
class BlobTrigger:
    parameter: str
    container: str
    pattern: str
    """The name of the blob, with `{captures}`."""
    connection: str
    event_grid: bool
    deferred: bool
    """The function takes an SDK client, so it is sent names and no content."""


@dataclass(frozen=True)
class QueueTrigger:
    parameter: str
    queue: str
    connection: str


@dataclass(frozen=True)
class TimerTrigger:
    parameter: str
    text: str
    schedule: Schedule
    use_monitor: bool
    run_on_startup: bool


@dataclass(frozen=True)
class HttpTrigger:
    parameter: str
    route: Route
    methods: frozenset[str]
    """Upper case; empty where every method is served."""
    level: str
    """anonymous, function or admin"""


@dataclass(frozen=True)
class EventHubTrigger:
    parameter: str
    event_hub: str
    consumer_group: str
    connection: str
    many: bool
    """The function takes a batch of events, not one event."""
    binary: bool


Trigger = BlobTrigger | QueueTrigger | TimerTrigger | HttpTrigger | EventHubTrigger


@dataclass(frozen=True)
class BlobBinding:
    """A blob that is read before or written after the function, at a path with `{expressions}`."""

    parameter: str
    path: str
    connection: str
    deferred: bool
    binary: bool


@dataclass(frozen=True)
class QueueBinding:
    """A queue that receives what the function gives out."""

    parameter: str
    queue: str
    connection: str


@dataclass(frozen=True)
class HttpBinding:
    """The answer to an HTTP request."""

    parameter: str


@dataclass(frozen=True)
class Function:
    """One function, ready to be listened for."""

    name: str
    id: str
    trigger: Trigger
    inputs: tuple[BlobBinding, ...] = ()
    outputs: tuple[BlobBinding | QueueBinding | HttpBinding, ...] = ()
    retry: RetryPolicy = NO_RETRY

    @property
    def full_name(self) -> str:
        """The name under which the real host keeps receipts, locks and timer states."""
        return f"Host.Functions.{self.name}"


@dataclass(frozen=True)
class Unsupported:
    """A function whose trigger or binding this host does not have; the app runs without it."""

    name: str
    binding: str


def read_function(
    name: str, identity: str, raw_bindings: Sequence[str], settings: Mapping[str, str], route_prefix: str
) -> Function | Unsupported:
    """From the bindings that the worker indexed. SettingsError names function, binding and what is wrong."""
    trigger: Trigger | None = None
    inputs: list[BlobBinding] = []
    outputs: list[BlobBinding | QueueBinding | HttpBinding] = []
    for text in raw_bindings:
        binding = _Binding(name, json.loads(text), settings)
        kind, outgoing = binding.kind, binding.outgoing
        if kind.endswith("trigger"):
            reader = _TRIGGERS.get(kind)
            if reader is None:
                return Unsupported(name, binding.document["type"])
            trigger = reader(binding, route_prefix)
        elif kind == "blob":
            (outputs if outgoing else inputs).append(_blob_binding(binding))
        elif kind == "queue" and outgoing:
            outputs.append(QueueBinding(binding.parameter, binding.text("queueName"), binding.connection()))
        elif kind == "http" and outgoing:
            outputs.append(HttpBinding(binding.parameter))
        else:
            return Unsupported(name, binding.document["type"])
    if trigger is None:
        raise SettingsError(f"function {name} has no trigger.")
    return Function(name, identity, trigger, tuple(inputs), tuple(outputs))


@dataclass(frozen=True)
class _Binding:
    """One raw binding: its values with settings filled in."""

    function: str
    document: dict[str, Any]
    settings: Mapping[str, str]

    @property
    def kind(self) -> str:
        return str(self.document["type"]).lower()

    @property
    def parameter(self) -> str:
        return str(self.document["name"])

    @property
    def outgoing(self) -> bool:
        return str(self.document.get("direction", "IN")).upper() == "OUT"

    @property
    def deferred(self) -> bool:
        return bool(self.document.get("properties", {}).get("SupportsDeferredBinding"))

    def text(self, key: str) -> str:
        value = self.document.get(key)
        if not isinstance(value, str) or not value:
            raise SettingsError(f"function {self.function}: its {self.document['type']} has no {key}.")
        return resolve(value, self.settings, self.function, f"the {key} of its {self.document['type']}")

    def flag(self, key: str, default: bool) -> bool:
        value = self.document.get(key)
        return default if value is None else bool(value)

    @property
    def binary(self) -> bool:
        return str(self.document.get("dataType", "")).upper() in ("BINARY", "2")

    def connection(self) -> str:
        return connection_setting(self.document.get("connection"), self.settings, self.function)


def _blob_trigger(binding: _Binding, _: str) -> BlobTrigger:
    path = binding.text("path")
    container, _slash, pattern = path.partition("/")
    return BlobTrigger(
        parameter=binding.parameter,
        container=container,
        pattern=pattern or "{name}",
        connection=binding.connection(),
        event_grid=str(binding.document.get("source", "")).lower() == "eventgrid",
        deferred=binding.deferred,
    )


def _queue_trigger(binding: _Binding, _: str) -> QueueTrigger:
    return QueueTrigger(binding.parameter, binding.text("queueName"), binding.connection())


def _timer_trigger(binding: _Binding, _: str) -> TimerTrigger:
    text = binding.text("schedule")
    try:
        schedule = parse_schedule(text)
    except ValueError as error:
        raise SettingsError(f"function {binding.function}: its schedule is {text!r}: {error}.") from None
    return TimerTrigger(
        parameter=binding.parameter,
        text=text,
        schedule=schedule,
        use_monitor=binding.flag("useMonitor", True),
        run_on_startup=binding.flag("runOnStartup", False),
    )


def _http_trigger(binding: _Binding, route_prefix: str) -> HttpTrigger:
    template = binding.document.get("route")
    template = binding.function if template is None else str(template)
    try:
        route = Route.parse(f"{route_prefix}/{template.strip('/')}".strip("/"))
    except ValueError as error:
        raise SettingsError(f"function {binding.function}: its route is {template!r}: {error}.") from None
    return HttpTrigger(
        parameter=binding.parameter,
        route=route,
        methods=frozenset(str(method).upper() for method in binding.document.get("methods") or ()),
        level=str(binding.document.get("authLevel") or "function").lower(),
    )


def _event_hub_trigger(binding: _Binding, _: str) -> EventHubTrigger:
    group = binding.document.get("consumerGroup")
    return EventHubTrigger(
        parameter=binding.parameter,
        event_hub=binding.text("eventHubName"),
        consumer_group=binding.text("consumerGroup") if group else "$Default",
        connection=connection_setting(
            binding.text("connection"),
            binding.settings,
            binding.function,
            EVENT_HUB_ADDRESS,
            "a connection string of Event Hubs",
        ),
        many=str(binding.document.get("cardinality", "")).upper() in ("MANY", "1"),
        binary=binding.binary,
    )


def _blob_binding(binding: _Binding) -> BlobBinding:
    return BlobBinding(
        parameter=binding.parameter,
        path=binding.text("path"),
        connection=binding.connection(),
        deferred=binding.deferred,
        binary=binding.binary,
    )


_TRIGGERS: dict[str, Callable[[_Binding, str], Trigger]] = {
    "blobtrigger": _blob_trigger,
    "queuetrigger": _queue_trigger,
    "timertrigger": _timer_trigger,
    "httptrigger": _http_trigger,
    "eventhubtrigger": _event_hub_trigger,
}
