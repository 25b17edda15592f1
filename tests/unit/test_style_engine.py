"""The stylizer and its stages: blending, batches, colours, bounded hand-overs, errors from any stage."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.video.reformatter import ColorRange, Colorspace

from common.onnx_session import Device, DeviceError
from common.receipts import FileVersion
from style_transfer.encode import SegmentEncoder
from style_transfer.engine import Stylizer, blended
from style_transfer.frame_reader import FrameReader
from style_transfer.overlap import Handover, overlapped
from style_transfer.picture_format import PictureFormat
from style_transfer.segments import Clip, Segment, VideoPacket, cut
from style_transfer.style import Style
from tests.style_clips import make_style


def test_every_item_passes_all_stages_in_order() -> None:
    got: list[int] = []
    overlapped(range(100), lambda n: n * 2, got.append)
    assert got == list(range(0, 200, 2))


def test_no_stage_runs_ahead_of_the_next_one() -> None:
    """With a sink that is stuck, the source stops after what the hand-overs and the stages hold."""
    made = 0
    stuck, release = threading.Event(), threading.Event()

    def source() -> Iterator[int]:
        nonlocal made
        for n in range(1000):
            made = n + 1
            yield n

    def sink(_: int) -> None:
        stuck.set()
        assert release.wait(30)

    runner = threading.Thread(target=overlapped, args=(source(), lambda n: n, sink), kwargs={"ahead": 2})
    runner.start()
    assert stuck.wait(30)
    before: int = -1
    while before != made:  # until nothing moves any more
        before = made
        threading.Event().wait(0.05)
    assert made <= 8
    release.set()
    runner.join(30)
    assert made == 1000


@pytest.mark.parametrize("stage", ["source", "transform", "sink"])
def test_an_error_in_any_stage_ends_all_and_is_raised(stage: str) -> None:
    closed = threading.Event()

    def fail_at(place: str, n: int) -> int:
        if place == stage and n == 5:
            raise ArithmeticError(place)
        return n

    def source() -> Iterator[int]:
        try:
            for n in range(10_000_000):
                yield fail_at("source", n)
        finally:
            closed.set()

    threads_before = threading.active_count()
    with pytest.raises(ArithmeticError, match=stage):
        overlapped(source(), lambda n: fail_at("transform", n), lambda n: fail_at("sink", n) and None)
    assert closed.is_set()
    assert threading.active_count() == threads_before


def test_a_closed_handover_gives_what_it_holds_and_takes_no_more() -> None:
    handover: Handover[int] = Handover(3)
    assert handover.put(1)
    handover.close()
    assert not handover.put(2)
    assert list(handover) == [1]


@pytest.mark.parametrize("weight", [0, 1, 64, 128, 255, 256])
def test_blending_is_a_rounded_weighted_mean(weight: int) -> None:
    random = np.random.default_rng(weight)
    a, b = (random.integers(0, 256, (2, 3, 4, 3), np.uint8) for _ in range(2))
    exact = (a * (256.0 - weight) + b * float(weight)) / 256
    assert np.abs(blended(a, b, weight) - exact).max() <= 0.5


def test_strength_zero_gives_the_original_and_one_the_style(tmp_path: Path) -> None:
    style = Style(make_style(tmp_path))
    frames = np.random.default_rng(0).integers(0, 256, (2, 16, 20, 3), np.uint8)
    assert (Stylizer(style, strength=0, device="cpu").stylize(frames) == frames).all()
    assert (Stylizer(style, strength=1, device="cpu").stylize(frames) == 255 - frames).all()


def test_batches_on_a_gpu_have_one_size(tmp_path: Path) -> None:
    """The last batch is filled up and the filling dropped, since a GPU would plan every new shape anew."""
    stylizer = Stylizer(Style(make_style(tmp_path)), device="cpu")
    stylizer.device = Device("cuda")
    shapes = []
    run = stylizer._model.run

    def watched(**inputs: np.ndarray[Any, Any]) -> list[np.ndarray[Any, Any]]:
        shapes.append(inputs["frames"].shape)
        return run(**inputs)

    stylizer._model.run = watched  # type: ignore[method-assign]
    size = stylizer.batch_size(640, 360)
    frames = np.random.default_rng(0).integers(0, 256, (3, 360, 640, 3), np.uint8)
    assert (stylizer.stylize(frames) == 255 - frames).all()
    assert shapes == [(size, 360, 640, 3)]
    assert size > 3


def test_asking_for_cuda_without_it_fails_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(DeviceError, match="device is cuda, but this ONNX Runtime"):
        Stylizer(Style(make_style(tmp_path)), device="cuda")


BARS = np.array(
    [
        [191, 191, 191],
        [191, 191, 0],
        [0, 191, 191],
        [0, 191, 0],
        [191, 0, 191],
        [191, 0, 0],
        [0, 0, 191],
        [255, 255, 255],
        [0, 0, 0],
        [128, 64, 200],
    ],
    np.uint8,
)


def bars() -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.ascontiguousarray(np.repeat(BARS, 32, axis=0)[None].repeat(64, axis=0))


def middles(array: np.ndarray[Any, np.dtype[np.uint8]]) -> np.ndarray[Any, np.dtype[np.int64]]:
    return array[32, 16::32].astype(np.int64)


@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize(
    ("matrix", "swscale", "tagged"),
    [
        (1, Colorspace.ITU709, True),
        (6, Colorspace.ITU601, True),
        (9, Colorspace.BT2020, True),
        (6, Colorspace.ITU601, False),
    ],
)
def test_colours_come_through_reading_and_writing(
    matrix: int, swscale: Colorspace, tagged: bool, full_range: bool, tmp_path: Path
) -> None:
    """Colour bars are within 2 levels after reading, and again after writing; what is written is tagged."""
    picture = PictureFormat(320, 64, matrix=matrix, full_range=full_range)
    frame = av.VideoFrame.from_ndarray(bars(), format="rgb24").reformat(
        format="yuv420p",
        dst_colorspace=swscale,
        src_color_range=ColorRange.JPEG,
        dst_color_range=ColorRange.JPEG if full_range else ColorRange.MPEG,
    )
    if not tagged:
        frame = av.VideoFrame.from_ndarray(frame.to_ndarray(), format="yuv420p")
    read = FrameReader(picture).read(frame)
    assert np.abs(middles(read) - BARS).max() <= 2
    clip = Clip(FileVersion("x.mp4", 0, ""), picture, "1/25", "25")
    written = io.BytesIO()
    with SegmentEncoder(written, clip, (320, 64)) as encoder:
        encoder.write(read, 0, 1)
    written.seek(0)
    with av.open(written) as container:
        frame = next(container.decode(video=0))
        assert (int(frame.colorspace), int(frame.color_range)) == (matrix, 1)
        back = FrameReader(PictureFormat(320, 64, matrix=matrix)).read(frame)
    assert np.abs(middles(back) - middles(read)).max() <= 2


CLIP = Clip(FileVersion("x.mp4", 1, "0"), PictureFormat(64, 48), "1/10", "10")


def packets(*shown_at: str) -> list[VideoPacket]:
    """`12K` is a keyframe shown at tick 12, `3` another frame, `-2Kx` a keyframe that is not shown."""
    return [
        VideoPacket(
            pts=int(text.rstrip("Kx")), dts=n, duration=1, keyframe="K" in text, shown="x" not in text
        )
        for n, text in enumerate(shown_at)
    ]


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        ("0K 1 2 3K 4 5", [(0, 3, 3), (3, None, 3)]),
        ("0K 1 2K 3 4K 5", [(0, 4, 4), (4, None, 2)]),
        ("0K 3 1 2 6K 4 5 7", [(0, 6, 6), (6, None, 2)]),
        ("1 2 5K 4 6", [(5, None, 2)]),
        ("-2Kx -1x 0 1 2 3K 4", [(0, 3, 3), (3, None, 2)]),
        ("0K", [(0, None, 1)]),
        ("7 8", []),
        ("", []),
        ("0K 9 30K 31", [(0, 30, 2), (30, None, 2)]),
        ("0K 1K 2K 3K 4K 5K 6K", [(0, 3, 3), (3, 6, 3), (6, None, 1)]),
    ],
)
def test_cutting_at_keyframes(stream: str, expected: list[tuple[int, int | None, int]]) -> None:
    """Segments of at least 0.3 s: (first tick, tick of the next segment, number of frames)."""
    segments = list(cut(CLIP, packets(*stream.split()), 0.3))
    assert [(s.start_pts, s.end_pts, s.frames) for s in segments] == expected
    assert [s.index for s in segments] == list(range(len(expected)))


def test_a_clock_that_jumps_back_is_refused() -> None:
    with pytest.raises(Exception, match=r"x\.mp4: timestamps jump back at 0\.400 s"):
        list(cut(CLIP, packets("0K", "1", "9K", "4K"), 0.3))


def test_cutting_keeps_no_more_than_two_segments(tmp_path: Path) -> None:
    """The first segment comes out when the third one begins, however long the stream goes on."""
    seen = 0

    def endless() -> Iterator[VideoPacket]:
        nonlocal seen
        for n in range(10**9):
            seen = n
            yield VideoPacket(pts=n, dts=n, duration=1, keyframe=n % 10 == 0)

    segments = cut(CLIP, endless(), 1.0)
    assert next(segments).end_pts == 10
    assert seen == 20


def test_a_segments_file_holds_all_of_it(tmp_path: Path) -> None:
    clip = Clip(
        FileVersion("ü.mp4", 5, "ab"),
        PictureFormat(64, 48, 90, 9, 1, 1, True, "4/3"),
        "1/90000",
        "24000/1001",
    )
    segment = Segment(3, clip, 10, None, 11, None, 500, 7)
    (tmp_path / segment.item).write_text(segment.to_json())
    assert Segment.from_file(tmp_path / segment.item) == segment
