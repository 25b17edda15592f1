"""Trigger files, HTTP bodies and poison messages become run records, once per cause; on Azurite."""

from __future__ import annotations

import json
import re
import threading
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from azure.storage.blob import BlobClient

from batchscore import paths, signals
from batchscore.application import Application
from batchscore.errors import RequestError, RunConflictError, StorageUnavailableError
from batchscore.inbox import read_rules
from batchscore.intake import Intake, Mark
from batchscore.runs import Run, RunState
from batchscore.settings import Settings
from batchscore.storage import Storage
from tests.unit.workload_folder import write_workloads

RULES = {
    "inbox/copy/{mode}/": {
        "start": ["*.zip"],
        "ignore": ["*.txt"],
        "trigger": {
            "workload": "demo/copy",
            "inputs": {"files": "in", "table": "{path}", "mode": "{mode}"},
        },
    }
}
GOOD = json.dumps({"workload": "demo/copy", "inputs": {"files": "in"}}).encode()


@pytest.fixture
def application(settings: Settings, storage: Storage, tmp_path: Path) -> Application:
    folder = write_workloads(tmp_path)
    return Application(
        replace(settings, workloads_folder=folder, inbox_rules=read_rules(json.dumps(RULES), folder))
    )


def drop(application: Application, data: bytes, name: str = "a.json") -> BlobClient:
    container = application.storage.container("data", application.settings.trigger_container)
    container.upload_blob(name, data, overwrite=True)
    return container.get_blob_client(name)


def test_a_trigger_file_becomes_one_accepted_run_however_often_it_is_delivered(
    application: Application,
) -> None:
    blob = drop(application, GOOD)
    runs = [application.intake.trigger_file(blob) for _ in range(3)]
    assert {run.id for run in runs if run} == {runs[0].id if runs[0] else ""}
    assert runs[0] is not None
    assert runs[0].state is RunState.ACCEPTED


