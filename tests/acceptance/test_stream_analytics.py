"""An hour that Stream Analytics landed is scored as one that the Function app landed, through the same hourly path.

What the job writes is made by `tests/stream_analytics.py`, an evaluation of its query, not by the service.
"""

from __future__ import annotations

import csv
import json
import random
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from batchscore import hours, paths
from batchscore.application import Application
from batchscore.hours import Hour
from batchscore.ingest import sort_out
from batchscore.models import ModelStore
from batchscore.runs import RunState
from batchscore.settings import EventLimits
from tests.acceptance.hosts import wait_until
from tests.azurite import settings_for
from tests.fitted_sensors import fit, packed, write_set
from tests.stream_analytics import Job, blobs_of
from tests.unit.test_ingest import Sent

SENSORS = [("press", "temperature"), ("7", "oil")]
BAD = [
    b"not json",
    b'{"ts": "2026-11-21T17:29:58Z", "device": "press", "tag": "temperature", "value": NaN}',
    b'{"ts": "never", "device": "press", "tag": "temperature", "value": 1000}',
    b'{"device": "press", "tag": "temperature", "value": 1000}',
    b'{"ts": "%s", "device": "press", "tag": "temperature", "value": "1000"}',
    b'{"ts": "%s", "device": "press", "tag": "temperature", "value": true}',
    b'{"ts": "%s", "device": null, "tag": "temperature", "value": 1000}',
    b'{"ts": "%s", "device": "", "tag": "temperature", "value": 1000}',
    b"17",
    b"\xff\xfe",
]


def events_of(hour: Hour) -> list[Sent]:
    """An hour and a little more of both sensors: single readings and arrays, some bad, some that repeat a minute's end."""
    chance, events = random.Random(7), []
    moment, number = hour.start - timedelta(minutes=2), 0
    while moment <= hour.end + timedelta(minutes=2):
        ts = moment.isoformat() if number % 3 else moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
        press = {"ts": ts, "device": "press", "tag": "temperature", "value": 20 + chance.random()}
        oil = {
            "ts": ts,
            "device": 7,
            "tag": "oil",
            "value": 95 if 30 <= moment.minute < 35 else 40.5,
            "id": number,
        }
        enqueued = moment + timedelta(seconds=2)
        body = json.dumps([press, oil] if number % 4 else press).encode()
        events.append(Sent(body, number, enqueued, {"PartitionContext": {"PartitionId": "0"}}))
        bad = BAD[number % len(BAD)]
        body = bad.replace(b"%s", ts.encode())
        events.append(Sent(body, number + 1, enqueued, {"PartitionContext": {"PartitionId": "0"}}))
        moment, number = moment + timedelta(seconds=10), number + 2
    return events


@pytest.fixture
def hour() -> Hour:
    """One that no other test has: the record of an hour lies in the system account, which tests share."""
    return hours.last_ended(datetime.now(UTC)).before(200)


@pytest.fixture
def application(azurite: str, tmp_path: Path) -> Iterator[Application]:
    name = f"set-{uuid.uuid4().hex[:8]}"
    # As the app is with Stream Analytics: no EVENT_HUB, and a schedule.
    variables = {"SCORING_INPUTS": json.dumps({"models": name}), "SCORING_SCHEDULE": "0 15 * * * *"}
    application = Application(settings_for(azurite, tmp_path / "work", **variables))
    models = packed(
        {
            SENSORS[0]: fit([19.5, 20.5, 21.5, 20.0, 21.0] * 20),
            SENSORS[1]: fit([39.0, 40.0, 41.0, 39.5, 40.5] * 20),
        }
    )
    ModelStore(application.storage).publish(name, write_set(tmp_path / "set", models, name))
    try:
        yield application
    finally:
        application.close()


def land(application: Application, blobs: dict[str, bytes], *, blocks: bool = False) -> None:
    """Write blobs; in blocks, as who appends to them: they have no MD5 then."""
    data = application.storage.container("data", application.settings.data_container, create=True)
    for name, content in blobs.items():
        blob = data.get_blob_client(name)
        if blocks:
            half = len(content) // 2
            blob.stage_block("0001", content[:half])
            blob.stage_block("0002", content[half:])
            blob.commit_block_list(["0001", "0002"])
        else:
            blob.upload_blob(content, overwrite=True)


def scored(application: Application, hour: Hour) -> tuple[list[dict[str, str]], dict[str, Any]]:
    """Score what is there now; the predictions and their summary."""
    run = application.rescore(hour.name)

    def over() -> bool:
        application.reconciler.tick()
        return application.store.get(run.id).state.ended

    wait_until(over, 120)
    ended = application.store.get(run.id)
    assert ended.state is RunState.SUCCEEDED, ended.reason
    data = application.storage.container("data", application.settings.data_container)
    place = f"predictions/{hour.name}/{run.cause.version}"
    table = data.download_blob(f"{place}/predictions.csv").readall().decode().splitlines()
    summary = json.loads(data.download_blob(f"{place}/summary.json").readall())
    return list(csv.DictReader(table)), summary


