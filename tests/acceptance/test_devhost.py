"""The dev host from outside: a process that runs an app with every trigger against its own Azurite."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import pytest
import requests
from azure.core.exceptions import ResourceNotFoundError
from azure.storage.blob import BlobServiceClient
from azure.storage.queue import QueueServiceClient

from batchscore.devhost.launch import DevHostError, DevHostProcess
from batchscore.process_mark import lives
from batchscore.storage import BLOB_API_VERSION

APP = Path(__file__).parent / "apps" / "every_trigger"
T = TypeVar("T")
YEARLY = "0 0 0 1 1 *"


def eventually(look: Callable[[], T], timeout_s: float = 20.0) -> T:
    """What `look` gives once it gives something; fails when it has given nothing for too long."""
    deadline = time.monotonic() + timeout_s
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > deadline:
            pytest.fail(f"nothing came within {timeout_s} s: {look}")
        time.sleep(0.03)


class Account:
    """The storage account of a host, seen from outside."""

    def __init__(self, connection_string: str) -> None:
        self.blobs = BlobServiceClient.from_connection_string(connection_string, api_version=BLOB_API_VERSION)
        self.queues = QueueServiceClient.from_connection_string(
            connection_string, api_version=BLOB_API_VERSION
        )

    def upload(self, path: str, content: bytes = b"{}", **options: Any) -> None:
        container, _, name = path.partition("/")
        client = self.blobs.get_container_client(container)
        if not client.exists():
            client.create_container()
        client.upload_blob(name, content, overwrite=True, **options)

    def read(self, path: str) -> bytes | None:
        container, _, name = path.partition("/")
        try:
            content: bytes = self.blobs.get_blob_client(container, name).download_blob().readall()
        except ResourceNotFoundError:
            return None
        return content

    def names(self, container: str, prefix: str = "") -> list[str]:
        try:
            return list(self.blobs.get_container_client(container).list_blob_names(name_starts_with=prefix))
        except ResourceNotFoundError:
            return []

    def documents(self, prefix: str) -> list[dict[str, Any]]:
        return [json.loads(self.read(f"seen/{name}") or b"null") for name in self.names("seen", prefix)]

    def send(self, queue: str, text: str) -> None:
        client = self.queues.get_queue_client(queue)
        try:
            client.send_message(text)
        except ResourceNotFoundError:
            client.create_queue()
            client.send_message(text)

    def messages(self, queue: str) -> list[str]:
        try:
            return [str(message.content) for message in self.queues.get_queue_client(queue).peek_messages(32)]
        except ResourceNotFoundError:
            return []

    def close(self) -> None:
        self.blobs.close()
        self.queues.close()


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevHostProcess]:
    """A host that most tests share; each uses blobs and messages of its own."""
    environment = {"GREETING": "from the environment"}
    with DevHostProcess(APP, folder=tmp_path_factory.mktemp("devhost"), environment=environment) as process:
        yield process


@pytest.fixture(scope="module")
def account(host: DevHostProcess) -> Iterator[Account]:
    account = Account(host.connection_string)
    yield account
    account.close()


@pytest.fixture
def mark() -> str:
    return uuid.uuid4().hex[:8]


# Blob triggers


def test_a_new_blob_reaches_the_function_as_a_client(account: Account, mark: str) -> None:
    account.upload(f"inbox/{mark}/a ü.json", b'{"x": 1}')
    seen = json.loads(eventually(lambda: account.read(f"seen/client/{mark}/a ü")))
    assert seen["name"] == f"{mark}/a ü.json"
    assert seen["content"] == '{"x": 1}'


def test_a_new_blob_reaches_the_function_as_bytes_and_outputs_are_written(
    account: Account, mark: str
) -> None:
    account.upload(f"inbox/{mark}/b.bin", b"\x00\xff\x10", metadata={"kind": "raw"})
    assert eventually(lambda: account.read(f"seen/bytes/{mark}-b")) == b"\x10\xff\x00"
    expected = {"name": f"inbox/{mark}/b.bin", "length": 3, "metadata": {"kind": "raw"}}
    eventually(
        lambda: (
            expected
            in [json.loads(note["text"]) for note in account.documents("notes/") if mark in note["text"]]
        )
    )


def test_a_blob_in_blocks_is_one_event_and_an_overwritten_one_another(
    account: Account, host: DevHostProcess, mark: str
) -> None:
    account.upload("inbox/no-trigger.txt")
    blob = account.blobs.get_blob_client("inbox", f"{mark}.json")
    for text in ("one", "two"):
        for index, block in enumerate((text[:1], text[1:])):
            blob.stage_block(str(index).zfill(8), block.encode())
        blob.commit_block_list(["00000000", "00000001"])
        eventually(
            lambda text=text: json.loads(account.read(f"seen/client/{mark}") or b"{}").get("content") == text
        )
    eventually(lambda: host.log.count(f"inbox/{mark}.json  ok") == 2)


def test_a_function_that_keeps_failing_leaves_its_message_in_the_poison_queue(
    account: Account, host: DevHostProcess, mark: str
) -> None:
    account.upload(f"inbox/{mark}.bad", b"")

    def poison() -> list[dict[str, Any]]:
        found = [
            json.loads(base64.b64decode(text)) for text in account.messages("webjobs-blobtrigger-poison")
        ]
        return [message for message in found if message["BlobName"] == f"{mark}.bad"]

    (message,) = eventually(poison)
    properties = account.blobs.get_blob_client("inbox", f"{mark}.bad").get_blob_properties()
    assert message == {
        "Type": "BlobTrigger",
        "FunctionId": "Host.Functions.that_fails",
        "BlobType": "BlockBlob",
        "ContainerName": "inbox",
        "BlobName": f"{mark}.bad",
        "ETag": properties.etag,
    }
    assert host.log.count(f"inbox/{mark}.bad  failed") == 3  # extensions.blobs.poisonBlobThreshold


def test_a_failure_is_shown_with_the_apps_own_frames(
    account: Account, host: DevHostProcess, mark: str
) -> None:
    account.upload(f"inbox/{mark}.bad", b"")
    eventually(lambda: f"ValueError: inbox/{mark}.bad is not to my taste" in host.log)
    assert "in that_fails    _fail(file.name)" in host.log
    assert "azure_functions_runtime" not in host.log


def test_a_blob_with_an_event_grid_source_needs_no_receipt(account: Account, mark: str) -> None:
    account.upload(f"inbox/{mark}.txt", "größe".encode())
    account.upload(f"inbox/{mark}.event", b"")
    assert eventually(lambda: account.read(f"seen/event/{mark}")) == "GRÖSSE".encode()
    assert not [name for name in account.names("azure-webjobs-hosts", "blobreceipts/") if mark in name]


# Queue triggers


def test_a_message_that_keeps_failing_goes_to_the_poison_queue(account: Account) -> None:
    account.send("notes", encoded("bad"))
    eventually(lambda: encoded("bad") in account.messages("notes-poison"))


def test_a_message_that_is_not_base64_goes_to_the_poison_queue(account: Account, mark: str) -> None:
    account.send("notes", f"{mark}?!")
    eventually(lambda: f"{mark}?!" in account.messages("notes-poison"))


# HTTP


def test_a_request_reaches_the_function_and_its_answer_comes_back(host: DevHostProcess) -> None:
    answer = requests.post(
        f"{host.url}/v1/greet/Ann?x=1", data="body ü".encode(), headers={"X-Test": "t"}, timeout=10
    )
    assert answer.status_code == 201
    assert answer.headers["X-Answer"] == "yes"
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Set-Cookie"] == "seen=1; HttpOnly; Max-Age=60; Path=/; SameSite=Lax"
    assert answer.json() == {
        "name": "Ann",
        "query": {"x": "1"},
        "body": "body ü",
        "header": "t",
        "greeting": "from the environment",  # which wins over the settings file
    }


def test_a_plain_answer_beside_queue_messages(host: DevHostProcess, account: Account) -> None:
    assert requests.put(f"{host.url}/v1/greet/nobody", timeout=10).text == "sent"
    texts = eventually(lambda: {note["text"] for note in account.documents("notes/")} & {"two from nobody"})
    assert texts == {"two from nobody"}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "nowhere", 404),
        ("DELETE", "v1/greet/Ann", 404),
        ("GET", "v1/greet/123", 404),
        ("GET", "v1/exit/here", 500),
        ("GET", "v1/exit/there", 500),
        ("GET", "v1/raise", 500),  # it still answers
    ],
)
def test_a_request_that_fails(host: DevHostProcess, method: str, path: str, status: int) -> None:
    assert requests.request(method, f"{host.url}/{path}", timeout=10).status_code == status


def test_a_blocking_async_function_does_not_stop_the_host(host: DevHostProcess) -> None:
    with ThreadPoolExecutor() as pool:
        stalled = pool.submit(requests.get, f"{host.url}/v1/stall/2", timeout=20)
        start = time.monotonic()
        while time.monotonic() - start < 1 and not stalled.done():
            assert requests.get(f"{host.url}/admin/host/ping", timeout=1).status_code == 200
        assert stalled.result().text == "done"


def test_functions_are_started_by_hand(host: DevHostProcess, account: Account, mark: str) -> None:
    def start(name: str, text: object) -> int:
        return requests.post(
            f"{host.url}/admin/functions/{name}", json={"input": text}, timeout=10
        ).status_code

    assert start("by_timer", "") == 202
    assert eventually(lambda: account.documents("timer/"))[0]["past_due"] is False
    assert start("by_queue", f"{mark} by hand") == 202
    eventually(lambda: [note for note in account.documents("notes/") if note["text"] == f"{mark} by hand"])
    account.upload(f"inbox/{mark}.json")
    eventually(lambda: account.read(f"seen/client/{mark}"))
    assert start("by_client", f"inbox/{mark}.json") == 202
    eventually(lambda: host.log.count(f"inbox/{mark}.json  ok") == 2)
    assert start("nobody", "") == 400
    assert start("no_such", "") == 404
    assert start("by_queue", 5) == 400


def test_the_host_tells_its_state(host: DevHostProcess) -> None:
    status = requests.get(f"{host.url}/admin/host/status", timeout=10).json()
    assert status["state"] == "Running"
    assert len(status["id"]) <= 32
    assert {"name": "by_client", "language": "python"} in requests.get(
        f"{host.url}/admin/functions", timeout=10
    ).json()


# One host and another


@pytest.fixture
def shared(azurite: str, mark: str) -> dict[str, str]:
    """An environment for hosts that start no Azurite: they meet on the session's, under a host id of this test."""
    return {
        "AzureWebJobsStorage": azurite,
        "DATA_STORAGE": azurite,
        "INBOX": f"inbox-{mark}",
        "AzureFunctionsWebHost__hostid": f"test-{mark}",
        "SCHEDULE": YEARLY,
    }


