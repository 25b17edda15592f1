"""The command line from a file on this machine to results on this machine, on Azurite and the local compute.

A thread stands for the host: it reconciles. The workloads copy bytes (`workloads/copying`).
"""

from __future__ import annotations

import json
import os
import re
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from batchscore import runs
from batchscore.application import Application
from batchscore.cli import app, watching
from batchscore.cli.outcome import Exit
from batchscore.devhost.azurite import Azurite
from batchscore.runs import Cause, RunState
from batchscore.settings import Settings
from tests.model_sets import make_set

WORKLOADS = Path(__file__).parent / "workloads"
FOLDER = ["--workload", "copying/folder"]
VIDEO = ["--workload", "copying/video"]

Cli = Callable[..., Result]


@pytest.fixture(scope="module")
def variables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of every command here: an Azurite that no other module uses."""
    with Azurite(tmp_path_factory.mktemp("azurite")) as azurite:
        yield {
            "AzureWebJobsStorage": azurite.connection_string,
            "DATA_STORAGE": azurite.connection_string,
            "WORKLOADS_FOLDER": str(WORKLOADS),
            "LOCAL_WORK_FOLDER": str(tmp_path_factory.mktemp("work")),
            "MAX_ACTIVE_RUNS": "4",
        }


@pytest.fixture(scope="module")
def control(variables: dict[str, str]) -> Iterator[Application]:
    application = Application(Settings.from_environment(variables))
    application.storage.container("data", application.settings.data_container, create=True)
    yield application
    application.close()


@pytest.fixture
def host(control: Application) -> Iterator[None]:
    """What the Functions host does for runs, as a thread."""
    stopped = threading.Event()

    def reconcile() -> None:
        while not stopped.wait(0.1):
            control.reconciler.tick()

    thread = threading.Thread(target=reconcile)
    thread.start()
    yield
    for run in control.store.active():
        control.cancel(run.id)
    wait_until(lambda: not list(control.store.active()))
    stopped.set()
    thread.join()


@pytest.fixture
def cli(variables: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Calls the command line in an empty folder."""
    monkeypatch.chdir(tmp_path)
    runner = CliRunner(env={**variables, "COLUMNS": "80"})
    return lambda *arguments: runner.invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port that is taken and on which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def wait_until(happened: Callable[[], bool], timeout_s: float = 20) -> None:
    deadline = time.monotonic() + timeout_s
    while not happened():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


def document(result: Result) -> Any:
    assert result.exit_code == Exit.OK, result.output
    return json.loads(result.stdout)


def write_documents(folder: Path, **texts: str) -> Path:
    """Documents whose content no other test has."""
    folder.mkdir()
    (folder / "unlike.txt").write_text(uuid.uuid4().hex)
    for name, text in texts.items():
        (folder / f"{name}.txt").write_text(text)
    return folder


def blobs(control: Application, prefix: str) -> list[str]:
    container = control.storage.container("data", control.settings.data_container)
    return sorted(container.list_blob_names(name_starts_with=prefix))


@pytest.mark.usefixtures("host")
def test_a_folder_goes_in_and_its_results_come_out(cli: Cli, tmp_path: Path, control: Application) -> None:
    documents = write_documents(tmp_path / "letters", a="hello", b="bad")
    (tmp_path / "style.jpg").write_bytes(b"a picture")

    watched = cli("submit", documents, *FOLDER, "--style-image", "style.jpg", "-i", "strength=0.5", "--watch")

    assert watched.exit_code == Exit.WITH_ERRORS, watched.output
    assert "succeeded with errors after" in watched.stdout
    assert "2 of 3 items, 1 failed" in watched.stdout
    assert "is accepted" in watched.stderr
    assert "copy: succeeded, 2 of 3 items, 1 failed" in watched.stderr

    run = document(cli("runs", "--json"))["runs"][0]
    assert run["request"]["inputs"]["style_image"] == "style-images/style.jpg"
    assert run["request"]["inputs"]["strength"] == 0.5
    prefix = run["request"]["inputs"]["documents"]
    assert prefix.startswith("documents/letters-")
    assert blobs(control, prefix) == [f"{prefix}/{name}" for name in ("a.txt", "b.txt", "unlike.txt")]

    short = run["id"][:8]
    shown = cli("show", short)
    assert "b.txt: it says bad" in shown.stdout
    assert f"batchscore retry {short}" in shown.stdout
    assert document(cli("show", short, "--json"))["id"] == run["id"]

    fetched = cli("fetch", short, "results")
    assert fetched.exit_code == Exit.OK, fetched.output
    files = {
        path.relative_to(tmp_path / "results").as_posix()
        for path in (tmp_path / "results").rglob("*")
        if path.is_file()
    }
    assert files == {"copies/a.txt", "copies/unlike.txt", "list"}
    assert (tmp_path / "results" / "copies" / "a.txt").read_text() == "hello"

    everything = document(cli("fetch", short, "all", "--all", "--json"))
    names = {
        path.relative_to(tmp_path / "all").parts[0]
        for path in (tmp_path / "all").rglob("*")
        if path.is_file()
    }
    assert names == {"copies", "names", "receipts", "list", "logs"}
    assert everything["files"] > 8

    logs = cli("logs", short)
    assert "── attempt-1/copy/" in logs.stdout
    assert "copying a.txt" in logs.stdout
    lines = [
        json.loads(line) for line in cli("logs", short, "--step", "collect", "--json").stdout.splitlines()
    ]
    assert {line["file"].split("/")[1] for line in lines} == {"collect"}

    again = cli("retry", short)
    assert "is tried again" in again.stdout
    assert cli("watch", short).exit_code == Exit.WITH_ERRORS
    assert len(document(cli("show", short, "--json"))["attempts"]) == 2


