"""Hours on the dev host, Azurite and the local engine: the timer fires by itself, and dies in the middle."""

from __future__ import annotations

import csv
import json
import re
import threading
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from batchscore import hours, paths
from batchscore.application import Application
from batchscore.cli import app
from batchscore.cli.outcome import Exit
from batchscore.doctor.findings import Verdict
from batchscore.doctor.hours import scored
from batchscore.hour_accounts import HourState
from batchscore.hours import Hour
from batchscore.models import ModelStore
from batchscore.runs import Run, RunState
from batchscore.settings import Settings
from tests.acceptance.hosts import User, user_of_a_host, wait_until
from tests.azurite import settings_for
from tests.fitted_sensors import fit, packed, write_set

WORKLOADS = Path(__file__).parent / "workloads"
SCORING = {
    "WORKLOADS_FOLDER": str(WORKLOADS),
    "SCORING_SCHEDULE": "* * * * * *",
    "SCORING_WORKLOAD": "hourly/score",
    "SCORING_INPUTS": "{}",
    "CATCH_UP_HOURS": "2",
    "LATE_HOURS": "3",
}


def readings(**values: float) -> bytes:
    return b"".join(
        json.dumps({"device": name, "value": value}).encode() + b"\n" for name, value in values.items()
    )


def land(user: User, hour: Hour, name: str, data: bytes) -> None:
    user.upload(f"{paths.readings_prefix(hour.start)}/{name}", data)


def document(user: User, path: str) -> dict[str, Any] | None:
    blob = user.application.storage.container(
        "data", user.application.settings.data_container
    ).get_blob_client(path)
    return json.loads(blob.download_blob().readall()) if blob.exists() else None


def published(user: User, hour: Hour) -> tuple[int, dict[str, float]]:
    """The version that readers see, and what it says; 0 while there is none."""
    pointer = document(user, paths.pointer_path(hour.name))
    if pointer is None:
        return 0, {}
    found = document(user, f"{pointer['path']}/sums.json")
    assert found is not None
    assert found["version"] == pointer["version"]
    return pointer["version"], found["sums"]


def accounts(user: User) -> dict[str, dict[str, Any]]:
    status, answer = user.http("GET", "hours?last=6")
    assert status == 200
    return {each["hour"]: each for each in answer["hours"]}


def runs_of(user: User, hour: Hour) -> list[Run]:
    found = [run for run in user.application.store.recent(100) if run.cause.name == hour.name]
    return sorted(found, key=lambda run: run.created_at)


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[User]:
    with user_of_a_host(tmp_path_factory.mktemp("hours"), **SCORING) as user:
        yield user


@pytest.fixture(scope="module")
def newest() -> Hour:
    return hours.last_ended(datetime.now(UTC))


def test_the_timer_scores_an_hour_and_scores_it_again_for_late_readings(user: User, newest: Hour) -> None:
    hour, before = newest, newest.before(1)
    wait_until(lambda: accounts(user)[before.name]["state"] == "empty")
    land(user, hour, "0-1-2-1.jsonl", readings(pump=1.5, fan=2))
    wait_until(lambda: published(user, hour) == (1, {"pump": 1.5, "fan": 2}))
    land(user, hour, "1-1-1-1.jsonl", readings(pump=3))
    wait_until(lambda: published(user, hour) == (2, {"pump": 4.5, "fan": 2}))
    wait_until(lambda: accounts(user)[hour.name]["state"] == "scored")
    account = accounts(user)[hour.name]
    assert (account["published"], account["blobs"]) == ("v2", 2)
    assert account["path"] == f"predictions/{hour.name}/v2"
    assert [run.cause.version for run in runs_of(user, hour)] == ["v1", "v2"]
    manifest = document(user, f"hours/{hour.name}/v1.json")
    assert manifest is not None
    assert [blob["name"] for blob in manifest["blobs"]] == ["0-1-2-1.jsonl"]
    assert published(user, before) == (0, {})