def test_a_timer_that_missed_its_time_strikes_at_once_and_keeps_its_state(
    shared: dict[str, str], azurite: str, mark: str, tmp_path: Path
) -> None:
    account = Account(azurite)
    path = f"azure-webjobs-hosts/timers/test-{mark}/Host.Functions.by_timer/status"
    old = {
        "Last": "2020-01-01T00:00:00+00:00",
        "Next": "2021-01-01T00:00:00+00:00",
        "LastUpdated": "2020-01-01T00:00:00+00:00",
    }
    account.upload(path, json.dumps(old).encode())
    with DevHostProcess(APP, folder=tmp_path, environment=shared):

        def mine() -> list[dict[str, Any]]:
            return [seen for seen in account.documents("timer/") if seen["status"] == old]

        assert [seen["past_due"] for seen in eventually(mine)] == [True]
        eventually(lambda: json.loads(account.read(path) or b"{}")["Last"] > "2026")
    account.close()


def test_a_timer_runs_on_one_of_two_hosts_and_moves_when_the_first_is_killed(
    shared: dict[str, str], azurite: str, tmp_path: Path
) -> None:
    account = Account(azurite)
    shared |= {"SCHEDULE": "*/1 * * * * *"}

    def strikes(pid: int) -> int:
        return [seen["pid"] for seen in account.documents("timer/")].count(pid)

    first = DevHostProcess(APP, folder=tmp_path / "1", environment=shared)
    second = DevHostProcess(APP, folder=tmp_path / "2", environment=shared)
    first.start()
    try:
        first_pid = first.pid
        eventually(lambda: strikes(first_pid) >= 1)
        with second:
            seen = strikes(first_pid)
            eventually(lambda: strikes(first_pid) >= seen + 2)
            assert strikes(second.pid) == 0
            first.kill()
            eventually(lambda: strikes(second.pid) >= 1, 12)  # sooner than a lease of 15 s runs out
    finally:
        first.kill()
        account.close()


