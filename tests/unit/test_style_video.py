"""A video is painted: every frame once, in its place, at its time, with its sound."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from style_transfer import split as split_step
from style_transfer import stitch as stitch_step
from style_transfer import stylize as stylize_step
from tests.style_clips import (
    ClipRecipe,
    Steps,
    grey,
    make_clip,
    make_style,
    read_frames,
    sound_packets,
)


@pytest.fixture(scope="module")
def style(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_style(tmp_path_factory.mktemp("models") / "inverted")


Paint = Callable[..., Path]


@pytest.fixture
def steps(tmp_path: Path, style: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], Steps]:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return lambda video: Steps(tmp_path / "run", video, ("--style", str(style)))


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Runs an entry script's function with a command line, in this process (a process takes half a second)."""

    def call(function: Callable[[], object], *arguments: str) -> None:
        monkeypatch.setattr("sys.argv", ["script", *arguments, "--unknown", "1"])
        function()

    return call


@pytest.fixture
def paint(steps: Callable[[Path], Steps], in_process: Callable[..., None]) -> Paint:
    """Splits, stylises and stitches a video; gives the finished file."""

    def whole(video: Path, *extra: str, seconds: float = 0.5) -> Path:
        run = steps(video)
        work = [str(run.work / name) for name in ("segments", "audio", "stylized", "receipts", "result")]
        in_process(
            split_step.main,
            *("--video", str(video), *run.style, "--segments", work[0], "--audio", work[1]),
            *("--segment-seconds", str(seconds)),
        )
        in_process(stylize_step.init, *run.stylize_arguments(*extra))
        for item in run.items():
            assert len(stylize_step.run([item])) == 1, run.receipts
        in_process(
            stitch_step.main,
            *("--video", str(video), "--segments", work[0], "--audio", work[1]),
            *("--stylized", work[2], "--receipts", work[3], "--result", work[4]),
        )
        return run.result / f"{video.stem}.mp4"

    return whole


def segments_of(result: Path) -> list[dict[str, object]]:
    folder = result.parent.parent / "segments"
    return [json.loads(path.read_text()) for path in sorted(folder.iterdir())]


def assert_painted(video: Path, result: Path) -> None:
    """Every frame of `video` is in `result` once, inverted, at the same time."""
    before, after = read_frames(video), read_frames(result)
    assert [frame.seconds for frame in after] == [frame.seconds for frame in before]
    wrong = [
        (number, one.grey, other.grey)
        for number, (one, other) in enumerate(zip(before, after, strict=True))
        if abs(255 - one.grey - other.grey) > 3
    ]
    assert not wrong


