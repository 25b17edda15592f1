"""What the hourly timer does with storage, in memory: a version for each change, one run for each version."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from azure.core.exceptions import ServiceRequestError
from rich.console import Console

from batchscore import hours, paths
from batchscore.cli.hours import hours_table, reasons, summary_lines
from batchscore.errors import RequestError, RunConflictError, StorageUnavailableError
from batchscore.hour_accounts import HourState
from batchscore.runs import RunState
from tests.hourly_world import T17, Host, World, blobs_of, digest_in_data
from tests.memory_blobs import refusal


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def host(world: World) -> Host:
    return world.host()


def test_the_hour_that_just_ended_is_scored_and_published(world: World, host: Host) -> None:
    world.land(T17, "0-1-9-1.jsonl", b'{"value": 1}\n')
    (run,) = host.hourly.look().started
    assert (run.cause.kind, run.cause.name, run.cause.version) == ("hour", "2026-11-21T17", "v1")
    assert run.request is not None
    assert run.request.workload == "sensors/score"
    assert run.request.inputs == {
        "readings": "readings/2026/11/21/17",
        "manifest": "hours/2026-11-21T17/v1.json",
        "hour": "2026-11-21T17",
        "models": "sensors",
    }
    assert world.pointer() is None
    host.finish()
    assert world.pointer() == {
        "hour": "2026-11-21T17",
        "version": 1,
        "path": "predictions/2026-11-21T17/v1",
        "run": run.id,
        "published_at": "2026-11-21T18:05:00Z",
        "failed_items": 0,
    }
    record = world.record()
    assert record is not None
    assert record.published == 1
    assert record.versions[0].manifest == digest_in_data(world, T17, 1)
    assert host.hourly.look().started == ()


def test_the_settings_say_what_scores_an_hour_and_with_what() -> None:
    world = World(SCORING_WORKLOAD="own/score", SCORING_INPUTS='{"interval": "5m"}')
    world.land(T17, "a.jsonl")
    (run,) = world.host().hourly.look().started
    assert run.request is not None
    assert run.request.workload == "own/score"
    assert run.request.inputs["interval"] == "5m"


def test_an_hour_without_readings_is_recorded_as_empty_and_scored_when_some_come_late(
    world: World, host: Host
) -> None:
    assert host.hourly.look().empty == (T17,)
    assert host.hourly.look().empty == ()
    assert host.accounts.last(1)[0].state is HourState.EMPTY
    world.now += timedelta(hours=3)
    host.hourly.look()
    world.land(T17, "late.jsonl")
    assert [run.cause.name for run in host.hourly.look().started] == [T17.name]


def test_a_blob_without_content_is_no_reading(world: World, host: Host) -> None:
    world.land(T17, "created.json", b"")
    assert host.hourly.look().empty == (T17,)


def test_hours_missed_while_down_are_scored_the_newest_first_within_the_bound() -> None:
    world = World(CATCH_UP_HOURS="2")
    for count in range(5):
        world.land(T17.before(count), "a.jsonl")
    started = world.host().hourly.look().started
    assert [run.cause.name for run in started] == ["2026-11-21T17", "2026-11-21T16", "2026-11-21T15"]
    states = [account.state for account in world.host().accounts.last(5)]
    assert states == [HourState.SCORING] * 3 + [HourState.MISSED] * 2


def test_late_readings_make_the_next_version_with_everything_that_is_there(world: World, host: Host) -> None:
    world.land(T17, "a.jsonl")
    host.hourly.look()
    host.finish()
    world.land(T17, "b.jsonl")
    (run,) = host.hourly.look().started
    assert run.cause.version == "v2"
    assert blobs_of(world, T17, 1) == {"a.jsonl"}
    assert blobs_of(world, T17, 2) == {"a.jsonl", "b.jsonl"}
    account = host.accounts.last(1)[0]
    assert (account.state, account.published) == (HourState.SCORING, "v1")
    host.finish()
    assert host.accounts.last(1)[0].published == "v2"


def test_readings_that_land_while_a_run_is_under_way_wait_for_its_end(world: World, host: Host) -> None:
    world.land(T17, "a.jsonl")
    host.hourly.look()
    world.land(T17, "b.jsonl")
    assert host.hourly.look().started == ()
    assert blobs_of(world, T17, 1) == {"a.jsonl"}
    host.finish()
    assert [run.cause.version for run in host.hourly.look().started] == ["v2"]


def test_a_failed_hour_is_left_to_people_until_something_new_lands(world: World, host: Host) -> None:
    world.land(T17, "a.jsonl")
    (run,) = host.hourly.look().started
    host.finish(RunState.FAILED)
    assert host.hourly.look().started == ()
    assert host.accounts.last(1)[0].state is HourState.FAILED
    host.retry(run)
    assert host.hourly.look().started == ()
    host.finish()
    assert world.pointer()["version"] == 1  # type: ignore[index]
    world.land(T17, "b.jsonl")
    host.hourly.look()
    host.finish(RunState.FAILED)
    world.land(T17, "c.jsonl")
    assert [run.cause.version for run in host.hourly.look().started] == ["v3"]


def test_a_table_tells_how_each_hour_is_and_each_reason_once() -> None:
    world = World(CATCH_UP_HOURS="3")
    host = world.host()
    for count in range(3):
        world.land(T17.before(count), "a.jsonl", b"x" * 1_500)
    first, second, _ = host.hourly.look().started
    host.end(host.start(first), failed_items=3)
    host.start(second)
    host.finish()
    world.land(T17.before(2), "b.jsonl")
    host.hourly.look()
    world.obstacle = "there is no model 'sensors'."
    for count in (0, 3):
        world.land(T17.before(count), "late.jsonl")
    host.hourly.look()
    found = host.accounts.last(5)
    screen = Console(file=StringIO(), width=80)
    screen.print(hours_table(found))
    rows = [line.split("  ") for line in screen.file.getvalue().splitlines()]  # type: ignore[attr-defined]
    told = [[cell.strip() for cell in row if cell.strip()] for row in rows]
    assert [row[:4] for row in told[1:]] == [
        ["2026-11-21T17", "with errors", "v1", "1 blob, 1.5 kB"],
        ["2026-11-21T16", "scored", "v1", "1 blob, 1.5 kB"],
        ["2026-11-21T15", "scoring", "v1 of v2", "2 blobs, 1.5 kB"],
        ["2026-11-21T14", "waiting"],
        ["2026-11-21T13", "missed"],
    ]
    assert reasons(found) == ["2026-11-21T17 and 1 more: there is no model 'sensors'."]


def test_an_older_version_is_not_retried_and_one_that_ends_late_changes_nothing(
    world: World, host: Host
) -> None:
    world.land(T17, "a.jsonl")
    (first,) = host.hourly.look().started
    running = host.start(first)
    host.end(running, RunState.FAILED)
    world.land(T17, "b.jsonl")
    host.hourly.look()
    host.finish()
    with pytest.raises(RunConflictError, match="newer version, v2"):
        host.retry(first)
    with pytest.raises(RequestError, match="newer version, v2"):
        host.hour_runs.check(first)
    before = world.pointer()
    host.score(running)
    host.hour_runs.publish(running, 0)
    assert world.pointer() == before


def test_of_two_runs_of_an_hour_the_newer_one_waits_until_the_older_one_is_over(
    world: World, host: Host
) -> None:
    """A person's retry and a new version may cross each other: what starts is decided in one place."""
    world.land(T17, "a.jsonl")
    (first,) = host.hourly.look().started
    host.end(host.start(first), RunState.FAILED)
    world.land(T17, "b.jsonl")
    (second,) = host.hourly.look().started
    host.runs.update(first.id, lambda run: hours.replace(run, state=RunState.RUNNING))
    with pytest.raises(RunConflictError, match=f"waits for run {first.id}"):
        host.hour_runs.check(second)


