"""From simulated sensors to published predictions, on a host that is killed again and again: nothing lost, nothing twice."""

from __future__ import annotations

import base64
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sklearn.pipeline import Pipeline

from batchscore import paths
from batchscore.cli import simulated
from batchscore.hour_accounts import HourState
from batchscore.hour_store import HourStore
from batchscore.hours import hour_named, hour_of
from batchscore.models import ModelStore
from tests.acceptance.hosts import ROOT, User, user_of_a_host
from tests.fitted_sensors import fit, packed, write_set
from tests.sensor_reference import Sensor, assert_equal, reference

READINGS = 100_000
SEED = 21
DEVICES, TAGS = 10, 5
RATE = READINGS / 7_200
"""Readings a second of event time: two hours of them."""
KILLS = 5
PATIENCE_S = 900
SETTINGS = {
    "EVENT_HUB": "UseDevelopmentEventHub=true",
    "SCORING_SCHEDULE": "*/15 * * * * *",
    "LATE_HOURS": "24",
}


@dataclass(frozen=True)
class Sent:
    """What the simulator says that it has sent, each reading and each malformed event once."""

    readings: dict[tuple[str, str, str, str], float]
    """Value by device, tag, time and id."""
    malformed: Counter[str]
    hours: set[str]


def sent(record: Path) -> Sent:
    readings: dict[tuple[str, str, str, str], float] = {}
    malformed: Counter[str] = Counter()
    for line in record.read_text("utf-8").splitlines():
        event = json.loads(line)
        if "malformed" in event:
            malformed[event["body"]] += 1
        else:
            for each in event["readings"]:
                readings[each["device"], each["tag"], each["ts"], each["id"]] = each["value"]
    hours = {hour_of(datetime.fromisoformat(key[2])).name for key in readings}
    return Sent(readings, malformed, hours)


def lines(user: User, prefix: str) -> Iterator[dict[str, Any]]:
    container = user.application.storage.container("data", user.application.settings.data_container)
    for name in container.list_blob_names(name_starts_with=prefix):
        yield from map(json.loads, container.download_blob(name).readall().splitlines())


def landed(user: User) -> dict[tuple[str, str, str, str], float]:
    """The readings in Blob, each once however often it was delivered."""
    found = {}
    for line in lines(user, "readings/"):
        ts = simulated.told(datetime.fromisoformat(line["ts"]))
        found[line["device"], line["tag"], ts, line["id"]] = line["value"]
    return found


def buried(user: User) -> Counter[str]:
    """The malformed events in Blob, each once."""
    found = {}
    for line in lines(user, "dead-letter/"):
        raw = line["body"].encode()
        if line.get("encoding") == "base64":
            raw = base64.b64decode(line["body"])
        found[line["partition"], line["sequence"], line.get("index"), line["enqueued"]] = raw.decode(
            "latin-1"
        )
    return Counter(found.values())


def settled(user: User, hours: set[str]) -> bool:
    """Whether the newest version of every hour is made of all that has landed, and is the one that readers see."""
    accounts = {each.hour: each for each in user.application.hour_accounts.last(24)}
    there = HourStore(user.application.storage, user.application.settings)
    return all(accounts[hour].state is HourState.SCORED for hour in hours) and all(
        accounts[hour].blobs == len(there.readings(hour_named(hour))) for hour in hours
    )


def models() -> dict[Sensor, Pipeline]:
    """A model of each simulated sensor, fitted by scikit-learn to readings of the day before."""
    start = datetime.now(UTC) - timedelta(days=1)
    values: dict[Sensor, list[float]] = {}
    for each in islice(simulated.readings(SEED, start, 1, DEVICES, TAGS, 0.0), 300 * DEVICES * TAGS):
        values.setdefault((each.device, each.tag), []).append(each.value)
    return {sensor: fit(samples) for sensor, samples in values.items()}