@pytest.mark.usefixtures("host")
def test_every_failed_item_can_be_listed(cli: Cli, tmp_path: Path) -> None:
    """More of them than the record holds, and one that killed its worker and left no receipt."""
    documents = write_documents(tmp_path / "many", **{f"bad-{n:03}": "bad" for n in range(120)}, z="die")

    run = json.loads(cli("submit", documents, *FOLDER, "--watch", "--json").stdout)

    assert run["state"] == "succeeded_with_errors"
    assert (run["summary"]["ok"], run["summary"]["failed"]) == (1, 121)
    listed = cli("show", run["id"], "--failed").stdout.splitlines()
    assert listed[:120] == [f"bad-{n:03}.txt: it says bad" for n in range(120)]
    assert listed[120].startswith("z.txt: the worker")
    assert len(document(cli("show", run["id"], "--failed", "--json"))["failed"]) == len(listed) == 121
    assert "and 111 more ('batchscore show" in cli("show", run["id"]).stdout


@pytest.mark.usefixtures("host")
def test_a_workload_is_started_with_its_inputs_alone(cli: Cli, tmp_path: Path) -> None:
    video = tmp_path / "alone.mp4"
    video.write_bytes(b"clip")
    given = document(cli("submit", "copying/video", "-i", f"video={video}", "--watch", "--json"))
    assert given["state"] == "succeeded"
    assert given["request"] == given["request"] | {
        "workload": "copying/video",
        "inputs": {"video": "videos/alone.mp4"},
    }
    missing = cli("submit", "copying/video")
    assert missing.exit_code == Exit.USAGE
    assert "input 'video' is missing" in missing.stderr


@pytest.mark.usefixtures("host")
def test_a_video_is_uploaded_once_and_never_over_another(
    cli: Cli, tmp_path: Path, control: Application
) -> None:
    video = tmp_path / "clip.mp4"
    video.write_bytes(b"first")
    first = document(cli("submit", video, *VIDEO, "--json"))
    same = cli("submit", video, *VIDEO, "--json")
    video.write_bytes(b"other")
    other = cli("submit", video, *VIDEO, "--json")
    stored = cli("submit", "videos/clip.mp4", *VIDEO, "--watch", "--json")

    assert first["request"]["inputs"] == document(same)["request"]["inputs"] == {"video": "videos/clip.mp4"}
    assert "uploaded" not in same.stderr
    assert document(other)["request"]["inputs"]["video"].startswith("videos/clip-")
    assert "another file has the name clip.mp4 there" in other.stderr
    assert len(blobs(control, "videos/clip")) == 2

    assert document(stored)["state"] == "succeeded"
    assert cli("fetch", document(stored)["id"], "out").exit_code == Exit.OK
    assert (tmp_path / "out" / "video").read_bytes() == b"first"


@pytest.mark.usefixtures("host")
def test_a_second_fetch_leaves_out_what_is_there_and_replaces_what_changed(cli: Cli, tmp_path: Path) -> None:
    video = tmp_path / "fetch.mp4"
    video.write_bytes(b"content")
    run = document(cli("submit", video, *VIDEO, "--watch", "--json"))["id"]
    cli("fetch", run)
    result = tmp_path / run[:8] / "video"
    before = result.stat().st_ino

    assert "1 file, 7 bytes" in (again := cli("fetch", run).stdout)
    assert "nothing new" in again
    assert result.stat().st_ino == before

    result.write_bytes(b"spoilt!")
    cli("fetch", run)
    assert result.read_bytes() == b"content"
    assert [path.name for path in result.parent.iterdir()] == ["video"]


