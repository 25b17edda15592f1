"""What is remembered of earlier runs, and by how much it corrects what is declared."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import cast

import pytest

from batchscore.compute.base import Location
from batchscore.definitions.model import Input, Pipeline
from batchscore.measured import (
    MOST_RUNS,
    Correction,
    Measurements,
    RunSample,
    StepSample,
    correction,
    items_correction,
    node_start_s,
    options_of,
    remembered,
)
from batchscore.storage import Storage
from tests.memory_blobs import MemoryBlobs


def run(number: int, work: float, size: str = "local", options: str = "a", **more: float | None) -> RunSample:
    step = replace(StepSample("score", size, "item_s=1", work), **more)  # type: ignore[arg-type]
    return RunSample(f"run-{number}", datetime(2026, 1, 1, tzinfo=UTC), options, (step,))


def test_nothing_measured_corrects_nothing() -> None:
    assert correction([], "score", "local", "item_s=1", "a") == Correction()
    assert items_correction([], "score", "item_s=1", "a") == (1, 0)
    assert node_start_s([]) is None


@pytest.mark.parametrize(
    ("runs", "found"),
    [
        ([run(1, 2)], Correction(2, None, 1, True)),
        (
            [run(1, 2), run(2, 3), run(3, 100)],
            Correction(3, None, 3, True),
        ),  # one that was odd does not count much
        ([run(1, 2, start_s=4), run(2, 3, start_s=6)], Correction(2.5, 5, 2, True)),
        (
            [run(1, 2), run(2, 9, options="b")],
            Correction(2, None, 1, True),
        ),  # others only where there are none
        ([run(1, 2, options="b"), run(2, 4, options="c")], Correction(3, None, 2, False)),
        ([run(1, 2, size="Standard_X")], Correction()),  # another machine says nothing
    ],
)
def test_the_median_of_runs_alike_on_such_machines_counts(runs: list[RunSample], found: Correction) -> None:
    assert correction(runs, "score", "local", "item_s=1", "a") == found


def test_a_tag_that_was_changed_makes_what_was_measured_against_it_worthless() -> None:
    assert correction([run(1, 2)], "score", "local", "item_s=2", "a") == Correction()
    assert correction([run(1, 2)], "other", "local", "item_s=1", "a") == Correction()


def test_how_many_items_there_are_is_the_same_on_every_machine() -> None:
    runs = [run(1, 1, size="Standard_X", items=3.0), run(2, 1, items=5.0), run(3, 1, options="b", items=50.0)]
    assert items_correction(runs, "score", "item_s=1", "a") == (4, 2)
    assert items_correction(runs, "score", "item_s=1", "b") == (50, 1)


def test_runs_are_remembered_once_and_the_oldest_forgotten_by_kind_of_machine() -> None:
    runs: tuple[RunSample, ...] = (run(0, 7, size="Standard_X"),)
    for number in range(1, MOST_RUNS + 6):
        runs = remembered(runs, run(number, number))
    assert len(runs) == MOST_RUNS + 1
    assert runs[0].run_id == "run-0"
    assert runs[1].run_id == "run-6"
    assert remembered(runs, run(25, 99))[-1].steps[0].work == 99
    assert len(remembered(runs, run(25, 99))) == MOST_RUNS + 1


def test_numbers_switches_and_choices_are_options_and_names_are_not() -> None:
    declared = {
        "video": Input("video", "uri_file", 1),
        "name": Input("name", "string", 1),
        "mode": Input("mode", "string", 1, enum=("fast", "good")),
        "size": Input("size", "integer", 1),
    }
    pipeline = cast(Pipeline, SimpleNamespace(inputs=declared))
    one = {"video": Location("data", "data", "a"), "name": "x", "mode": "fast", "size": 1}
    assert options_of(pipeline, one) == options_of(
        pipeline, one | {"video": Location("data", "data", "b"), "name": "y"}
    )
    for other in ({"mode": "good"}, {"size": 2}):
        assert options_of(pipeline, one) != options_of(pipeline, one | other)
    assert options_of(pipeline, one) != options_of(pipeline, {"name": "x", "mode": "fast", "size": 1})


def kept(blobs: MemoryBlobs) -> Measurements:
    storage = SimpleNamespace(container=lambda account, name, create: blobs.client())
    return Measurements(cast(Storage, storage))


def test_what_one_process_remembers_another_reads() -> None:
    blobs = MemoryBlobs()
    kept(blobs).add("demo/copy", run(1, 2))
    kept(blobs).add("demo/copy", run(2, 3))
    assert [each.run_id for each in kept(blobs).read("demo/copy")] == ["run-1", "run-2"]
    assert kept(blobs).read("demo/other") == ()


@pytest.mark.parametrize("text", [b"", b"{}", b"\xff", b'[{"run_id": 3}]', b"[" * 100_000])
def test_a_torn_record_is_forgotten_and_written_anew(text: bytes) -> None:
    blobs = MemoryBlobs()
    blobs.client().upload_blob("measured/demo/copy.json", text, overwrite=True)
    assert kept(blobs).read("demo/copy") == ()
    kept(blobs).add("demo/copy", run(1, 2))
    assert kept(blobs).read("demo/copy") == (run(1, 2),)
