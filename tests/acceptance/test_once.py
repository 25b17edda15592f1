"""`batchscore start --once`: what waits is handled, and the exit code says how it went."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from batchscore import hours, paths
from batchscore.application import Application
from batchscore.devhost.azurite import Azurite
from batchscore.runs import RunState
from batchscore.settings import Settings

ROOT = Path(__file__).parents[2]
WORKLOADS = Path(__file__).parent / "workloads"


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """The product's own app in a folder of its own, so that no other host of it is met."""
    for name in ("function_app.py", "host.json"):
        shutil.copy(ROOT / name, tmp_path)
    values = {
        "AzureWebJobsStorage": "UseDevelopmentStorage=true",
        "DATA_STORAGE": "UseDevelopmentStorage=true",
        "WORKLOADS_FOLDER": str(WORKLOADS),
        "POLL_INTERVAL_S": "1",
    }
    (tmp_path / "local.settings.json").write_text(json.dumps({"IsEncrypted": False, "Values": values}))
    return tmp_path


def start_once(app: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "batchscore.cli", "start", "--once", "--port", "0", "--app", str(app)],
        cwd=app,
        env={name: value for name, value in os.environ.items() if "STORAGE" not in name},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


def storage(app: Path, azurite: Azurite) -> Application:
    connection = dict.fromkeys(("AzureWebJobsStorage", "DATA_STORAGE"), azurite.connection_string)
    return Application(Settings.from_environment({**connection, "WORKLOADS_FOLDER": str(WORKLOADS)}))


@pytest.mark.slow
def test_what_waits_is_handled_and_the_exit_code_says_how_it_went(app: Path) -> None:
    good = json.dumps({"workload": "copying/folder", "inputs": {"documents": "letters"}}).encode()
    with Azurite(app / ".azurite") as azurite:
        control = storage(app, azurite)
        control.storage.container("data", "data", create=True).upload_blob("letters/a.txt", b"a")
        triggers = control.storage.container("data", "triggers", create=True)
        for name in ("1.json", "2.json"):
            triggers.upload_blob(name, good)
        control.close()
    first = start_once(app)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "2 runs ended, 2 succeeded" in first.stdout

    with Azurite(app / ".azurite") as azurite:
        control = storage(app, azurite)
        assert {run.state for run in control.store.recent(10)} == {RunState.SUCCEEDED}
        control.storage.container("data", "triggers").upload_blob("bad.json", b"{}")
        control.close()
    second = start_once(app)
    assert second.returncode == 1, second.stdout + second.stderr
    assert "rejected: workload is missing" in second.stderr


@pytest.mark.slow
def test_an_hour_that_is_due_is_scored_whenever_the_timer_would_come(app: Path) -> None:
    hour = hours.last_ended(datetime.now(UTC))
    file = app / "local.settings.json"
    document = json.loads(file.read_text())
    scoring = {"SCORING_SCHEDULE": "0 0 0 1 1 *", "SCORING_WORKLOAD": "hourly/score", "SCORING_INPUTS": "{}"}
    document["Values"] |= scoring
    file.write_text(json.dumps(document))
    with Azurite(app / ".azurite") as azurite:
        control = storage(app, azurite)
        data = control.storage.container("data", "data", create=True)
        data.upload_blob(f"{paths.readings_prefix(hour.start)}/a.jsonl", b'{"device": "pump", "value": 2}\n')
        control.close()
    done = start_once(app)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 run ended, 1 succeeded" in done.stdout
    with Azurite(app / ".azurite") as azurite:
        control = storage(app, azurite)
        pointer = control.storage.container("data", "data").download_blob(paths.pointer_path(hour.name))
        assert json.loads(pointer.readall())["version"] == 1
        control.close()


def test_a_host_that_does_not_start_is_wrong_usage(app: Path) -> None:
    (app / "function_app.py").write_text("import nowhere\n")
    done = start_once(app)
    assert done.returncode == 2
    assert "nowhere" in done.stdout
    assert "did not start" in done.stderr
