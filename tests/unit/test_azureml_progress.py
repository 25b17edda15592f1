"""How far the steps of an Azure ML job are, by what lies in storage."""

from __future__ import annotations

import uuid

import pytest

from batchscore.compute.azureml.described import StepDescription, StepRun
from batchscore.compute.azureml.progress import Progress, counted, files
from batchscore.compute.base import JobState, Location, StepProgress
from batchscore.settings import Settings
from batchscore.storage import Storage


def test_receipts_are_counted_by_their_names_and_of_a_mini_batch_the_newest() -> None:
    names = [
        "aa.2ok.1failed.1000.jsonl",
        "aa.3ok.0failed.2000.jsonl",
        "bb.1ok.2failed.900.jsonl",
        "c.txt.1ok.0failed.1.jsonl",
        "mini_batches.jsonl",
        "aa.9ok.9failed.999.jsonl.tmp",
        "folder/dd.1ok.0failed.5.jsonl",
    ]
    assert counted(names) == (6, 2)


def test_folders_that_a_mount_leaves_as_empty_blobs_are_no_items() -> None:
    blobs = [("a", 0), ("a/b", 0), ("a/b/1.png", 5), ("a-b.png", 7), ("empty.txt", 0), ("c", 3)]
    assert files(blobs) == 4


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


class Shelf:
    """A step with three items and receipts in storage."""

    def __init__(self, settings: Settings, storage: Storage) -> None:
        self.place = f"{uuid.uuid4().hex}"
        self.container = storage.container("data", settings.data_container)
        self.clock = Clock()
        self.progress = Progress(storage, self.clock)
        self.step = StepDescription(
            "score",
            "score",
            nodes=2,
            items=Location("data", settings.data_container, f"{self.place}/in"),
            items_from="split",
            receipts=Location("data", settings.data_container, f"{self.place}/receipts"),
        )
        for name in ("1.png", "2.png", "deeper/3.png"):
            self.put(f"in/{name}")

    def put(self, name: str) -> None:
        self.container.upload_blob(f"{self.place}/{name}", b"x")

    def of(self, state: JobState, *, written: bool = True, over: bool = False) -> StepProgress:
        run = StepRun("run", "any")
        return self.progress.of("job", self.step, run, state, written=written, over=over)


@pytest.fixture
def shelf(settings: Settings, storage: Storage) -> Shelf:
    return Shelf(settings, storage)


def test_items_are_counted_when_all_of_them_are_there(shelf: Shelf) -> None:
    assert shelf.of(JobState.QUEUED, written=False).items_total == 0
    assert shelf.of(JobState.QUEUED).items_total == 3


def test_what_has_left_no_receipt_when_the_job_is_over_has_failed(shelf: Shelf) -> None:
    shelf.put("receipts/aa.1ok.0failed.1.jsonl")
    running = shelf.of(JobState.RUNNING)
    assert (running.items_total, running.items_done, running.items_failed) == (3, 1, 0)
    assert shelf.of(JobState.SUCCEEDED).items_failed == 0  # its last receipts may still be on their way
    assert shelf.of(JobState.SUCCEEDED, over=True).items_failed == 2
    assert shelf.of(JobState.FAILED, over=True).items_failed == 0


def test_receipts_are_counted_again_after_ten_times_as_long_as_it_takes_and_at_the_end(shelf: Shelf) -> None:
    shelf.put("receipts/aa.1ok.0failed.1.jsonl")
    assert shelf.of(JobState.RUNNING).items_done == 1  # by this clock it took a second
    shelf.put("receipts/bb.1ok.0failed.1.jsonl")
    assert shelf.of(JobState.RUNNING).items_done == 1
    assert shelf.of(JobState.SUCCEEDED).items_done == 2
    shelf.clock.now += 10
    shelf.put("receipts/cc.1ok.0failed.1.jsonl")
    assert shelf.of(JobState.RUNNING).items_done == 3


def test_a_step_that_leaves_no_receipts_has_no_counts(shelf: Shelf) -> None:
    silent = StepDescription("score", "score", items=shelf.step.items)
    told = shelf.progress.of("job", silent, None, JobState.RUNNING, written=True, over=False)
    assert told == StepProgress("score", JobState.RUNNING)


def test_nothing_there_yet_is_nothing_done(storage: Storage, settings: Settings) -> None:
    nowhere = Location("data", "no-such-container", "x")
    step = StepDescription("score", "score", items=nowhere, receipts=nowhere)
    assert Progress(storage).of("job", step, None, JobState.RUNNING, written=True, over=False).items_done == 0
