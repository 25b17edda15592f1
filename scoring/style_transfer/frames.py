"""A video as a folder of pictures and back, with the same timestamps and the same sound."""

from __future__ import annotations

import json
import math
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

from common.onnx_session import threads
from common.output_files import whole_file
from common.receipts import FileVersion
from style_transfer.damage import DamageReport
from style_transfer.decoding import ShownFrame, segment_frames
from style_transfer.encode import SegmentEncoder
from style_transfer.errors import PictureError, ResultError, VideoError
from style_transfer.frame_reader import FrameReader
from style_transfer.join import join
from style_transfer.picture_format import PictureFormat, plain_format
from style_transfer.pictures import Picture, Pixels, encode_picture, read_pixels
from style_transfer.segments import Clip, Segment, cut
from style_transfer.sound import FILE as SOUND
from style_transfer.sound import extract_sound
from style_transfer.video import describe, opened, video_packets

FORMATS = ("jpg", "png")
FRAMES = "frames.jsonl"
CHUNK_S = 2.0
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
    workers: int | None = None,
    progress: Progress | None = None,
) -> str:
    """Write every frame of `video` into `folder`, timestamps and sound into `source` (beside it by default).

    One decoder feeds `workers` threads, by default one per core, that write the pictures. Gives a sentence
    about what was done; VideoError when the video cannot be read, ResultError when `folder` holds something
    already.
    """
    source = source or source_of(folder)
    if folder.exists() and any(folder.iterdir()):
        raise ResultError(f"the folder {folder} is not empty: name a new one")
    clip = describe(video)
    with opened(video) as (container, stream):
        segments = list(cut(clip, video_packets(container, stream, video.name), math.inf))
    if not segments:
        raise VideoError(f"{video.name} has no frames that can be decoded")
    (whole,) = segments
    for made in (folder, source):
        made.mkdir(parents=True, exist_ok=True)
    workers = workers or threads()
    reader = FrameReader(clip.picture, max_height)
    damage = DamageReport(whole)

    def write(task: tuple[int, ShownFrame]) -> Shown:
        number, shown = task
        rgb = reader.read(shown.frame)
        name = f"frame-{number:07d}.{kind}"
        (folder / name).write_bytes(encode_picture(name, Picture(rgb), rgb))
        return Shown(name, shown.pts, shown.duration)

    with whole_file(source / FRAMES) as temporary, temporary.open("w", encoding="utf-8") as lines:
        width, height = reader.size
        upright = replace(clip, picture=replace(clip.picture.as_shown(), width=width, height=height))
        lines.write(json.dumps(asdict(upright)) + "\n")
        frames = enumerate(damage.watch(segment_frames(video, whole, threads=workers)), 1)
        for done, picture in enumerate(in_threads(write, frames, workers), 1):
            lines.write(json.dumps([picture.name, picture.pts, picture.duration]) + "\n")
            if progress:
                progress(done, whole.frames)
    story = [f"{whole.frames} frames in {folder}", extract_sound(video, source)]
    return "; ".join([*story, *(found.error for found in damage.found)])


