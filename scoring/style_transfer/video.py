"""Reading a video with PyAV: opening and judging it, its compressed frames, the frames of one segment."""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import av
import numpy as np
from av.container import InputContainer
from av.format import Flags
from av.packet import Packet
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Interpolation
from av.video.stream import VideoStream

from common import onnx_session
from common.receipts import FileVersion
from style_transfer.errors import VideoError
from style_transfer.picture_format import PictureFormat, picture_format
from style_transfer.segments import Clip, Segment, VideoPacket

_SCALING = Interpolation.BICUBIC | Interpolation.ACCURATE_RND
_KEEPING = Interpolation.BILINEAR | Interpolation.ACCURATE_RND
_COUNTED_FORMATS = ("mov", "mp4")
_TIMED_FORMATS = ("matroska",)
_TIME_SLACK_S = 1
_SEEK_BACK_S = (0, 2, 10, 60)


@contextmanager
def opened(video: Path, name: str | None = None) -> Iterator[tuple[InputContainer, VideoStream]]:
    """The open container and its video stream; whatever PyAV raises inside comes out as a VideoError."""
    name = name or video.name
    if not video.is_file():
        raise VideoError(f"{name}: there is no such file")
    if not video.stat().st_size:
        raise VideoError(f"{name} is empty")
    try:
        with av.open(str(video)) as container:
            streams = [s for s in container.streams.video if not _is_cover_picture(s)]
            if not streams:
                kinds = sorted(str(stream.type) for stream in container.streams) or ["nothing readable"]
                raise VideoError(f"{name} has no video stream, only {', '.join(kinds)}")
            yield container, streams[0]
    except av.error.FFmpegError as error:
        raise VideoError(
            f"{name} cannot be read as a video (truncated, or not a video?): {error.strerror}"
        ) from error


def describe(video: Path) -> Clip:
    """What the video says about itself, its first frame among it; VideoError when it cannot be worked on."""
    with opened(video) as (container, stream):
        frame = _first_frame(container, stream, video.name)
        rate = fraction(stream.average_rate) or fraction(stream.guessed_rate) or Fraction(25)
        return Clip(
            video=FileVersion.of(video),
            picture=picture_format(
                video.name,
                (frame.width, frame.height),
                rotation=frame.rotation,
                matrix=int(frame.colorspace),
                primaries=int(frame.color_primaries),
                transfer=int(frame.color_trc),
                color_range=int(frame.color_range),
                pixel_format=frame.format.name,
                sample_aspect_ratio=fraction(stream.sample_aspect_ratio),
            ),
            time_base=str(fraction(stream.time_base)),
            frame_rate=str(rate),
            clock_starts_anywhere=bool(Flags(container.format.flags) & Flags.ts_discont),
        )


def video_packets(container: InputContainer, stream: VideoStream, name: str) -> Iterator[VideoPacket]:
    """The video's compressed frames without decoding them; VideoError when the file ends too early."""
    count = 0
    end = Fraction(0)
    for packet in container.demux():
        if packet.size == 0:
            continue
        end = max(end, _end(packet))
        if packet.stream.index != stream.index:
            continue
        count += 1
        if packet.is_corrupt:
            raise VideoError(f"{name} is damaged or truncated: frame {count} is not whole")
        pts = packet.pts if packet.pts is not None else packet.dts
        if pts is None:
            raise VideoError(
                f"{name} has frames without timestamps: write them, "
                "for instance with ffmpeg -fflags +genpts -i in -c copy out.mp4"
            )
        yield VideoPacket(
            pts=pts,
            dts=packet.dts,
            duration=packet.duration or 0,
            keyframe=packet.is_keyframe,
            shown=not packet.is_discard,
        )
    if not count:
        raise VideoError(f"{name} has no frames")
    _check_whole(container, stream, name, count, end)


def _check_whole(
    container: InputContainer, stream: VideoStream, name: str, count: int, end: Fraction
) -> None:
    """Compare what was read with what the file announces; transport streams announce nothing."""
    kind = container.format.name.split(",")[0]
    if kind in _COUNTED_FORMATS and count < len(stream.index_entries):
        raise VideoError(
            f"{name} is truncated: it announces {len(stream.index_entries)} frames and holds {count}"
        )
    announced = Fraction(container.duration or 0, av.time_base)
    if kind in _TIMED_FORMATS and end < announced - _TIME_SLACK_S:
        raise VideoError(
            f"{name} is truncated: it announces {float(announced):.1f} s and ends after {float(end):.1f} s"
        )


def _end(packet: Packet[Any]) -> Fraction:
    if packet.pts is None:
        return Fraction(0)
    return (packet.pts + (packet.duration or 0)) * fraction(packet.time_base)