KINDS = {
    "plain": ClipRecipe(),
    "open groups of pictures": ClipRecipe(b_frames=3, open_gop=True, keyframe_interval=8),
    "closed groups with B-frames": ClipRecipe(b_frames=2, keyframe_interval=7),
    "one keyframe": ClipRecipe(keyframe_interval=1000),
    "only keyframes": ClipRecipe(keyframe_interval=1, frames=13),
    "no sound": ClipRecipe(sound=None),
    "variable frame rate": ClipRecipe(
        frames=20,
        time_base=Fraction(1, 600),
        ticks=[n * 40 + (n * n * 7) % 31 + (300 if n > 9 else 0) for n in range(20)],
    ),
    "starts late": ClipRecipe(time_base=Fraction(1, 600), ticks=[777 + 50 * n for n in range(24)]),
    "millisecond clock (Matroska)": ClipRecipe(container="matroska", sound="libopus"),
    "NTSC rate": ClipRecipe(time_base=Fraction(1001, 12000)),
    "ten bits": ClipRecipe(pixel_format="yuv420p10le"),
    "4:4:4": ClipRecipe(pixel_format="yuv444p"),
    "MPEG-4 part 2": ClipRecipe(codec="mpeg4"),
    "fragmented": ClipRecipe(muxer={"movflags": "frag_keyframe+empty_moov"}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_frame_is_painted_once_at_its_time(kind: str, tmp_path: Path, paint: Paint) -> None:
    recipe = KINDS[kind]
    suffix = {"matroska": "mkv"}.get(recipe.container, recipe.container)
    video = make_clip(tmp_path / f"clip.{suffix}", recipe)
    result = paint(video)
    assert_painted(video, result)
    if recipe.sound:
        assert [data for data, _ in sound_packets(result)] == [data for data, _ in sound_packets(video)]
    if recipe.sound == "aac":
        assert sound_packets(result) == sound_packets(video)
    if recipe.keyframe_interval < 10:
        assert len(segments_of(result)) > 1
    else:
        assert len(segments_of(result)) == 1


def test_a_transport_stream_starts_at_zero_with_picture_and_sound_together(
    tmp_path: Path, paint: Paint
) -> None:
    recipe = ClipRecipe(
        container="mpegts", time_base=Fraction(1, 90_000), ticks=[7500 * n for n in range(24)]
    )
    video = make_clip(tmp_path / "clip.ts", recipe)
    result = paint(video)
    before, after = read_frames(video), read_frames(result)
    shift = before[0].seconds - after[0].seconds
    assert [frame.seconds + shift for frame in after] == [frame.seconds for frame in before]
    assert all(abs(255 - a.grey - b.grey) < 4 for a, b in zip(before, after, strict=True))
    sound_shift = sound_packets(video)[0][1] - sound_packets(result)[0][1]
    assert abs(sound_shift - shift) < Fraction(1, 1000)
    assert min(after[0].seconds, sound_packets(result)[0][1]) == 0


def test_the_result_is_ready_to_play(tmp_path: Path, paint: Paint) -> None:
    """H.264 4:2:0 with its colours tagged, and an index in front of the packets."""
    result = paint(make_clip(tmp_path / "my clip.mp4", ClipRecipe()))
    content = result.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")
    with av.open(str(result)) as container:
        context = container.streams.video[0].codec_context
        frame = next(container.decode(video=0))
        assert (context.name, context.pix_fmt, result.name) == ("h264", "yuv420p", "my clip.mp4")
        assert (int(frame.colorspace), int(frame.color_range)) == (6, 1)
    assert {path.name for path in result.parent.iterdir()} == {
        "my clip.mp4",
        "timings.csv",
        "before-after.jpg",
    }


@pytest.mark.parametrize("sound", ["pcm_s16le", "mp2"])
def test_sound_that_mp4_cannot_hold_becomes_aac_of_the_same_length(
    sound: str, tmp_path: Path, paint: Paint, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = ClipRecipe(container="matroska", sound=sound)
    video = make_clip(tmp_path / "clip.mkv", recipe)
    result = paint(video)
    with av.open(str(result)) as container:
        assert container.streams.audio[0].codec_context.name == "aac"
        heard = sum(frame.samples for frame in container.decode(audio=0)) / 48_000
    assert abs(heard - 2.0) < 0.05
    assert "encoded as AAC" in capsys.readouterr().out


def test_odd_sides_are_kept(tmp_path: Path, paint: Paint) -> None:
    video = make_clip(
        tmp_path / "odd.mkv", ClipRecipe(width=65, height=49, pixel_format="yuv444p", container="matroska")
    )
    result = paint(video)
    assert read_frames(result)[0].rgb.shape == (49, 65, 3)
    assert_painted(video, result)


@pytest.mark.parametrize(
    ("recipe", "max_height", "shape"),
    [
        (ClipRecipe(width=96, height=72), 36, (36, 48)),
        (ClipRecipe(width=96, height=72), 37, (36, 48)),
        (ClipRecipe(width=96, height=72), 300, (72, 96)),
        (ClipRecipe(width=96, height=72, rotation=90), 48, (48, 36)),
    ],
)
def test_max_height_shrinks_what_is_higher(
    recipe: ClipRecipe, max_height: int, shape: tuple[int, int], tmp_path: Path, paint: Paint
) -> None:
    video = make_clip(tmp_path / "clip.mp4", recipe)
    assert read_frames(paint(video, "--max-height", str(max_height)))[0].rgb.shape == (*shape, 3)


@pytest.mark.parametrize(("rotation", "corner"), [(90, (1, 0)), (180, (1, 1)), (-90, (0, 1))])
def test_rotation_is_applied_once(
    rotation: int, corner: tuple[int, int], tmp_path: Path, paint: Paint
) -> None:
    """The bright corner, dark in the result, moves from top left (0, 0) where the player would show it."""
    video = make_clip(tmp_path / "clip.mp4", ClipRecipe(rotation=rotation, frames=6))
    result = paint(video)
    rgb = read_frames(result)[0].rgb
    turned = abs(rotation) == 90
    assert rgb.shape == ((64, 48, 3) if turned else (48, 64, 3))
    height, width, _ = rgb.shape
    dark = np.argwhere(rgb[:, :, 1] < 60).mean(axis=0)
    assert (int(dark[0] > height / 2), int(dark[1] > width / 2)) == corner
    with av.open(str(result)) as container:
        assert next(container.decode(video=0)).rotation == 0


def test_the_shape_of_samples_is_kept(tmp_path: Path, paint: Paint) -> None:
    video = make_clip(tmp_path / "clip.mp4", ClipRecipe(sample_aspect_ratio=Fraction(4, 3), frames=6))
    with av.open(str(paint(video))) as container:
        ratio = container.streams.video[0].sample_aspect_ratio
        assert (ratio.numerator, ratio.denominator) == (4, 3)


def test_strength_blends_with_the_original(tmp_path: Path, paint: Paint) -> None:
    video = make_clip(tmp_path / "clip.mp4", ClipRecipe(frames=6))
    (first, *_) = read_frames(paint(video, "--strength", "0.25"))
    assert first.grey == pytest.approx(0.75 * grey(0) + 0.25 * (255 - grey(0)), abs=3)


def test_the_timings_have_a_row_per_segment(tmp_path: Path, paint: Paint) -> None:
    result = paint(make_clip(tmp_path / "clip.mp4", ClipRecipe()))
    lines = (result.parent / "timings.csv").read_text().splitlines()
    assert lines[0] == (
        "segment,start_s,frames,decode_ms,infer_ms,encode_ms,write_ms,total_ms,worker,ended_at"
    )
    assert [line.split(",")[:3] for line in lines[1:]] == [[str(n), f"{n / 2:.3f}", "6"] for n in range(4)]


def test_the_same_video_is_split_into_the_same_files(
    tmp_path: Path, steps: Callable[[Path], Steps], in_process: Callable[..., None]
) -> None:
    run = steps(make_clip(tmp_path / "clip.mp4", ClipRecipe()))
    run.segments.mkdir(parents=True)
    (run.segments / "segment-000099.json").write_text("left by a split with shorter segments")
    contents = []
    for _ in range(2):
        assert run.split().returncode == 0
        contents.append({path.name: path.read_bytes() for path in run.segments.iterdir()})
    assert contents[0] == contents[1]
    assert sorted(contents[0]) == [f"segment-{n:06d}.json" for n in range(4)]


def test_steps_run_as_processes_on_files_they_were_given(
    tmp_path: Path, steps: Callable[[Path], Steps]
) -> None:
    """The command steps as a compute runs them; their errors are one sentence and no traceback."""
    run = steps(make_clip(tmp_path / "clip.mp4", ClipRecipe()))
    split = run.split()
    assert (split.returncode, split.stderr) == (0, "")
    assert split.stdout.splitlines() == [
        "clip.mp4: 24 frames in 4 segments",
        "clip.mp4: the sound (aac) is copied as it is",
    ]
    stitch = run.stitch()
    assert stitch.returncode == 1
    assert stitch.stderr.splitlines() == [
        "error: 4 of 4 segments cannot be joined:",
        *(f"  segment-{n:06d} (from {n / 2:.3f} s) was never finished" for n in range(4)),
    ]
    shutil.rmtree(run.work)
