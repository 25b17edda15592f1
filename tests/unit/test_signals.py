"""What the app says for alerts: each signal in its situation, and nothing where nobody has to be woken."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from batchscore import runs, signals
from batchscore.application import Application
from batchscore.compute.base import JobState, JobStatus
from batchscore.errors import ComputeUnavailableError, StorageUnavailableError
from batchscore.intake import Swept
from batchscore.passes import Tick
from batchscore.runs import RunState
from batchscore.settings import Settings
from batchscore.signals import PREFIX, Signal
from tests import hourly_world
from tests.hourly_world import T17
from tests.unit.test_reconciler import ENOUGH, World


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Iterator[Said]:
    with caplog.at_level(logging.INFO, signals.log.name):
        yield Said(caplog)


class Said:
    """The signals that were given so far."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self._caplog = caplog

    def __call__(self, signal: Signal) -> list[dict[str, Any]]:
        lines = [record.getMessage() for record in self._caplog.records if record.name == signals.log.name]
        assert all(line.startswith(PREFIX) and "\n" not in line for line in lines)
        told = [json.loads(line.removeprefix(PREFIX)) for line in lines]
        return [each for each in told if each["signal"] == signal.value]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_signal_is_one_line_that_no_content_breaks(said: Said) -> None:
    signals.say(Signal.RUN_FAILED, run="a", reason='line\n{"signal": "vitals"}\u2028' + "x" * 1000)
    [told] = said(Signal.RUN_FAILED)
    assert len(told["reason"]) < 2 * signals.LONGEST_TEXT
    assert said(Signal.VITALS) == []


@pytest.mark.parametrize("state", [JobState.FAILED, JobState.CANCELED])
def test_a_run_that_failed_or_was_canceled_by_nobody_here_is_told_once(
    world: World, said: Said, state: JobState
) -> None:
    run = world.accept()
    world.tick()
    world.compute.answers[f"{run.id}-1"] = JobStatus(state, message="step 'copy' ended with exit code 1")
    for _ in range(3):
        world.tick()
    [told] = said(Signal.RUN_FAILED)
    assert (told["run"], told["workload"], told["state"]) == (run.id, "demo/copy", state.value)
    assert "exit code 1" in told["reason"]


def test_a_run_that_was_given_up_is_told(world: World, said: Said) -> None:
    run = world.accept()
    world.tick(seconds=1)
    for _ in range(9):  # a look every few minutes: nobody slept
        world.tick(minutes=9)
    world.now += timedelta(seconds=world.settings.stalled_after_s)
    world.reconciler._watching_since = world.reconciler._last_pass = world.now - timedelta(days=2)
    world.reconciler._last_pass = world.now
    world.tick()
    world.compute.answers[f"{run.id}-1"] = JobStatus(JobState.CANCELED)
    world.tick()
    [told] = said(Signal.RUN_FAILED)
    assert (told["state"], told["reason"][:23]) == ("canceled", "canceled: no progress f")


def test_what_a_person_canceled_what_succeeded_and_what_was_asked_wrongly_wakes_nobody(
    world: World, said: Said
) -> None:
    waiting, running, good = world.accept("waiting"), world.accept("running"), world.accept("good")
    world.store.update(waiting.id, lambda current: runs.cancel(current, world.now))
    world.tick()
    world.store.update(running.id, lambda current: runs.cancel(current, world.now))
    world.compute.answers[f"{running.id}-1"] = JobStatus(JobState.CANCELED)
    world.compute.answers[f"{good.id}-1"] = JobStatus(JobState.SUCCEEDED)
    wrong = world.accept("wrong", model="not-there")
    for _ in range(3):
        world.tick()
    states = {run.id: world.store.get(run.id).state for run in (waiting, running, good, wrong)}
    assert states == {
        waiting.id: RunState.CANCELED,
        running.id: RunState.CANCELED,
        good.id: RunState.SUCCEEDED,
        wrong.id: RunState.REJECTED,
    }
    assert said(Signal.RUN_FAILED) == []


def test_a_run_whose_turn_has_come_and_that_cannot_be_started_has_an_age(world: World) -> None:
    """Also after many passes, each of which puts it off; those behind MAX_ACTIVE_RUNS have none."""
    first = world.accept()
    world.compute.submit_error = ComputeUnavailableError("no identity.")
    for _ in range(10):
        world.tick(minutes=1)
    tick = world.reconciler.tick()
    assert signals.age_s(tick.unstarted_since, world.now) == pytest.approx(600, abs=2)
    world.compute.submit_error = None
    assert world.reconciler.tick().unstarted_since is None
    assert world.store.get(first.id).state is RunState.RUNNING
    for name in "bcde":
        world.accept(name)
    tick = world.reconciler.tick()
    assert tick.waiting
    assert tick.unstarted_since is None


def test_a_run_that_cannot_be_planned_has_an_age(world: World) -> None:
    world.catalog.faulty = {"table.csv"}
    run = world.accept(table="table.csv")
    for _ in range(10):
        world.tick(minutes=1)
    assert world.store.get(run.id).queued_at > run.queued_at
    assert signals.age_s(world.reconciler.tick().unstarted_since, world.now) == pytest.approx(600, abs=2)