@pytest.mark.usefixtures("host")
def test_of_a_run_that_is_not_done_what_is_whole_is_fetched_and_the_rest_named(
    cli: Cli, tmp_path: Path, control: Application
) -> None:
    """While it runs and after it was canceled. One copy is torn in storage, one has no receipt: neither is fetched."""
    documents = write_documents(tmp_path / "part", a="first", b="second", x="wait")
    run_id = document(cli("submit", documents, *FOLDER, "--json"))["id"]
    prefix = f"runs/{run_id}/copies"
    wait_until(
        lambda: f"{prefix}/b.txt" in blobs(control, prefix) and control.store.get(run_id).items[1] == 3
    )
    receipts = control.storage.container("system", "logs")
    wait_until(lambda: len(list(receipts.list_blob_names(name_starts_with=f"{run_id}/receipts/"))) == 3)
    container = control.storage.container("data", control.settings.data_container)
    container.upload_blob(f"{prefix}/b.txt", b"secon\0", overwrite=True)
    container.upload_blob(f"{prefix}/x.txt", b"wai")

    running = cli("fetch", run_id, "out")
    assert running.exit_code == Exit.FAILED
    assert "What is whole by now is fetched" in running.stderr
    assert sorted(path.name for path in (tmp_path / "out" / "copies").iterdir()) == ["a.txt", "unlike.txt"]
    assert (tmp_path / "out" / "copies" / "a.txt").read_text() == "first"
    told = " ".join(running.stderr.split())
    assert "left out: copies/b.txt: it is not what its receipt says." in told
    assert "left out: copies/x.txt: no receipt says that it is whole" in told
    assert "missing: 1 item of 4 that are not done yet." in told
    assert f"missing: list: the run did not get so far; 'batchscore fetch {run_id[:8]} --all'" in told

    cli("cancel", run_id)
    cli("watch", run_id)
    canceled = cli("fetch", run_id, "out", "--json")
    assert canceled.exit_code == Exit.FAILED
    assert json.loads(canceled.stdout) | {"missing": 0} == {
        "run": run_id,
        "state": "canceled",
        "folder": str(tmp_path / "out"),
        "files": 2,
        "new": 0,
        "size_bytes": 5 + 32,
        "left_out": 2,
        "missing": 0,
    }
    everything = cli("fetch", run_id, "all", "--all")
    assert "left out: copies/b.txt" in everything.stderr
    assert (tmp_path / "all" / "receipts").is_dir()
    assert (tmp_path / "all" / "logs" / "attempt-1" / "engine.txt").is_file()


@pytest.mark.usefixtures("host")
def test_a_trigger_file_brings_the_data_that_lies_beside_it(
    cli: Cli, tmp_path: Path, control: Application
) -> None:
    mark = uuid.uuid4().hex
    (tmp_path / "in").mkdir()
    documents = write_documents(tmp_path / "in" / mark, a="one")
    trigger = tmp_path / "in" / "trigger.json"
    trigger.write_text(json.dumps({"workload": "copying/folder", "inputs": {"documents": mark}}))

    run = document(cli("submit", trigger, "--watch", "--json"))
    assert (run["state"], run["summary"]["ok"]) == ("succeeded", 2)
    assert blobs(control, mark) == [f"{mark}/a.txt", f"{mark}/unlike.txt"]

    (documents / "a.txt").write_text("two")
    kept = cli("submit", trigger)
    assert "differs from the local file and is used as it is; --upload replaces it" in kept.stderr
    container = control.storage.container("data", control.settings.data_container)
    assert container.download_blob(f"{mark}/a.txt").readall() == b"one"
    assert cli("submit", trigger, "--upload").exit_code == Exit.OK
    assert container.download_blob(f"{mark}/a.txt").readall() == b"two"


@pytest.mark.usefixtures("host")
def test_a_canceled_run_ends_its_watch_with_1_and_can_be_retried(
    cli: Cli, tmp_path: Path, control: Application
) -> None:
    documents = write_documents(tmp_path / "slow", w="wait")
    run = document(cli("submit", documents, *FOLDER, "--json"))["id"]
    wait_until(lambda: control.store.get(run).state is RunState.RUNNING)
    assert "has been running" in cli("show", run[:8]).stdout
    assert "What is whole by now is fetched" in cli("fetch", run[:8]).stderr

    canceled = cli("cancel", run[:8])
    assert "is asked to stop" in canceled.stdout
    watched = cli("watch", run[:8], "--json")
    assert watched.exit_code == Exit.FAILED
    assert json.loads(watched.stdout)["state"] == "canceled"

    refused = cli("cancel", run[:8])
    assert refused.exit_code == Exit.USAGE
    assert "there is nothing to cancel" in refused.stderr