def test_an_hour_waits_for_what_it_lacks_and_is_scored_once_that_is_there(world: World, host: Host) -> None:
    world.land(T17, "a.jsonl")
    world.obstacle = "there is no model 'sensors'."
    assert host.hourly.look().waiting == (T17,)
    account = host.accounts.last(1)[0]
    assert (account.state, account.reason) == (HourState.WAITING, "there is no model 'sensors'.")
    changes = world.system.changes
    host.hourly.look()
    assert world.system.changes == changes  # said once
    world.now += timedelta(hours=5)
    world.obstacle = None
    assert [run.cause.name for run in host.hourly.look().started] == [T17.name]
    assert world.record().waits == ""  # type: ignore[union-attr]


def test_what_is_found_of_many_hours_is_said_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    """The first look of a new host finds a day of nothing."""
    world = World(CATCH_UP_HOURS="3")
    world.land(T17, "a.jsonl")
    world.obstacle = "there is no model 'sensors'."
    with caplog.at_level(logging.INFO, "batchscore.hourly"):
        world.host().hourly.look()
        world.host().hourly.look()
    assert [record.getMessage() for record in caplog.records] == [
        "hour 2026-11-21T17 waits: there is no model 'sensors'.",
        "hour 2026-11-21T16 (and 2 before it) is empty: no reading has landed",
    ]


