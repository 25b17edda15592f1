"""A video as a folder of pictures and back, with the same timestamps and the same sound."""

from __future__ import annotations

import json
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from av.video.frame import VideoFrame

from common.onnx_session import threads
from common.output_files import whole_file
from common.receipts import FileVersion
from style_transfer.encode import SegmentEncoder
from style_transfer.errors import PictureError, ResultError, VideoError
from style_transfer.join import join
from style_transfer.picture_format import PictureFormat, plain_format
from style_transfer.pictures import Picture, encode_picture, read_picture
from style_transfer.segments import Clip, Segment, VideoPacket, cut
from style_transfer.sound import FILE as SOUND
from style_transfer.sound import extract_sound
from style_transfer.video import FrameReader, describe, opened, segment_frames, video_packets

FORMATS = ("jpg", "png")
FRAMES = "frames.jsonl"
A = TypeVar("A")
B = TypeVar("B")
Progress = Callable[[int, int | None], None]
"""Called with how many frames are done and how many there are, None where that is unknown."""


@dataclass(frozen=True)
class Shown:
    """One picture of a video: its file, when it is shown and for how long, in ticks of the clip's clock."""

    name: str
    pts: int
    duration: int


def source_of(folder: Path) -> Path:
    """The folder beside a folder of frames that keeps their timestamps and the sound."""
    return folder.with_name(f"{folder.name}.source")


def split_frames(
    video: Path,
    folder: Path,
    *,
    source: Path | None = None,
    kind: str = "jpg",
    max_height: int | None = None,
    progress: Progress | None = None,
) -> str:
    """Write every frame of `video` into `folder`, timestamps and sound into `source` (beside it by default).

    Frames are decoded in this thread and written by as many others as there are cores; a few wait at a
    time. Gives a sentence about what was done; VideoError when the video cannot be read.
    """
    source = source or source_of(folder)
    if folder.exists() and any(folder.iterdir()):
        raise ResultError(f"the folder {folder} is not empty: name a new one")
    clip = describe(video)
    (whole,) = _one_segment(video, clip)
    for made in (folder, source):
        made.mkdir(parents=True, exist_ok=True)
    reader = FrameReader(clip.picture, max_height)

    def write(numbered: tuple[int, VideoFrame]) -> Shown:
        number, frame = numbered
        rgb = reader.read(frame)
        name = f"frame-{number:07d}.{kind}"
        (folder / name).write_bytes(encode_picture(name, Picture(rgb), rgb))
        return Shown(name, frame.pts or 0, frame.duration or 0)

    with whole_file(source / FRAMES) as temporary, temporary.open("w", encoding="utf-8") as lines:
        upright = replace(clip, picture=_upright(clip.picture, reader.size))
        lines.write(json.dumps(asdict(upright)) + "\n")
        frames = enumerate(segment_frames(video, whole, threads=threads()), start=1)
        for done, shown in enumerate(in_order(write, frames), start=1):
            lines.write(json.dumps([shown.name, shown.pts, shown.duration]) + "\n")
            if progress:
                progress(done, whole.frames)
    story = extract_sound(video, source)
    return f"{whole.frames} frames in {folder}; {story}"


def stitch_frames(
    folder: Path,
    video: Path,
    *,
    source: Path | None = None,
    rate: Fraction | None = None,
    progress: Progress | None = None,
) -> str:
    """Make `video`, an MP4 file, of the pictures in `folder`.

    `source` is what `split_frames` kept, and gives timestamps and sound; `rate` (frames per second) takes
    its place for other pictures, in the order of their names and without sound. ResultError when pictures
    are missing or of several sizes.
    """
    if source is None and rate is None and source_of(folder).is_dir():
        source = source_of(folder)
    if rate is not None:
        clip, total, listed = _at_rate(folder, rate)
    elif source is not None:
        clip, total, listed = _as_split(source)
    else:
        raise ResultError(
            f"there is no {source_of(folder).name} beside {folder}: give the folder that split made (--source) "
            "or a frame rate (--rate)"
        )
    sound = None if source is None or rate is not None else source / SOUND
    video.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".stitch-", dir=video.parent) as scratch:
        segment = _encode(folder, clip, listed, Path(scratch), total, progress)
        join([segment], Path(scratch), sound if sound is not None and sound.is_file() else None, video)
    return f"{segment.frames} frames in {video}"