def test_an_hour_that_failed_says_why_and_a_better_file_scores_it(
    user: User, newest: Hour, monkeypatch: pytest.MonkeyPatch
) -> None:
    hour = newest.before(2)
    land(user, hour, "0-1-1-1.jsonl", b'{"device": "pump"}\n')
    wait_until(lambda: accounts(user)[hour.name]["state"] == "failed")
    cli = CliRunner(
        env={**SCORING, **dict.fromkeys(("AzureWebJobsStorage", "DATA_STORAGE"), user.host.connection_string)}
    )
    listed = json.loads(cli.invoke(app, ["hours", "--last", "6", "--json"]).stdout)["hours"]
    (account,) = [each for each in listed if each["hour"] == hour.name]
    assert "KeyError: 'value'" in account["reason"]
    table = cli.invoke(app, ["hours", "--last", "6"]).stdout
    assert [hour.name, "failed", "none of v1"] in [re.split(" {2,}", line)[:3] for line in table.splitlines()]
    (finding,) = scored(user.application.settings)
    assert (finding.verdict, finding.found.startswith(f"{hour.name}: failed")) == (Verdict.WARN, True)
    land(user, hour, "0-1-1-1.jsonl", readings(pump=7))
    wait_until(lambda: published(user, hour) == (2, {"pump": 7}))


def test_a_person_scores_an_hour_anew(user: User, newest: Hour) -> None:
    """One that nobody looked at: it is older than CATCH_UP_HOURS."""
    hour = newest.before(4)
    land(user, hour, "0-1-1-1.jsonl", readings(pump=1))
    assert accounts(user)[hour.name]["state"] == "missed"
    cli = CliRunner(
        env={**SCORING, **dict.fromkeys(("AzureWebJobsStorage", "DATA_STORAGE"), user.host.connection_string)}
    )
    result = cli.invoke(app, ["hours", "rescore", hour.name])
    assert result.exit_code == Exit.OK, result.output
    assert f"makes v1 of hour {hour.name}" in result.stdout
    wait_until(lambda: published(user, hour) == (1, {"pump": 1}))
    wait_until(lambda: accounts(user)[hour.name]["state"] == "scored")
    shown = cli.invoke(app, ["hours", "show", hour.name]).stdout  # this workload writes no summary
    assert shown.startswith(f"hour {hour.name}: scored; v1 is published in predictions/{hour.name}/v1\n")
    user.upload(f"predictions/{hour.name}/v1/summary.json", b'{"anomalies": 1200, "sensors": {"scored": 7}}')
    shown = cli.invoke(app, ["hours", "show", hour.name]).stdout
    assert "  anomalies: 1,200\n  sensors: scored 7\n" in shown
    refused = cli.invoke(app, ["hours", "rescore", "2026-11-21"])
    assert refused.exit_code == Exit.USAGE
    assert "is no hour" in refused.output


@pytest.mark.slow
def test_a_host_that_is_killed_while_an_hour_is_scored_publishes_it_once(tmp_path: Path) -> None:
    hour, gate = hours.last_ended(datetime.now(UTC)), tmp_path / "gate"
    inputs = {**SCORING, "SCORING_INPUTS": json.dumps({"gate": str(gate)})}
    with user_of_a_host(tmp_path, **inputs) as user:
        land(user, hour, "0-1-1-1.jsonl", readings(pump=1))
        wait_until(lambda: [run.state for run in runs_of(user, hour)] == [RunState.RUNNING])
        user.host.kill()
    gate.touch()
    with user_of_a_host(tmp_path, **inputs) as user:
        wait_until(lambda: published(user, hour) == (1, {"pump": 1}))
        land(user, hour, "0-2-2-1.jsonl", readings(fan=2))
        wait_until(lambda: published(user, hour) == (2, {"pump": 1, "fan": 2}))
        assert [run.cause.version for run in runs_of(user, hour)] == ["v1", "v2"]


