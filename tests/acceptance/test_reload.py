"""Changed code under a running dev host: it is taken up by itself, and a broken edit breaks nothing."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from batchscore.devhost import address
from batchscore.devhost.launch import DevHostProcess
from batchscore.devhost.loading import AppFiles
from batchscore.devhost.reload import fault
from tests.acceptance.hosts import wait_until

APP = """\
import os
import time

import azure.functions as func

import words

app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)


@app.route(route="hello")
def hello(req: func.HttpRequest) -> str:
    time.sleep(float(req.params.get("after", 0)))
    return words.WORD + os.environ["GREETING"]
"""


def settings(greeting: str) -> str:
    return json.dumps({"IsEncrypted": False, "Values": {"GREETING": greeting}})


@pytest.fixture
def app(tmp_path: Path) -> Path:
    folder = tmp_path / "app"
    folder.mkdir()
    (folder / "function_app.py").write_text(APP)
    (folder / "words.py").write_text('WORD = "one"\n')
    (folder / "host.json").write_text('{"version": "2.0"}')
    (folder / "local.settings.json").write_text(settings("!"))
    return folder


@pytest.fixture
def host(app: Path, azurite: str, tmp_path: Path) -> Iterator[DevHostProcess]:
    environment = {"AzureWebJobsStorage": azurite}
    with DevHostProcess(app, folder=tmp_path / "host", environment=environment, reload=True) as host:
        yield host


def said(host: DevHostProcess, after: float = 0) -> str:
    try:
        answer = requests.get(f"{host.url}/api/hello?after={after}", timeout=30)
    except requests.ConnectionError:
        return ""
    return answer.text


def test_a_change_is_taken_up_and_a_broken_one_leaves_the_app_as_it_was(
    host: DevHostProcess, app: Path
) -> None:
    assert said(host) == "one!"
    running: list[str] = []
    slow = threading.Thread(target=lambda: running.append(said(host, after=3)))
    slow.start()
    wait_until(lambda: said(host) == "one!")
    (app / "words.py").write_text('WORD = "two"\n')
    found = []

    def taken_up() -> bool:
        found.append(address.read(host.folder / "devhost.json"))
        return said(host) == "two!"

    wait_until(taken_up, 60)
    assert all(found), "a command that comes meanwhile finds the host, and waits"
    slow.join()
    assert running == ["one!"]  # what runs is finished first

    (app / "words.py").write_text("WORD = \n")
    wait_until(lambda: "cannot be loaded" in host.log, 60)
    assert "words.py:1" in host.log
    assert said(host) == "two!"

    (app / "words.py").write_text('WORD = "three"\n')
    (app / "local.settings.json").write_text(settings("?"))
    wait_until(lambda: said(host) == "three?", 60)
    assert host.exit_code is None


@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        ("words.py", "import nowhere", "nowhere"),
        ("words.py", "raise SystemExit(3)", "SystemExit(3)"),
        ("host.json", "{", "host.json"),
        ("local.settings.json", '{"Values": {"GREETING": 5}}', "GREETING"),
        ("function_app.py", "app = 1", "function"),
    ],
)
def test_a_trial_says_why_the_app_cannot_be_loaded(
    app: Path, azurite: str, file: str, content: str, reason: str
) -> None:
    environment = {"AzureWebJobsStorage": azurite}
    assert fault(AppFiles(app), environment) == ""
    (app / file).write_text(content)
    wrong = fault(AppFiles(app), environment)
    assert wrong
    assert reason in wrong
