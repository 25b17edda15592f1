"""Hostile files, names and requests through the real intake, reconciler, engine mirror, host and command line."""

from __future__ import annotations

import http.client
import io
import json
import shutil
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import hypothesis
import pytest
from azure.core.exceptions import HttpResponseError
from hypothesis import given
from hypothesis import strategies as st

from batchscore import paths
from batchscore.application import Application
from batchscore.compute.base import Job, JobState, JobStatus, Location
from batchscore.compute.local.ledger import Ledger
from batchscore.compute.local.mirror import Mirror, MissingDataError
from batchscore.errors import JobRefusedError
from batchscore.runs import RunState
from batchscore.settings import Settings
from batchscore.storage import Storage
from tests.acceptance.hosts import User, user_of_a_host
from tests.hostile import BAD_NAMES, bodies, is_shown, listening, names
from tests.unit.workload_folder import write_workloads

few = hypothesis.settings(max_examples=max(30, hypothesis.settings.default.max_examples // 20))
very_few = hypothesis.settings(max_examples=max(12, hypothesis.settings.default.max_examples // 50))
requests = bodies("demo/copy", ("files", "table", "model", "strength", "mode"))


class NoCompute:
    """Takes every job and finishes it at once; what it was given is remembered."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []

    def submit(self, job: Job) -> None:
        self.jobs.append(job)

    def status(self, job_name: str) -> JobStatus:
        return JobStatus(JobState.SUCCEEDED)

    def cancel(self, job_name: str) -> None:
        raise JobRefusedError(job_name)

    def close(self) -> None:
        pass


@pytest.fixture
def application(settings: Settings, storage: Storage, tmp_path: Path) -> Iterator[Application]:
    application = Application(replace(settings, workloads_folder=write_workloads(tmp_path)))
    application._compute = NoCompute()
    storage.container("data", settings.data_container).upload_blob("in/a.txt", b"a")
    yield application
    application.close()


def blob_name(name: str) -> bool:
    """Whether storage takes a blob of this name, and lists it (Azurite fails to list some control characters)."""
    return (
        paths.is_blob_name(name)
        and not any(each < " " or each in "\ufffe\uffff" for each in name)
        and (not any("\ud800" <= each <= "\udfff" for each in name))
    )


@few
@given(data=requests, name=names.filter(blob_name))
def test_any_trigger_file_becomes_a_run_with_a_state_and_touches_nothing_else(
    application: Application, data: bytes, name: str
) -> None:
    """Every address that leaves the process lies where it may: the trigger file itself, the records, the inputs'
    container, the models; nothing else is read, and nothing but records is written."""
    settings, account = application.settings, "/devstoreaccount1"
    triggers = application.storage.container("data", settings.trigger_container)
    file = f"{uuid.uuid4().hex}/{name}.json"[: paths.MAX_PATH_LENGTH]
    triggers.upload_blob(file, data, overwrite=True)
    with listening() as ear:
        run = application.intake.trigger_file(triggers.get_blob_client(file))
        assert run is not None
        application.reconciler.tick()
        application.reconciler.tick()
    ended = application.store.get(run.id)
    assert ended.state in (RunState.REJECTED, RunState.SUCCEEDED), ended.reason
    assert is_shown(ended.reason)
    assert bool(ended.reason) is (ended.state is RunState.REJECTED)
    assert [
        call for call in ear.requests if call == ("GET", f"{account}/{settings.trigger_container}/{file}")
    ]
    allowed = (
        f"{account}/{settings.trigger_container}/{file}",
        f"{account}/{settings.data_container}/",
        *(f"{account}/{name}/" for name in (paths.RUNS, paths.MODELS, paths.LOGS)),
    )
    assert ear.outside(*allowed) == []
    written = [path for method, path in ear.requests if method not in ("GET", "HEAD")]
    assert [path for path in written if not path.startswith(f"{account}/{paths.RUNS}")] == []
    for job in application.compute().jobs[-1:]:  # type: ignore[attr-defined]
        places = [value for value in job.inputs.values() if isinstance(value, Location)]
        assert all(".." not in place.path.split("/") for place in (*places, *job.outputs.values()))


class Opened:
    """Hears which files this process opens for writing, makes, renames or removes."""

    def __init__(self) -> None:
        self.paths: list[str] | None = None
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.paths is None:
            return
        if event == "open" and (arguments[1] or "r")[:1] != "r":
            self.paths.append(str(arguments[0]))
        elif event in (
            "os.mkdir",
            "os.remove",
            "os.rename",
            "os.utime",
            "os.symlink",
            "os.link",
            "os.truncate",
        ):
            self.paths += [str(each) for each in arguments[:2] if isinstance(each, str | Path)]


@pytest.fixture(scope="module")
def opened() -> Opened:
    return Opened()


@few
@given(several=st.lists(names.filter(blob_name), min_size=1, max_size=4))
def test_blobs_of_any_name_are_laid_out_inside_the_folder_of_a_run_or_named(
    settings: Settings, storage: Storage, tmp_path: Path, opened: Opened, several: list[str]
) -> None:
    place = tmp_path / uuid.uuid4().hex
    work = place / "work"
    work.mkdir(parents=True)
    ledger = Ledger(place / "ledger")
    mirror = Mirror(storage, ledger, threading.Event())
    container, prefix = storage.container("data", settings.data_container), uuid.uuid4().hex
    for name in several:
        try:
            container.upload_blob(f"{prefix}/{name}"[: paths.MAX_PATH_LENGTH], b"x", overwrite=True)
        except HttpResponseError:
            continue  # storage takes no such name
    opened.paths = []
    try:
        mirror.pull_folder(
            "input 'files'", Location("data", settings.data_container, prefix), work / "inputs"
        )
    except MissingDataError as error:
        assert is_shown(str(error))
    finally:
        touched, opened.paths = opened.paths, None
        ledger.close()
    outside = [path for path in touched if path.startswith("/") and not path.startswith(f"{work}/")]
    assert [path for path in outside if not path.startswith(("/dev/", "/proc/", f"{place}/ledger"))] == []
    assert [path.name for path in place.iterdir() if not path.name.startswith("ledger")] == ["work"]
    assert len(list(tmp_path.iterdir())) == 1
    shutil.rmtree(place)


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[User]:
    folder = tmp_path_factory.mktemp("hostile-host")
    workloads = write_workloads(folder)
    with user_of_a_host(folder, WORKLOADS_FOLDER=str(workloads)) as user:
        user.upload("files/a.txt", b"a")
        yield user


def call(user: User, method: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
    """One request as it is, on a connection of its own: no library puts the address in order."""
    address = urlsplit(user.host.url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=30)
    try:
        connection.putrequest(method, path, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name, value.encode("utf-8", "replace"))
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


routes = st.sampled_from(
    ["runs", "runs/{}", "runs/{}/cancel", "runs/{}/retry", "runs?state={}", "runs?limit={}", "{}"]
)


@few
@given(
    method=st.sampled_from(["GET", "POST"]),
    route=routes,
    part=names,
    body=requests,
    key=st.none() | names.filter(lambda text: not set("\r\n\0") & set(text)),
)
def test_every_http_request_is_answered_and_none_with_a_fault(
    user: User, method: str, route: str, part: str, body: bytes, key: str | None
) -> None:
    path = "/api/" + route.format(quote(part.encode("utf-8", "replace")))
    headers = {} if key is None else {"Idempotency-Key": key}
    status, answer = call(user, method, path, body, headers)
    assert 200 <= status < 500, answer
    if status in (400, 409) and answer.startswith(b"{"):
        assert is_shown(json.loads(answer)["error"])


@very_few
@given(body=requests, name=st.sampled_from([name for name in BAD_NAMES if blob_name(name)]))
def test_a_host_goes_on_after_any_trigger_file_and_its_log_can_be_read(
    user: User, body: bytes, name: str
) -> None:
    run_id = user.drop(body, f"{uuid.uuid4().hex}/{name}.json"[-200:].lstrip("/"))
    ended = user.wait(run_id)
    assert ended.state in (RunState.REJECTED, RunState.SUCCEEDED, RunState.FAILED)
    assert ended.reason == "" or is_shown(ended.reason)
    assert all(each.isprintable() or each == "\n" for each in user.host.log)
    assert user.host.exit_code is None


@very_few
@given(
    arguments=st.lists(names.filter(lambda text: "\0" not in text), min_size=1, max_size=2),
    command=st.sampled_from(
        ["show", "cancel", "retry", "replay", "logs", "fetch", "submit", "runs --state", "watch"]
    ),
)
def test_the_command_line_answers_any_argument_with_a_sentence(
    user: User, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arguments: list[str], command: str
) -> None:
    from typer.testing import CliRunner

    from batchscore.cli import app

    for name, value in user.host.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        result = CliRunner().invoke(
            app,
            [*command.split(), "--", *arguments] if " " not in command else [*command.split(), arguments[0]],
        )
    assert result.exit_code in (0, 1, 2, 3)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert "Traceback" not in result.output
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_blob_that_another_account_or_container_holds_is_never_asked_for(application: Application) -> None:
    """A poison message that names a way out is passed over; one whose name only looks so is read where it may be."""
    out = json.dumps({"ContainerName": "x", "BlobName": "../runs/sweep.json", "ETag": "1"}).encode()
    assert application.intake.poison(out) is None
    inside = json.dumps({"BlobName": "%2e%2e/runs/sweep.json", "ETag": "1"}).encode()
    run = application.intake.poison(inside)
    assert run is not None
    with listening() as ear, pytest.raises(Exception, match="is gone"):
        application.intake.replay(run.id)
    triggers = f"/devstoreaccount1/{application.settings.trigger_container}/"
    assert ear.outside(triggers, f"/devstoreaccount1/{paths.RUNS}/") == []
