"""`split` and `stitch`: a video becomes pictures and a video again, at the same times and with the same sound."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from style_transfer.errors import ResultError, VideoError
from style_transfer.frames import in_threads, source_of, split_frames, stitch_frames
from tests.style_clips import SCORING, ClipRecipe, grey, make_clip, read_frames, sound_packets

KINDS = {
    "plain": ClipRecipe(),
    "open groups of pictures": ClipRecipe(b_frames=3, open_gop=True, keyframe_interval=8),
    "variable frame rate": ClipRecipe(
        frames=20, time_base=Fraction(1, 600), ticks=[n * 40 + (n * n * 7) % 31 for n in range(20)]
    ),
    "starts late": ClipRecipe(time_base=Fraction(1, 600), ticks=[777 + 50 * n for n in range(24)]),
    "no sound": ClipRecipe(sound=None),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("picture", ["jpg", "png"])
def test_there_and_back(kind: str, picture: str, tmp_path: Path) -> None:
    video = make_clip(tmp_path / "clip.mp4", KINDS[kind])
    split_frames(video, tmp_path / "frames", kind=picture)
    stitch_frames(tmp_path / "frames", tmp_path / "back.mp4")
    before, after = read_frames(video), read_frames(tmp_path / "back.mp4")
    assert [frame.seconds for frame in after] == [frame.seconds for frame in before]
    assert [frame.grey for frame in after] == pytest.approx([frame.grey for frame in before], abs=3)
    if KINDS[kind].sound:
        assert sound_packets(tmp_path / "back.mp4") == sound_packets(video)
    names = sorted(path.name for path in (tmp_path / "frames").iterdir())
    assert names == [f"frame-{n:07d}.{picture}" for n in range(1, len(before) + 1)]


def test_a_turned_video_gives_upright_pictures_and_an_upright_video(tmp_path: Path) -> None:
    video = make_clip(
        tmp_path / "clip.mp4", ClipRecipe(rotation=90, frames=3, sample_aspect_ratio=Fraction(4, 3))
    )
    split_frames(video, tmp_path / "frames", max_height=32)
    with Image.open(tmp_path / "frames" / "frame-0000001.jpg") as picture:
        assert picture.size == (24, 32)
        assert np.asarray(picture)[-3:, :3].mean() > 200
    stitch_frames(tmp_path / "frames", tmp_path / "back.mp4")
    with av.open(str(tmp_path / "back.mp4")) as container:
        frame = next(container.decode(video=0))
        ratio = container.streams.video[0].sample_aspect_ratio
        assert (frame.width, frame.height, frame.rotation) == (24, 32, 0)
        assert (ratio.numerator, ratio.denominator) == (3, 4)


def test_painted_frames_are_stitched_with_what_split_kept(tmp_path: Path) -> None:
    video = make_clip(tmp_path / "clip.mp4", ClipRecipe(frames=6))
    split_frames(video, tmp_path / "frames")
    (tmp_path / "painted").mkdir()
    for path in (tmp_path / "frames").iterdir():
        with Image.open(path) as picture:
            Image.eval(picture, lambda value: 255 - value).save(tmp_path / "painted" / path.name)
    with pytest.raises(ResultError, match=r"no painted\.source beside .*: give the folder that split made"):
        stitch_frames(tmp_path / "painted", tmp_path / "back.mp4")
    stitch_frames(tmp_path / "painted", tmp_path / "back.mp4", source=source_of(tmp_path / "frames"))
    after = read_frames(tmp_path / "back.mp4")
    assert [frame.grey for frame in after] == pytest.approx([255 - grey(n) for n in range(6)], abs=4)
    assert sound_packets(tmp_path / "back.mp4") == sound_packets(video)


def test_other_pictures_are_stitched_at_a_rate(tmp_path: Path) -> None:
    for n in range(5):
        Image.new("RGB", (64, 48), (grey(n),) * 3).save(tmp_path / f"p{n}.png")
    target = tmp_path / "out" / "film.mp4"
    stitch_frames(tmp_path, target, rate=Fraction(25, 2))
    assert [frame.seconds for frame in read_frames(target)] == [Fraction(2 * n, 25) for n in range(5)]
    assert [path.name for path in target.parent.iterdir()] == ["film.mp4"]


def test_missing_damaged_or_unequal_frames_are_named_and_nothing_is_left(tmp_path: Path) -> None:
    split_frames(make_clip(tmp_path / "clip.mp4", ClipRecipe(frames=6)), tmp_path / "frames")
    third = tmp_path / "frames" / "frame-0000003.jpg"
    content = third.read_bytes()
    target = tmp_path / "out" / "back.mp4"
    third.write_bytes(content[:100])
    with pytest.raises(ResultError, match=r"frame is missing or damaged: frame-0000003\.jpg cannot be read"):
        stitch_frames(tmp_path / "frames", target)
    third.unlink()
    with pytest.raises(
        ResultError, match=r"missing or damaged: frame-0000003\.jpg cannot be read: No such file"
    ):
        stitch_frames(tmp_path / "frames", target)
    Image.new("RGB", (32, 32)).save(third)
    with pytest.raises(ResultError, match=r"frame-0000003\.jpg is 32x32 and the first frame is 64x48"):
        stitch_frames(tmp_path / "frames", target)
    assert list(target.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("rate", "message"), [("0", "the frame rate is 0"), ("25", "there is no folder .*nowhere")]
)
def test_a_wrong_rate_or_folder_is_named(rate: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ResultError, match=message):
        stitch_frames(tmp_path / "nowhere", tmp_path / "x.mp4", rate=Fraction(rate))


def test_an_interrupted_split_cannot_be_stitched(tmp_path: Path) -> None:
    """What split keeps beside the frames appears when all frames are there."""
    video = make_clip(tmp_path / "clip.mp4", ClipRecipe(frames=6))

    def stop(done: int, total: int | None) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        split_frames(video, tmp_path / "frames", progress=stop)
    with pytest.raises(ResultError, match=r"holds no frames\.jsonl"):
        stitch_frames(tmp_path / "frames", tmp_path / "x.mp4")
    with pytest.raises(ResultError, match="is not empty: name a new one"):
        split_frames(video, tmp_path / "frames")


def test_what_is_no_video_is_not_split(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_text("hello")
    with pytest.raises(VideoError, match=r"clip\.mp4 cannot be read as a video"):
        split_frames(tmp_path / "clip.mp4", tmp_path / "frames")
    assert not (tmp_path / "frames").exists()


def test_several_threads_give_the_same_as_one(tmp_path: Path) -> None:
    video = make_clip(tmp_path / "clip.mp4", ClipRecipe(frames=60))
    contents = []
    for workers in (1, 2):
        folder = tmp_path / f"frames-{workers}"
        split_frames(video, folder, workers=workers)
        stitch_frames(folder, tmp_path / "back.mp4", workers=workers)
        pictures = [path.read_bytes() for path in sorted(folder.iterdir())]
        contents.append((pictures, (tmp_path / "back.mp4").read_bytes()))
    assert contents[0] == contents[1]
    assert len(contents[0][0]) == 60


def test_an_error_in_another_thread_is_raised_here(tmp_path: Path) -> None:
    split_frames(make_clip(tmp_path / "clip.mp4", ClipRecipe(frames=60)), tmp_path / "frames")
    (tmp_path / "frames" / "frame-0000050.jpg").unlink()
    with pytest.raises(ResultError, match=r"frame-0000050\.jpg cannot be read"):
        stitch_frames(tmp_path / "frames", tmp_path / "back.mp4", workers=2)


def test_only_a_few_items_are_under_way_at_a_time() -> None:
    taken = 0

    def counted() -> Iterator[int]:
        nonlocal taken
        for n in range(100):
            taken += 1
            yield n

    results = in_threads(abs, counted(), 2)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    assert taken <= 7
    assert [*results] == list(range(3, 100))


def test_the_commands_say_what_they_did(tmp_path: Path) -> None:
    make_clip(tmp_path / "clip.mp4", ClipRecipe(frames=6))
    script = str(SCORING / "style_transfer" / "frames_cli.py")

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, script, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, cwd=tmp_path)

    split = call("split", "clip.mp4", "frames", "--format", "png")
    assert (split.returncode, split.stderr) == (0, "")
    assert split.stdout == (
        "6 frames in frames; the sound (aac) is copied as it is. "
        "Timestamps and sound are in frames.source; stitch needs them (--source frames.source).\n"
    )
    stitch = call("stitch", "frames", "back.mp4")
    assert (stitch.returncode, stitch.stdout, stitch.stderr) == (0, "6 frames in back.mp4\n", "")
    wrong = call("split", "gone.mp4", "more")
    assert (wrong.returncode, wrong.stderr) == (1, "error: gone.mp4: there is no such file\n")
