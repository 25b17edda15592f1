"""What cannot be painted is refused with a sentence that names the file, what is wrong and what would be right."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import onnx
import pytest
from PIL import Image

from style_transfer.decoding import segment_frames
from style_transfer.engine import Stylizer
from style_transfer.errors import ResultError, StyleError, VideoError
from style_transfer.picture_format import PictureFormat, picture_format
from style_transfer.segments import Segment, read_segments
from style_transfer.split import split
from style_transfer.style import Style, choose_style
from tests.style_clips import SCORING, ClipRecipe, make_clip, make_style, overwrite


def truncated(path: Path, share: float, recipe: ClipRecipe) -> Path:
    content = make_clip(path, recipe).read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"clip\.mp4 is empty"),
        (b"hello " * 1000, r"clip\.mp4 cannot be read as a video \(truncated, or not a video\?\)"),
        (bytes(4096), r"clip\.mp4 cannot be read as a video"),
    ],
)
def test_what_is_no_video_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(content)
    with pytest.raises(VideoError, match=message):
        split(tmp_path / "clip.mp4", tmp_path / "segments", 2)


def test_a_missing_video_is_named(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=r"gone\.mp4: there is no such file"):
        split(tmp_path / "gone.mp4", tmp_path / "segments", 2)


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (ClipRecipe(), r"clip\.mp4 cannot be read as a video"),
        (
            ClipRecipe(muxer={"movflags": "faststart"}, sound=None),
            r"clip\.mp4 is truncated: (it announces 24 frames and holds|its last frame, number) \d+",
        ),
        (
            ClipRecipe(muxer={"movflags": "frag_keyframe+empty_moov"}, sound=None),
            r"clip\.mp4 is truncated: (it announces|its last frame, number) \d+",
        ),
        (
            ClipRecipe(container="matroska", frames=60),
            r"clip\.mp4 is truncated: it announces 5\.0 s and ends after 3\.\d s",
        ),
    ],
    ids=["index at the end", "index in front", "fragmented", "Matroska"],
)
def test_a_truncated_video_is_refused(recipe: ClipRecipe, message: str, tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=message):
        split(truncated(tmp_path / "clip.mp4", 0.7, recipe), tmp_path / "segments", 2)


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "song.mp4"), "w") as out:
        stream = out.add_stream("aac", 48_000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 2048), np.int16), format="s16", layout="stereo")
        frame.sample_rate = 48_000
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    with pytest.raises(VideoError, match=r"song\.mp4 has no video stream, only audio"):
        split(tmp_path / "song.mp4", tmp_path / "segments", 2)


def test_a_video_without_frames_is_refused(tmp_path: Path) -> None:
    make_clip(tmp_path / "none.mkv", ClipRecipe(container="matroska", sound=None))
    content = (tmp_path / "none.mkv").read_bytes()
    (tmp_path / "none.mkv").write_bytes(
        content[: content.index(b"\x1f\x43\xb6\x75")]
    )  # before the first cluster
    with pytest.raises(VideoError, match=r"none\.mkv (has no frames|cannot be read)"):
        split(tmp_path / "none.mkv", tmp_path / "segments", 2)


def test_a_video_that_cannot_be_decoded_any_more_fails_its_segments(tmp_path: Path) -> None:
    """Everything in it was overwritten after the split."""
    video = make_clip(tmp_path / "clip.mp4", ClipRecipe(keyframe_interval=1, sound=None))
    split(video, tmp_path / "segments", 1)
    overwrite(video, range(24))
    (first, _) = read_segments(tmp_path / "segments")
    with pytest.raises(VideoError, match=r"damaged near 0\.000 s: none of 12 frames could be decoded"):
        list(segment_frames(video, first))


def format_of(**changes: object) -> PictureFormat:
    facts: dict[str, object] = {
        "display_matrix": None,
        "matrix": 2,
        "primaries": 2,
        "transfer": 2,
        "color_range": 0,
        "pixel_format": "yuv420p",
        "sample_aspect_ratio": 0,
    }
    size = changes.pop("size", (640, 360))
    return picture_format("x.mp4", size, **(facts | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "matrix", "full_range"),
    [
        ({}, 6, False),
        ({"size": (1280, 720)}, 1, False),
        ({"size": (1280, 720), "matrix": 6}, 6, False),
        ({"matrix": 9}, 9, False),
        ({"matrix": 0}, 6, False),
        ({"color_range": 2}, 6, True),
        ({"pixel_format": "yuvj420p"}, 6, True),
        ({"pixel_format": "gbrp", "matrix": 0}, 1, True),
    ],
)
def test_the_matrix_is_the_streams_own_or_what_players_assume(
    changes: dict[str, object], matrix: int, full_range: bool
) -> None:
    picture = format_of(**changes)
    assert (picture.matrix, picture.full_range) == (matrix, full_range)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"display_matrix": (1, 1, 0, -1, 1, 0, 0, 0, 1)}, r"x\.mp4 is rotated by -45 degrees"),
        ({"matrix": 8}, r"x\.mp4 has colour matrix 8 .*re-encode it as BT\.709"),
    ],
)
def test_frames_that_cannot_be_read_rightly_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(VideoError, match=message):
        format_of(**changes)


@pytest.fixture
def named(tmp_path: Path) -> Path:
    return make_style(tmp_path / "models" / "inverted")


@pytest.fixture
def painting(tmp_path: Path) -> Path:
    Image.new("RGB", (300, 200), "orange").save(tmp_path / "painting.png")
    return tmp_path / "painting.png"


def test_exactly_one_style_is_needed(named: Path, painting: Path) -> None:
    assert choose_style(named, None) == Style(named)
    assert choose_style(named / "model.onnx", None) == Style(named)
    assert choose_style(None, painting).picture == painting
    with pytest.raises(StyleError, match="no style given: name a style"):
        choose_style(None, None)
    with pytest.raises(
        StyleError, match=r"two styles given, the style inverted and the picture painting\.png"
    ):
        choose_style(named, painting)


def test_a_newer_arbitrary_model_goes_with_a_picture(tmp_path: Path, painting: Path) -> None:
    for name in ("transformer.onnx", "predictor.onnx"):
        (tmp_path / name).touch()
    assert choose_style(tmp_path, painting) == Style(tmp_path, painting)
    with pytest.raises(StyleError, match=r"takes its style from a picture: give one \(style_image\)"):
        choose_style(tmp_path, None)


def test_a_style_without_its_files_is_named(tmp_path: Path, painting: Path) -> None:
    with pytest.raises(StyleError, match="there is no style folder nowhere"):
        choose_style(tmp_path / "nowhere", None)
    (tmp_path / "empty").mkdir()
    with pytest.raises(StyleError, match=r"the style empty holds no model\.onnx"):
        choose_style(tmp_path / "empty", None)
    with pytest.raises(StyleError, match=r"the arbitrary-style model has no transformer\.onnx"):
        choose_style(None, painting, arbitrary=tmp_path / "empty")


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n cut"])
def test_a_style_picture_that_cannot_be_read_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "painting.png").write_bytes(content)
    with pytest.raises(
        StyleError,
        match=r"style picture cannot be used: painting\.png (is empty|is not a picture|cannot be read)",
    ):
        choose_style(None, tmp_path / "painting.png")


@pytest.mark.parametrize("content", [b"", b"weights"])
def test_a_model_that_is_no_onnx_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(StyleError, match=r"cannot be used: model\.onnx .* cannot be opened as an ONNX model"):
        Stylizer(Style(tmp_path), device="cpu")


def test_a_model_with_other_inputs_is_named(tmp_path: Path, named: Path) -> None:
    model = onnx.load(str(named / "model.onnx"))
    model.graph.input[0].name = model.graph.node[0].input[0] = "pixels"
    onnx.save(model, str(tmp_path / "model.onnx"))
    with pytest.raises(StyleError, match=r"has the inputs \(pixels: .* must have \(frames: uint8"):
        Stylizer(Style(tmp_path), device="cpu")


def test_a_model_that_changes_the_shape_is_named(tmp_path: Path) -> None:
    make_style(tmp_path)
    model = onnx.load(str(tmp_path / "model.onnx"))
    node = model.graph.node[0]
    node.CopyFrom(onnx.helper.make_node("Transpose", ["frames"], ["stylized"], perm=[0, 2, 1, 3]))
    onnx.save(model, str(tmp_path / "model.onnx"))
    stylizer = Stylizer(Style(tmp_path), device="cpu")
    with pytest.raises(StyleError, match="a style must keep the shape"):
        stylizer.stylize(np.zeros((1, 16, 32, 3), np.uint8))


def test_frames_too_small_for_a_style_are_refused(named: Path) -> None:
    with pytest.raises(StyleError, match="frames of 64x8 are too small"):
        Stylizer(Style(named), device="cpu").stylize(np.zeros((1, 8, 64, 3), np.uint8))


def test_a_strength_out_of_range_is_refused(named: Path) -> None:
    with pytest.raises(StyleError, match=r"strength is 1\.5; it must be between 0 and 1"):
        Stylizer(Style(named), strength=1.5, device="cpu")


def segment_files(tmp_path: Path) -> list[Path]:
    split(make_clip(tmp_path / "clip.mp4", ClipRecipe()), tmp_path / "segments", 0.5)
    return sorted((tmp_path / "segments").iterdir())


@pytest.mark.parametrize("lost", [0, 1, 3])
def test_a_lost_segment_file_is_noticed(lost: int, tmp_path: Path) -> None:
    segment_files(tmp_path)[lost].unlink()
    with pytest.raises(ResultError, match="list of segments is not whole: segment-"):
        read_segments(tmp_path / "segments")


def test_no_segments_at_all_are_noticed(tmp_path: Path) -> None:
    with pytest.raises(ResultError, match="left no segments"):
        read_segments(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"\xff\xfe", b'{"clip": 1}'])
def test_what_describes_no_segment_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "segment-000000.json").write_bytes(content)
    with pytest.raises(ResultError, match=r"segment-000000\.json does not describe a segment"):
        Segment.from_file(tmp_path / "segment-000000.json")


def test_the_split_step_checks_the_style_before_the_video(tmp_path: Path) -> None:
    """A process as a compute runs it: one sentence, exit status 1, nothing written."""
    script = SCORING / "style_transfer" / "split.py"
    folders = ["--segments", str(tmp_path / "segments"), "--audio", str(tmp_path / "audio")]
    done = subprocess.run(
        [sys.executable, str(script), "--video", str(tmp_path / "no.mp4"), *folders],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stderr == (
        "error: no style given: name a style (style) or give a picture to take it from (style_image)\n"
    )
    assert list(tmp_path.iterdir()) == []
