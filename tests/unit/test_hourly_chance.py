"""Hosts, people and late readings in any order: two hosts look at the hours at once, each call to storage is a turn that
somebody else may come before, and at any of them a process may die or an answer be lost."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import msgspec
from azure.core.exceptions import ServiceRequestError
from hypothesis import given
from hypothesis import strategies as st

from batchscore import hours, paths, runs
from batchscore.errors import BatchscoreError, RequestError, RunConflictError
from batchscore.hours import Hour, HourRecord
from batchscore.runs import Run, RunState
from tests.hourly_world import T17, Host, World, digest_in_data
from tests.memory_blobs import refusal

HOURS = [T17.before(count) for count in (2, 1, 0)] + [hours.hour_named("2026-11-21T18")]
TURNS = 400
MOST_AT_ONCE = 4
FAULTS_IN = 25
"""One turn in so many has a fault."""


class Killed(BaseException):
    """The process is gone."""


class Actor(threading.Thread):
    """Somebody at work, who stops before every call to storage until it is his turn."""

    def __init__(self, world: World, what: str, act: Callable[[Host], object]) -> None:
        super().__init__(daemon=True)
        self.what = what
        self._act = act
        self._host = world.host(self._before)
        self._go, self._stopped = threading.Semaphore(0), threading.Semaphore(0)
        self._fault = ""
        self.over = False
        self.error: BaseException | None = None

    def run(self) -> None:
        self._go.acquire()
        try:
            self._act(self._host)
        except (Killed, BatchscoreError):
            pass  # nobody is there any more, or it is told; whoever comes next goes on
        except BaseException as error:
            self.error = error
        self.over = True
        self._stopped.release()

    def turn(self, fault: str = "") -> None:
        """Let him make his next call, and stop before the one after that."""
        if not self.is_alive() and not self.over:
            self.start()
        self._fault = fault
        self._go.release()
        self._stopped.acquire()
        if self.error is not None:
            raise self.error

    def _before(self, call: str, name: str) -> Any:
        self._stopped.release()
        self._go.acquire()
        fault, self._fault = self._fault, ""
        match fault:
            case "killed before":
                raise Killed
            case "down":
                raise ServiceRequestError("down")
            case "killed after":
                return lambda: _raise(Killed())
            case "repeated" if call in ("swap", "create"):
                return lambda: _raise(refusal(call))
        return None


def _raise(error: BaseException) -> None:
    raise error


class Play:
    """One course of events, all of it made of a seed."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.world = World(CATCH_UP_HOURS="5", LATE_HOURS="5")
        self.actors: list[Actor] = []
        self.published: dict[str, int] = {}
        self.pointed: dict[str, int] = {}
        self.seen = -1
        self.landed = 0

    def go(self) -> None:
        for _ in range(TURNS):
            self.turn()
        while self.actors:
            self.advance(self.actors[0])
        self.come_to_rest()

    def turn(self) -> None:
        if len(self.actors) < MOST_AT_ONCE and self.chance.random() < 0.1:
            self.begin()
        elif self.actors:
            fault = ""
            if self.chance.randrange(FAULTS_IN) == 0:
                fault = self.chance.choice(("killed before", "killed after", "down", "repeated"))
            self.advance(self.chance.choice(self.actors), fault)

    def advance(self, actor: Actor, fault: str = "") -> None:
        actor.turn(fault)
        if actor.over:
            self.actors.remove(actor)
        self.check()

    def begin(self) -> None:
        self.world.now += timedelta(milliseconds=1)  # nobody does two things in one moment
        match self.chance.choice(
            ("look", "look", "reconcile", "reconcile", "land", "retry", "late", "rescore", "time", "model")
        ):
            case "look":
                self.actors.append(Actor(self.world, "look", lambda host: host.hourly.look()))
            case "reconcile" if not any(
                actor.what == "reconcile" for actor in self.actors
            ):  # it holds a lease
                self.actors.append(Actor(self.world, "reconcile", self.reconcile))
            case "retry":
                self.actors.append(Actor(self.world, "retry", self.retry))
            case "rescore":
                hour = self.chance.choice(HOURS)
                self.actors.append(Actor(self.world, "rescore", lambda host: host.hourly.rescore(hour)))
            case "late":
                self.actors.append(Actor(self.world, "late", self.publish_late))
            case "land":
                self.land()
            case "time":
                self.world.now += timedelta(minutes=self.chance.choice((1, 20)))
            case "model":
                self.world.obstacle = self.chance.choice((None, None, "there is no model 'sensors'."))

    def land(self) -> None:
        """A new file, or another content of one that is there."""
        self.landed += 1
        hour, name = self.chance.choice(HOURS), self.chance.choice("abcdef")
        self.world.land(hour, f"{name}.jsonl", f"{self.landed}\n".encode())

    def reconcile(self, host: Host, *, all_succeed: bool = False) -> None:
        for run in host.runs.active():
            if run.state is RunState.ACCEPTED:
                try:
                    host.start(run)
                except RunConflictError:
                    continue
                except RequestError as error:
                    reason, now = str(error), self.world.now
                    host.runs.update(
                        run.id, lambda it, reason=reason, now=now: runs.unplannable(it, reason, now)
                    )  # type: ignore[misc]
                continue
            ends = (
                "succeeds" if all_succeed else self.chance.choice(("runs on", "succeeds", "fails", "is lost"))
            )
            match ends:
                case "succeeds":
                    host.end(run, failed_items=0 if all_succeed else self.chance.choice((0, 0, 2)))
                case "fails":
                    host.end(run, RunState.FAILED)
                case "is lost":
                    host.runs.update(run.id, lambda it: replace(it, state=RunState.ACCEPTED))

    def retry(self, host: Host) -> None:
        """A person tries something again that failed, whichever version it is of."""
        failed = [run for run in self.world.runs() if run.state is RunState.FAILED]
        if failed:
            host.retry(self.chance.choice(failed))

    def publish_late(self, host: Host) -> None:
        """A reconciler that was overtaken, and wakes up with the end of a run that another one has seen."""
        over = [run for run in self.world.runs() if run.state is RunState.SUCCEEDED]
        if over:
            run = self.chance.choice(over)
            hour, number = hours.version_of(run.cause)
            version = self.records()[hour].version(number)
            assert version is not None
            host.hour_runs.publish(run, version.failed_items)

    def records(self) -> dict[Hour, HourRecord]:
        found = {hour: self.world.record(hour) for hour in HOURS}
        return {hour: record for hour, record in found.items() if record is not None}

    def check(self) -> None:
        """What holds at every moment."""
        changes = self.world.system.changes + self.world.data.changes
        if changes == self.seen:
            return
        self.seen = changes
        for hour, record in self.records().items():
            assert record.published >= self.published.get(hour.name, 0)
            self.published[hour.name] = record.published
            pointer = self.world.pointer(hour)
            version = pointer["version"] if pointer else 0
            assert self.pointed.get(hour.name, 0) <= version <= record.published
            self.pointed[hour.name] = version
            assert all(version.recorded_at >= hour.end for version in record.versions)
            its_runs = [self.run(version.run) for version in record.versions]
            for version, run in zip(record.versions, its_runs, strict=True):
                assert run is None or digest_in_data(self.world, hour, version.number) == version.manifest
            assert sum(run is not None and run.state is RunState.RUNNING for run in its_runs) <= 1

    def run(self, run_id: str) -> Run | None:
        kept = self.world.system.blobs.get(paths.record_blob(run_id))
        return msgspec.json.decode(kept[0], type=Run) if kept else None

    def come_to_rest(self) -> None:
        """Nothing goes wrong any more, and people retry what failed last."""
        self.world.obstacle = None
        host = self.world.host()
        for _ in range(20):
            while host.hourly.look().started or list(host.runs.active()):
                self.reconcile(host, all_succeed=True)
                self.check()
            newest = [record.versions[-1] for record in self.records().values() if record.versions]
            unpublished = [
                run
                for version in newest
                if (run := self.run(version.run)) and run.state is not RunState.SUCCEEDED
            ]
            if not unpublished:
                return
            for run in unpublished:
                if run.state is RunState.REJECTED:
                    host.hourly.rescore(hours.hour_named(run.cause.name))
                else:
                    host.retry(run)
        raise AssertionError("it never came to rest")

    def check_the_end(self) -> None:
        host, records = self.world.host(), self.records()
        over = [hour for hour in HOURS if hour.end <= self.world.now]
        assert set(over) <= set(records), "an hour was skipped"
        for hour, record in records.items():
            readings = host.store.readings(hour)
            assert record.published == len(record.versions)
            assert bool(record.versions) == bool(readings)
            if readings:
                published = record.versions[-1]
                assert set(host.store.blobs(hour, published.manifest)) == set(readings)
                pointer = hours.pointer_of(record)
                assert self.world.pointer(hour) == msgspec.json.decode(msgspec.json.encode(pointer))
        assert host.store.begun() == {}
        started = sorted(run.id for run in self.world.runs())
        assert started == sorted(version.run for record in records.values() for version in record.versions)


@given(st.integers(0, 2**32))
def test_whatever_happens_each_version_has_one_run_and_the_last_one_is_published(seed: int) -> None:
    play = Play(seed)
    play.go()
    play.check_the_end()