def test_a_blob_that_came_while_no_host_ran_is_found_and_none_is_handled_twice(
    shared: dict[str, str], azurite: str, mark: str, tmp_path: Path
) -> None:
    account = Account(azurite)
    process = DevHostProcess(APP, folder=tmp_path, environment=shared)
    for round_ in ("first", "second"):
        account.upload(f"inbox-{mark}/{mark}-{round_}.json", b"{}")
        with process:
            eventually(lambda round_=round_: account.read(f"seen/client/{mark}-{round_}"))
    assert process.log.count(f"{mark}-first.json  ok") == 1
    assert process.log.count(f"{mark}-second.json  ok") == 1
    account.close()


# Keys


def test_keys_are_asked_for_when_wanted(shared: dict[str, str], tmp_path: Path) -> None:
    with DevHostProcess(APP, folder=tmp_path, environment=shared, arguments=["--keys"]) as host:
        assert requests.get(f"{host.url}/v1/slow/0", timeout=10).status_code == 401
        assert requests.get(f"{host.url}/v1/slow/0?code={host.function_key}", timeout=10).text == "done"
        headers = {"x-functions-key": host.function_key or ""}
        assert requests.get(f"{host.url}/v1/slow/0", headers=headers, timeout=10).text == "done"
        assert requests.get(f"{host.url}/v1/greet/nobody", timeout=10).text == "sent"
        assert requests.get(f"{host.url}/admin/host/status", headers=headers, timeout=10).status_code == 401
        key = host.function_key or ""
        assert f"function {key[:4]}…" in host.log
        assert key not in host.log  # it is in a file that only its owner can read
        assert (tmp_path / "keys.json").stat().st_mode & 0o077 == 0
        assert json.loads((tmp_path / "keys.json").read_text())["function"] == key
    with DevHostProcess(APP, folder=tmp_path, environment=shared, arguments=["--keys"]) as host:
        assert host.function_key == key


