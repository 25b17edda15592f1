"""What comes to this machine is whole, and stays in the folder that was asked for."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

import pytest

from batchscore import runs
from batchscore.cli.downloads import is_safe
from batchscore.cli.wholeness import NO_RECEIPT, NOT_AS_PROMISED, Promises, check, finished_outputs
from batchscore.compute.base import Job, JobState, Location, StepProgress
from batchscore.definitions import load_pipeline
from batchscore.receipts import PromisedFile
from batchscore.runs import Cause, Run, RunState
from batchscore.triggers import RunRequest
from tests.unit.workload_folder import write_workloads

T0 = datetime(2026, 1, 1, tzinfo=UTC)
WHOLE = PromisedFile("a.png", 10, "ab")


@pytest.mark.parametrize("path", ["video/clip.mp4", "list", "copies/a b/ü.txt", "copies/..a"])
def test_a_name_below_the_folder_is_safe(path: str) -> None:
    assert is_safe(PurePosixPath(path))


@pytest.mark.parametrize("path", ["../x", "copies/../../x", "/etc/passwd", "copies\\..\\x", "a\0b"])
def test_a_name_that_leads_out_of_the_folder_is_not(path: str) -> None:
    assert not is_safe(PurePosixPath(path))


@pytest.mark.parametrize(
    ("promised", "size", "finished", "covered", "reason"),
    [
        ({WHOLE}, 10, False, True, ""),
        ({WHOLE}, 10, True, True, ""),
        ({WHOLE}, 9, False, True, NOT_AS_PROMISED),
        ({WHOLE}, 9, True, True, NOT_AS_PROMISED),
        ({WHOLE}, 9, True, False, ""),  # a table of another output that has the same name
        ({WHOLE, PromisedFile("a.png", 9, "cd")}, 9, False, True, ""),
        (set(), 10, False, True, NO_RECEIPT),
        (set(), 10, False, False, NO_RECEIPT),
        (set(), 10, True, True, ""),  # what a step writes beside its items
    ],
)
def test_a_file_is_whole_when_its_receipt_or_the_end_of_its_step_says_so(
    promised: set[PromisedFile], size: int, finished: bool, covered: bool, reason: str
) -> None:
    found = check(frozenset(promised), size, finished=finished, covered=covered)
    assert found.reason == reason
    assert all(each.size_bytes == size for each in found.promised)


def test_what_a_file_must_be_is_read_from_receipts_of_items_that_succeeded() -> None:
    digest = hashlib.sha256(b"x").hexdigest()

    def line(status: str, name: str, size: object = 1) -> str:
        output = {"name": name, "size_bytes": size, "sha256": digest}
        return json.dumps({"item": name, "status": status, "outputs": [output]})

    promises = Promises(
        [
            line("ok", "a"),
            line("skipped", "a"),
            line("ok", "a", 2),
            line("failed", "b"),
            line("ok", "c", 2**63),
            '{"item": "d", "status": "ok", "outputs": 1}',
            "{",
        ]
    )
    assert promises.of("a") == {PromisedFile("a", 1, digest), PromisedFile("a", 2, digest)}
    assert promises.of("b") == promises.of("c") == promises.of("d") == frozenset()
    promises.close()


@pytest.mark.parametrize(
    ("state", "copy", "listing", "finished"),
    [
        (RunState.RUNNING, JobState.RUNNING, JobState.QUEUED, set()),
        (RunState.FAILED, JobState.SUCCEEDED, JobState.FAILED, {"copies", "receipts"}),
        (RunState.CANCELED, JobState.CANCELED, JobState.QUEUED, set()),
        (RunState.SUCCEEDED, JobState.SUCCEEDED, JobState.SUCCEEDED, {"copies", "receipts", "list"}),
        (RunState.SUCCEEDED_WITH_ERRORS, JobState.RUNNING, JobState.RUNNING, {"copies", "receipts", "list"}),
    ],
)
def test_outputs_are_finished_when_the_steps_that_write_them_are(
    tmp_path: Path, state: RunState, copy: JobState, listing: JobState, finished: set[str]
) -> None:
    pipeline = load_pipeline(write_workloads(tmp_path) / "demo" / "copy.pipeline.yml")
    run = replace(
        planned_run(), state=state, steps=(StepProgress("copy", copy), StepProgress("list", listing))
    )
    assert finished_outputs(run, pipeline) == finished


def test_without_a_pipeline_only_a_success_is_finished() -> None:
    run = replace(planned_run(), state=RunState.FAILED, steps=(StepProgress("copy", JobState.SUCCEEDED),))
    assert finished_outputs(run, None) == set()
    assert finished_outputs(replace(run, state=RunState.SUCCEEDED), None) == {"copies", "list", "receipts"}


def planned_run() -> Run:
    run = runs.accepted(Cause("cli", "x"), RunRequest("demo/copy", {}), T0)
    place = Location("data", "data", "runs/x/out")
    outputs = dict.fromkeys(("copies", "list", "receipts"), place)
    job = Job(f"{run.id}-1", run.id, 1, "demo/copy", "demo/copy.pipeline.yml", {}, outputs, place)
    return runs.planned(run, job, {"list": place}, T0)