def stitch_frames(
    folder: Path,
    video: Path,
    *,
    source: Path | None = None,
    rate: Fraction | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> str:
    """Make `video`, an MP4 file, of the pictures in `folder`.

    `source` is what `split_frames` kept, and gives timestamps and sound; `rate` (frames per second) takes
    its place for other pictures, in the order of their names and without sound. Chunks are encoded by
    `workers` threads, by default one per core, and joined. ResultError when pictures are missing,
    damaged or of several sizes.
    """
    if rate is None and not folder.is_dir():
        raise ResultError(f"there is no folder {folder}" if not folder.exists() else f"{folder} is no folder")
    if source is None and rate is None and source_of(folder).is_dir():
        source = source_of(folder)
    if rate is not None:
        clip, listed = _at_rate(folder, rate)
    elif source is not None:
        clip, listed = _as_split(source)
    else:
        raise ResultError(
            f"there is no {source_of(folder).name} beside {folder}: give the folder that split made (--source) "
            "or a frame rate (--rate)"
        )
    if not listed:
        raise ResultError(f"there are no frames for {video.name}")
    height, width, _ = _read_rgb(folder, listed[0].name).shape
    picture = replace(
        clip.picture if clip.picture.width else plain_format(width, height), width=width, height=height
    )
    clip = replace(clip, picture=picture)
    sound = source / SOUND if source is not None and rate is None else None
    video.parent.mkdir(parents=True, exist_ok=True)
    done = 0
    with tempfile.TemporaryDirectory(prefix=".stitch-", dir=video.parent) as scratch:
        segments = []
        tasks = _stitch_tasks(folder, Path(scratch), clip, listed)
        for segment in in_threads(_stitch_chunk, tasks, workers or threads()):
            segments.append(segment)
            done += segment.frames
            if progress:
                progress(done, len(listed))
        join(segments, Path(scratch), sound if sound is not None and sound.is_file() else None, video)
    return f"{len(listed)} frames in {video}"


def in_threads(work: Callable[[A], B], items: Iterable[A], workers: int) -> Iterator[B]:
    """`work` on every item in so many threads; results in the order of the items.

    Codecs leave the interpreter lock alone. Twice as many items as workers are under way at a time.
    """
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
            pool.shutdown(wait=True, cancel_futures=True)


@dataclass(frozen=True)
class _StitchTask:
    folder: Path
    scratch: Path
    segment: Segment
    listed: tuple[Shown, ...]


def _stitch_tasks(folder: Path, scratch: Path, clip: Clip, listed: list[Shown]) -> Iterator[_StitchTask]:
    count = max(1, round(float(Fraction(clip.frame_rate)) * CHUNK_S))
    chunks = [tuple(listed[start : start + count]) for start in range(0, len(listed), count)]
    ends = [following[0].pts for _, following in pairwise(chunks)]
    for index, chunk in enumerate(chunks):
        last = chunk[-1]
        segment = Segment(
            index=index,
            clip=clip,
            keyframe_pts=chunk[0].pts,
            keyframe_dts=None,
            start_pts=chunk[0].pts,
            end_pts=ends[index] if index < len(ends) else None,
            end_time=last.pts + last.duration,
            frames=len(chunk),
        )
        yield _StitchTask(folder, scratch, segment, chunk)


def _stitch_chunk(task: _StitchTask) -> Segment:
    picture = task.segment.clip.picture
    size = (picture.width, picture.height)
    with (
        (task.scratch / task.segment.output).open("wb") as out,
        SegmentEncoder(out, task.segment.clip, size) as encoder,
    ):
        for shown in task.listed:
            rgb = _read_rgb(task.folder, shown.name)
            if rgb.shape[1::-1] != size:
                raise ResultError(
                    f"{shown.name} is {rgb.shape[1]}x{rgb.shape[0]} and the first frame is {size[0]}x{size[1]}; "
                    "all frames of a video have one size"
                )
            encoder.write(rgb, shown.pts - task.segment.start_pts, shown.duration)
    return task.segment


def _read_rgb(folder: Path, name: str) -> Pixels:
    try:
        return read_pixels(folder / name)
    except PictureError as error:
        raise ResultError(f"a frame is missing or damaged: {error}") from error


def _as_split(source: Path) -> tuple[Clip, list[Shown]]:
    path = source / FRAMES
    if not path.is_file():
        raise ResultError(f"{source} holds no {FRAMES}: give the folder that split made (--source)")
    try:
        with path.open(encoding="utf-8") as lines:
            clip = Clip.from_values(json.loads(next(lines)))
            return clip, [Shown(*json.loads(line)) for line in lines]
    except (ValueError, TypeError, KeyError, StopIteration) as error:
        raise ResultError(f"{path} was not made by split: {error}") from error


def _at_rate(folder: Path, rate: Fraction) -> tuple[Clip, list[Shown]]:
    if rate <= 0:
        raise ResultError(f"the frame rate is {rate}; it must be above 0")
    if not folder.is_dir():
        raise ResultError(f"there is no folder {folder}")
    names = sorted(path.name for path in folder.iterdir() if path.is_file())
    clip = Clip(FileVersion(folder.name, 0, ""), PictureFormat(0, 0), str(1 / rate), str(rate))
    return clip, [Shown(name, number, 1) for number, name in enumerate(names)]