def segment_frames(
    video: Path, segment: Segment, *, threads: int | None = None
) -> Generator[VideoFrame, None, None]:
    """Decode the frames of a segment in the order in which they are shown.

    VideoError when there are fewer or more of them than the split step counted.
    """
    name = segment.clip.video.name
    count = 0
    with opened(video, name) as (container, stream):
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = threads or coding_threads()
        for frame in _decoded(_packets_from(container, stream, segment), stream):
            pts = frame.pts
            if pts is None or pts < segment.start_pts:
                continue
            if segment.end_pts is not None and pts >= segment.end_pts:
                break
            count += 1
            yield frame
    if count != segment.frames:
        raise VideoError(
            f"{name} is damaged near {segment.start_s:.3f} s: "
            f"{count} of {segment.frames} frames could be decoded"
        )


class Rational(Protocol):
    """A number with a numerator and a denominator."""

    @property
    def numerator(self) -> int: ...
    @property
    def denominator(self) -> int: ...


class FrameReader:
    """Turns decoded frames into RGB arrays [height, width, 3], as they are shown, at most so high."""

    def __init__(self, picture: PictureFormat, max_height: int | None = None) -> None:
        self._picture = picture
        self._width, self._height = picture.read_size(max_height)
        self._turns = picture.rotation // 90

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the arrays."""
        return (self._height, self._width) if self._turns % 2 else (self._width, self._height)

    def read(self, frame: VideoFrame) -> np.ndarray[Any, np.dtype[np.uint8]]:
        picture = self._picture
        if (frame.width, frame.height) != (picture.width, picture.height) and not self._scales:
            raise VideoError(
                f"the frame size changes from {picture.width}x{picture.height} to {frame.width}x{frame.height}: "
                "re-encode the video at one size, or give max_height"
            )
        planes = frame.reformat(
            width=self._width,
            height=self._height,
            format="gbrp",  # swscale's way to it is exact to one level and three times faster than to rgb24
            src_colorspace=picture.swscale_matrix,
            src_color_range=ColorRange.JPEG if picture.full_range else ColorRange.MPEG,
            dst_color_range=ColorRange.JPEG,
            interpolation=_SCALING if self._scales else _KEEPING,
            threads=1,
        )
        rgb = planes.reformat(format="rgb24", threads=1)
        array: np.ndarray[Any, np.dtype[np.uint8]] = rgb.to_ndarray()  # type: ignore[assignment]
        return np.ascontiguousarray(np.rot90(array, self._turns)) if self._turns else array

    @property
    def _scales(self) -> bool:
        return (self._width, self._height) != (self._picture.width, self._picture.height)


def segment_picture(video: Path, segment: Segment) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """The first frame of a segment as an RGB array."""
    frames = segment_frames(video, segment)
    try:
        return FrameReader(segment.clip.picture).read(next(frames))
    finally:
        frames.close()


def first_picture(video: Path) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """The first frame of a video as an RGB array."""
    picture = describe(video).picture
    with opened(video) as (container, stream):
        return FrameReader(picture).read(_first_frame(container, stream, video.name))


def coding_threads() -> int:
    """How many threads a decoder or an encoder may use beside the model: a quarter of its, one to four."""
    return min(4, max(1, onnx_session.threads() // 4))


def fraction(rational: Rational | None) -> Fraction:
    """A rational number of PyAV's, whose type depends on its version, as a Fraction; 0 where it is undefined."""
    if rational is None or not rational.denominator:
        return Fraction(0)
    return Fraction(rational.numerator, rational.denominator)


def _first_frame(container: InputContainer, stream: VideoStream, name: str) -> VideoFrame:
    for frame in _decoded(container.demux(stream), stream):
        return frame
    raise VideoError(f"{name} has no frames that can be decoded")


def _decoded(packets: Iterator[Packet[Any]] | Any, stream: VideoStream) -> Iterator[VideoFrame]:
    """Decode packets; what libavcodec cannot make sense of is passed over, so that the count tells."""
    for packet in packets:
        try:
            yield from packet.decode()
        except av.error.InvalidDataError as error:
            print(
                f"a frame of stream {stream.index} cannot be decoded: {error.strerror}",
                file=sys.stderr,
                flush=True,
            )


def _packets_from(
    container: InputContainer, stream: VideoStream, segment: Segment
) -> Iterator[Packet[VideoStream]]:
    """The packets from the segment's keyframe on; where seeking overshoots, it is tried from further back."""
    target = segment.keyframe_pts if segment.keyframe_dts is None else segment.keyframe_dts
    for back_s in _SEEK_BACK_S:
        container.seek(target - int(back_s / segment.clip.seconds_per_tick), stream=stream)
        packets = container.demux(stream)
        for packet in packets:
            pts = packet.pts if packet.pts is not None else packet.dts
            if packet.is_keyframe and pts == segment.keyframe_pts:
                yield packet
                yield from packets
                return
            if packet.dts is not None and packet.dts > target:
                break
    raise VideoError(
        f"{segment.clip.video.name}: the keyframe at {segment.start_s:.3f} s cannot be found again by seeking"
    )


def _is_cover_picture(stream: VideoStream) -> bool:
    return Disposition.attached_pic in Disposition(stream.disposition)
