"""The frames of one segment, each at its time; another one stands in for a frame that cannot be decoded."""

from __future__ import annotations

import heapq
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from style_transfer.deinterlace import deinterlaced
from style_transfer.errors import VideoError
from style_transfer.segments import Segment
from style_transfer.video import coding_threads, decoded, opened, shown_at

_SEEK_BACK_S = (0, 2, 10, 60)
_HEAD_STARTS_S = (None, 10, 120)
"""How far before a segment decoding begins: at its keyframe; further back when that one is damaged."""
_SAYS_NOTHING_OF_DAMAGE = frozenset({"mjpeg"})
_WRONG_IN_FRAME_THREADS = frozenset({"theora", "vp3", "vp4"})
"""FFmpeg decodes these wrongly now and then (one clip in ten on a busy machine) when frames are decoded side by side."""


@dataclass(frozen=True)
class ShownFrame:
    """A frame with the time at which it is shown and for how long, in ticks of the clip's clock.

    `damaged`: the video's own frame for that time cannot be decoded, and `frame` is the last good one before
    it, or the next one where there is none before.
    """

    frame: VideoFrame
    pts: int
    duration: int
    damaged: bool = False


def segment_frames(
    video: Path, segment: Segment, *, threads: int | None = None
) -> Generator[ShownFrame, None, None]:
    """Decode the frames of a segment in the order in which they are shown, as many as the split step counted.

    Damage is what the decoder or the container says: an error, a frame or packet marked corrupt, a frame that
    does not come. Frames that are made from a damaged one are not marked: they come as the decoder gives them.
    VideoError when nothing can be decoded, or when there are other frames than the split step counted.
    """
    name = segment.clip.video.name
    count = 0
    with opened(video, name) as (container, stream):
        one_by_one = stream.codec_context.name in _WRONG_IN_FRAME_THREADS
        stream.thread_type = "SLICE" if one_by_one else "AUTO"
        stream.codec_context.thread_count = threads or coding_threads()
        if stream.codec_context.name in _SAYS_NOTHING_OF_DAMAGE:
            stream.codec_context.options = {"err_detect": "explode"}
        frames = _stood_in(_from_the_best_start(container, stream, segment), segment)
        for shown in deinterlaced(frames, stream) if segment.clip.interlaced else frames:
            count += 1
            yield shown
    if count != segment.frames:
        raise VideoError(
            f"{name} is damaged near {segment.start_s:.3f} s: "
            f"{count} of {segment.frames} frames could be decoded"
        )


@dataclass(frozen=True, order=True)
class _Due:
    """A frame that the segment is to have, as its packet announces it."""

    pts: int
    duration: int
    damaged: bool


_Timed = tuple[_Due | None, VideoFrame | None]
"""A due frame and the whole frame for it, if there is one; whole frames beside the segment come without a due."""


def _from_the_best_start(
    container: InputContainer, stream: VideoStream, segment: Segment
) -> Iterator[_Timed]:
    """The segment's frames, decoded from further back where decoding does not succeed from its own keyframe.

    That one may be damaged, or the stream may have no keyframes that stand for themselves (intra refresh).
    """
    for head_start_s in _HEAD_STARTS_S:
        timed = _timed(_packets_from(container, stream, segment, head_start_s), segment)
        first = next(timed, None)
        if first is None:
            continue
        if segment.index == 0 or first[1] is not None:
            break
    return timed if first is None else chain([first], timed)


def _timed(packets: Iterable[Packet[VideoStream]], segment: Segment) -> Iterator[_Timed]:
    timetable = _Timetable(segment)
    for packet in packets:
        timetable.add(packet)
        for frame in decoded(packet):
            whole = None if frame.is_corrupt else frame
            if segment.clip.times_by_order:
                due = timetable.first()
                if due is not None:
                    yield due, None if due.damaged else whole
                continue
            if frame.pts is None or frame.pts < segment.start_pts:
                if whole is not None:
                    yield None, whole
                continue
            for missing in timetable.before(frame.pts):
                yield missing, None
            if segment.end_pts is not None and frame.pts >= segment.end_pts:
                yield None, whole
                return
            due = timetable.take(frame.pts)
            if due is not None:
                yield due, None if due.damaged else whole
    for missing in timetable.before(None):
        yield missing, None


class _Timetable:
    """The frames that packets have announced and the decoder has not given yet; as many as it holds back."""

    def __init__(self, segment: Segment) -> None:
        self._segment = segment
        self._due: list[_Due] = []

    def add(self, packet: Packet[VideoStream]) -> None:
        pts = shown_at(packet, self._segment.clip.times_by_order)
        end = self._segment.end_time if self._segment.end_pts is None else self._segment.end_pts
        if packet.size and not packet.is_discard and pts is not None and self._segment.start_pts <= pts < end:
            heapq.heappush(self._due, _Due(pts, packet.duration or 0, packet.is_corrupt))

    def first(self) -> _Due | None:
        return heapq.heappop(self._due) if self._due else None

    def before(self, pts: int | None) -> Iterator[_Due]:
        """Take off the frames that should have come before this moment; all that are left when it is None."""
        while self._due and (pts is None or self._due[0].pts < pts):
            yield heapq.heappop(self._due)

    def take(self, pts: int) -> _Due | None:
        """Take off the frame that is due at this moment; None when it has come already, late, after damage."""
        return heapq.heappop(self._due) if self._due and self._due[0].pts == pts else None


def _stood_in(timed: Iterable[_Timed], segment: Segment) -> Iterator[ShownFrame]:
    """Put the last good frame where one is missing, the first good one where there is none before."""
    good: VideoFrame | None = None
    waiting: list[_Due] = []
    for due, frame in timed:
        good = frame if frame is not None else good
        if due is not None:
            waiting.append(due)
        if good is None:
            continue
        for late in waiting:
            yield ShownFrame(good, late.pts, late.duration, damaged=late is not due or frame is None)
        waiting.clear()
    if waiting:
        raise VideoError(
            f"{segment.clip.video.name} is damaged near {segment.start_s:.3f} s: "
            f"none of {segment.frames} frames could be decoded, nor any before or after them"
        )


def _packets_from(
    container: InputContainer, stream: VideoStream, segment: Segment, head_start_s: int | None
) -> Iterator[Packet[Any]]:
    """The packets from the segment's keyframe on, or from the keyframe before a head start.

    Where seeking overshoots, it is tried from further back. Nothing when the keyframe is not found again.
    """
    target = segment.keyframe_pts if segment.keyframe_dts is None else segment.keyframe_dts
    ticks_per_second = 1 / segment.clip.seconds_per_tick
    if head_start_s is not None:
        _seek(container, stream, target - int(head_start_s * ticks_per_second))
        yield from container.demux(stream)
        return
    for back_s in _SEEK_BACK_S:
        _seek(container, stream, target - int(back_s * ticks_per_second))
        packets = container.demux(stream)
        for packet in packets:
            pts = shown_at(packet, segment.clip.times_by_order)
            if packet.is_keyframe and pts == segment.keyframe_pts:
                yield packet
                yield from packets
                return
            if packet.dts is not None and packet.dts > target:
                break


def _seek(container: InputContainer, stream: VideoStream, ticks: int) -> None:
    """Go to a keyframe at or before a moment, or to the first one; AVI files know no moment before it."""
    try:
        container.seek(ticks, stream=stream)
    except av.error.PermissionError:
        container.seek(stream.start_time or 0, stream=stream)