# Ends


def _children(pid: int) -> list[int]:
    """The processes that this one started."""
    text = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False
    ).stdout
    return [int(part) for part in text.split()]


def test_ctrl_c_lets_a_running_function_finish_and_leaves_nothing(tmp_path: Path) -> None:
    process = DevHostProcess(APP, folder=tmp_path)
    process.start()
    children = _children(process.pid)
    assert children
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(requests.get, f"{process.url}/v1/slow/1", timeout=20)
        eventually(lambda: "slow begins" in process.log)
        assert process.stop() == 0
        assert answer.result().text == "done"
    assert not [child for child in children if lives(child, "")]
    assert not (tmp_path / "devhost.json").exists()
    assert "Stopping: 1 running" in process.log
    assert process.log.rstrip().endswith("Stopped.")


def test_a_second_ctrl_c_ends_it_at_once_and_the_message_comes_again(tmp_path: Path) -> None:
    process = DevHostProcess(APP, folder=tmp_path)
    process.start()
    account = Account(process.connection_string)
    account.send("slow", encoded("again"))
    eventually(lambda: "slow message, time 1" in process.log)
    account.close()
    os.kill(process.pid, signal.SIGINT)
    eventually(lambda: "Ctrl-C again stops at once" in process.log)
    start = time.monotonic()
    assert process.stop() == 130
    assert time.monotonic() - start < 5
    with process:
        account = Account(process.connection_string)
        assert eventually(lambda: account.read("seen/slow/again")) == b"2"
        account.close()


