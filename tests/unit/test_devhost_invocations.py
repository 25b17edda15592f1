"""Pure parts of an invocation: paths with expressions, messages in outputs, patterns of blob paths, keys."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from batchscore.devhost.blobs import pattern
from batchscore.devhost.console import Console
from batchscore.devhost.functions import Function, QueueBinding, QueueTrigger
from batchscore.devhost.invocations import Invoker, expand, json_properties, messages_in
from batchscore.devhost.keys import Keys
from batchscore.devhost.worker import Outcome, TypedData
from batchscore.errors import RequestError


def test_expressions_are_filled_in() -> None:
    assert expand("out/{name}.{kind}", {"name": "a/b", "kind": "json"}) == "out/a/b.json"
    assert re.fullmatch(r"out/[0-9a-f-]{36}", expand("out/{rand-guid}", {}))
    assert re.fullmatch(r"out/\d{4}-\d\d-\d\dT\d\d-\d\d-\d\dZ", expand("out/{DateTime}", {}))


def test_an_expression_that_nothing_gives_is_named() -> None:
    with pytest.raises(RequestError, match=r"the path 'out/\{who\}' needs \{who\}.*\(name\)"):
        expand("out/{who}", {"name": "x"})


@pytest.mark.parametrize(
    ("value", "messages"),
    [
        (TypedData(string="text"), [b"text"]),
        (TypedData(bytes=b"\xff"), [b"\xff"]),
        (TypedData(json=json.dumps(["a", {"id": None, "body": "b"}])), [b"a", b"b"]),
        (TypedData(json=json.dumps({"id": "1", "body": "b"})), [b"b"]),
        (TypedData(json=json.dumps({"x": 1})), [b'{"x": 1}']),
        (TypedData(json="[]"), []),
    ],
)
def test_messages_in_an_output(value: TypedData, messages: list[bytes]) -> None:
    assert messages_in(value) == messages


def test_an_output_that_cannot_be_written_fails_the_invocation_and_not_the_listener() -> None:
    """A listener that sees no failure would take the next batch of events, and note this one as done."""

    class Half:
        async def invoke(self, *_: object, **__: object) -> Outcome:
            return Outcome(returned=TypedData(string="\ud800"))

    async def run() -> Outcome:
        worker: Any = Half()
        storage: Any = SimpleNamespace(queue=lambda connection, queue: None)
        trigger = QueueTrigger("message", "in", "C")
        function = Function("f", "id", trigger, outputs=(QueueBinding("$return", "C", "q"),))
        invoker = Invoker(worker, storage, Console(Path(), {}), base64_messages=True)
        return await invoker.run(function, "now", {}, {})

    failure = asyncio.run(run()).failure
    assert failure is not None
    assert "UnicodeEncodeError" in failure.message


def test_properties_of_a_json_object() -> None:
    assert json_properties('{"a": "x", "b": 1, "c": true, "d": null, "e": [1]}') == {
        "a": "x",
        "b": "1",
        "c": "true",
    }
    assert json_properties("[1]") == {}
    assert json_properties("text") == {}


@pytest.mark.parametrize(
    ("text", "name", "captures"),
    [
        ("{name}.json", "a.json", {"name": "a"}),
        ("{name}.json", "a/b.json", {"name": "a/b"}),
        ("{name}.json", "a.json.txt", None),
        ("{name}.json", "ajson", None),
        ("{folder}/{name}", "a/b/c", {"folder": "a/b", "name": "c"}),
        ("fixed.txt", "fixed.txt", {}),
        ("{name}", "with\nnewline", {"name": "with\nnewline"}),
    ],
)
def test_blob_patterns(text: str, name: str, captures: dict[str, str] | None) -> None:
    found = pattern(text).match(name)
    assert (found.groupdict() if found else None) == captures


@pytest.mark.parametrize(
    ("level", "key", "opens"),
    [
        ("anonymous", "", True),
        ("function", "", False),
        ("function", "wrong", False),
        ("function", "f-key", True),
        ("function", "m-key", True),
        ("admin", "f-key", False),
        ("admin", "m-key", True),
        ("function", "schlüssel", False),
    ],
)
def test_which_key_opens_which_route(level: str, key: str, opens: bool) -> None:
    assert Keys(function="f-key", master="m-key").opens(level, key) is opens