def test_what_items_failed_is_published_and_told(world: World, host: Host) -> None:
    world.land(T17, "a.jsonl")
    (run,) = host.hourly.look().started
    host.end(host.start(run), failed_items=3)
    assert world.pointer()["failed_items"] == 3  # type: ignore[index]
    assert host.accounts.last(1)[0].state is HourState.WITH_ERRORS


def test_a_run_that_made_no_predictions_publishes_nothing(world: World, host: Host) -> None:
    world.land(T17, "a.jsonl")
    (run,) = host.hourly.look().started
    with pytest.raises(RequestError, match="made no predictions"):
        host.hour_runs.publish(host.start(run), 0)
    assert world.pointer() is None


def test_a_pointer_that_somebody_else_wrote_is_put_right(world: World, host: Host) -> None:
    world.land(T17, "a.jsonl")
    world.data.client().upload_blob(paths.pointer_path(T17.name), b'{"version": 999}')
    host.hourly.look()
    host.finish()
    assert world.pointer()["version"] == 1  # type: ignore[index]


def test_a_manifest_that_somebody_else_wrote_is_not_the_one_that_is_scored(world: World, host: Host) -> None:
    world.data.client().upload_blob(paths.manifest_path(T17.name, 1), b"{}")
    world.land(T17, "a.jsonl")
    host.hourly.look()
    assert blobs_of(world, T17, 1) == {"a.jsonl"}


def test_a_torn_record_holds_up_no_other_hour(world: World, host: Host) -> None:
    world.settings = hours.replace(world.settings, catch_up_hours=2)
    host = world.host()
    for count in range(3):
        world.land(T17.before(count), "a.jsonl")
    world.system.client().upload_blob(paths.hour_record_blob(T17.before(1).start), b'{"hour": ')
    started = host.hourly.look().started
    assert [run.cause.name for run in started] == [T17.name, T17.before(2).name]
    account = host.accounts.last(2)[1]
    assert account.state is HourState.UNREADABLE
    assert "runs/hours/2026/11/21/16.json" in account.reason


def test_an_hour_whose_runs_record_is_torn_is_told_among_the_others(world: World, host: Host) -> None:
    world.land(T17, "a.jsonl")
    (run,) = host.hourly.look().started
    world.system.client().upload_blob(paths.record_blob(run.id), b"{", overwrite=True)
    newest, before = host.accounts.last(2)
    assert (newest.state, before.state) == (HourState.UNREADABLE, HourState.MISSED)
    assert run.id in newest.reason
    assert host.hourly.look().started == ()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"published": 7}, "v7 is published and not among its versions"),
        ({"published": -1}, "v-1 is published"),
        ({"versions": 2}, "its versions are not in the order of their numbers"),
        ({"hour": "2026-11-21T16"}, "it is that of 2026-11-21T16"),
    ],
)
def test_a_record_that_cannot_be_is_told(
    world: World, host: Host, change: dict[str, Any], words: str
) -> None:
    world.land(T17, "a.jsonl")
    host.hourly.look()
    name = paths.hour_record_blob(T17.start)
    told = json.loads(world.system.blobs[name][0])
    if "versions" in change:
        change = {"versions": told["versions"] * change["versions"]}
    world.system.client().upload_blob(name, json.dumps(told | change).encode(), overwrite=True)
    account = host.accounts.last(1)[0]
    assert account.state is HourState.UNREADABLE
    assert words in account.reason


