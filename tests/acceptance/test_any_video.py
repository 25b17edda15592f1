"""Any video that people have is painted: the pipeline on the local engine, its result read by ffprobe and ffmpeg."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from batchscore.compute.base import JobState, JobStatus, Overrides
from batchscore.compute.local.engine import Engine
from batchscore.definitions import load_pipeline
from tests.ffmpeg import Pixels, Probe, film
from tests.style_clips import SCORING, make_style, overwrite, picture

PIPELINE = SCORING / "style_transfer" / "video.pipeline.yml"
FRAMES, RATE = 24, 12
X264 = ("-c:v", "libx264", "-preset", "ultrafast", "-crf", 10, "-g", 6)


@dataclass(frozen=True)
class Painted:
    """What a run of the pipeline left."""

    status: JobStatus
    folder: Path
    video: Path

    @property
    def file(self) -> Path:
        return self.folder / "result" / f"{self.video.stem}.mp4"

    @property
    def probe(self) -> Probe:
        return Probe(self.file)

    @property
    def log(self) -> str:
        return "\n".join(path.read_text() for path in sorted((self.folder / "logs" / "split").iterdir()))

    @property
    def notes(self) -> list[str]:
        path = self.folder / "result" / "notes.txt"
        return path.read_text().splitlines() if path.exists() else []

    def failed(self) -> dict[str, str]:
        """What the receipts call failed, with the reason."""
        receipts = [
            json.loads(line)
            for path in (self.folder / "receipts").iterdir()
            for line in path.read_text().splitlines()
        ]
        return {each["item"]: each["error"] for each in receipts if each["status"] == "failed"}


Run = Callable[..., Painted]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the whole pipeline with a style that leaves every pixel as it is."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    style = make_style(tmp_path / "models" / "as it is", operator="Identity")

    def painted(video: Path, **inputs: float) -> Painted:
        folder = tmp_path / "run"
        names = ("segments", "audio", "stylized", "receipts", "result")
        given = {"strength": 1.0, "segment_seconds": 0.5, "device": "cpu"} | inputs
        engine = Engine(
            load_pipeline(PIPELINE),
            {"video": video, "style": style, **given},
            {name: folder / name for name in names},
            folder / "work",
            folder / "logs",
            Overrides(max_concurrency_per_instance=1),
        )
        return Painted(engine.run(), folder, video)

    return painted


def pictures(width: int = 64, height: int = 48, frames: int = FRAMES) -> Pixels:
    """Frame n is of a grey of its own, with a bright corner at the top left."""
    return np.stack([picture(number, width, height) for number in range(frames)])


def assert_same(result: Probe, source: Probe, *, levels: float = 3) -> None:
    """Frame by frame the same picture, within `levels` of 255 on average, at the same time."""
    assert result.frame_count == source.frame_count == len(source.moments)
    assert result.moments == source.moments
    assert_same_pictures(result.pictures(), source.pictures(), levels=levels)


def assert_same_pictures(ours: Pixels, theirs: Pixels, *, levels: float = 3) -> None:
    assert ours.shape == theirs.shape
    off = np.abs(ours.astype(int) - theirs).mean(axis=(1, 2, 3))
    assert off.max() < levels, f"frames {np.flatnonzero(off >= levels)} are off by {off.max():.1f}"


@pytest.mark.parametrize(("width", "height"), [(65, 49), (65, 48), (64, 49)])
def test_odd_sizes_are_kept(width: int, height: int, tmp_path: Path, run: Run) -> None:
    video = film(tmp_path / "odd.mkv", pictures(width, height), "-pix_fmt", "yuv444p", *X264)
    result = run(video).probe
    assert result.size == (width, height)
    assert_same(result, Probe(video))


def test_damage_in_the_middle_is_reported_and_the_rest_delivered(tmp_path: Path, run: Run) -> None:
    """Two compressed frames are overwritten: the frame before stands in, count and times are kept."""
    video = film(tmp_path / "clip.mp4", pictures(), *X264, "-g", 12)
    before = Probe(video).pictures()
    overwrite(video, [14, 15])
    done = run(video)
    assert done.status.state is JobState.SUCCEEDED
    assert done.failed() == {
        "clip.mp4, frames 15 to 16": (
            "clip.mp4 is damaged: frames 15 to 16 from 1.167 s to 1.250 s are shown as the last good frame; "
            "what follows may show traces up to the next keyframe. A whole copy of the video would mend it"
        )
    }
    result = done.probe
    assert result.frame_count == FRAMES
    assert result.moments == [Fraction(number, RATE) for number in range(FRAMES)]
    stood_in = [13 if number in (14, 15) else number for number in range(FRAMES)]
    untouched = [number for number in range(FRAMES) if not 15 < number < 24]
    assert_same_pictures(result.pictures()[untouched], before[stood_in][untouched])


@pytest.mark.parametrize("codec", ["libx264", "libx265", "mpeg4"])
def test_twenty_kilobytes_of_noise_in_the_middle_of_an_mp4_are_noticed(
    codec: str, tmp_path: Path, run: Run
) -> None:
    noise = np.random.default_rng(7)
    frames = noise.integers(0, 256, (48, 90, 160, 3), np.uint8)
    quality = ("-b:v", "4M") if codec == "mpeg4" else ("-preset", "ultrafast")
    video = film(tmp_path / "clip.mp4", frames, "-c:v", codec, *quality, "-g", 12, "-pix_fmt", "yuv420p")
    content = bytearray(video.read_bytes())
    middle = len(content) // 2
    assert len(content) > 80_000
    content[middle : middle + 20_000] = noise.bytes(20_000)
    video.write_bytes(content)
    done = run(video)
    assert done.status.state is JobState.SUCCEEDED
    assert done.failed()
    assert all(item.startswith("clip.mp4, frame") for item in done.failed())
    assert done.probe.moments == [Fraction(number, RATE) for number in range(48)]