def test_the_predictions_are_those_of_the_functions_landing(application: Application, hour: Hour) -> None:
    events = events_of(hour)
    assert application.settings.event_hub is None
    assert application.settings.scores_hours

    by_function = sort_out("0", events, EventLimits())
    land(application, dict(by_function.readings))
    expected, summary = scored(application, hour)
    assert len(expected) == 2 * 60
    assert {row["Prediction"] for row in expected if row["Tag"] == "oil"} == {"0", "1"}
    assert summary["readings"]["bad"] == 0
    assert by_function.bad > 300

    data = application.storage.container("data", application.settings.data_container)
    for name in by_function.readings:
        data.delete_blob(name)
    by_job = blobs_of(events, Job.deployed())
    land(application, by_job, blocks=True)
    (of_hour,) = [name for name in by_job if name.startswith(f"{paths.readings_prefix(hour.start)}/")]
    again = of_hour.replace("_1.json", "_2.json")  # a job that was restarted
    land(application, {again: b"\r\n".join(by_job[of_hour].splitlines()[-20:])}, blocks=True)

    found, summary = scored(application, hour)
    read = summary["readings"]
    assert (read["used"], read["duplicates"], read["bad"], read["outside"]) == (120, 20, 0, 0)
    exact = ("TS", "Device", "Tag", "Prediction", "Model")
    assert [[row[name] for name in exact] for row in found] == [
        [row[name] for name in exact] for row in expected
    ]
    for column in ("Val", "Score"):
        assert [float(row[column]) for row in found] == pytest.approx(
            [float(row[column]) for row in expected]
        )


def test_a_blob_that_still_grows_makes_another_version_and_no_half_an_hour(
    application: Application, hour: Hour
) -> None:
    """The job appends to its blob while it has something to say; a manifest holds what it was then."""
    by_job = blobs_of(events_of(hour), Job.deployed())
    (name,) = [each for each in by_job if each.startswith(f"{paths.readings_prefix(hour.start)}/")]
    lines = by_job[name].splitlines(keepends=True)
    land(application, {name: b"".join(lines[:60])}, blocks=True)
    run = application.rescore(hour.name)
    land(application, {name: b"".join(lines)}, blocks=True)

    def over() -> bool:
        application.reconciler.tick()
        return application.store.get(run.id).state.ended

    wait_until(over, 120)
    assert "was changed after it was listed" in application.store.get(run.id).reason
    found, _ = scored(application, hour)
    assert len(found) == 2 * 60


def test_what_the_job_leaves_out_lands_by_the_function(hour: Hour) -> None:
    """Readings that come late, or long after newer ones, and those sent twice: docs/ingest.md says so."""
    place = {"PartitionContext": {"PartitionId": "0"}}
    row = {"device": "press", "tag": "temperature", "value": 1.0}

    def sent(ts: datetime, enqueued: datetime, value: float, **fields: str) -> Sent:
        body = {**row, "ts": ts.isoformat(), "value": value, **fields}
        return Sent(json.dumps(body).encode(), 0, enqueued, place)

    noon, minute = hour.start + timedelta(minutes=30), timedelta(minutes=1)
    events = [
        sent(noon, noon, 1.0, id="a"),
        sent(noon, noon, 1.0, id="a"),  # twice: its weight is two
        sent(noon, noon, 4.0),
        sent(noon - 6 * minute, noon, 9.0),  # late
        sent(noon + 6 * minute, noon, 9.0),  # early
        sent(noon + 8 * minute, noon + 8 * minute, 5.0),
        sent(noon + 2 * minute, noon + 6 * minute, 9.0),  # in time, but six minutes behind a newer one
    ]
    by_job = [
        json.loads(line) for data in blobs_of(events, Job.deployed()).values() for line in data.splitlines()
    ]
    assert [(line["value"], line["events"]) for line in by_job] == [(2.0, 3), (5.0, 1)]
    by_function = sort_out("0", events, EventLimits())
    assert sum(content.count(b"\n") for content in by_function.readings.values()) == len(events)


def test_every_window_lies_in_the_folder_of_its_hour(hour: Hour) -> None:
    """Also the last one, which ends when the next hour begins."""
    for name, content in blobs_of(events_of(hour), Job.deployed()).items():
        for line in content.splitlines():
            end = datetime.fromisoformat(json.loads(line)["ts"])
            assert name.startswith(f"{paths.readings_prefix(hours.hour_of(end).start)}/")
