"""Azurite's access log: which lines report a finished blob or a new message."""

from __future__ import annotations

import pytest

from batchscore.devhost.accesslog import BlobWritten, MessageSent, parse


def _line(request: str, status: int = 201) -> str:
    return f'127.0.0.1 - - [21/Nov/2026:06:44:23 +0000] "{request} HTTP/1.1" {status} -\n'


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        ("PUT /devstoreaccount1/c/a.json", BlobWritten("devstoreaccount1", "c", "a.json")),
        ("PUT /devstoreaccount1/c/a%20b/%C3%BC.json", BlobWritten("devstoreaccount1", "c", "a b/ü.json")),
        ("PUT /acc/c/a?comp=blocklist&timeout=5", BlobWritten("acc", "c", "a")),
        ("PUT /acc/c/a?comp=appendblock", BlobWritten("acc", "c", "a")),
        ("PUT /acc/c/a?sv=2025-11-05&sig=x", BlobWritten("acc", "c", "a")),
        ("POST /acc/q/messages", MessageSent("acc", "q")),
        ("POST /acc/q/messages?visibilitytimeout=5", MessageSent("acc", "q")),
    ],
)
def test_a_change_is_reported(request_: str, expected: BlobWritten | MessageSent) -> None:
    assert parse(_line(request_)) == expected


@pytest.mark.parametrize(
    "request_",
    [
        "GET /acc/c/a.json",
        "DELETE /acc/c/a.json",
        "PUT /acc/c?restype=container",
        "PUT /acc/c/a?comp=block&blockid=x",
        "PUT /acc/c/a?comp=metadata",
        "PUT /acc/c/a?comp=lease",
        "PUT /acc/q/messages/1?popreceipt=x&visibilitytimeout=0",
        "GET /acc/q/messages?numofmessages=1",
        "PUT /acc/q",
        "POST /acc/c/a?comp=query",
        "PUT /",
    ],
)
def test_other_requests_are_not(request_: str) -> None:
    assert parse(_line(request_)) is None


def test_a_refused_write_is_not_one() -> None:
    assert parse(_line("PUT /acc/c/a.json", 409)) is None
    assert parse(_line("PUT /acc/c/a.json", 403)) is None


def test_other_output_is_ignored() -> None:
    assert parse("Azurite Blob service is starting at http://127.0.0.1:10000\n") is None
