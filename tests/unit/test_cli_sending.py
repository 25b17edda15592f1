"""`batchscore send`: what it makes from a seed or a file, and that it tells exactly what it sent."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from azure.eventhub.aio import EventHubConsumerClient

from batchscore.cli import replayed, simulated
from batchscore.cli.producer import HubProducer
from batchscore.cli.simulated import Event, Reading, Shares, Tally
from batchscore.devhost.eventhubs import EventHubs, HubOptions
from batchscore.errors import RequestError
from batchscore.hours import hour_of
from batchscore.readings import read_event
from batchscore.settings import EventHub, EventLimits

START = datetime(2026, 11, 21, 17, 59, 0, tzinfo=UTC)
EVERYTHING = Shares(anomalies=0.02, malformed=0.05, duplicates=0.1, late=0.2)
PATIENCE_S = 60.0


def made(
    count: int, *, seed: int = 7, shares: Shares = EVERYTHING, per_event: int = 4, rate: float = 100.0
) -> list[Event]:
    source = simulated.readings(seed, START, rate, 20, 4, shares.anomalies)
    return list(
        simulated.events(itertools.islice(source, count), seed=seed, per_event=per_event, shares=shares)
    )


def test_the_same_seed_makes_the_same_events_and_another_seed_others() -> None:
    assert made(2_000) == made(2_000)
    assert made(100)[0].body != made(100, seed=8)[0].body


def test_every_reading_is_there_once_and_can_be_read_as_it_was_meant() -> None:
    found: list[Reading] = []
    for event in made(5_000, per_event=3):
        if event.malformed or event.duplicate:
            continue
        documents = json.loads(event.body)
        assert {each["device"] for each in documents} == {event.device}
        parsed = read_event(event.body, EventLimits())
        assert isinstance(parsed, list)
        assert not [each for each in parsed if isinstance(each, str)]
        assert documents == [reading.document() for reading in event.readings]
        found += event.readings
    assert len(found) == len({reading.id for reading in found}) == 5_000
    assert len({(reading.device, reading.tag) for reading in found}) == 80


def test_one_reading_in_an_event_is_an_object() -> None:
    [event] = made(1, per_event=1, shares=Shares())
    assert isinstance(json.loads(event.body), dict)


def test_what_is_malformed_is_refused_whole_and_every_kind_comes() -> None:
    bad = [event for event in made(20_000) if event.malformed]
    assert {event.malformed for event in bad} == set(simulated._MALFORMED)
    for event in bad:
        told = read_event(event.body, EventLimits())
        if event.malformed == "a time that cannot be":  # only its enqueue time shows that it lies ahead
            assert not isinstance(told, str | list)
            assert told.ts.year == 9999
        else:
            assert isinstance(told, str), event.body
    assert len({event.body for event in bad}) == len(bad)


def test_the_shares_are_kept() -> None:
    events = made(40_000)
    tally = Tally()
    for event in events:
        tally.add(event)
    good = tally.events - tally.malformed.total() - tally.duplicated_events
    assert tally.readings == 40_000
    assert tally.anomalies / 40_000 == pytest.approx(0.02, rel=0.1)
    assert tally.malformed.total() / (good + tally.malformed.total()) == pytest.approx(0.05, rel=0.1)
    assert tally.duplicated_events / good == pytest.approx(0.1, rel=0.1)
    assert tally.late_events / good == pytest.approx(0.2, rel=0.1)
    assert tally.by_hour.total() == tally.by_sensor.total() == 40_000


def test_a_duplicate_is_the_same_bytes_and_comes_later() -> None:
    seen: set[bytes] = set()
    for event in made(5_000):
        if event.duplicate:
            assert event.body in seen
        seen.add(event.body)


def test_late_readings_are_whole_hours_late_and_counted_in_the_hour_of_their_time() -> None:
    events, tally = made(4_000), Tally()
    moved = {1: 0, 2: 0, 3: 0}
    punctual = {
        reading.id: reading.time
        for event in made(4_000, shares=Shares(anomalies=0.02))
        for reading in event.readings
    }
    for event in events:
        tally.add(event)
        if event.malformed or event.duplicate:
            continue
        for reading in event.readings:
            by = punctual[reading.id] - reading.time
            assert (by > timedelta(0)) is event.late
            if event.late:
                moved[int(by / timedelta(hours=1))] += 1
    assert min(moved.values()) > 0
    by_hour = Counter(
        hour_of(reading.time).name for event in events if not event.duplicate for reading in event.readings
    )
    assert tally.by_hour == by_hour
    assert {"2026-11-21T17", "2026-11-21T16", "2026-11-21T15", "2026-11-21T14"} == set(by_hour)


def test_events_are_due_in_order_and_follow_the_rate() -> None:
    due = [event.due_s for event in made(4_000, shares=Shares(), rate=100)]
    assert due == sorted(due)
    assert due[0] == 0
    assert due[-1] == pytest.approx(4_000 / 100, abs=0.1)


def test_an_anomaly_is_further_from_the_mean_than_anything_else() -> None:
    usual: dict[tuple[str, str], list[float]] = {}
    far: dict[tuple[str, str], list[float]] = {}
    for event in made(20_000, shares=Shares(anomalies=0.02)):
        for reading in event.readings:
            values = far if reading.anomaly else usual
            values.setdefault((reading.device, reading.tag), []).append(reading.value)
    assert len(far) > 70
    for sensor, values in far.items():
        mean = sum(usual[sensor]) / len(usual[sensor])
        assert min(abs(value - mean) for value in values) > max(abs(value - mean) for value in usual[sensor])


# Files


def file_of(folder: Path, text: str) -> Path:
    file = folder / "readings.csv"
    file.write_text(text)
    return file


def test_a_file_is_read_in_its_order_whatever_the_order_of_its_columns(tmp_path: Path) -> None:
    file = file_of(
        tmp_path,
        "\ufeffValue,tag,DEVICE,TS,more\n1.5,4,1,2018-08-28 23:00:05.000,x\n\n2,a,b,2018-08-28T23:00:04+02:00,\n",
    )
    first, second = replayed.moved(file, None)
    assert first == Reading(datetime(2018, 8, 28, 23, 0, 5, tzinfo=UTC), "1", "4", 1.5)
    assert (second.device, second.tag, second.value) == ("b", "a", 2.0)
    assert second.document()["ts"] == "2018-08-28T21:00:04.000Z"
    assert replayed.count(file) == 2


def test_a_time_is_sent_as_it_is_so_that_it_lands_in_the_hour_that_is_told(tmp_path: Path) -> None:
    """Half a millisecond after an hour's end is in the next hour; without it, it would be in the one before."""
    file = file_of(tmp_path, "TS,Device,Tag,Value\n2018-08-28 23:00:00.000500,1,1,1\n")
    [reading] = replayed.moved(file, None)
    assert reading.document()["ts"] == "2018-08-28T23:00:00.000500Z"
    sent = read_event(json.dumps(reading.document() | {"id": "a"}).encode(), EventLimits())
    assert not isinstance(sent, str | list)
    assert hour_of(sent.ts) == hour_of(reading.time)