def in_order(work: Callable[[A], B], items: Iterable[A]) -> Iterator[B]:
    """`work` on every item in as many threads as there are cores; results in the order of the items.

    Twice as many items as threads are held at a time.
    """
    workers = threads()
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[B]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) >= 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _encode(
    folder: Path,
    clip: Clip,
    listed: Iterator[Shown],
    scratch: Path,
    total: int | None,
    progress: Progress | None,
) -> Segment:
    """Encode the listed pictures as one segment in `scratch`."""

    def read(shown: Shown) -> tuple[Shown, np.ndarray[Any, np.dtype[np.uint8]]]:
        return shown, np.asarray(read_picture(folder / shown.name).convert("RGB"))

    first: Shown | None = None
    last: Shown | None = None
    count = 0
    encoder: SegmentEncoder | None = None
    size = (0, 0)
    target = scratch / "segment-000000.mp4"
    with target.open("wb") as out:
        try:
            for shown, rgb in in_order(read, listed):
                here = (rgb.shape[1], rgb.shape[0])
                if first is None or encoder is None:
                    first, size = shown, here
                    if not clip.picture.width:
                        clip = replace(clip, picture=plain_format(*size))
                    encoder = SegmentEncoder(out, clip, size, threads=threads())
                if here != size:
                    raise ResultError(
                        f"{shown.name} is {here[0]}x{here[1]} and {first.name} is {size[0]}x{size[1]}; "
                        "all frames of a video have one size"
                    )
                encoder.write(rgb, shown.pts - first.pts, shown.duration)
                count, last = count + 1, shown
                if progress:
                    progress(count, total)
        except PictureError as error:
            raise ResultError(f"a frame is missing or damaged: {error}") from error
        finally:
            if encoder is not None:
                encoder.close()
    if first is None or last is None:
        raise ResultError(f"there are no frames for {folder}")
    return Segment(0, clip, 0, None, first.pts, None, last.pts + last.duration, count)


def _one_segment(video: Path, clip: Clip) -> list[Segment]:
    def all_packets() -> Iterator[VideoPacket]:
        with opened(video) as (container, stream):
            yield from video_packets(container, stream, video.name)

    segments = list(cut(clip, all_packets(), float("inf")))
    if not segments:
        raise VideoError(f"{video.name} has no frames that can be decoded")
    return segments


def _upright(picture: PictureFormat, size: tuple[int, int]) -> PictureFormat:
    ratio = str(picture.shown_aspect_ratio)
    return replace(picture, width=size[0], height=size[1], rotation=0, sample_aspect_ratio=ratio)


def _as_split(source: Path) -> tuple[Clip, int | None, Iterator[Shown]]:
    path = source / FRAMES
    if not path.is_file():
        raise ResultError(f"{source} holds no {FRAMES}: give the folder that split made (--source)")
    with path.open(encoding="utf-8") as lines:
        try:
            clip = Clip.from_values(json.loads(next(lines)))
        except (ValueError, TypeError, KeyError, StopIteration) as error:
            raise ResultError(f"{path} was not made by split: {error}") from error
        total = sum(1 for _ in lines)

    def listed() -> Iterator[Shown]:
        with path.open(encoding="utf-8") as lines:
            next(lines)
            for line in lines:
                name, pts, duration = json.loads(line)
                yield Shown(name, pts, duration)

    return clip, total, listed()


def _at_rate(folder: Path, rate: Fraction) -> tuple[Clip, int | None, Iterator[Shown]]:
    if rate <= 0:
        raise ResultError(f"the frame rate is {rate}; it must be above 0")
    if not folder.is_dir():
        raise ResultError(f"there is no folder {folder}")
    names = sorted(path.name for path in folder.iterdir() if path.is_file())
    clip = Clip(FileVersion(folder.name, 0, ""), PictureFormat(0, 0), str(1 / rate), str(rate))
    return clip, len(names), (Shown(name, number, 1) for number, name in enumerate(names))