def test_an_hour_whose_record_was_removed_begins_again_behind_its_earlier_versions(
    world: World, host: Host
) -> None:
    """A run that is over would never publish anything; and what readers see does not go back."""
    for name in ("a.jsonl", "b.jsonl"):
        world.land(T17, name)
        host.hourly.look()
        host.finish()
    world.system.client().delete_blob(paths.hour_record_blob(T17.start))
    (run,) = host.hourly.look().started
    assert run.cause.version == "v3"
    host.finish()
    assert host.accounts.last(1)[0].state is HourState.SCORED
    assert world.pointer()["version"] == 3  # type: ignore[index]
    world.land(T17, "c.jsonl")
    assert [run.cause.version for run in host.hourly.look().started] == ["v4"]
    with pytest.raises(RunConflictError, match="is under way"):
        host.hourly.rescore(T17)
    host.finish()
    assert world.pointer()["version"] == 4  # type: ignore[index]


def test_another_hours_record_is_not_taken_for_it(world: World, host: Host) -> None:
    host.hourly.look()
    data = world.system.blobs[paths.hour_record_blob(T17.start)][0]
    world.system.client().upload_blob(paths.hour_record_blob(T17.before(1).start), data)
    assert host.accounts.last(2)[1].state is HourState.UNREADABLE


def test_an_hour_is_scored_anew_when_a_person_says_so(world: World, host: Host) -> None:
    world.land(T17, "a.jsonl")
    host.hourly.look()
    with pytest.raises(RunConflictError, match="is under way"):
        host.hourly.rescore(T17)
    host.finish()
    world.now += timedelta(days=90)
    assert host.hourly.rescore(T17).cause.version == "v2"
    host.finish()
    assert world.pointer()["version"] == 2  # type: ignore[index]


def test_an_hour_whose_manifest_is_gone_before_its_run_began_is_scored_anew() -> None:
    """As the message says that tells of the loss."""
    world = World()
    world.land(T17, "a.jsonl")

    def die(call: str, name: str) -> None:
        if name.startswith("hours/2026-11-21T17/"):
            raise Killed

    with pytest.raises(Killed):
        world.host(die).hourly.look()
    record = world.record()
    assert record is not None
    world.system.client().delete_blob(paths.frozen_manifest_blob(T17.start, record.versions[0].manifest))
    host = world.host()
    assert host.hourly.look().started == ()
    assert host.hourly.rescore(T17).cause.version == "v2"
    host.finish()
    assert world.pointer()["version"] == 2  # type: ignore[index]


def test_what_cannot_be_scored_anew_is_said(world: World, host: Host) -> None:
    with pytest.raises(RequestError, match="has no readings"):
        host.hourly.rescore(T17)
    with pytest.raises(RequestError, match=r"is not over. It ends at 19:00"):
        host.hourly.rescore(hours.hour_named("2026-11-21T18"))
    world.obstacle = "there is no model 'sensors'."
    with pytest.raises(RequestError, match="cannot be scored: there is no model"):
        host.hourly.rescore(T17)


def test_hours_that_are_settled_and_too_old_are_not_looked_at() -> None:
    world = World(CATCH_UP_HOURS="3", LATE_HOURS="2")
    seen: list[str] = []
    host = world.host(lambda call, name: seen.append(name))
    host.hourly.look()
    listed = [name for name in seen if name.startswith("readings/")]
    assert listed == [f"readings/2026/11/21/{hour}/" for hour in (17, 16, 15, 14)]


def test_storage_that_is_down_is_not_waited_for_at_every_hour() -> None:
    world = World(CATCH_UP_HOURS="24")
    calls: list[str] = []

    def down(call: str, name: str) -> None:
        calls.append(name)
        if name.startswith("hours/"):
            raise ServiceRequestError("down")

    assert world.host(down).hourly.look().faults == 3
    assert len(calls) < 10


def test_a_publisher_that_is_overtaken_at_any_call_never_takes_anything_back() -> None:
    """He publishes version 1; before one of his calls another one publishes it as well, and version 2 after it."""
    calls = [0]

    def course(at: int) -> World:
        world = World()
        world.land(T17, "a.jsonl")
        (run,) = world.host().hourly.look().started
        running = world.host().start(run)
        world.host().score(running)
        calls[0] = 0

        def overtake(call: str, name: str) -> None:
            calls[0] += 1
            if calls[0] == at:
                world.host().finish()
                world.land(T17, "b.jsonl")
                world.host().hourly.look()
                world.host().finish()

        world.host(overtake).hour_runs.publish(running, 0)
        return world

    course(-1)
    for at in range(1, calls[0] + 1):
        world = course(at)
        record = world.record()
        assert record is not None
        assert (record.published, world.pointer()["version"]) == (2, 2), f"overtaken at call {at}"  # type: ignore[index]