def test_times_can_be_moved_by_one_span_so_that_they_end_then(tmp_path: Path) -> None:
    file = file_of(tmp_path, "TS,Device,Tag,Value\n2018-01-01 00:01:00,1,1,1\n2018-01-01 00:00:00,1,1,2\n")
    assert [reading.time for reading in replayed.moved(file, START)] == [
        START,
        START - timedelta(minutes=1),
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no column ts, device, tag, value"),
        ("TS,Device,Value\n", "no column tag"),
        ("TS,Device,Tag,Value\n", "no readings"),
        ("TS,Device,Tag,Value\nyesterday,1,1,1\n", "line 2: Invalid isoformat"),
        ("TS,Device,Tag,Value\n2018-01-01,1,1,high\n", "line 2: could not convert"),
        ("TS,Device,Tag,Value\n2018-01-01,1,1,nan\n", "line 2: the value 'nan' is not finite"),
        ("TS,Device,Tag,Value\n2018-01-01,1,1,1\n2018-01-01,1\n", "line 3: it has 2 columns"),
    ],
)
def test_what_is_wrong_in_a_file_is_said_with_its_line(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(RequestError, match=words):
        replayed.count(file_of(tmp_path, text))


# To a hub


@pytest.fixture(scope="module")
def hubs() -> Iterator[EventHubs]:
    with EventHubs([HubOptions("readings", 2)]) as hubs:
        yield hubs


def start_sending(hubs: EventHubs, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "batchscore.cli", "send", *arguments],
        env={**os.environ, "EVENT_HUB": hubs.connection_string},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def sent(hubs: EventHubs, *arguments: str) -> tuple[int, str, str]:
    with start_sending(hubs, *arguments) as process:
        out, err = process.communicate(timeout=PATIENCE_S)
    return process.returncode, out, err


def positions(hubs: EventHubs) -> dict[str, int]:
    partitions = hubs.state()["hubs"]["readings"]["partitions"]
    return {name: told["next_sequence"] - 1 for name, told in partitions.items()}


def received(hubs: EventHubs, since: dict[str, int], count: int) -> list[bytes]:
    async def consume() -> list[bytes]:
        found: list[bytes] = []

        async def on_event(context: Any, event: Any) -> None:
            found.append(b"".join(event.body))

        consumer = EventHubConsumerClient.from_connection_string(
            hubs.connection_string, "$Default", eventhub_name="readings", load_balancing_interval=0.5
        )
        async with consumer:
            task = asyncio.create_task(consumer.receive(on_event, starting_position=dict(since)))
            deadline = time.monotonic() + PATIENCE_S
            while len(found) < count:
                assert time.monotonic() < deadline, f"{len(found)} of {count} events"
                await asyncio.sleep(0.05)
            await consumer.close()
            await task
        return found

    return asyncio.run(consume())


def test_what_is_told_is_what_the_hub_has(hubs: EventHubs, tmp_path: Path) -> None:
    since = positions(hubs)
    report, record = tmp_path / "report.json", tmp_path / "record.jsonl"
    faults = ("--malformed", "0.05", "--duplicates", "0.1", "--late", "0.1")
    code, out, err = sent(
        hubs, *("--readings", "3000", "--at-once", *faults, "--report", str(report), "--record", str(record))
    )
    assert (code, err) == (0, "")
    told = json.loads(report.read_text())
    lines = [json.loads(line) for line in record.read_text().splitlines()]
    arrived = received(hubs, since, told["events"])

    assert len(arrived) == len(lines) == told["events"]
    good = [reading for line in lines if "readings" in line for reading in line["readings"]]
    bad = [line["body"].encode("latin-1") for line in lines if "malformed" in line]
    assert Counter(arrived) - Counter(bad) == Counter(
        json.dumps([{k: v for k, v in each.items() if k != "anomaly"} for each in line["readings"]]).encode()
        for line in lines
        if "readings" in line
    )
    assert told["readings"] == len({each["id"] for each in good}) == 3000
    assert told["readings"] + told["duplicated_readings"] == len(good)
    assert told["malformed_events"] == sum(told["malformed"].values()) == len(bad) > 0
    assert sum(told["by_hour"].values()) == 3000
    assert told["tries_again"] == 0
    assert "3,000 readings of 50 sensors" in out
    assert f"malformed   {len(bad)} events" in out


def test_a_busy_hub_is_tried_again_until_it_takes_all(hubs: EventHubs) -> None:
    since = sum(positions(hubs).values())
    hubs.switch(refuse_sends=4)
    code, out, _ = sent(hubs, "--readings", "100", "--at-once", "--json")
    assert code == 0
    told = json.loads(out)
    assert told["tries_again"] > 0
    assert told["readings"] == 100
    assert sum(positions(hubs).values()) - since == told["events"]


@pytest.mark.slow
def test_a_hub_that_dies_and_comes_back_is_waited_for_and_nothing_is_missing(tmp_path: Path) -> None:
    """Killed three times while it is sent to; a batch whose answer was lost may be there twice."""
    record = tmp_path / "record.jsonl"
    with EventHubs([HubOptions("readings", 2)], folder=tmp_path / "hub") as own:
        address = own.connection_string
        count = ("--readings", "20000", "--per-event", "1", "--at-once", "--record", str(record))
        with start_sending(own, *count) as process:
            for _ in range(3):
                own.kill()
                own.start()
                assert own.connection_string == address
                there = sum(positions(own).values())
                deadline = time.monotonic() + PATIENCE_S
                while process.poll() is None and sum(positions(own).values()) < there + 500:
                    assert time.monotonic() < deadline
                    time.sleep(0.02)
            _, err = process.communicate(timeout=PATIENCE_S)
            assert (process.returncode, err) == (0, "")
        lines = [json.loads(line) for line in record.read_text().splitlines()]
        wanted = {reading["id"] for line in lines for reading in line["readings"]}
        arrived = received(own, dict.fromkeys(positions(own), -1), sum(positions(own).values()) + 2)
        assert {json.loads(body)["id"] for body in arrived} == wanted
        assert len(wanted) == 20_000


def test_a_file_is_sent_whole(hubs: EventHubs, tmp_path: Path) -> None:
    since = positions(hubs)
    rows = [f"2018-08-28 23:00:{second:02},{second % 3},1,{second}.5" for second in range(60)]
    file = file_of(tmp_path, "TS,Device,Tag,Value\n" + "\n".join(rows) + "\n")
    code, out, _ = sent(hubs, "--csv", str(file), "--rate", "1000", "--per-event", "7", "--json")
    assert code == 0
    told = json.loads(out)
    assert (told["readings"], told["events"]) == (60, 9)
    values = sorted(each["value"] for body in received(hubs, since, 9) for each in json.loads(body))
    assert values == [second + 0.5 for second in range(60)]


def test_ctrl_c_ends_it_and_tells_what_was_sent(hubs: EventHubs, tmp_path: Path) -> None:
    since = sum(positions(hubs).values())
    report = tmp_path / "report.json"
    with start_sending(hubs, "--rate", "200", "--report", str(report)) as process:
        deadline = time.monotonic() + PATIENCE_S
        while sum(positions(hubs).values()) < since + 20:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0
    assert json.loads(report.read_text())["events"] == sum(positions(hubs).values()) - since
    assert "readings of" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--at-once",), "Give --readings"),
        (("--shift",), "give one with --csv"),
        (("--csv", "x.csv", "--start", "2026-01-01"), "cannot both be given"),
        (("--csv", "nowhere.csv"), "nowhere.csv cannot be read"),
        (("--readings", "1", "--record", "nowhere/r.jsonl"), "nowhere/r.jsonl cannot be written"),
        (("--readings", "1", "--report", "nowhere/r.json"), "nowhere/r.json cannot be written"),
    ],
)
def test_what_does_not_fit_together_is_said(hubs: EventHubs, arguments: tuple[str, ...], words: str) -> None:
    code, _, err = sent(hubs, *arguments)
    assert code == 2
    assert words in " ".join(err.split())


@pytest.mark.parametrize("small", [0, 1])
def test_an_event_that_no_batch_holds_is_said_with_the_remedy(hubs: EventHubs, small: int) -> None:
    async def send() -> None:
        async with HubProducer(EventHub("readings", "$Default", hubs.connection_string)) as producer:
            await producer.send([Event("a", b"x" * size, 0) for size in [10] * small + [2_000_000]])

    before = sum(positions(hubs).values())
    with pytest.raises(RequestError, match=r"larger than the event hub takes.*--per-event"):
        asyncio.run(send())
    assert sum(positions(hubs).values()) - before == small


def test_a_hub_that_is_not_there_is_said_with_the_remedy(hubs: EventHubs) -> None:
    away = EventHubs()
    away._connection_string = hubs.connection_string.replace(str(hubs.port), "9")
    code, _, err = sent(away, "--readings", "1")
    assert code == 4
    assert "make start" in err
    away._connection_string = "UseDevelopmentEventHub=true"
    code, _, err = sent(away, "--readings", "1")
    assert code == 4
    assert "none is running here" in " ".join(err.split())
