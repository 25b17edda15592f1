"""A repeated, interrupted or damaged run redoes only what is missing, and nothing broken is ever joined."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from style_transfer import stylize as stylize_step
from style_transfer.errors import ResultError
from style_transfer.join import finished_segments
from style_transfer.segments import read_segments
from style_transfer.split import split
from tests.style_clips import SCORING, ClipRecipe, Steps, make_clip, make_style, read_frames


@pytest.fixture
def steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Steps:
    """A clip of four segments, split."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    video = make_clip(tmp_path / "clip.mp4", ClipRecipe())
    steps = Steps(tmp_path / "run", video, ("--style", str(make_style(tmp_path / "inverted"))))
    split(video, steps.segments, 0.5)
    return steps


@pytest.fixture
def worker(steps: Steps, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """A fresh worker that runs mini-batches of two segments; gives the rows."""

    def work(*extra: str, items: list[str] | None = None) -> list[str]:
        monkeypatch.setattr("sys.argv", ["stylize.py", *steps.stylize_arguments(*extra)])
        stylize_step.init()
        items = items or steps.items()
        return [row for n in range(0, len(items), 2) for row in stylize_step.run(items[n : n + 2])]

    return work


def statuses(steps: Steps) -> list[str]:
    """The status of each segment in the newest receipts of each mini-batch."""
    newest: dict[str, str] = {}
    for path in sorted(steps.receipts.iterdir(), key=lambda path: path.name.split(".")[3]):
        for line in path.read_text().splitlines():
            receipt = json.loads(line)
            newest[receipt["item"]] = receipt["status"]
    return [newest[item] for item in sorted(newest)]


ROWS = [f"segment-{n:06d}.json,6" for n in range(4)]


def test_what_is_valid_is_skipped_and_its_row_returned(
    steps: Steps, worker: Callable[..., list[str]]
) -> None:
    assert worker() == ROWS
    made = {path: path.stat().st_mtime_ns for path in steps.stylized.iterdir()}
    assert worker() == ROWS
    assert statuses(steps) == ["skipped"] * 4
    assert {path: path.stat().st_mtime_ns for path in steps.stylized.iterdir()} == made


def test_another_cut_of_mini_batches_skips_as_well(steps: Steps, worker: Callable[..., list[str]]) -> None:
    worker()
    assert worker(items=steps.items()[1:3]) == ROWS[1:3]
    assert statuses(steps) == ["ok", "skipped", "skipped", "ok"]


def test_a_truncated_or_missing_output_is_made_again(steps: Steps, worker: Callable[..., list[str]]) -> None:
    worker()
    cut, gone = (steps.stylized / f"segment-{n:06d}.mp4" for n in (1, 2))
    whole = cut.read_bytes()
    cut.write_bytes(whole[:-10])
    gone.unlink()
    assert worker() == ROWS
    assert statuses(steps) == ["skipped", "ok", "ok", "skipped"]
    assert cut.read_bytes() == whole


@pytest.mark.parametrize("change", [("--strength", "0.5"), ("--max-height", "32")])
def test_another_parameter_redoes_everything(
    change: tuple[str, str], steps: Steps, worker: Callable[..., list[str]]
) -> None:
    worker()
    assert worker(*change) == ROWS
    assert statuses(steps) == ["ok"] * 4


def test_another_style_under_the_same_name_redoes_everything(
    steps: Steps, worker: Callable[..., list[str]]
) -> None:
    worker()
    make_style(Path(steps.style[1]), operator="Identity")
    assert worker() == ROWS
    assert statuses(steps) == ["ok"] * 4


def test_another_video_of_the_same_name_redoes_everything(
    steps: Steps, worker: Callable[..., list[str]]
) -> None:
    worker()
    make_clip(steps.video, ClipRecipe(sound=None))
    split(steps.video, steps.segments, 0.5)
    assert worker() == ROWS
    assert statuses(steps) == ["ok"] * 4


def test_a_video_that_changed_after_the_split_fails_its_segments(
    steps: Steps, worker: Callable[..., list[str]]
) -> None:
    make_clip(steps.video, ClipRecipe(sound=None))
    assert worker() == []
    assert statuses(steps) == ["failed"] * 4
    with pytest.raises(
        ResultError, match=r"segment-000000 .* failed: clip\.mp4 is not the video that was split"
    ):
        finished_segments(read_segments(steps.segments), steps.segments, steps.stylized, steps.receipts)


def test_a_damaged_segment_fails_alone_and_is_named(steps: Steps, worker: Callable[..., list[str]]) -> None:
    worker()
    (steps.stylized / "segment-000001.mp4").unlink()
    Path(steps.items()[2]).write_text(
        Path(steps.items()[2]).read_text().replace('"frames": 6', '"frames": 9')
    )
    assert worker(items=steps.items()[2:]) == [ROWS[3]]
    done = steps.stitch()
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "error: 2 of 4 segments cannot be joined:",
        "  segment-000001 (from 0.500 s) is not whole: segment-000001.mp4 is not what its receipt says",
        "  segment-000002 (from 1.000 s) failed: clip.mp4 is damaged near 1.000 s: 6 of 9 frames could be decoded",
    ]
    assert not steps.result.exists()


def test_a_stale_segment_is_not_joined(steps: Steps, worker: Callable[..., list[str]]) -> None:
    """The list of segments changed after they were stylised: the result would be of two videos."""
    worker()
    make_clip(steps.video, ClipRecipe(sound=None))
    split(steps.video, steps.segments, 0.5)
    done = steps.stitch()
    assert done.returncode == 1
    assert "segment-000000 (from 0.000 s) was made from another version of the video" in done.stderr


def test_a_worker_killed_in_the_middle_leaves_nothing_that_counts(
    steps: Steps, worker: Callable[..., list[str]]
) -> None:
    """Killed hard while its second segment is being written; a second worker finishes the rest."""
    code = f"""
import sys
sys.path.insert(0, {str(SCORING)!r})
from style_transfer import engine, stylize
stylize.init()
print(stylize.run({steps.items()[:1]!r}), flush=True)
write = engine.SegmentEncoder.write
def slow(self, *args):
    write(self, *args)
    print("writing", flush=True)
    sys.stdin.readline()
engine.SegmentEncoder.write = slow
stylize.run({steps.items()[1:2]!r})
"""
    command = [sys.executable, "-c", code, *steps.stylize_arguments()]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line == "writing\n":
                break
        os.kill(process.pid, signal.SIGKILL)
    assert [path.name for path in steps.stylized.iterdir()] == ["segment-000000.mp4"]
    assert len(list(steps.receipts.iterdir())) == 1
    assert worker() == ROWS
    assert statuses(steps) == ["skipped", "ok", "ok", "ok"]
    assert steps.stitch().returncode == 0
    assert len(read_frames(steps.result / "clip.mp4")) == 24


def test_stitching_twice_gives_the_same_file(steps: Steps, worker: Callable[..., list[str]]) -> None:
    worker()
    contents = []
    for _ in range(2):
        assert steps.stitch().returncode == 0
        contents.append((steps.result / "clip.mp4").read_bytes())
    assert contents[0] == contents[1]
