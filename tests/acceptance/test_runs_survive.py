"""Runs that are canceled, wait, or lose what runs them: cancel, backpressure, kill and resume by item."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from batchscore.runs import Run, RunState
from tests.acceptance.hosts import User, user_of_a_host, wait_until

WORKLOADS = Path(__file__).parent / "workloads"
ITEMS = ["a.txt", "b.txt", "later-1.txt", "later-2.txt", "later-3.txt"]


def gated(gate: Path) -> dict[str, Any]:
    return {"workload": "gated/wait", "inputs": {"files": "files", "gate": str(gate)}}


def two_are_done(run: Run) -> bool:
    return run.items[1] >= 2


def worked_on(gate: Path) -> list[str]:
    return sorted(Path(f"{gate}.log").read_text().split())


def processes_of(folder: Path) -> list[int]:
    """The processes of attempts whose work is below `folder`."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                line = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
            except OSError:
                continue
            if str(folder).encode() in line and b"batchscore.compute.local" in line:
                found.append(int(entry.name))
    return found


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[User]:
    folder = tmp_path_factory.mktemp("gated")
    with user_of_a_host(folder, WORKLOADS_FOLDER=str(WORKLOADS), MAX_ACTIVE_RUNS="1") as user:
        for name in ITEMS:
            user.upload(f"files/{name}", name.encode())
        yield user


def test_a_canceled_run_stops_within_seconds_and_a_retry_does_only_the_rest(
    user: User, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    run_id = user.drop(gated(gate))
    user.wait(run_id, two_are_done)
    assert user.http("POST", f"runs/{run_id}/cancel", b"")[0] == 202
    canceled = user.wait(run_id, patience_s=10)
    assert (canceled.state, canceled.reason) == (RunState.CANCELED, "canceled on request.")
    wait_until(
        lambda: not processes_of(user.application.settings.local_work_folder / canceled.attempts[0].job_name),
        5,
    )
    assert user.http("POST", f"runs/{run_id}/cancel", b"")[0] == 409

    gate.touch()
    assert user.http("POST", f"runs/{run_id}/retry", b"")[0] == 202
    done = user.wait(run_id, lambda run: run.state is RunState.SUCCEEDED)
    assert worked_on(gate) == ITEMS
    assert len(done.attempts) == 2
    assert done.summary is not None
    assert (done.summary.ok, done.summary.skipped) == (5, 2)
    assert set(user.results(done, "copies")) == set(ITEMS)
    assert user.http("POST", f"runs/{run_id}/retry", b"")[0] == 409


def test_runs_wait_their_turn_and_a_waiting_one_is_canceled_at_once(user: User, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    first = user.drop(gated(gate), "1.json")
    user.wait(first, two_are_done)
    second, third = user.drop(gated(gate), "2.json"), user.drop(gated(gate), "3.json")
    for waiting in (second, third):
        assert user.wait(waiting, lambda run: True).state is RunState.ACCEPTED
    assert user.http("POST", f"runs/{second}/cancel", b"")[1]["state"] == "canceled"
    gate.touch()
    assert user.wait(first).state is RunState.SUCCEEDED
    assert user.wait(third).state is RunState.SUCCEEDED
    assert user.wait(second).attempts == ()


def test_an_attempt_that_is_killed_is_followed_by_one_that_does_the_rest(user: User, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    run_id = user.drop(gated(gate))
    running = user.wait(run_id, two_are_done)
    processes = processes_of(user.application.settings.local_work_folder / running.attempts[0].job_name)
    assert processes
    os.kill(min(processes), signal.SIGKILL)
    wait_until(lambda: not set(processes) & set(processes_of(user.application.settings.local_work_folder)))
    gate.touch()
    done = user.wait(run_id)
    assert done.state is RunState.SUCCEEDED, done.reason
    assert [attempt.outcome for attempt in done.attempts] == ["lost", "succeeded"]
    assert worked_on(gate) == ITEMS
    assert set(user.results(done, "copies")) == set(ITEMS)


def test_a_run_goes_on_while_its_host_is_dead_and_the_next_host_finishes_it(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with user_of_a_host(tmp_path, WORKLOADS_FOLDER=str(WORKLOADS)) as user:
        for name in ITEMS:
            user.upload(f"files/{name}", name.encode())
        run_id = user.drop(gated(gate))
        user.wait(run_id, two_are_done)
        user.host.kill()
    gate.touch()
    with user_of_a_host(tmp_path, WORKLOADS_FOLDER=str(WORKLOADS)) as user:
        done = user.wait(run_id)
        assert done.state is RunState.SUCCEEDED, done.reason
        assert worked_on(gate) == ITEMS
        assert set(user.results(done, "copies")) == set(ITEMS)
        assert done.summary is not None
        assert done.summary.ok == len(ITEMS)