def test_deliveries_at_the_same_time_claim_one_run(application: Application) -> None:
    blob, found = drop(application, GOOD), []
    threads = [
        threading.Thread(target=lambda: found.append(application.intake.trigger_file(blob))) for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6
    assert len({run.id for run in found if run}) == 1


def test_the_same_name_uploaded_again_is_a_new_run(application: Application) -> None:
    first = application.intake.trigger_file(drop(application, GOOD))
    second = application.intake.trigger_file(drop(application, GOOD))
    assert first is not None
    assert second is not None
    assert first.id != second.id


def test_a_bad_file_becomes_a_rejected_run_with_the_reason_and_a_copy(application: Application) -> None:
    run = application.intake.trigger_file(drop(application, b'{"workload": "demo/cpoy"}'))
    assert run is not None
    assert run.state is RunState.REJECTED
    assert "Did you mean 'demo/copy'?" in run.reason
    copy = application.storage.container("system", paths.RUNS).download_blob(paths.rejected_blob(run.id))
    assert copy.readall() == b'{"workload": "demo/cpoy"}'


def test_a_reason_of_several_mistakes_is_one_readable_line_of_the_log(
    application: Application, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        run = application.intake.trigger_file(
            drop(application, b'{"workload": "demo/copy", "inputs": {"tpo": "a"}}')
        )
    assert run is not None
    mistakes = run.reason.splitlines()
    assert len(mistakes) > 1
    assert " ".join(mistakes) in caplog.text


def test_an_empty_file_is_rejected(application: Application) -> None:
    run = application.intake.trigger_file(drop(application, b""))
    assert run is not None
    assert "is empty" in run.reason


def test_of_a_huge_file_no_more_than_the_limit_is_read(
    application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    blob = drop(application, b"[" + b" " * 10_000_000 + b"]")
    asked: list[tuple[object, object]] = []
    download = BlobClient.download_blob

    def spy(
        self: BlobClient, offset: int | None = None, length: int | None = None, **options: object
    ) -> object:
        asked.append((offset, length))
        return download(self, offset, length, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(BlobClient, "download_blob", spy)
    run = application.intake.trigger_file(blob)
    assert run is not None
    assert "larger than 65536 bytes" in run.reason
    assert asked[0] == (0, 65_537)


def test_a_file_that_is_gone_is_no_run(application: Application) -> None:
    blob = drop(application, GOOD)
    blob.delete_blob()
    assert application.intake.trigger_file(blob) is None


def test_a_storage_fault_raises_so_that_the_host_tries_again(application: Application) -> None:
    unreachable = BlobClient("http://127.0.0.1:9/account", "triggers", "a.json", retry_total=0)
    with pytest.raises(StorageUnavailableError, match=r"a\.json"):
        application.intake.trigger_file(unreachable)


def test_an_idempotency_key_starts_one_run_and_refuses_another_body(application: Application) -> None:
    first, created = application.intake.request("http", "key-1", GOOD)
    again, created_again = application.intake.request("http", "key-1", GOOD)
    assert (created, created_again, again.id) == (True, False, first.id)
    with pytest.raises(RunConflictError, match="another body"):
        application.intake.request("http", "key-1", GOOD.replace(b'"in"', b'"other"'))


def test_a_bad_body_is_told_at_once_and_leaves_no_record(application: Application) -> None:
    with pytest.raises(RequestError, match="not JSON"):
        application.intake.request("http", "key-2", b"{")
    good, created = application.intake.request("http", "key-2", GOOD)
    assert created
    assert good.state is RunState.ACCEPTED


def poison_message(blob: BlobClient, etag: str) -> bytes:
    return json.dumps(
        {
            "Type": "BlobTrigger",
            "FunctionId": "Host.Functions.accept_trigger_file",
            "BlobType": "BlockBlob",
            "ContainerName": blob.container_name,
            "BlobName": blob.blob_name,
            "ETag": etag,
        }
    ).encode()


def test_a_poison_message_is_kept_and_replay_brings_its_run_back(application: Application) -> None:
    blob = drop(application, GOOD)
    message = poison_message(blob, blob.get_blob_properties().etag)
    run = application.intake.poison(message)
    assert run is not None
    assert run.state is RunState.POISONED
    assert run.poison_message == message.decode()
    back = application.replay(run.id)
    assert (back.id, back.state) == (run.id, RunState.ACCEPTED)
    assert back.request is not None
    assert run.id in [active.id for active in application.store.active()]
    delivered = application.intake.trigger_file(blob)
    assert delivered is not None
    assert delivered.id == run.id


def test_a_poison_message_of_a_run_that_was_recorded_changes_nothing(application: Application) -> None:
    blob = drop(application, GOOD)
    run = application.intake.trigger_file(blob)
    assert application.intake.poison(poison_message(blob, blob.get_blob_properties().etag)) == run


@pytest.mark.parametrize("message", [b"", b"\xff", b"[]", b"{}", b'{"BlobName": 1, "ETag": 2}'])
def test_a_poison_message_that_says_nothing_does_not_raise(application: Application, message: bytes) -> None:
    assert application.intake.poison(message) is None


def test_replay_of_a_file_that_is_gone_says_so(application: Application) -> None:
    blob = drop(application, GOOD)
    run = application.intake.poison(poison_message(blob, blob.get_blob_properties().etag))
    blob.delete_blob()
    assert run is not None
    with pytest.raises(RequestError, match="Upload it again"):
        application.replay(run.id)


def test_a_poison_message_with_half_a_character_does_not_raise(application: Application) -> None:
    assert application.intake.poison(b'{"BlobName": "\\ud800.json", "ETag": "1"}') is None
    assert application.intake.poison(b"[" * 100_000) is None


def test_replay_does_not_take_another_version_of_the_file_for_the_poisoned_one(
    application: Application,
) -> None:
    blob = drop(application, GOOD)
    run = application.intake.poison(poison_message(blob, blob.get_blob_properties().etag))
    newer = application.intake.trigger_file(drop(application, GOOD))
    assert run is not None
    assert newer is not None
    with pytest.raises(RequestError, match=newer.id):
        application.replay(run.id)
    assert application.store.get(run.id).state is RunState.POISONED


def test_the_sweep_finds_files_whose_event_was_lost_and_no_others(application: Application) -> None:
    seen = application.intake.trigger_file(drop(application, GOOD, "seen.json"))
    drop(application, GOOD, "lost.json")
    drop(application, b"{", "bad.json")
    drop(application, b"not a trigger", "notes.txt")
    application.storage.container("system", paths.RUNS).upload_blob(
        paths.SWEEP_BLOB, b'{"trigger_file": {"newest": "2000-01-01T00:00:00+00:00"}}', overwrite=True
    )
    assert application.intake.sweep().found == 2
    assert application.intake.sweep().found == 0
    assert seen is not None
    names = {run.cause.name for run in application.store.recent(100)}
    assert {"seen.json", "lost.json", "bad.json"} <= names
    assert "notes.txt" not in names


def mark_of_the_sweep(application: Application) -> BlobClient:
    return application.storage.container("system", paths.RUNS).get_blob_client(paths.SWEEP_BLOB)


def mark(application: Application) -> Mark:
    data = mark_of_the_sweep(application).download_blob().readall()
    return msgspec.json.decode(data, type=dict[str, Mark])["trigger_file"]


def rewind(application: Application) -> None:
    mark_of_the_sweep(application).upload_blob(b"{}", overwrite=True)


def test_the_mark_of_a_sweep_is_never_later_than_its_beginning(application: Application) -> None:
    """A file that came while the listing was past its name is found by the next sweep, however long this one took."""
    rewind(application)
    uploaded = drop(application, GOOD).get_blob_properties().last_modified
    began = uploaded - timedelta(minutes=20)
    Intake(
        application.settings, application.storage, application.store, application.workloads, lambda: began
    ).sweep()
    assert mark(application).newest == began


def test_a_sweep_over_very_many_files_goes_on_where_the_last_one_stopped(
    application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each sweep reads a bounded number of names, and a file that was passed over in the middle is still found."""
    monkeypatch.setattr("batchscore.intake.SWEEP_PAGE", 2)
    monkeypatch.setattr("batchscore.intake.SWEEP_PAGES", 1)
    rewind(application)
    for number in range(5):
        drop(application, GOOD, f"{number}.json")
    found = [application.intake.sweep().found for _ in range(2)]
    assert found == [2, 2]
    assert mark(application).token
    drop(application, GOOD, "0-late.json")  # behind the place that the sweep has come to
    assert application.intake.sweep().found == 1
    assert mark(application).token is None
    assert sum(application.intake.sweep().found for _ in range(3)) == 1


@pytest.mark.parametrize(
    "planted",
    [
        b"[]",
        b"[" * 100000,
        b'{"trigger_file": {"newest": "9999-01-01T00:00:00Z"}}',
        b'{"trigger_file": {"token": 5}}',
        b'{"trigger_file": {"newest": "2026-01-01T00:00:00"}}',
        b'{"trigger_file": {"token": "\\u0001!"}}',
    ],
)
def test_a_planted_mark_of_a_sweep_hides_no_file_for_long(application: Application, planted: bytes) -> None:
    mark_of_the_sweep(application).upload_blob(planted, overwrite=True)
    drop(application, GOOD, "lost.json")
    try:
        found = application.intake.sweep().found
    except StorageUnavailableError:  # the place in it is none; the next sweep begins anew
        found = 0
    assert found + application.intake.sweep().found == 1


def test_one_file_that_cannot_be_recorded_hides_no_other_from_the_sweep(
    application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    rewind(application)
    for name in ("a.json", "b.json"):
        drop(application, GOOD, name)
    record = application.intake.trigger_file

    def faulty(blob: BlobClient) -> Run | None:
        if blob.blob_name == "a.json":
            raise StorageUnavailableError("archived")
        return record(blob)

    monkeypatch.setattr(application.intake, "trigger_file", faulty)
    swept = application.intake.sweep()
    container = application.storage.container("data", application.settings.trigger_container)
    written = container.get_blob_client("a.json").get_blob_properties().last_modified
    assert (swept.found, swept.faults, swept.unrecorded_since) == (1, 1, written)
    assert application.intake.sweep().unrecorded_since == written  # until somebody has mended it
    monkeypatch.undo()
    assert application.intake.sweep().found == 1  # the mark has not moved past it


def test_a_file_that_can_never_be_recorded_does_not_keep_a_long_sweep_at_its_beginning(
    application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("batchscore.intake.SWEEP_PAGE", 1)
    monkeypatch.setattr("batchscore.intake.SWEEP_PAGES", 1)
    rewind(application)
    for name in ("a.json", "b.json", "c.json"):
        drop(application, GOOD, name)
    record = application.intake.trigger_file

    def faulty(blob: BlobClient) -> Run | None:
        if blob.blob_name == "a.json":
            raise StorageUnavailableError("archived")
        return record(blob)

    monkeypatch.setattr(application.intake, "trigger_file", faulty)
    assert [application.intake.sweep().found for _ in range(3)] == [0, 1, 1]
    monkeypatch.setattr(application.intake, "trigger_file", record)
    assert sum(application.intake.sweep().found for _ in range(4)) == 1


def test_a_sweep_that_fails_does_not_keep_the_reconciler_from_looking(
    application: Application, storage: Storage
) -> None:
    assert application.timer().ran
    storage.service("data").delete_container(application.settings.trigger_container)
    assert application.timer().ran


def put(application: Application, name: str, data: bytes = b"data") -> BlobClient:
    container = application.storage.container("data", application.settings.data_container)
    container.upload_blob(name, data, overwrite=True)
    return container.get_blob_client(name)


def test_a_file_dropped_in_the_inbox_becomes_one_accepted_run(application: Application) -> None:
    blob = put(application, "inbox/copy/good/a b/clip.ZIP")
    found = [application.intake.inbox_file(blob) for _ in range(3)]
    run = found[0]
    assert run is not None
    assert [other.id if other else None for other in found] == [run.id] * 3
    assert (run.state, run.cause.kind, run.cause.name) == (RunState.ACCEPTED, "inbox_file", blob.blob_name)
    assert run.request is not None
    assert run.request.inputs == {"files": "in", "table": "inbox/copy/good/a b/clip.ZIP", "mode": "good"}


def test_a_file_uploaded_again_into_the_inbox_is_a_new_run(application: Application) -> None:
    first, second = (application.intake.inbox_file(put(application, "inbox/copy/good/a.zip")) for _ in "ab")
    assert first is not None
    assert second is not None
    assert first.id != second.id


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("inbox/copy/good/a.doc", b"data", r"of no kind that the rule .* takes: \*\.zip"),
        (
            "inbox/elsewhere/a.zip",
            b"data",
            r"no place that starts a run\. The places are: 'inbox/copy/{mode}/'",
        ),
        ("inbox/copy/best/a.zip", b"data", "must be one of 'fast', 'good'"),
        ("inbox/copy/good/a.zip", b"", "is empty. Upload it again, whole"),
        ("inbox/copy/good/b\\..\\a.zip", b"data", "backslash"),
    ],
    ids=["kind", "place", "value", "empty", "path"],
)
def test_what_cannot_be_done_with_a_dropped_file_is_said_in_a_rejected_run(
    application: Application, name: str, data: bytes, said: str
) -> None:
    run = application.intake.inbox_file(put(application, name, data))
    assert run is not None
    assert run.state is RunState.REJECTED
    assert re.search(said, run.reason), run.reason


def test_what_lies_beside_a_dropped_file_starts_no_run(
    application: Application, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        assert application.intake.inbox_file(put(application, "inbox/copy/good/notes.txt")) is None
    assert "leaves out *.txt" in caplog.text
    folder = put(application, "inbox/copy/good", b"")
    folder.set_blob_metadata({"hdi_isfolder": "true"})
    assert application.intake.inbox_file(folder) is None
    gone = put(application, "inbox/copy/good/a.zip")
    gone.delete_blob()
    assert application.intake.inbox_file(gone) is None


def test_the_sweep_finds_dropped_files_whose_event_was_lost(application: Application) -> None:
    rewind(application)
    seen = application.intake.inbox_file(put(application, "inbox/copy/good/seen.zip"))
    for name in ("lost.zip", "wrong.doc", "notes.txt"):
        put(application, f"inbox/copy/good/{name}")
    put(application, "outside.zip")
    assert application.intake.sweep().found == 2
    assert application.intake.sweep().found == 0
    assert seen is not None
    names = {run.cause.name for run in application.store.recent(100) if run.cause.kind == "inbox_file"}
    assert {f"inbox/copy/good/{name}" for name in ("seen.zip", "lost.zip", "wrong.doc")} <= names
    assert not {name for name in names if "notes" in name or "outside" in name}


def test_a_poison_message_of_a_dropped_file_is_kept_and_replayed(application: Application) -> None:
    blob = put(application, "inbox/copy/good/late.zip")
    run = application.intake.poison(poison_message(blob, blob.get_blob_properties().etag))
    assert run is not None
    assert (run.state, run.cause.kind) == (RunState.POISONED, "inbox_file")
    assert application.replay(run.id).state is RunState.ACCEPTED
    delivered = application.intake.inbox_file(blob)
    assert delivered is not None
    assert delivered.id == run.id


def test_a_poison_message_is_told_to_alerts(
    application: Application, caplog: pytest.LogCaptureFixture
) -> None:
    blob = drop(application, GOOD, "unlucky.json")
    message = poison_message(blob, blob.get_blob_properties().etag)
    with caplog.at_level("INFO", signals.log.name):
        runs = [application.intake.poison(each) for each in (message, message, b"no message of ours")]
    assert runs[0] is not None
    told = [
        json.loads(record.getMessage().removeprefix(signals.PREFIX))
        for record in caplog.records
        if record.name == signals.log.name
    ]
    assert told == [
        {"signal": "poison_message", "run": runs[0].id, "file": "unlucky.json"},
        {"signal": "poison_message", "run": "", "file": ""},
    ]


def test_a_kick_makes_a_deleted_queue_again(application: Application) -> None:
    application.kick()
    queue = application.storage.queue("system", paths.RECONCILE_QUEUE)
    queue.delete_queue()
    application.kick()
    assert queue.get_queue_properties().approximate_message_count == 1


def test_a_kick_that_finds_storage_away_is_no_poison(
    application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(wait_s: float, rest_s: float) -> None:
        raise StorageUnavailableError("storage did not answer")

    monkeypatch.setattr(application.reconciler, "tick", away)
    assert not application.kicked(b"").ran


def test_the_sweep_reads_the_file_of_a_poisoned_run_again(application: Application) -> None:
    rewind(application)
    blob = drop(application, GOOD, "unlucky.json")
    run = application.intake.poison(poison_message(blob, blob.get_blob_properties().etag))
    assert run is not None
    assert run.state is RunState.POISONED
    application.intake.sweep()
    assert application.store.get(run.id).state is RunState.ACCEPTED