class Killed(BaseException):
    """The process is gone."""


def killed(call: str) -> Exception | Killed:
    return Killed()


def down(call: str) -> Exception | Killed:
    return ServiceRequestError("down")


class Cut:
    """Cuts the process, or its connection, at one call: before it does its work or after."""

    def __init__(self, at: int, fault: Callable[[str], BaseException], *, done: bool) -> None:
        self._left, self._fault, self._done = at, fault, done
        self.cut = False

    def __call__(self, call: str, name: str) -> Any:
        self._left -= 1
        if self._left != -1:
            return None
        self.cut = True
        if self._done:
            return lambda: self._raise(call)
        return self._raise(call)

    def _raise(self, call: str) -> None:
        raise self._fault(call)


def two_versions(world: World, host: Callable[[], Host]) -> None:
    """An hour that is scored, and scored again for late readings; each part again until it goes through."""

    def until_done(part: Callable[[Host], object]) -> None:
        while True:
            try:
                part(host())
            except (Killed, StorageUnavailableError):
                continue
            return

    def look(host: Host) -> None:
        if host.hourly.look().faults:
            raise StorageUnavailableError("look again")

    for name in ("a.jsonl", "b.jsonl"):
        world.land(T17, name)
        until_done(look)
        until_done(Host.finish)
    until_done(look)


@pytest.mark.parametrize(
    ("fault", "done"),
    [(killed, False), (killed, True), (down, False), (down, True), (refusal, True)],
    ids=["killed before", "killed after", "down before", "down after", "repeated"],
)
def test_a_cut_at_any_call_leads_to_the_same_end(fault: Callable[[str], BaseException], done: bool) -> None:
    """`repeated`: the answer was lost, the SDK asked again, and was told that somebody else had been quicker."""
    calls: list[tuple[str, str]] = []
    whole = World()
    two_versions(whole, lambda: whole.host(lambda call, name: calls.append((call, name))))
    expected = whole.contents()
    assert len(whole.runs()) == 2
    assert whole.pointer()["version"] == 2  # type: ignore[index]
    assert not [name for name in expected if name.startswith(paths.HOURS_BEGUN)]

    for at, (call, name) in enumerate(calls):
        if fault is refusal and call not in ("swap", "create"):
            continue
        world, cut = World(), Cut(at, fault, done=done)
        two_versions(world, lambda world=world, cut=cut: world.host(cut))  # type: ignore[misc]
        assert cut.cut
        assert world.contents() == expected, f"cut at call {at}: {call} {name}"


def test_a_version_whose_host_died_before_its_run_is_started_also_after_a_long_time() -> None:
    """The hour is out of reach by then."""
    world = World()
    world.land(T17, "a.jsonl")

    def die(call: str, name: str) -> None:
        if name.startswith("hours/2026-11-21T17/"):
            raise Killed

    with pytest.raises(Killed):
        world.host(die).hourly.look()
    assert world.runs() == []
    world.now += timedelta(days=30)
    world.host().hourly.look()
    assert [run.cause.name for run in world.runs()] == [T17.name]
    assert not [name for name in world.contents() if name.startswith(paths.HOURS_BEGUN)]


def test_what_was_found_in_an_hour_is_said_in_lines() -> None:
    summary = {
        "hour": "2026-11-21T17",
        "interval": "1m",
        "readings": {"read": 9000, "used": 8999},
        "bad": {},
        "bad_examples": [],
        "anomalies": 1200,
        "most_anomalies": [{"device": "pump\x1b[2J", "anomalies": number} for number in range(9, 0, -1)],
    }
    assert summary_lines(summary)[:4] == [
        "interval: 1m",
        "readings: read 9,000, used 8,999",
        "anomalies: 1,200",
        r"most anomalies: device pump\x1b[2J, anomalies 9",
    ]
    assert len(summary_lines(summary)) == 8


def test_an_hour_that_is_not_over_has_no_state(host: Host) -> None:
    with pytest.raises(RequestError, match=r"hour 2026-11-21T18 is not over\. It ends at 19:00 UTC"):
        host.accounts.of(T17.before(-1))
    assert host.accounts.of(T17).state is HourState.DUE