def test_a_retry_that_cannot_be_planned_has_an_age(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> None:
        raise StorageUnavailableError("storage refused it: 400")

    run = world.accept()
    world.tick()
    world.compute.answers[f"{run.id}-1"] = JobStatus(JobState.FAILED)
    world.tick()
    monkeypatch.setattr("batchscore.reconciler.plan", away)
    world.store.update(run.id, lambda current: runs.retry(current, world.now))
    for _ in range(10):
        world.tick(minutes=1)
    assert signals.age_s(world.reconciler.tick().unstarted_since, world.now) == pytest.approx(600, abs=2)


class Looks:
    """An application whose sweep and whose pass say what the test wants."""

    def __init__(self) -> None:
        self.application = Application(Settings.from_environment(ENOUGH))
        self.application.__dict__["intake"] = SimpleNamespace(sweep=lambda: _given(self.swept))
        self.application.__dict__["reconciler"] = SimpleNamespace(tick=lambda *_: _given(self.tick))
        self.application._poll_again = lambda after_s: None  # type: ignore[method-assign]
        self.swept: Swept | Exception = Swept()
        self.tick: Tick | Exception = Tick(ran=True)


def _given(answer: Any) -> Any:
    if isinstance(answer, Exception):
        raise answer
    return answer


def test_each_look_of_the_timer_says_how_it_is(said: Said) -> None:
    looks, now = Looks(), datetime.now(UTC)
    looks.application.timer()
    looks.swept = Swept(faults=1, unrecorded_since=now - timedelta(minutes=20))
    looks.tick = Tick(ran=True, running=2, unstarted_since=now - timedelta(minutes=5))
    looks.application.timer()
    healthy, ill = said(Signal.VITALS)
    assert healthy == {
        "signal": "vitals",
        "swept": True,
        "unrecorded_s": 0.0,
        "reconciled": True,
        "running": 0,
        "unstarted_s": 0.0,
    }
    assert (ill["running"], ill["unrecorded_s"] >= 1200, ill["unstarted_s"] >= 300) == (2, True, True)


def test_a_look_that_storage_kept_from_seeing_says_what_it_does_not_know(said: Said) -> None:
    looks = Looks()
    looks.swept = looks.tick = StorageUnavailableError("storage did not answer")
    with pytest.raises(StorageUnavailableError):
        looks.application.timer()
    looks.tick = Tick(ran=False)  # another host has the lease
    looks.application.timer()
    for told in said(Signal.VITALS):
        assert (told["swept"], told["reconciled"]) == (False, False)
        assert (told["unrecorded_s"], told["running"], told["unstarted_s"]) == (None, None, None)


def test_an_hour_with_readings_is_unpublished_until_readers_see_a_version(said: Said) -> None:
    world = hourly_world.World(CATCH_UP_HOURS="3")
    host = world.host()
    world.land(T17, "a.jsonl")
    host.hourly.look()
    assert said(Signal.HOUR_PUBLISHED) == []
    host.finish()
    world.land(T17, "late.jsonl")  # makes a second version; the first is there meanwhile
    host.hourly.look()
    begun, published = said(Signal.HOURS_LOOKED)
    assert begun["oldest_unpublished"] == "2026-11-21T18:00:00+00:00"
    assert (begun["started"], begun["empty"], begun["faults"]) == (1, 3, 0)
    assert (published["started"], published["oldest_unpublished"]) == (1, None)
    [told] = said(Signal.HOUR_PUBLISHED)
    assert (told["hour"], told["version"], told["failed_items"]) == ("2026-11-21T17", 1, 0)


def test_hours_without_readings_are_not_unpublished(said: Said) -> None:
    world = hourly_world.World(CATCH_UP_HOURS="3")
    for _ in range(2):
        world.host().hourly.look()
    assert [told["oldest_unpublished"] for told in said(Signal.HOURS_LOOKED)] == [None, None]


@pytest.mark.parametrize("state", [RunState.FAILED, RunState.RUNNING])
def test_an_hour_that_failed_or_is_under_way_stays_unpublished(said: Said, state: RunState) -> None:
    world = hourly_world.World()
    host = world.host()
    world.land(T17, "a.jsonl")
    (run,) = host.hourly.look().started
    host.start(run)
    if state is RunState.FAILED:
        host.finish(state)
    world.now += timedelta(hours=2)
    host.hourly.look()
    assert said(Signal.HOURS_LOOKED)[-1]["oldest_unpublished"] == "2026-11-21T18:00:00+00:00"


def test_an_hour_that_waits_for_a_model_or_is_torn_is_unpublished(said: Said) -> None:
    world = hourly_world.World()
    world.obstacle = "there is no model 'sensors'."
    world.land(T17, "a.jsonl")
    for _ in range(2):  # the second look has nothing new to tell people
        world.host().hourly.look()
    for blob in [name for name in world.system.blobs if name.endswith("17.json")]:
        world.system.client().upload_blob(blob, b"{", overwrite=True)
    world.host().hourly.look()
    assert [told["oldest_unpublished"] for told in said(Signal.HOURS_LOOKED)] == [
        "2026-11-21T18:00:00+00:00"
    ] * 3


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; a name that is there twice, of which readers take one or the other, is refused."""
    assert len(dict(pairs)) == len(pairs), pairs
    return dict(pairs)


def test_lines_of_every_signal_reach_application_insights_whole() -> None:
    """By the levels of host.json; and no line is thrown away to save money."""
    from batchscore.devhost.console import level_of

    host = json.loads((Path(__file__).parents[2] / "host.json").read_text("utf-8"), object_pairs_hook=once)
    for function in ("reconcile_by_timer", "reconcile_when_kicked", "score_hours", "keep_poison"):
        assert level_of(f"Function.{function}.User", host["logging"]["logLevel"]) <= logging.INFO
    sampling = host["logging"]["applicationInsights"]["samplingSettings"]
    assert "Trace" in sampling["excludedTypes"].split(";")