def test_azurite_is_started_again_when_it_dies(tmp_path: Path) -> None:
    with DevHostProcess(APP, folder=tmp_path) as host:
        (azurite,) = _children(host.pid)
        os.kill(azurite, signal.SIGKILL)
        eventually(lambda: "Azurite runs again" in host.log)
        account = Account(host.connection_string)
        account.upload("inbox/after.json")
        eventually(lambda: account.read("seen/client/after"))
        account.close()
        assert "Azurite ended." in host.log


def test_it_ends_when_its_owner_does(tmp_path: Path) -> None:
    owner = (
        "import os, sys\nfrom pathlib import Path\nfrom batchscore.devhost.launch import DevHostProcess\n"
        "host = DevHostProcess(Path(sys.argv[1]), folder=Path(sys.argv[2]))\nhost.start()\n"
        "print(host.pid, flush=True)\nos._exit(0)\n"
    )
    command = [sys.executable, "-c", owner, str(APP), str(tmp_path)]
    pid = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    eventually(lambda: not lives(pid, ""))
    assert not (tmp_path / "devhost.json").exists()


# Apps that cannot run

GOOD = """
import azure.functions as func
app = func.FunctionApp()
"""


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (GOOD + "def f(:\n    pass\n", ["cannot be loaded: SyntaxError", "function_app.py:4    def f(:"]),
        (
            GOOD + "import nowhere_to_be_found\n",
            ["No module named 'nowhere_to_be_found'", "function_app.py:4"],
        ),
        (GOOD, ["no function"]),
        (
            GOOD + "@app.route(route='x')\ndef door(wrong: func.HttpRequest) -> str:\n    return ''\n",
            ["cannot load the door function", "wrong"],
        ),
        (
            GOOD
            + "@app.timer_trigger(arg_name='t', schedule='%WHEN%')\ndef hourly(t: func.TimerRequest): ...\n",
            ["function hourly: the schedule of its timerTrigger is '%WHEN%', but there is no setting 'WHEN'"],
        ),
        (None, ["has no function_app.py"]),
    ],
    ids=["syntax", "import", "empty", "parameter", "setting", "no-file"],
)
def test_an_app_that_cannot_run_is_explained_and_ends_the_host(
    source: str | None, words: list[str], azurite: str, tmp_path: Path
) -> None:
    app = tmp_path / "app"
    app.mkdir()
    (app / "host.json").write_text('{"version": "2.0"}')
    if source is not None:
        (app / "function_app.py").write_text(source)
    process = DevHostProcess(app, folder=tmp_path / "host", environment={"AzureWebJobsStorage": azurite})
    with pytest.raises(DevHostError, match="ended with exit code 1"):
        process.start()
    for word in words:
        assert word in process.log
    assert "Traceback" not in process.log
    process.stop()


def test_a_second_host_for_the_same_app_is_refused(host: DevHostProcess) -> None:
    command = [
        *(sys.executable, "-m", "batchscore.devhost", "--app", str(APP)),
        *("--address-file", str(host.folder / "devhost.json")),
    ]
    second = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert second.returncode == 1
    assert f"runs already at {host.url} (process {host.pid})" in second.stdout
