"""Asking the reconciler to look: soon, and not more often than it helps."""

from __future__ import annotations

from datetime import datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest

from batchscore import application as module
from batchscore.application import Application
from batchscore.errors import StorageUnavailableError
from batchscore.hourly import Look
from batchscore.passes import Tick
from batchscore.runs import Run
from batchscore.settings import Settings

NOWHERE = "DefaultEndpointsProtocol=http;AccountName=a;AccountKey=eA==;BlobEndpoint=http://127.0.0.1:9/a"


@pytest.fixture
def kicks(monkeypatch: pytest.MonkeyPatch) -> tuple[Application, list[int], list[float]]:
    """An application, the delays of the kicks that it sends, and its clock."""
    settings = Settings.from_environment({"AzureWebJobsStorage": NOWHERE, "DATA_STORAGE": NOWHERE})
    application, sent, now = Application(settings), [], [100.0]

    def send(due: datetime, delay_s: int) -> None:
        sent.append(delay_s)

    monkeypatch.setattr(application, "_send_kick", send)
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return application, sent, now


def test_a_kick_is_sent_at_once_and_a_flood_of_them_twice_a_second(kicks: Any) -> None:
    application, sent, now = kicks
    for _ in range(1_000):  # four seconds of them
        application.kick()
        now[0] += 0.004
    assert sent[0] == 0
    assert 4 <= len(sent) <= 8


def test_the_last_kick_of_a_flood_is_covered_by_one_that_is_still_to_come(kicks: Any) -> None:
    application, sent, now = kicks
    application.kick()
    now[0] += 0.5
    application.kick()
    assert sent == [0, 1]  # the second one looks after both
    now[0] += 0.5
    application.kick()
    assert sent == [0, 1]
    now[0] += 5
    application.kick()
    assert sent == [0, 1, 0]


class Hours:
    """Says what a look at the hours found, or that storage is away."""

    def __init__(self, found: Look | None) -> None:
        self.found = found

    def look(self) -> Look:
        if self.found is None:
            raise StorageUnavailableError("down")
        return self.found


@pytest.mark.parametrize(
    ("found", "faults", "kicked"),
    [(Look(), 0, []), (Look(started=(cast("Run", object()),)), 0, [0]), (None, 1, [])],
    ids=["nothing due", "an hour is due", "storage is away"],
)
def test_the_reconciler_is_asked_to_look_when_an_hour_was_due(
    kicks: Any, found: Look | None, faults: int, kicked: list[int]
) -> None:
    application, sent, _ = kicks
    application.hours = Hours(found)
    assert application.score_hours().faults == faults
    assert sent == kicked


def test_a_kick_that_was_not_sent_keeps_no_other_back(kicks: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    application, sent, _ = kicks
    send = application._send_kick

    def fail(due: datetime, delay_s: int) -> None:
        raise StorageUnavailableError("down")

    monkeypatch.setattr(application, "_send_kick", fail)
    application.kick()
    monkeypatch.setattr(application, "_send_kick", send)
    application.kick()
    assert sent == [0]


@pytest.mark.parametrize(
    ("tick", "kicked"),
    [
        (Tick(ran=True), []),
        (Tick(ran=True, running=1), [5]),
        (Tick(ran=True, lost=1), [5]),
        (Tick(ran=True, running=1, stopping=True), [1]),
        (Tick(ran=True, cleaning=True), [5]),
        (Tick(ran=False, running=1), []),
    ],
)
def test_a_pass_asks_for_the_next_one_while_there_is_something_to_look_at(
    kicks: Any, tick: Tick, kicked: list[int]
) -> None:
    """Also when the attempt of the only run was lost: the next one does not wait for the timer."""
    application, sent, _ = kicks
    application.__dict__["reconciler"] = SimpleNamespace(tick=lambda *_: tick)
    application.kicked(b"now")
    assert sent == kicked
