"""What a person reads: one line per invocation, the app's own frames, log levels of host.json."""

from __future__ import annotations

import io
import logging
from pathlib import Path

import pytest

from batchscore import signals
from batchscore.devhost.console import Console, level_of, own_frames

APP = Path("/srv/app")
TRACE = """Traceback (most recent call last):
  File "/srv/app/.venv/lib/site-packages/azure_functions_runtime/handle_event.py", line 242, in invocation_request
    call_result = await _loop.run_in_executor(
                  ^^^^^^^^^^^^^^^^^^^^^^^^^^^
  File "/usr/lib/python3.13/concurrent/futures/thread.py", line 58, in run
    result = self.fn(*self.args, **self.kwargs)
  File "/srv/app/function_app.py", line 12, in accept
    parse(data)
    ~~~~~^^^^^^
  File "/srv/app/inner/parse.py", line 3, in parse
    raise ValueError("no")
ValueError: no
"""


def test_a_trace_is_shortened_to_the_apps_own_frames() -> None:
    assert own_frames(TRACE, APP) == [
        "function_app.py:12 in accept    parse(data)",
        'inner/parse.py:3 in parse    raise ValueError("no")',
    ]


def test_without_frames_of_the_app_the_last_two_are_shown() -> None:
    assert own_frames(TRACE, Path("/elsewhere")) == [
        "function_app.py:12 in accept    parse(data)",
        'parse.py:3 in parse    raise ValueError("no")',
    ]


def test_a_syntax_error_has_its_place() -> None:
    trace = (
        '  File "/srv/app/function_app.py", line 3\n    def f(:\n          ^\nSyntaxError: invalid syntax\n'
    )
    assert own_frames(trace, APP) == ["function_app.py:3    def f(:"]


@pytest.mark.parametrize(
    ("category", "level"),
    [
        ("anything", logging.WARNING),
        ("Function.accept.User", logging.DEBUG),
        ("Function.accept", logging.DEBUG),
        ("Function.other", 100),
        ("Functional", logging.WARNING),
    ],
)
def test_the_longest_prefix_decides_the_level(category: str, level: int) -> None:
    levels = {"default": "Warning", "Function": "None", "Function.accept": "Debug"}
    assert level_of(category, levels) == level


def test_information_is_shown_where_nothing_is_said() -> None:
    assert level_of("anything", {}) == logging.INFO


def _console(**levels: str) -> tuple[Console, io.StringIO]:
    stream = io.StringIO()
    return Console(APP, levels, stream), stream


def test_an_invocation_is_one_line() -> None:
    console, stream = _console()
    console.began("1", "accept")
    console.ended("1", "triggers/demo.json", 12.3)
    assert stream.getvalue().split()[1:] == ["accept", "triggers/demo.json", "ok", "12", "ms"]


def test_a_failure_has_its_message_and_place() -> None:
    console, stream = _console()
    console.began("1", "accept")
    console.failed("1", "triggers/demo.json", 12_000, "ValueError: no", TRACE)
    first, second, third = stream.getvalue().splitlines()
    assert first.endswith("triggers/demo.json  failed  12.0 s  ValueError: no")
    assert second.strip() == "function_app.py:12 in accept    parse(data)"
    assert third.strip().startswith("inner/parse.py:3")


def test_a_quiet_level_hides_what_went_well_and_not_what_failed() -> None:
    console, stream = _console(default="Error")
    for identity in "12":
        console.began(identity, "accept")
    console.ended("1", "x", 1)
    assert stream.getvalue() == ""
    console.failed("2", "x", 1, "ValueError: no", "")
    assert "ValueError: no" in stream.getvalue()


@pytest.mark.parametrize(
    ("level", "shown"), [(logging.DEBUG, False), (logging.INFO, True), (logging.ERROR, True)]
)
def test_the_apps_log_lines_carry_its_function(level: int, shown: bool) -> None:
    console, stream = _console()
    console.began("1", "accept")
    record = logging.LogRecord("app", level, "x.py", 1, "took %s", ("it",), None)
    console.app_line("1", record, {})
    assert ("accept" in stream.getvalue() and "took it" in stream.getvalue()) is shown


def test_what_only_alerts_read_is_not_shown() -> None:
    console, stream = _console()
    record = logging.LogRecord(signals.log.name, logging.INFO, "x.py", 1, signals.PREFIX + "{}", None, None)
    console.app_line(None, record, {})
    assert stream.getvalue() == ""