def test_hosts_that_look_at_the_same_moment_start_one_run_an_hour(azurite: str, tmp_path: Path) -> None:
    variables = {**SCORING, "CATCH_UP_HOURS": "2"}
    first = Application(settings_for(azurite, tmp_path, **variables))
    # The record of an hour lies in the system account, which tests share: hours that no other test has.
    now = datetime(2031, 5, 4, 3, 5, tzinfo=UTC)
    reach = hours.in_reach(now, hours.Bounds(2, 0))
    for hour in reach:
        data = first.storage.container("data", first.settings.data_container, create=True)
        data.upload_blob(f"{paths.readings_prefix(hour.start)}/a.jsonl", readings(pump=1))
    others = [Application(first.settings) for _ in range(3)]
    started: list[Run] = []
    ready = threading.Barrier(4)

    def look(application: Application) -> None:
        application.hours._clock = lambda: now
        ready.wait()
        started.extend(application.hours.look().started)

    threads = [threading.Thread(target=look, args=(each,)) for each in (first, *others)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    try:
        causes = {(run.cause.name, run.cause.version) for run in started}
        assert causes == {(hour.name, "v1") for hour in reach}
        for hour in reach:
            record, _ = first.hour_store.record(hour)
            assert record is not None
            assert [version.number for version in record.versions] == [1]
            account = first.hour_accounts._account(hour, now)
            assert account.state is HourState.SCORING
    finally:
        for run in {run.id for run in started}:
            first.cancel(run)
        for application in (first, *others):
            application.close()


def test_an_hour_waits_for_a_model_set_and_is_scored_once_there_is_one(azurite: str, tmp_path: Path) -> None:
    name = f"model-{uuid.uuid4().hex[:8]}"
    variables = {
        **SCORING,
        "SCORING_WORKLOAD": "sensors/score",
        "SCORING_INPUTS": json.dumps({"models": name}),
    }
    del variables["WORKLOADS_FOLDER"]
    application = Application(settings_for(azurite, tmp_path, **variables))
    now = datetime(2032, 5, 4, 3, 5, tzinfo=UTC)
    application.hours._clock = application.hour_accounts._clock = lambda: now
    hour = hours.last_ended(now)
    try:
        data = application.storage.container("data", application.settings.data_container, create=True)
        data.upload_blob(f"{paths.readings_prefix(hour.start)}/a.jsonl", readings(pump=1))
        assert application.hours.look().waiting == (hour,)
        (account,) = application.hour_accounts.last(1)
        assert account.state is HourState.WAITING
        assert f"there is no model {name!r}" in account.reason
        (tmp_path / "set").mkdir()
        (tmp_path / "set" / "model.onnx").write_bytes(b"a model")
        ModelStore(application.storage).publish(name, tmp_path / "set")
        (run,) = application.hours.look().started
        assert run.request is not None
        assert run.request.inputs["models"] == name
        application.cancel(run.id)
    finally:
        application.close()


def test_the_timer_is_there_only_with_the_sensors_half(settings: Settings) -> None:
    assert not settings.scores_hours
    assert list(scored(settings)) == []


def test_the_shipped_workload_scores_an_hour(azurite: str, tmp_path: Path) -> None:
    """Landed readings to published predictions, with a model set from storage; the reconciler of this process runs it."""
    name = f"set-{uuid.uuid4().hex[:8]}"
    variables = {"SCORING_INPUTS": json.dumps({"models": name, "interval": "30m"}), "CATCH_UP_HOURS": "0"}
    application = Application(settings_for(azurite, tmp_path / "work", **variables))
    hour = hours.last_ended(datetime.now(UTC))
    models = packed({("press", "temperature"): fit([20.0, 21.0, 22.0, 20.5, 21.5] * 20)})
    data = application.storage.container("data", application.settings.data_container, create=True)
    lines = [
        {"ts": f"{hour.name}:{minute:02}:00Z", "device": "press", "tag": "temperature", "value": value}
        | {"partition": "0", "sequence": minute, "index": 0, "enqueued": f"{hour.name}:{minute:02}:01Z"}
        for minute, value in ((10, 21.0), (20, 22.0), (40, 95.0), (50, 97.0))
    ]
    data.upload_blob(
        f"{paths.readings_prefix(hour.start)}/0-10-50-1.jsonl",
        b"".join(json.dumps(line).encode() + b"\n" for line in lines),
    )
    try:
        ModelStore(application.storage).publish(name, write_set(tmp_path / "set", models, name))
        run = application.rescore(hour.name)  # the timer's way is told above

        def over() -> bool:
            application.reconciler.tick()
            return application.store.get(run.id).state.ended

        wait_until(over, 120)
        ended = application.store.get(run.id)
        assert ended.state is RunState.SUCCEEDED, ended.reason
        place = f"predictions/{hour.name}/{run.cause.version}"
        table = data.download_blob(f"{place}/predictions.csv").readall().decode().splitlines()
        rows = list(csv.DictReader(table))
        assert [(row["TS"][:16], float(row["Val"]), row["Prediction"]) for row in rows] == [
            (f"{hour.name}:30", 21.5, "0"),
            (hour.end.isoformat()[:16], 96.0, "1"),
        ]
        pointer = json.loads(data.download_blob(paths.pointer_path(hour.name)).readall())
        assert (pointer["path"], pointer["run"]) == (place, run.id)
    finally:
        application.close()
