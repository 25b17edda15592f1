"""`retry` redoes only what is missing: the items computed are counted, after everything that can interrupt a run.

An item is computed once exactly when there is one receipt that says "ok" about it; what a later attempt finds finished
leaves a receipt that says "skipped". A run is interrupted in the middle of its items: its worker is stopped (SIGSTOP)
as soon as it has left a few receipts.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from batchscore import paths
from batchscore.application import Application
from batchscore.models import ModelStore
from batchscore.runs import Run, RunState
from tests.azurite import settings_for
from tests.fitted_sensors import fit, packed, write_set
from tests.style_clips import ClipRecipe, make_clip

ROOT = Path(__file__).parents[2]
PAINTING = ROOT / "samples" / "paintings" / "starry-night.jpg"
FIRST_FEW = 3


@dataclass(frozen=True)
class Case:
    """A shipped workload and inputs for it, of so many items."""

    workload: str
    inputs: dict[str, Any]
    items: int
    results: str
    files: int
    """How many files the output `results` ends with."""


DIGITS = Case("digits/classify", {"images": "digits"}, 100, "predictions", 2)
FRAMES = Case(
    "style_transfer/frames", {"frames": "frames", "style_image": "styles/starry.jpg"}, 30, "stylized", 30
)
VIDEO = Case(
    "style_transfer/video",
    {"video": "clip.mp4", "style_image": "styles/starry.jpg", "segment_seconds": 0.5},
    16,
    "result",
    3,
)
SENSORS = Case(
    "sensors/score", {"csv": "readings.csv", "models": "sensors", "shards": 40}, 40, "predictions", 5
)
CASES = [
    pytest.param(DIGITS, id="digits"),
    pytest.param(SENSORS, id="sensors"),
    pytest.param(FRAMES, id="frames", marks=pytest.mark.slow),
    pytest.param(VIDEO, id="video", marks=pytest.mark.slow),
]


class Desk:
    """Somebody who submits, interrupts and counts; a thread reconciles."""

    def __init__(self, application: Application) -> None:
        self.application = application
        self.work = application.settings.local_work_folder
        self._data = application.storage.container("data", application.settings.data_container, create=True)

    def upload(self, name: str, content: bytes) -> None:
        self._data.upload_blob(name, content, overwrite=True)

    def submit(self, case: Case, **knobs: object) -> str:
        """Start a run with one worker, an item at a time; the id."""
        body = {
            "workload": case.workload,
            "inputs": case.inputs,
            "mini_batch_size": 1,
            "max_concurrency_per_instance": 1,
            **knobs,
        }
        run, _ = self.application.intake.request("cli", uuid.uuid4().hex, json.dumps(body).encode())
        return run.id

    def wait(self, run_id: str, until: Callable[[Run], bool] = lambda run: run.state.ended) -> Run:
        wait_until(lambda: until(self.application.store.get(run_id)))
        return self.application.store.get(run_id)

    def freeze(self, run_id: str) -> int:
        """Stop the worker as soon as a few items are done; gives its process id."""
        receipts = self.work / run_id / "outputs" / "receipts"
        wait_until(lambda: len(list(receipts.glob("*.jsonl"))) >= FIRST_FEW, pause_s=0.002)
        (worker,) = self._processes("local/worker.py", run_id)
        os.kill(worker, signal.SIGSTOP)
        return worker

    def kill_attempt(self, run_id: str) -> None:
        """Kill the process of the attempt, as a power cut would; its watchdog ends the rest."""
        (attempt,) = self._processes("compute.local.attempt", run_id)
        os.kill(attempt, signal.SIGKILL)

    def computed(self, run: Run) -> Counter[str]:
        """How often each item was computed, over all attempts."""
        place = paths.output_location(self.application.settings, run.id, paths.RECEIPTS_OUTPUT)
        told = [json.loads(line) for line in self.application.receipt_lines(place)]
        return Counter(receipt["item"] for receipt in told if receipt["status"] == "ok")

    def files(self, run: Run, output: str) -> list[str]:
        assert run.job is not None
        prefix = run.job.outputs[output].path + "/"
        return list(self._data.list_blob_names(name_starts_with=prefix))

    def _processes(self, program: str, run_id: str) -> list[int]:
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdecimal():
                continue
            try:
                line, variables = (entry / "cmdline").read_bytes(), (entry / "environ").read_bytes()
            except OSError:
                continue
            if program.encode() in line and run_id.encode() in line + variables:
                found.append(int(entry.name))
        return found


@pytest.fixture(scope="module")
def desk(azurite: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    folder = tmp_path_factory.mktemp("resume")
    application = Application(settings_for(azurite, folder / "work", MAX_ACTIVE_RUNS="9"))
    desk = Desk(application)
    digits = ROOT / "scoring" / "digits" / "samples.py"
    command = [sys.executable, str(digits), str(folder / "digits"), "--count", str(DIGITS.items)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    for file in (folder / "digits").iterdir():
        desk.upload(f"digits/{file.name}", file.read_bytes())
    for number in range(FRAMES.items):
        desk.upload(f"frames/{number:02}.png", picture(number))
    clip = make_clip(folder / "clip.mp4", ClipRecipe(frames=6 * VIDEO.items, width=96, height=64))
    desk.upload("clip.mp4", clip.read_bytes())
    desk.upload("styles/starry.jpg", PAINTING.read_bytes())
    desk.upload("readings.csv", readings().encode())
    model = fit([9.0, 10.0, 11.0, 10.5, 9.5])
    models = packed({(str(device), str(tag)): model for device in range(100) for tag in range(20)})
    ModelStore(application.storage).publish("sensors", write_set(folder / "models", models))
    stopped = threading.Event()

    def reconcile() -> None:
        while not stopped.wait(0.1):
            application.reconciler.tick()

    thread = threading.Thread(target=reconcile)
    thread.start()
    yield desk
    stopped.set()
    thread.join()
    application.close()


def readings() -> str:
    """A reading of each of 2,000 sensors, enough for none of the shards to be empty."""
    rows = (f"2026-11-21 17:00:05,{device},{tag},10" for device in range(100) for tag in range(20))
    return "\n".join(("TS,Device,Tag,Value", *rows))


def picture(number: int) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (160, 96), (number, 90, 200)).save(content, "PNG")
    return content.getvalue()


def wait_until(true: Callable[[], object], patience_s: float = 180, pause_s: float = 0.05) -> None:
    deadline = time.monotonic() + patience_s
    while not true():
        assert time.monotonic() < deadline, f"not within {patience_s} s"
        time.sleep(pause_s)


def assert_done_once(desk: Desk, run: Run, case: Case) -> None:
    """Every item was computed, none twice, some in an attempt before the last; the results are there."""
    assert run.state is RunState.SUCCEEDED, run.reason
    computed = desk.computed(run)
    assert len(computed) == case.items
    assert set(computed.values()) == {1}
    assert run.summary is not None
    assert FIRST_FEW <= run.summary.skipped < case.items
    assert len(desk.files(run, case.results)) == case.files
    if case is VIDEO:  # now that it has succeeded, nothing reads the segments again
        wait_until(lambda: not desk.files(run, "stylized") and not desk.files(run, "segments"))
        assert len(desk.files(run, case.results)) == case.files


@pytest.mark.parametrize("case", CASES)
def test_after_a_failed_attempt_only_the_rest_is_done(desk: Desk, case: Case) -> None:
    """An item kills its worker (here we do); none may fail, so the run fails."""
    run_id = desk.submit(case, error_threshold=0, retry_settings={"max_retries": 0})
    os.kill(desk.freeze(run_id), signal.SIGKILL)
    failed = desk.wait(run_id)
    assert failed.state is RunState.FAILED
    assert 0 < len(desk.computed(failed)) < case.items

    desk.application.retry(run_id)
    assert_done_once(desk, desk.wait(run_id), case)


@pytest.mark.parametrize("case", CASES)
def test_after_a_cancel_only_the_rest_is_done(desk: Desk, case: Case) -> None:
    run_id = desk.submit(case)
    desk.freeze(run_id)
    wait_until(lambda: len(desk.computed(desk.application.store.get(run_id))) >= FIRST_FEW)
    desk.application.cancel(run_id)
    canceled = desk.wait(run_id)
    assert canceled.state is RunState.CANCELED
    assert not (desk.work / run_id).exists()  # the next attempt has what is in storage, and nothing else

    desk.application.retry(run_id)
    assert_done_once(desk, desk.wait(run_id), case)


@pytest.mark.parametrize("case", CASES)
def test_after_a_kill_the_next_attempt_does_only_the_rest(desk: Desk, case: Case) -> None:
    run_id = desk.submit(case)
    desk.freeze(run_id)
    desk.kill_attempt(run_id)
    done = desk.wait(run_id)
    assert [attempt.outcome for attempt in done.attempts] == ["lost", "succeeded"]
    assert_done_once(desk, done, case)


@pytest.mark.slow
def test_after_the_loss_of_the_machine_what_is_in_storage_is_not_done_again(desk: Desk) -> None:
    """Its disk is gone with it: the next attempt has what the courier brought to storage in time."""
    run_id = desk.submit(FRAMES, error_threshold=0, retry_settings={"max_retries": 0})
    os.kill(desk.freeze(run_id), signal.SIGKILL)
    kept = desk.computed(desk.wait(run_id))
    shutil.rmtree(desk.work / run_id)

    desk.application.retry(run_id)
    done = desk.wait(run_id)
    assert_done_once(desk, done, FRAMES)
    assert done.summary is not None
    assert done.summary.skipped == len(kept)


@pytest.mark.parametrize(
    ("case", "bad", "good"),
    [
        pytest.param(DIGITS, "digits/torn.png", picture(1), id="digits"),
        pytest.param(FRAMES, "frames/torn.png", picture(1), id="frames", marks=pytest.mark.slow),
    ],
)
def test_after_a_repair_only_what_had_failed_is_done(desk: Desk, case: Case, bad: str, good: bytes) -> None:
    desk.upload(bad, good[:60])
    try:
        run_id = desk.submit(case)
        with_errors = desk.wait(run_id)
        assert with_errors.state is RunState.SUCCEEDED_WITH_ERRORS
        assert [each.item for each in desk.application.failed_items(with_errors)] == ["torn.png"]

        desk.upload(bad, good)
        desk.application.retry(run_id)
        done = desk.wait(run_id)
    finally:
        desk.application.storage.container("data", desk.application.settings.data_container).delete_blob(bad)
    assert done.state is RunState.SUCCEEDED
    computed = desk.computed(done)
    assert len(computed) == case.items + 1
    assert set(computed.values()) == {1}
    assert done.summary is not None
    assert done.summary.skipped == case.items
    assert desk.application.failed_items(done) == ()
