"""Whatever comes in from outside: no exception escapes, nothing is named that lies elsewhere, and the answer says why."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from batchscore import paths, runs
from batchscore.application import Application
from batchscore.cli.downloads import is_safe
from batchscore.compute.base import JobState, JobStatus, Location
from batchscore.compute.local.mirror import MissingDataError, _inside
from batchscore.definitions import resolve_inputs
from batchscore.devhost import accesslog
from batchscore.devhost.console import Console
from batchscore.devhost.invocations import json_properties
from batchscore.devhost.routes import Route
from batchscore.errors import RequestError, RunNotFoundError, RunUnreadableError
from batchscore.passes import Tick
from batchscore.printable import printable, printable_lines, quoted
from batchscore.receipts import ItemSummary, summarise
from batchscore.run_store import MemoryRunStore, _decoded
from batchscore.runs import Cause, Run, RunState
from batchscore.settings import Settings
from batchscore.triggers import RunRequest, parse
from batchscore.web import api
from batchscore.workloads import Workloads
from tests.hostile import bodies, is_shown, names, numbers, values
from tests.unit.workload_folder import write_workloads

LIMIT = 65_536
INPUTS = ("files", "table", "model", "strength", "mode")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
requests = bodies("demo/copy", INPUTS)


@pytest.fixture(scope="module")
def workloads(tmp_path_factory: pytest.TempPathFactory) -> Workloads:
    return Workloads(write_workloads(tmp_path_factory.mktemp("hostile")))


@pytest.fixture(scope="module")
def application(workloads: Workloads) -> Iterator[Application]:
    """The control plane on a store in memory; it kicks nobody, and there is no storage to reach."""
    nowhere = "DefaultEndpointsProtocol=http;AccountName=a;AccountKey=eA==;BlobEndpoint=http://127.0.0.1:9/a"
    settings = Settings.from_environment(
        {
            "AzureWebJobsStorage": nowhere,
            "DATA_STORAGE": nowhere,
            "WORKLOADS_FOLDER": str(workloads.folder),
        }
    )
    application = Application(settings)
    application.__dict__["store"] = MemoryRunStore()
    application.kick = lambda delay_s=0: None  # type: ignore[method-assign]
    yield application
    application.close()


def kept(run: Run) -> Run:
    """The run as its record gives it back."""
    return _decoded(run.id, msgspec.json.encode(run))


def accepted(**changes: Any) -> dict[str, Any]:
    """The record of a run, as a document with some values changed."""
    request = RunRequest("demo/copy", {"files": "in"})
    document = msgspec.to_builtins(runs.accepted(Cause("trigger_file", "a.json", "1"), request, NOW))
    return document | changes


@given(requests)
def test_a_body_is_a_request_that_stays_inside_or_is_refused_with_a_reason(
    workloads: Workloads, data: bytes
) -> None:
    try:
        request = parse(data, workloads, LIMIT)
    except RequestError as error:
        assert str(error)
        assert is_shown(str(error))
        return
    run = kept(runs.accepted(Cause("trigger_file", "a.json", "1"), request, NOW))
    assert run.request == request
    resolved = resolve_inputs(workloads.pipeline(request.workload), request.inputs)
    for name in ("files", "table"):
        if name in resolved:
            assert paths.user_path(str(resolved[name]), name) == str(resolved[name]).rstrip("/")


@given(requests, names)
def test_an_http_request_is_answered_with_a_run_or_a_reason(
    application: Application, body: bytes, key: str
) -> None:
    status, document = api.start_run(application, body, key)
    assert status in (200, 202, 400, 409)
    answer = json.loads(json.dumps(document))
    if status >= 400:
        assert is_shown(answer["error"])
    else:
        assert kept(application.store.get(answer["id"])).cause.name


@given(st.none() | names, st.none() | names)
def test_a_list_of_runs_is_given_or_refused_with_a_reason(
    application: Application, limit: str | None, state: str | None
) -> None:
    status, document = api.list_runs(application, limit, state)
    assert status in (200, 400)
    assert status == 200 or is_shown(document["error"])


@given(names | st.text(alphabet="0123456789abcdef", max_size=25) | st.just("a" * 20 + "\n"))
def test_an_id_names_a_run_or_none(application: Application, run_id: str) -> None:
    for call in (api.get_run, api.cancel_run, api.retry_run):
        status, document = call(application, run_id)
        assert status in (200, 202, 404, 409)
        assert status < 400 or is_shown(document["error"])


poison = st.fixed_dictionaries({}, optional={"BlobName": names | values, "ETag": names | values})


@given(requests | (poison | values).map(lambda value: json.dumps(value).encode()))
@example(json.dumps({"BlobName": "../runs/records/x.json", "ETag": "1"}).encode())
def test_a_poison_message_is_kept_for_a_blob_that_can_be_there_or_is_passed_over(
    application: Application, message: bytes
) -> None:
    run = application.intake.poison(message)
    if run is not None:
        assert kept(run).state is RunState.POISONED
        assert is_shown(run.reason)
        assert not {".", ".."} & set(run.cause.name.split("/"))


@given(
    st.binary(max_size=100)
    | names.map(lambda text: text.encode(errors="replace"))
    | st.datetimes().map(lambda moment: moment.isoformat().encode())
    | st.sampled_from([b"9999-12-31T23:59:59-23:59", b"0001-01-01T00:00:00+23:59", b"2026-W01", b"20260101"])
)
def test_a_kick_of_any_content_makes_the_reconciler_look(application: Application, message: bytes) -> None:
    looked: list[float] = []

    def tick(wait_s: float, rest_s: float = 0) -> Tick:
        looked.append(wait_s)
        return Tick(ran=True)

    application.__dict__["reconciler"] = SimpleNamespace(tick=tick)
    application._tick_started = datetime.min.replace(tzinfo=UTC)
    application.kicked(message)
    assert looked or message.startswith(b"0001-01-01")  # that one was due before the last look


receipts = st.fixed_dictionaries(
    {"item": names | values, "status": st.sampled_from(["ok", "failed", "skipped"]) | values},
    optional={
        "error": values,
        "ended_at": values,
        "worker": values,
        "milliseconds": st.dictionaries(names, numbers | values) | values,
    },
)


@given(
    st.lists(
        requests | (receipts | values).map(lambda value: json.dumps(value).encode()) | st.binary(), max_size=8
    )
)
def test_planted_receipts_are_counted_or_passed_over(lines: list[bytes]) -> None:
    summary = summarise(lines)
    assert msgspec.json.decode(msgspec.json.encode(summary), type=ItemSummary) == summary
    assert summary.ok + summary.failed <= len(lines)
    assert all(len(each.error) <= 500 for each in summary.failures)


fields = st.sampled_from(sorted(accepted()))


@given(st.dictionaries(fields, values | names, min_size=1, max_size=3) | requests)
@example({"created_at": "2026-01-01T00:00:00"})
@example({"id": "b" * 20})
def test_a_planted_record_is_read_as_that_run_or_is_unreadable(planted: dict[str, Any] | bytes) -> None:
    run_id = accepted()["id"]
    data = planted if isinstance(planted, bytes) else json.dumps(accepted(**planted)).encode()
    try:
        run = _decoded(run_id, data)
    except RunUnreadableError as error:
        assert is_shown(str(error))
        return
    assert run.id == run_id
    assert run.queued_at <= max(run.queued_at, NOW)  # its times can be compared


@given(names | st.text(alphabet="0123456789abcdef-/", max_size=50))
def test_a_planted_marker_is_one_of_ours_or_passed_over(name: str) -> None:
    marked = paths.marked_run(paths.ACTIVE + name)
    assert marked is None or paths.is_run_id(marked[0])


@given(names, st.text(st.characters(), max_size=5_000))
@example("\ud800", "it died")
@example("", "x" * 10_000)
def test_what_a_compute_says_is_kept_in_a_length_and_form_that_can_be_shown(name: str, message: str) -> None:
    run = runs.accepted(Cause("trigger_file", printable(name), "1"), RunRequest("demo/copy"), NOW)
    running = runs.submitted(
        runs.planned(
            run,
            msgspec.convert(
                {
                    "name": "a-1",
                    "run_id": run.id,
                    "attempt": 1,
                    "workload": "w",
                    "pipeline": "p",
                    "inputs": {},
                    "outputs": {},
                    "logs": {"account": "system", "container": "logs", "path": "a"},
                },
                runs.Job,
            ),
            {},
            NOW,
        ),
        NOW,
    )
    for state in (JobState.FAILED, JobState.CANCELED, JobState.LOST):
        after = runs.after_status(running, JobStatus(state, message + name), NOW, 3)
        assert kept(after) == after
        assert is_shown(after.attempts[-1].message)
        assert is_shown(after.reason)


@given(names)
def test_a_path_for_an_input_stays_in_the_container_or_is_refused(name: str) -> None:
    try:
        inside = paths.user_path(name, "input 'files'")
    except RequestError as error:
        assert is_shown(str(error))
        return
    assert not {"", ".", ".."} & set(inside.split("/"))
    assert not inside.startswith(("/", "~/../"))
    assert "\\" not in inside
    assert "://" not in inside
    inside.encode()


@given(names)
def test_a_blob_is_laid_out_inside_its_folder_or_refused(name: str) -> None:
    folder = Path("/srv/inputs/files")
    assume(not any("\ud800" <= each <= "\udfff" for each in name))  # no name in storage holds one
    try:
        target = _inside("input 'files'", folder, name)
    except MissingDataError as error:
        assert is_shown(str(error))
    else:
        assert folder in target.parents
        assert ".." not in target.parts
        assert all(len(part.encode()) <= 255 for part in target.parts)
    if is_safe(PurePosixPath("out") / name):
        assert ".." not in (folder / "out" / name).parts


@given(names)
def test_a_name_in_a_log_line_is_one_line_without_control_characters(name: str) -> None:
    stream = io.StringIO()
    console = Console(Path("/srv/app"), {}, stream)
    console.began("1", "accept")
    console.ended("1", printable(f"triggers/{name}"), 1)
    console.began("2", "accept")
    console.failed("2", printable(f"triggers/{name}"), 1, f"ValueError: {name}", "")
    console.host(f"triggers/{name} failed too often")
    record = logging.LogRecord("app", logging.WARNING, "f.py", 1, "%s is bad", (name,), None)
    console.app_line("3", record, {})
    lines = stream.getvalue().removesuffix("\n").split("\n")
    assert all(line.isprintable() for line in lines)
    heads = [line for line in lines if not line.startswith(" " * 10)]
    assert len(heads) == 4  # what a name holds never looks like a line of its own


@given(st.text() | names)
def test_text_is_made_printable_and_cut(text: str) -> None:
    for shown in (printable(text, 50), quoted(text, 50)):
        assert shown.isprintable()
        assert len(shown) <= 50 * 10 + 2
    assert is_shown(printable_lines(text[:300]))
    if text.isprintable() and len(text) <= 50:
        assert printable(text, 50) == text


@given(requests.map(lambda data: data.decode("utf-8", "replace")) | names)
def test_the_dev_host_reads_any_message_access_line_and_address(text: str) -> None:
    assert all(isinstance(value, str) for value in json_properties(text).values())
    accesslog.parse(text)
    accesslog.parse(f'127.0.0.1 - - [21/Nov/2026:10:00:00 +0000] "PUT /account/{text} HTTP/1.1" 201 -')
    Route.parse("api/runs/{id}/cancel").match(text)


def test_a_run_that_is_not_there_is_not_found_whatever_follows_its_id(application: Application) -> None:
    with pytest.raises(RunNotFoundError):
        application.run("a" * 20 + "\n")


def test_locations_of_a_run_are_made_of_its_id_alone(application: Application) -> None:
    """What a user names in a request never becomes part of where results go."""
    run = runs.accepted(Cause("http", "../../x", "1"), RunRequest("demo/copy", {"files": "../../y"}), NOW)
    places = cast(
        "list[Location]",
        [paths.output_location(application.settings, run.id, "copies"), paths.logs_location(run.id, 1)],
    )
    assert all(run.id in place.path and ".." not in place.path for place in places)