@pytest.mark.slow
@pytest.mark.timeout(2 * PATIENCE_S)
def test_every_reading_lands_once_and_every_hour_is_published_once_per_version(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    pipelines = models()
    start = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=3)
    record, report = tmp_path / "sent.jsonl", tmp_path / "report.json"
    command = [
        *(sys.executable, "-m", "batchscore.cli", "send", "--seed", str(SEED), "--at-once"),
        *("--devices", str(DEVICES), "--tags", str(TAGS), "--readings", str(READINGS)),
        *("--start", f"{start:%Y-%m-%dT%H:%M:%S}", "--rate", str(RATE)),
        *("--malformed", "0.01", "--duplicates", "0.02", "--late", "0.03"),
        *("--record", str(record), "--report", str(report)),
    ]
    with user_of_a_host(tmp_path, **SETTINGS) as user:
        store = ModelStore(user.application.storage, user.application.workloads.models)
        store.publish("sensors", write_set(tmp_path / "models", packed(pipelines)))
        hub = {"EVENT_HUB": user.host.environment["EVENT_HUB"]}
        sender = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **hub})
        die(user, chance)
    for _ in range(KILLS - 1):
        with user_of_a_host(tmp_path, **SETTINGS) as user:
            die(user, chance)
    with user_of_a_host(tmp_path, **SETTINGS) as user:
        assert sender.wait(PATIENCE_S) == 0
        wanted = sent(record)
        wait_at_ease(lambda: len(landed(user)) >= len(wanted.readings))
        wait_at_ease(lambda: settled(user, wanted.hours))
        check(user, wanted, json.loads(report.read_text()), pipelines, tmp_path)


def die(user: User, chance: random.Random) -> None:
    """Kill the host, and with it Azurite and the event hub, at a moment that nothing marks."""
    threading.Event().wait(chance.uniform(2, 15))
    user.host.kill()


def wait_at_ease(true: Callable[[], bool]) -> None:
    """Wait until it is so, and look a tenth of the time only: looking keeps storage busy."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        began = time.monotonic()
        if true():
            return
        assert began < deadline, f"not within {PATIENCE_S} s"
        time.sleep(max(0.5, 9 * (time.monotonic() - began)))


def check(
    user: User, wanted: Sent, report: dict[str, Any], pipelines: dict[Sensor, Pipeline], folder: Path
) -> None:
    assert len(wanted.readings) == report["readings"] == READINGS
    assert report["duplicated_events"] > 0
    assert report["late_readings"] > 0
    assert landed(user) == wanted.readings
    dead = buried(user)
    assert set(dead) == set(wanted.malformed)
    if not report["tries_again"]:  # else the hub itself may hold an event twice
        assert dead == wanted.malformed

    frame = pd.DataFrame([(*key, value) for key, value in wanted.readings.items()])
    frame.columns = ["Device", "Tag", "TS", "Id", "Value"]
    frame["TS"] = pd.to_datetime(frame["TS"], utc=True, format="ISO8601")
    frame = frame.sort_values("TS", kind="stable")
    application = user.application
    hours = HourStore(application.storage, application.settings)
    data = application.storage.container("data", application.settings.data_container)
    for name in sorted(wanted.hours):
        hour = hour_named(name)
        stored, _ = hours.record(hour)
        assert stored is not None
        assert len({version.run for version in stored.versions}) == len(stored.versions)
        pointer = json.loads(data.download_blob(paths.pointer_path(name)).readall())
        assert pointer["version"] == stored.published == len(stored.versions)
        local = folder / name
        local.mkdir()
        for file in ("predictions.csv", "summary.json"):
            (local / file).write_bytes(data.download_blob(f"{pointer['path']}/{file}").readall())
        own = frame[(frame["TS"] > hour.start) & (frame["TS"] <= hour.end)]
        assert json.loads((local / "summary.json").read_text())["readings"]["used"] == len(own)
        assert_equal(local, reference(own, pipelines, 1, "mean"))
