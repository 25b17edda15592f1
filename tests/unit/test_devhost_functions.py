"""Bindings as the worker reports them, read into what the host listens for."""

from __future__ import annotations

import json
import re

import pytest

from batchscore.devhost.functions import (
    BlobBinding,
    BlobTrigger,
    EventHubTrigger,
    Function,
    HttpTrigger,
    QueueBinding,
    QueueTrigger,
    TimerTrigger,
    Unsupported,
    read_function,
)
from batchscore.errors import SettingsError

SETTINGS = {
    "AzureWebJobsStorage": "x",
    "DATA": "y",
    "BOX": "inbox",
    "WHEN": "0 0 * * * *",
    "HUB__fullyQualifiedNamespace": "z",
    "GROUP": "g",
}


def _read(*bindings: dict[str, object], name: str = "f") -> Function | Unsupported:
    return read_function(name, "id", [json.dumps({"name": "arg", **b}) for b in bindings], SETTINGS, "api")


def test_a_blob_trigger() -> None:
    binding = {
        "type": "blobTrigger",
        "path": "%BOX%/{name}.json",
        "connection": "DATA",
        "source": "EventGrid",
    }
    read = _read({**binding, "properties": {"SupportsDeferredBinding": True}})
    assert isinstance(read, Function)
    assert read.trigger == BlobTrigger("arg", "inbox", "{name}.json", "DATA", event_grid=True, deferred=True)
    assert read.full_name == "Host.Functions.f"


def test_a_blob_trigger_on_a_whole_container() -> None:
    read = _read({"type": "blobTrigger", "path": "inbox"})
    assert isinstance(read, Function)
    assert read.trigger == BlobTrigger("arg", "inbox", "{name}", "AzureWebJobsStorage", False, False)


def test_a_queue_trigger_with_outputs() -> None:
    read = _read(
        {"type": "queueTrigger", "queueName": "q", "connection": "DATA"},
        {"type": "blob", "name": "out", "direction": "OUT", "path": "c/{rand-guid}", "connection": "DATA"},
        {"type": "queue", "name": "$return", "direction": "OUT", "queueName": "next"},
        {"type": "blob", "name": "given", "direction": "IN", "path": "c/x", "dataType": "BINARY"},
    )
    assert isinstance(read, Function)
    assert read.trigger == QueueTrigger("arg", "q", "DATA")
    assert read.outputs == (
        BlobBinding("out", "c/{rand-guid}", "DATA", deferred=False, binary=False),
        QueueBinding("$return", "next", "AzureWebJobsStorage"),
    )
    assert read.inputs == (BlobBinding("given", "c/x", "AzureWebJobsStorage", deferred=False, binary=True),)


def test_a_timer_trigger() -> None:
    read = _read({"type": "timerTrigger", "schedule": "%WHEN%", "useMonitor": False})
    assert isinstance(read, Function)
    assert isinstance(read.trigger, TimerTrigger)
    assert (read.trigger.text, read.trigger.use_monitor, read.trigger.run_on_startup) == (
        "0 0 * * * *",
        False,
        False,
    )


def test_an_http_trigger() -> None:
    read = _read(
        {"type": "httpTrigger", "route": "runs/{id}", "methods": ["get", "POST"], "authLevel": "ANONYMOUS"}
    )
    assert isinstance(read, Function)
    assert isinstance(read.trigger, HttpTrigger)
    assert read.trigger.route.match("api/runs/5") == {"id": "5"}
    assert read.trigger.methods == {"GET", "POST"}
    assert read.trigger.level == "anonymous"


def test_an_http_trigger_without_a_route_is_served_by_its_name() -> None:
    read = _read({"type": "httpTrigger"}, name="Hello")
    assert isinstance(read, Function)
    assert isinstance(read.trigger, HttpTrigger)
    assert read.trigger.route.match("api/Hello") == {}
    assert read.trigger.level == "function"


def test_an_event_hub_trigger() -> None:
    binding = {"type": "eventHubTrigger", "eventHubName": "%BOX%", "connection": "HUB"}
    read = _read({**binding, "consumerGroup": "%GROUP%", "cardinality": "MANY", "dataType": "BINARY"})
    assert isinstance(read, Function)
    assert read.trigger == EventHubTrigger("arg", "inbox", "g", "HUB", many=True, binary=True)
    read = _read(binding)
    assert isinstance(read, Function)
    assert read.trigger == EventHubTrigger("arg", "inbox", "$Default", "HUB", many=False, binary=False)


def test_what_this_host_does_not_have_is_left_out() -> None:
    assert _read({"type": "kafkaTrigger"}) == Unsupported("f", "kafkaTrigger")
    assert _read({"type": "httpTrigger"}, {"type": "cosmosDB", "direction": "OUT"}) == Unsupported(
        "f", "cosmosDB"
    )


@pytest.mark.parametrize(
    ("binding", "words"),
    [
        (
            {"type": "blobTrigger", "path": "%NONE%/x"},
            "function f: the path of its blobTrigger is '%NONE%/x'",
        ),
        (
            {"type": "queueTrigger", "queueName": "q", "connection": "NO"},
            "function f: its connection is 'NO'",
        ),
        (
            {"type": "timerTrigger", "schedule": "hourly"},
            "function f: its schedule is 'hourly': it has 1 fields",
        ),
        (
            {"type": "eventHubTrigger", "eventHubName": "h", "connection": "NO"},
            "function f: its connection is 'NO'",
        ),
        (
            {"type": "eventHubTrigger", "eventHubName": "h"},
            "function f: its eventHubTrigger has no connection",
        ),
        ({"type": "httpTrigger", "route": "a/{b"}, "function f: its route is 'a/{b'"),
        ({"type": "queueTrigger"}, "function f: its queueTrigger has no queueName"),
        ({"type": "queue", "direction": "OUT", "queueName": "q"}, "function f has no trigger"),
    ],
)
def test_what_is_wrong_is_said_with_the_functions_name(binding: dict[str, object], words: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(words)):
        _read(binding)
