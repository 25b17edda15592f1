"""Hostile values as hypothesis strategies, and an ear on storage that notes every address that is asked for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest import mock
from urllib.parse import unquote, urlsplit

from hypothesis import strategies as st
from requests import Session

BAD_NAMES = (
    "..",
    "../secret",
    "a/../../secret",
    "../../runs/records/x.json",
    "%2e%2e/secret",
    "..%2fsecret",
    "%2e%2e%2f%2e%2e%2fruns",
    "..\\..\\secret",
    "a\\b",
    "/etc/passwd",
    "//host/share",
    "\\\\host\\share",
    "C:/windows",
    "C:\\windows",
    "file:///etc/passwd",
    "https://other.blob.core.windows.net/c/b",
    "https://x.blob.core.windows.net/c/b?sv=2025&sig=secret",
    "HTTP://127.0.0.1:10000/devstoreaccount1/runs",
    "azureml:model:1",
    "azureml://datastores/x/paths/y",
    "wasbs://c@a.blob.core.windows.net/x",
    "abfss://c@a.dfs.core.windows.net/x",
    "\0",
    "a\0b",
    "a\nb",
    "a\r\nSet-Cookie: x=1",
    "\x1b[2Jcleared",
    "\x9b31m",
    "\u202egpj.exe",
    "\u2066name\u2069",
    "\u200bzero\u200dwidth",
    "раураl",
    "ｆｕｌｌ／ｗｉｄｔｈ",
    "cafe\u0301",
    "café",
    "\ud800",
    "\udfff.json",
    "\ufffe",
    "\uffff",
    "CON",
    "nul.txt",
    "COM1",
    " leading",
    "trailing ",
    "trailing.",
    "...",
    ".",
    "",
    " ",
    "/",
    "a//b",
    "a/./b",
    "x" * 300,
    "x" * 2_000,
    "a/" * 300,
    "-rf",
    "--files=/etc",
    "$(touch pwned)",
    "`touch pwned`",
    "; touch pwned",
    "' && touch pwned #",
    '" | touch pwned',
    "${{inputs.files}}",
    "$[[x]]",
    "~/.ssh",
    "*",
    "a?b#c%41&d=e+f",
    "runs",
    "runs/records",
    "data/../../models",
)
"""Names and paths that have led programs astray: out of a folder, into a shell, onto a terminal."""

names = st.sampled_from(BAD_NAMES) | st.text(max_size=40) | st.text(alphabet="./\\%2e:\0 ~", max_size=12)

numbers = (
    st.integers()
    | st.floats()
    | st.sampled_from(
        [2**31, 2**53 + 1, 2**63, -(2**63) - 1, 10**400, -0.0, 1e308, float("inf"), float("nan")]
    )
)

values = st.recursive(
    st.none() | st.booleans() | numbers | names,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)


def _document(value: object) -> bytes:
    return json.dumps(value).encode()


def _encodings(data: bytes) -> st.SearchStrategy[bytes]:
    text = data.decode()
    return st.sampled_from(
        [
            data,
            b"\xef\xbb\xbf" + data,
            text.encode("utf-16"),
            text.encode("utf-32-be"),
            data[: len(data) // 2],
            data + data,
            data.replace(b'"', b"'"),
            data + b"\0",
        ]
    )


_LITERALS = st.sampled_from(
    [
        b"",
        b" ",
        b"\0" * 100,
        b"null",
        b"[" * 70_000,
        b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
        b'{"inputs":' * 30 + b"1" + b"}" * 30,
        b'{"nodes": 1e999}',
        b'{"nodes": -Infinity}',
        b'{"workload": "x", "workload": "y"}',
        b'{"workload": "' + b"w" * 60_000 + b'"}',
        b'{"\\ud800": 1}',
        b'{"nodes": ' + b"9" * 4_000 + b"}",
        b'{"nodes": ' + b"9" * 10_000 + b"}",
        b'{"inputs": {' + b",".join(b'"i%d": 1' % number for number in range(4_000)) + b"}}",
        b"{" + b",".join(b'"k%d": 1' % number for number in range(4_000)) + b"}",
        b"\x1f\x8b\x08\x00",
        b"PK\x03\x04",
        b"%PDF-1.7",
        b"#!/bin/sh\ntouch pwned\n",
        b"workload: demo/copy\n",
    ]
)


def bodies(workload: str, inputs: tuple[str, ...]) -> st.SearchStrategy[bytes]:
    """Trigger files and HTTP bodies: noise, JSON of any shape, and requests for `workload` that are nearly right."""
    given = st.dictionaries(st.sampled_from(inputs) | names, names | values, max_size=5)
    request = st.fixed_dictionaries(
        {"workload": st.just(workload) | values, "inputs": given | values},
        optional={
            "nodes": values,
            "mini_batch_size": values,
            "error_threshold": values,
            "retry_settings": st.dictionaries(st.sampled_from(["timeout", "max_retries"]) | names, values)
            | values,
            "logging_level": values,
            "max_cost": values,
        },
    )
    shapes = (request | st.dictionaries(names, values, max_size=5) | values).map(_document)
    return st.binary(max_size=300) | _LITERALS | shapes | shapes.flatmap(_encodings)


def is_shown(text: str) -> bool:
    """Whether a text can be put on a screen or into a log as it is, and is not too long for a person."""
    return all(each == "\n" or each.isprintable() for each in text) and len(text) <= 4_200


@dataclass
class Ear:
    """Every address that went over the wire, as method and decoded path."""

    requests: list[tuple[str, str]] = field(default_factory=list)

    def outside(self, *allowed: str) -> list[tuple[str, str]]:
        """The requests whose path lies below none of the allowed prefixes (`/account/container/…`)."""
        return [
            (method, path)
            for method, path in self.requests
            if not any(path == prefix.rstrip("/") or path.startswith(prefix) for prefix in allowed)
        ]


@contextmanager
def listening() -> Iterator[Ear]:
    """Note what every SDK client of this process asks for, as it leaves: after all quoting and normalising."""
    ear, send = Ear(), Session.send

    def heard(self: Session, request: Any, **options: Any) -> Any:
        from urllib3.util import parse_url

        ear.requests.append((request.method, unquote(urlsplit(parse_url(request.url).url).path)))
        return send(self, request, **options)

    with mock.patch.object(Session, "send", heard):
        yield ear