@pytest.mark.usefixtures("host")
def test_a_run_that_cannot_be_planned_is_rejected_with_its_reason(cli: Cli, tmp_path: Path) -> None:
    trigger = tmp_path / "t.json"
    trigger.write_text('{"workload": "copying/video", "inputs": {"video": "videos/nowhere.mp4"}}')

    result = cli("submit", trigger, "--watch")

    assert result.exit_code == Exit.FAILED
    assert "there is no blob 'videos/nowhere.mp4'" in result.stdout
    assert "correct the request and submit it again" in result.stdout


@pytest.mark.usefixtures("host")
def test_logs_can_be_followed_to_the_end(cli: Cli, tmp_path: Path) -> None:
    documents = write_documents(tmp_path / "logs", a="hello")
    run = document(cli("submit", documents, *FOLDER, "--json"))["id"]

    lines = cli("logs", run, "--follow").stdout.splitlines()

    assert sum("copying a.txt" in line for line in lines) == 1
    files = [line for line in lines if line.startswith("── ")]
    assert any("── attempt-1/collect/" in file for file in files)
    assert all(file.startswith("── attempt-1/") for file in files), "what is no log is not shown"


@pytest.mark.usefixtures("host")
def test_a_poisoned_run_is_replayed(cli: Cli, control: Application) -> None:
    data = control.storage.container("data", control.settings.data_container, create=True)
    data.upload_blob("videos/replay.mp4", b"x")
    triggers = control.storage.container("data", control.settings.trigger_container, create=True)
    file = triggers.upload_blob(  # by this name no event makes the run before the message does
        "p.txt", b'{"workload": "copying/video", "inputs": {"video": "videos/replay.mp4"}}'
    )
    etag = file.get_blob_properties().etag
    run = control.intake.poison(json.dumps({"BlobName": "p.txt", "ETag": etag}).encode())
    assert run is not None
    assert f"batchscore replay {run.id[:8]}" in cli("show", run.id).stdout

    assert "is accepted after all" in cli("replay", run.id[:8]).stdout
    assert cli("watch", run.id[:8]).exit_code == Exit.OK


