"""Route templates: what they match, which goes first, and what is wrong with a bad one."""

from __future__ import annotations

import re

import pytest

from batchscore.devhost.routes import Route


@pytest.mark.parametrize(
    ("template", "path", "expected"),
    [
        ("api/runs", "api/runs", {}),
        ("api/runs", "API/Runs/", {}),
        ("api/runs", "api/runs/1", None),
        ("api/runs/{id}", "api/runs/a%20b%2Fc", {"id": "a b/c"}),
        ("api/runs/{id}", "api/runs", None),
        ("api/runs/{id}/cancel", "api/runs/7/cancel", {"id": "7"}),
        ("api/runs/{id:int}", "api/runs/x", None),
        ("api/runs/{id:int}", "api/runs/-12", {"id": "-12"}),
        ("api/{name:alpha}.json", "api/runs.json", {"name": "runs"}),
        ("api/{a}-{b}", "api/x-y", {"a": "x", "b": "y"}),
        ("api/{id?}", "api", {}),
        ("api/{id?}", "api/9", {"id": "9"}),
        ("files/{*path}", "files/a/b/c", {"path": "a/b/c"}),
        ("", "", {}),
    ],
)
def test_match(template: str, path: str, expected: dict[str, str] | None) -> None:
    assert Route.parse(template).match(path) == expected


def test_the_more_exact_route_goes_first() -> None:
    templates = ["api/{*rest}", "api/{id}", "api/{id:int}", "api/status"]
    ordered = sorted(templates, key=lambda template: Route.parse(template).rank)
    assert ordered == ["api/status", "api/{id:int}", "api/{id}", "api/{*rest}"]


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("api/{id", "'{id' is not a segment"),
        ("api/{id:date}", "'date' is not one of the constraints int"),
        ("api/{*rest}/x", "must come last"),
    ],
)
def test_what_is_wrong_is_said(template: str, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        Route.parse(template)
