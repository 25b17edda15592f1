"""Alerts: what their queries read is what the app says, and each comes when it should and not when it should not."""

from __future__ import annotations

import logging
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from batchscore import signals
from batchscore.signals import Signal
from tests.infra import kusto

REPOSITORY = Path(__file__).parents[2]
QUERIES = {file.stem: file.read_text("utf-8") for file in (REPOSITORY / "infra/alerts").glob("*.kql")}
RULES = (REPOSITORY / "infra/modules/alerts.bicep").read_text("utf-8")
NOW = datetime(2026, 11, 21, 21, 0, tzinfo=UTC)
LENGTHS = {"PT15M": 15, "PT30M": 30, "PT2H": 120, "P1D": 1440}
QUIET = {"swept": True, "unrecorded_s": 0.0, "reconciled": True, "running": 0, "unstarted_s": 0.0}


class Log:
    """What Azure Monitor has of the app, and which alerts that calls."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self._caplog = caplog
        self._rows: list[kusto.Row] = [
            {"TimeGenerated": NOW, "Message": "run a started: demo/copy, attempt 1"}
        ]

    def say(self, signal: Signal, minutes_ago: float, **facts: Any) -> None:
        with self._caplog.at_level(logging.INFO, signals.log.name):
            signals.say(signal, **facts)
        message = self._caplog.records[-1].getMessage()
        self._rows.append({"TimeGenerated": NOW - timedelta(minutes=minutes_ago), "Message": message})

    def alive(self, first: int, last: int = 0, **facts: Any) -> None:
        """Vitals every minute from so many minutes ago on."""
        for minutes in range(last, first + 1):
            self.say(Signal.VITALS, minutes, **(QUIET | facts))

    def calls(self) -> set[str]:
        """The alerts whose query gives a row for their window."""
        found = set()
        for name, query in QUERIES.items():
            begin = NOW - timedelta(minutes=LENGTHS[window_of(name)])
            rows = [row for row in self._rows if begin <= row["TimeGenerated"] <= NOW]
            if kusto.run(query, {"AppTraces": rows}, NOW):
                found.add(name)
        return found


def window_of(name: str) -> str:
    found = re.search(rf"name: '{name}'.*?window: '(\w+)'", RULES, re.DOTALL)
    assert found, name
    return found[1]


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Log:
    return Log(caplog)


def test_every_query_has_a_rule_and_every_rule_its_query() -> None:
    assert set(re.findall(r"loadTextContent\('../alerts/([\w-]+)\.kql'\)", RULES)) == QUERIES.keys()
    assert set(re.findall(r"^    name: '([\w-]+)'", RULES, re.MULTILINE)) == QUERIES.keys()


@pytest.mark.parametrize("name", sorted(QUERIES))
def test_a_query_asks_for_facts_that_its_signals_tell(name: str) -> None:
    """The names of signals are looked at by a rule (alerts_know_the_signals); here it is what each one tells."""
    query = QUERIES[name]
    asked = set(re.findall(r'== "(\w+)"', query))
    told = "\n".join(documented(signal) for signal in Signal if signal.value in asked)
    for fact in set(re.findall(r"signal\.(\w+)", query)) - {"signal"}:
        assert f"`{fact}`" in told, fact


def documented(signal: Signal) -> str:
    source = Path(signals.__file__).read_text("utf-8")
    found = re.search(rf'= "{signal.value}"\n    """(.*?)"""', source, re.DOTALL)
    assert found, signal
    return found[1]


def test_every_alert_is_explained_to_whom_it_wakes() -> None:
    page = (REPOSITORY / "docs/operate.md").read_text("utf-8")
    for title in re.findall(r"displayName: 'batchscore: ([^']+)'", RULES):
        assert f"| {title} |" in page, title
    for description in re.findall(r"description: '(.+)'", RULES.split("var always", 1)[1]):
        assert "Type: batchscore" in description


def test_a_healthy_hour_calls_nobody(log: Log) -> None:
    log.alive(150)
    for minutes, hour, end in ((115, "2026-11-21T18", 19), (55, "2026-11-21T19", 20)):
        log.say(Signal.HOURS_LOOKED, minutes, oldest_unpublished=NOW.replace(hour=end))
        log.say(Signal.HOUR_PUBLISHED, minutes - 10, hour=hour, version=1, run="a", failed_items=0)
    assert log.calls() == set()


def test_an_app_that_never_ran_calls_nobody(log: Log) -> None:
    assert log.calls() == set()


@pytest.mark.parametrize(
    ("signal", "alert"),
    [(Signal.POISON_MESSAGE, "poison-messages"), (Signal.RUN_FAILED, "failed-runs")],
)
def test_what_happened_within_half_an_hour_calls(log: Log, signal: Signal, alert: str) -> None:
    log.alive(60)
    log.say(signal, 29, run="a", reason="step 'copy' failed")
    assert log.calls() == {alert}


def test_an_app_that_fell_silent_calls_for_a_day(log: Log) -> None:
    log.alive(30, 16)
    assert log.calls() == {"app-silent"}


def test_one_that_is_silent_for_a_few_minutes_does_not(log: Log) -> None:
    """A deployment, a restart; or lines that are late on their way."""
    log.alive(60, 12)
    assert log.calls() == set()


@pytest.mark.parametrize(
    "facts", [{"unrecorded_s": 1500.0}, {"unstarted_s": 1500.0}, {"swept": False, "unrecorded_s": None}]
)
def test_what_is_not_taken_up_for_a_quarter_of_an_hour_calls(log: Log, facts: dict[str, Any]) -> None:
    log.alive(20, **facts)
    assert log.calls() == {"oldest-trigger"}


def test_what_was_taken_up_meanwhile_or_is_not_known_does_not(log: Log) -> None:
    log.alive(20, 5, unrecorded_s=4000.0)
    log.alive(4, reconciled=False, running=None, unstarted_s=None)
    assert log.calls() == set()


def test_readings_that_nobody_scores_call_two_hours_after_their_hour(log: Log) -> None:
    log.alive(150)
    log.say(Signal.HOURS_LOOKED, 115, oldest_unpublished=NOW.replace(hour=18, minute=59))
    log.say(Signal.HOURS_LOOKED, 55, oldest_unpublished=NOW.replace(hour=18, minute=59))
    assert log.calls() == {"hours-unpublished"}


def test_no_readings_call_nobody(log: Log) -> None:
    """For hours, and when the first ones come again."""
    log.alive(150)
    log.say(Signal.HOURS_LOOKED, 115, oldest_unpublished=None)
    log.say(Signal.HOURS_LOOKED, 55, oldest_unpublished=NOW.replace(hour=20))
    assert log.calls() == set()


def test_one_hour_that_failed_does_not_call_while_others_are_scored(log: Log) -> None:
    log.alive(150)
    log.say(Signal.HOURS_LOOKED, 55, oldest_unpublished=NOW.replace(hour=3))
    log.say(Signal.HOUR_PUBLISHED, 40, hour="2026-11-21T19", version=1, run="a", failed_items=0)
    assert log.calls() == set()


def test_hours_that_nobody_looks_at_call(log: Log) -> None:
    log.alive(150)
    assert log.calls() == {"hours-unpublished"}


def test_an_app_that_has_just_come_has_not_looked_yet(log: Log) -> None:
    log.alive(100)
    assert log.calls() == set()