def test_without_a_host_a_watch_says_how_to_start_one(
    cli: Cli, control: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run has waited for a minute; the person who watches stops watching, and the run stays."""
    then = datetime.fromtimestamp(time.time() - 60, UTC)
    request = runs.RunRequest("copying/video", {"video": "videos/none.mp4"})
    run, _ = control.store.create(runs.accepted(Cause("cli", uuid.uuid4().hex), request, then))
    pauses = iter(range(2))

    def pause(_: float) -> None:
        if next(pauses, None) is None:
            raise KeyboardInterrupt

    monkeypatch.setattr(watching.time, "sleep", pause)
    monkeypatch.setattr(watching, "host_is_running", lambda: False)

    result = cli("watch", run.id)

    assert result.exit_code == Exit.INTERRUPTED
    assert "Start one with 'make start'" in result.stderr
    assert f"run {run.id[:8]} goes on" in result.stderr
    assert control.store.get(run.id).state is RunState.ACCEPTED
    assert "is canceled: it had not started" in cli("cancel", run.id).stdout


def test_the_table_of_runs_fits_80_columns(cli: Cli, control: Application) -> None:
    now = datetime.now(UTC)
    control.store.create(
        runs.rejected(Cause("trigger_file", "some/folder/of/triggers/demo.json", "1"), "x", now)
    )

    lines = cli("runs", "--state", "rejected", "--limit", "1").stdout.splitlines()

    assert lines[0].split() == ["Run", "State", "Workload", "Items", "Took", "Ago"]
    assert lines[1].split()[1:] == ["rejected", "some/folder/of/triggers/demo.json", "just", "now"]
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["show", "0123456789abcdef0123"], Exit.NOT_FOUND, "there is no run"),
        (["watch", "zzz"], Exit.NOT_FOUND, "there is no single run 'zzz'"),
        (["fetch", "fffff"], Exit.NOT_FOUND, "there is no single run"),
        (["runs", "--state", "happy"], Exit.USAGE, "must be one of accepted"),
        (["submit", "none.json"], Exit.USAGE, "none.json cannot be read"),
        (["submit", "none.mp4", *VIDEO], Exit.USAGE, "'none.mp4' is neither here nor in container 'data'"),
        (["submit", "none.mp4", "--workload", "copying/vdeo"], Exit.USAGE, "Did you mean 'copying/video'?"),
        (["submit", "clip", *VIDEO], Exit.USAGE, "input 'video' must be a file, and clip is not"),
        (["submit", "clip", *FOLDER, "-i", "strength=2"], Exit.USAGE, "at most 1"),
        (["submit", "clip", *FOLDER, "--style", "x"], Exit.USAGE, "has no input 'style'"),
        (
            ["submit", "clip", *FOLDER, "--style", "x", "--style-image", "y"],
            Exit.USAGE,
            "cannot both be given",
        ),
        (["submit", "bad.json"], Exit.USAGE, "the request is not JSON"),
        (["submit", "bad.json", "--nodes", "2"], Exit.USAGE, "bad.json says it all"),
        (["submit", "clip", *FOLDER, "-i", "model=nightt"], Exit.USAGE, "there is no model 'nightt'"),
        (["models", "add", "x", "none"], Exit.USAGE, "none is not a folder"),
        (["models", "add", "a/b", "."], Exit.USAGE, "cannot be a model's name"),
        (["models", "show", "valves"], Exit.USAGE, "there is no model 'valves'"),
        (["models", "promote", "valves:1"], Exit.USAGE, "storage holds no model 'valves'"),
        (["models", "promote", "valves:newest"], Exit.USAGE, "names no version. Give name:version"),
    ],
)
def test_what_cannot_be_done_has_an_exit_code_and_a_sentence(
    cli: Cli, tmp_path: Path, control: Application, arguments: list[str], code: Exit, message: str
) -> None:
    write_documents(tmp_path / "clip")
    (tmp_path / "bad.json").write_text("{")
    before = blobs(control, "")

    result = cli(*arguments)

    assert (result.exit_code, result.stdout) == (code, "")
    assert message in result.stderr
    assert blobs(control, "") == before


def test_storage_of_this_machine_that_does_not_listen_ends_with_4_at_once(
    variables: dict[str, str], closed_port: int
) -> None:
    dead = f"DefaultEndpointsProtocol=http;AccountName=a;AccountKey=a2V5;BlobEndpoint=http://127.0.0.1:{closed_port}/a;"

    result = CliRunner(env={**variables, "AzureWebJobsStorage": dead}).invoke(app, ["runs"])

    assert result.exit_code == Exit.UNAVAILABLE
    assert f"no storage listens at 127.0.0.1:{closed_port} (AzureWebJobsStorage). Start it" in result.stderr


def test_a_model_is_published_once_per_content(cli: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(os.urandom(8))

    assert "night:1 is published" in cli("models", "add", "night", folder).stdout
    assert "night:1 holds the same files already" in cli("models", "add", "night", folder).stdout
    (folder / "model.onnx").write_bytes(os.urandom(8))
    assert document(cli("models", "add", "night", folder, "--json")) == {"model": "night:2", "new": True}

    assert document(cli("models", "--json"))["models"]["night"] == [1, 2]
    assert "night:2" in cli("models").stdout


def test_the_version_that_a_name_means_is_shown_switched_and_switched_back(cli: Cli, tmp_path: Path) -> None:
    for sensors in (3, 4):
        cli("models", "add", "pumps", make_set(tmp_path / str(sensors), sensors))
    assert re.search(r"pumps +pumps:2 +pumps:2 +4 sensors", cli("models", "list").stdout)

    said = cli("models", "promote", "pumps:1").stdout
    assert "pumps:1 is current and stays so" in said
    assert "It was pumps:2; 'batchscore models promote pumps:2' goes back." in said
    assert re.search(r"pumps +pumps:1 \(promoted\) +pumps:2 +3 sensors", cli("models").stdout)
    assert "pumps:1 stays current" in cli("models", "add", "pumps", make_set(tmp_path / "5", 5)).stdout
    assert document(cli("models", "list", "--json"))["current"]["pumps"] == 1

    shown = cli("models", "show", "pumps").stdout
    assert re.search(r"pumps:1 +just now +by hand +current", shown)
    assert "pumps:1\n  3 sensors, 2 support vectors each" in shown
    assert "readings: from 2026-11-01T00:00:00Z, to 2026-11-20T00:00:00Z, count 4,321" in shown
    assert "5 sensors" in cli("models", "show", "pumps:3").stdout

    assert "pumps:3, the newest, is current" in cli("models", "promote", "pumps").stdout
    described = document(cli("models", "show", "pumps", "--json"))
    assert (described["current"], described["promoted"], described["shown"]) == (3, None, 3)
    assert described["manifest"]["sensors"] == 5
