"""Segments: stretches of a video between keyframes, which can be worked on apart and joined again."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from common.receipts import FileVersion
from style_transfer.errors import ResultError, VideoError
from style_transfer.picture_format import PictureFormat


@dataclass(frozen=True)
class Clip:
    """What every segment of one video shares.

    `clock_starts_anywhere`: MPEG streams begin at any time. `times_by_order`: the container tells when frames
    are decoded, not when they are shown; the moments then belong to the frames in the order they are shown in.
    """

    video: FileVersion
    picture: PictureFormat
    time_base: str
    frame_rate: str
    clock_starts_anywhere: bool = False
    times_by_order: bool = False
    interlaced: bool = False

    @classmethod
    def from_values(cls, values: dict[str, Any]) -> Clip:
        """The clip that `dataclasses.asdict` made these values of; KeyError or TypeError when they are others."""
        parts = {"video": FileVersion(**values["video"]), "picture": PictureFormat(**values["picture"])}
        return cls(**(values | parts))

    @property
    def seconds_per_tick(self) -> Fraction:
        return Fraction(self.time_base)


@dataclass(frozen=True)
class Segment:
    """The frames with start_pts <= presentation timestamp < end_pts; times are in ticks of the clip.

    Decoding begins at the keyframe, which may lie before `start_pts` where a cut left frames that are not
    shown. The last segment has no `end_pts`; `end_time` is where its last frame ends. `first_frame` is how
    many frames of the video come before.
    """

    index: int
    clip: Clip
    keyframe_pts: int
    keyframe_dts: int | None
    start_pts: int
    end_pts: int | None
    end_time: int
    frames: int
    first_frame: int = 0
    lost: tuple[tuple[int, int], ...] = ()
    """Stretches, from tick to tick, that cannot be found in the damaged file."""

    @property
    def item(self) -> str:
        """The name of the file that describes the segment."""
        return f"segment-{self.index:06d}.json"

    @property
    def output(self) -> str:
        """The name of the file that holds the stylised segment."""
        return f"segment-{self.index:06d}.mp4"

    @property
    def start_s(self) -> float:
        return float(self.start_pts * self.clip.seconds_per_tick)

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1, sort_keys=True) + "\n"

    @classmethod
    def from_file(cls, path: Path) -> Segment:
        """Read a segment's file; ResultError when it is none."""
        try:
            values: dict[str, Any] = json.loads(path.read_bytes())
            lost = tuple((start, end) for start, end in values["lost"])
            return cls(**(values | {"clip": Clip.from_values(values["clip"]), "lost": lost}))
        except (ValueError, TypeError, KeyError, AttributeError, OSError) as error:
            raise ResultError(f"{path.name} does not describe a segment: {error}") from error


@dataclass(frozen=True)
class VideoPacket:
    """What cutting needs to know of one compressed frame, in decoding order."""

    pts: int
    dts: int | None
    duration: int
    keyframe: bool
    shown: bool = True
    after_damage: bool = False
    """The file is damaged right before it, so that frames may be missing there."""


@dataclass
class _Open:
    """A segment whose last frames have not come by yet."""

    keyframe: VideoPacket
    start: int | None = None
    frames: int = 0
    end_time: int = 0
    lost: list[tuple[int, int]] = field(default_factory=list)

    def add(self, packet: VideoPacket) -> None:
        if packet.shown:
            self.frames += 1
            self.start = packet.pts if self.start is None else min(self.start, packet.pts)
            self.end_time = max(self.end_time, packet.pts + packet.duration)


def cut(clip: Clip, packets: Iterable[VideoPacket], segment_s: float) -> Iterator[Segment]:
    """Cut a stream of packets at the keyframes that come at least `segment_s` after the last cut.

    Frames that follow a keyframe in the file and precede it on the screen (an open group of pictures)
    belong to the segment before. Keeps two segments in memory, however long the video is.
    """
    # Where moments belong to frames by their order, a cut could fall between the two: it stays in one piece.
    whole = math.isinf(segment_s) or clip.times_by_order
    step = math.inf if whole else Fraction(segment_s) / clip.seconds_per_tick
    index = first_frame = 0
    previous: _Open | None = None
    current: _Open | None = None
    for packet in packets:
        if packet.keyframe and current is not None and packet.pts <= current.keyframe.pts:
            raise VideoError(
                f"{clip.video.name}: timestamps jump back at {_seconds(clip, packet.pts)} s: "
                "write them anew, for instance with ffmpeg -fflags +genpts"
            )
        if current is None:
            if not packet.keyframe:
                continue  # cannot be decoded: the stream was cut before its first keyframe
            current = _Open(packet)
        elif packet.after_damage and packet.pts > current.end_time:
            current.lost.append((current.end_time, packet.pts))
        if packet is current.keyframe:
            pass
        elif packet.keyframe and current.frames and packet.shown and _due(packet, current, step):
            if previous is not None:
                yield _closed(clip, index, first_frame, previous, current)
                index += 1
                first_frame += previous.frames
            previous, current = current, _Open(packet)
        if packet.pts < current.keyframe.pts and packet.shown:
            if previous is not None:
                previous.add(packet)
            continue
        current.add(packet)
    if previous is not None and current is not None:
        yield _closed(clip, index, first_frame, previous, current)
        index += 1
        first_frame += previous.frames
    if current is not None and current.frames:
        yield _closed(clip, index, first_frame, current, None)


def _due(packet: VideoPacket, current: _Open, step: Fraction | float) -> bool:
    """Whether a keyframe is (to within half a frame) a whole segment after the current one's start."""
    start = current.keyframe.pts if current.start is None else current.start
    return packet.pts - start + Fraction(packet.duration, 2) >= step


def _closed(clip: Clip, index: int, first_frame: int, done: _Open, following: _Open | None) -> Segment:
    start = done.keyframe.pts if done.start is None else done.start
    return Segment(
        index=index,
        clip=clip,
        keyframe_pts=done.keyframe.pts,
        keyframe_dts=done.keyframe.dts,
        start_pts=start,
        end_pts=None if following is None else following.keyframe.pts,
        end_time=done.end_time,
        frames=done.frames,
        first_frame=first_frame,
        lost=tuple(done.lost),
    )


def read_segments(folder: Path) -> list[Segment]:
    """The segments described in a folder, in order; ResultError when one is missing or does not fit."""
    segments = sorted(
        (Segment.from_file(path) for path in folder.glob("*.json")), key=lambda segment: segment.index
    )
    if not segments:
        raise ResultError("the split step left no segments")
    for place, segment in enumerate(segments):
        last = place == len(segments) - 1
        if (
            segment.index != place
            or segment.clip != segments[0].clip
            or (segment.end_pts is None) != last
            or (not last and segment.end_pts != segments[place + 1].start_pts)
        ):
            raise ResultError(f"the list of segments is not whole: {segment.item} does not fit in its place")
    return segments


def _seconds(clip: Clip, pts: int) -> str:
    return f"{float(pts * clip.seconds_per_tick):.3f}"
