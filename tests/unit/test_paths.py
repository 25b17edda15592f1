"""Names in storage."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchscore import paths
from batchscore.errors import RequestError


def test_the_same_cause_gives_the_same_run_id() -> None:
    assert paths.run_id("trigger_file", "a.json", "0x1") == paths.run_id("trigger_file", "a.json", "0x1")
    assert paths.is_run_id(paths.run_id("trigger_file", "a.json", "0x1"))


def test_parts_of_a_cause_do_not_run_into_each_other() -> None:
    assert paths.run_id("http", "ab", "c") != paths.run_id("http", "a", "bc")


def test_an_etag_is_the_same_with_and_without_quotes() -> None:
    assert paths.normal_etag('"0x8D"') == paths.normal_etag("0x8D") == paths.normal_etag('W/"0x8D"')


@pytest.mark.parametrize(
    "path", ["videos/clip.mp4", "a", "frames/", "Bücher/ein bild (1).png", "a..b/c", ".hidden"]
)
def test_paths_inside_the_container_are_taken(path: str) -> None:
    assert paths.user_path(path, "input 'x'") == path.rstrip("/")


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("", "is empty"),
        ("/", "is empty"),
        ("../secret", "'.' or '..'"),
        ("a/../../b", "'.' or '..'"),
        ("a/./b", "'.' or '..'"),
        ("/etc/passwd", "absolute"),
        ("C:/data", "absolute"),
        ("a\\..\\b", "backslash"),
        ("a//b", "empty part"),
        ("https://other.blob.core.windows.net/c/b", "URL"),
        ("azureml://datastores/x/paths/y", "URL"),
        ("azureml:model:1", "URL"),
        ("wasbs:container", "URL"),
        ("a\x00b", "control character"),
        ("a\nb", "control character"),
        ("x" * 1025, "1025 characters"),
        ("a/\ud800", "surrogate"),
        ("a/" * 254 + "a", "255 parts"),
    ],
)
def test_paths_that_leave_the_container_are_refused_with_the_reason(path: str, said: str) -> None:
    with pytest.raises(RequestError, match="input 'x' is") as caught:
        paths.user_path(path, "input 'x'")
    assert said in str(caught.value)


@given(st.text())
def test_any_path_is_either_refused_or_stays_inside(path: str) -> None:
    try:
        inside = paths.user_path(path, "input")
    except RequestError:
        return
    segments = inside.split("/")
    assert all(segment not in ("", ".", "..") for segment in segments)
    assert not inside.startswith("/")
    assert "\\" not in inside


def test_active_markers_list_in_the_order_of_queueing() -> None:
    first = datetime(2026, 1, 1, tzinfo=UTC)
    names = [paths.active_blob("f" * 20, first), paths.active_blob("0" * 20, first + timedelta(seconds=1))]
    assert sorted(names) == names
    assert paths.marked_run(names[0]) == ("f" * 20, paths.milliseconds(first))


def test_the_index_by_time_lists_the_newest_first() -> None:
    first = datetime(2026, 1, 1, tzinfo=UTC)
    old, new = paths.by_time_blob("0" * 20, first), paths.by_time_blob("f" * 20, first + timedelta(days=400))
    assert sorted([old, new]) == [new, old]
    assert paths.marked_run(new) == (
        "f" * 20,
        paths.inverted(paths.milliseconds(first + timedelta(days=400))),
    )
