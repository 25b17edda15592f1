"""The second half of the demo: sensors send events, their models are trained, and the hourly timer scores the hour."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from itertools import islice
from subprocess import PIPE

from demo_steps import DONE, OUTPUT, ROOT, console, fetch, say, wait_for_run, wait_until
from rich.table import Table
from sensor_picture import draw

from batchscore import paths
from batchscore.application import Application
from batchscore.compute.base import Location
from batchscore.hour_accounts import HourState
from batchscore.hours import Hour, last_ended

SETTINGS = {
    "SCORING_SCHEDULE": "*/5 * * * * *",  # an hour is scored five minutes after its end, in earnest
    "AzureFunctionsJobHost__extensions__eventHubs__maxWaitTime": "00:00:01",  # in earnest it gathers larger batches
    "CATCH_UP_HOURS": "1",
    "LATE_HOURS": "1",
}
DEVICES, TAGS = 4, 3
SECONDS_APART = 20
TRAINING_HOURS = 24
"""A whole day: the sensors swing with it, and a model of a few hours would take the others for abnormal."""
RATE = DEVICES * TAGS / SECONDS_APART
PREDICTIONS = OUTPUT / "predictions.csv"
PICTURE = OUTPUT / "sensors.png"
MADE = {
    PREDICTIONS.name: "an hour of sensors, each value with its score; Prediction 1 is an anomaly",
    PICTURE.name: "the sensors with most anomalies: readings, what the model takes for normal, anomalies",
}
MOST_TOLD = 8


def play(application: Application, hub: str) -> None:
    """Send, train, send, wait for the timer, show."""
    hour = last_ended(datetime.now(UTC))
    training = hour.before(TRAINING_HOURS + 2)
    say("Sending", f"a day of readings of {DEVICES * TAGS} sensors to the event hub")
    per_hour = DEVICES * TAGS * 3600 // SECONDS_APART
    send(hub, training, per_hour * TRAINING_HOURS, "--seed", "1", "--anomalies", "0")
    wait_until("the function lands them in Blob", lambda: landed(application) >= per_hour * TRAINING_HOURS)
    train(application)
    say("Sending", f"hour {hour}: anomalies, duplicates and malformed events among the readings")
    wrong = ("--anomalies", "0.01", "--malformed", "0.02", "--duplicates", "0.02")
    sent = send(hub, hour, per_hour, *wrong)
    wait_until(
        f"the timer scores hour {hour} ({SETTINGS['SCORING_SCHEDULE']})",
        lambda: scored(application, hour, sent[hour.name]),
    )
    show(application, hour)


def send(hub: str, hour: Hour, readings: int, *options: str) -> Mapping[str, int]:
    """Send readings from the hour's start on, as a person does; how many there are of each hour."""
    start = (hour.start + timedelta(seconds=1)).strftime("%Y-%m-%dT%H:%M:%S")
    given = (
        *("--devices", str(DEVICES), "--tags", str(TAGS), "--readings", str(readings)),
        *("--start", start, "--rate", str(RATE), "--at-once", *options),
    )
    console.print(f"   [dim]batchscore send {' '.join(given)}[/dim]", highlight=False)
    command = [sys.executable, "-m", "batchscore.cli", "send", *given, "--json"]
    environment = {**os.environ, "EVENT_HUB": hub}
    told = json.loads(subprocess.run(command, cwd=ROOT, check=True, env=environment, stdout=PIPE).stdout)
    console.print(f"   {told['readings']:,} readings in {told['events']:,} events", highlight=False)
    by_hour: Mapping[str, int] = told["by_hour"]
    return by_hour


def landed(application: Application) -> int:
    """How many readings have landed, those that came twice included."""
    container = application.storage.container("data", application.settings.data_container)
    return sum(
        container.download_blob(name).readall().count(b"\n")
        for name in container.list_blob_names(name_starts_with=paths.READINGS)
    )


def train(application: Application) -> None:
    trigger = {
        "workload": "sensors/train",
        "inputs": {"readings": paths.READINGS.rstrip("/"), "models_name": "sensors"},
    }
    say("Dropping", f"triggers/train.json:\n{json.dumps(trigger, indent=2)}")
    triggers = application.storage.container("data", application.settings.trigger_container, create=True)
    triggers.upload_blob("train.json", json.dumps(trigger).encode(), overwrite=True)
    etag = triggers.get_blob_client("train.json").get_blob_properties().etag
    run = wait_for_run(
        application, paths.run_id("trigger_file", "train.json", paths.normal_etag(etag)), "shards"
    )
    if run.state not in DONE:
        raise SystemExit(f"The run ended as {run.state}: {run.reason}")
    console.print(f"   {', '.join(run.published.values())} is the model set of {DEVICES * TAGS} sensors")


def scored(application: Application, hour: Hour, readings: int) -> bool:
    """Whether what readers see of the hour is made of all its readings."""
    account = next((each for each in application.hour_accounts.last(2) if each.hour == hour.name), None)
    if account is None or account.state is not HourState.SCORED:
        return False
    return summary(application, account.path)["readings"]["used"] >= readings


def summary(application: Application, path: str) -> Mapping[str, Mapping[str, int]]:
    container = application.storage.container("data", application.settings.data_container)
    document: Mapping[str, Mapping[str, int]] = json.loads(
        container.download_blob(f"{path}/summary.json").readall()
    )
    return document


def show(application: Application, hour: Hour) -> None:
    account = next(each for each in application.hour_accounts.last(2) if each.hour == hour.name)
    told = summary(application, account.path)
    fetch(application, Location("data", application.settings.data_container, account.path), OUTPUT / "hour")
    (OUTPUT / "hour" / "predictions.csv").replace(PREDICTIONS)
    with PREDICTIONS.open(encoding="utf-8", newline="") as stream:
        anomalies = [row for row in csv.DictReader(stream) if row["Prediction"] == "1"]
    readings = told["readings"]
    console.print(
        f"   {account.path}: {told['sensors']['scored']} sensors, {readings['used']:,} readings "
        f"({readings['duplicates']:,} came twice and count once), {told['values']:,} values, "
        f"{len(anomalies)} anomalies",
        highlight=False,
    )
    table = Table(title="Anomalies, the first of them", title_justify="left")
    for column in ("TS", "Device", "Tag", "Val", "Score", "Model"):
        table.add_column(column, justify="right" if column in ("Val", "Score") else "left")
    for row in islice(anomalies, MOST_TOLD):
        value, score = f"{float(row['Val']):,.3f}", f"{float(row['Score']):.3g}"
        table.add_row(row["TS"], row["Device"], row["Tag"], value, score, row["Model"])
    console.print(table)
    name, _, version = anomalies[0]["Model"].partition(":") if anomalies else ("sensors", "", "1")
    fetch(application, paths.model_location(name, version), OUTPUT / "hour" / "models")
    draw(PREDICTIONS, OUTPUT / "hour" / "models", PICTURE)
