"""Reading a video with PyAV: opening and judging it, and its compressed frames."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import av
from av.container import InputContainer
from av.format import Flags
from av.packet import Packet
from av.sidedata.sidedata import Type as SideData
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from PIL import Image

from common import onnx_session
from common.receipts import FileVersion
from style_transfer.errors import VideoError
from style_transfer.picture_format import picture_format
from style_transfer.pictures import MAX_PAINTED_PIXELS
from style_transfer.segments import Clip, VideoPacket

# What a container may be. Playlists and scripts are none: they would have other files read, or the network.
FORMATS = (
    "3g2,3gp,apng,asf,avi,dv,flv,gif,gxf,h264,hevc,ivf,live_flv,m4v,matroska,mov,mp4,mpeg,mpegts,mpegvideo,mxf,"
    "nsv,nut,nuv,ogg,rm,ty,webm,wtv,yuv4mpegpipe"
)
READABLE = "MP4, MOV, MKV, WebM, AVI, MPEG-TS, MPEG, FLV, ASF/WMV, Ogg, MXF, GIF and some more"
_OPTIONS = {"format_whitelist": FORMATS, "protocol_whitelist": "file"}
_COUNTED_FORMATS = ("mov", "mp4")
_TIMED_FORMATS = ("matroska",)
_STREAMED_FORMATS = ("mpegts", "mpeg")
_STILL_FORMATS, _STILL_BRANDS = ("gif", "apng"), ("avif", "heic", "heix", "mif1")
_TIME_SLACK_S = 1


@contextmanager
def opened(video: Path, name: str | None = None) -> Iterator[tuple[InputContainer, VideoStream]]:
    """The open container and its video stream; whatever PyAV raises inside comes out as a VideoError."""
    name = name or video.name
    if not video.is_file():
        raise VideoError(f"{name}: there is no such file")
    if not video.stat().st_size:
        raise VideoError(f"{name} is empty: it has 0 bytes; upload it again")
    try:
        with av.open(str(video), options=_OPTIONS) as container:
            streams = [s for s in container.streams.video if not is_cover_picture(s)]
            if not streams:
                kinds = sorted(str(stream.type) for stream in container.streams) or ["nothing readable"]
                raise VideoError(f"{name} has no video stream, only {', '.join(kinds)}")
            if streams[0].codec_context is None:
                raise VideoError(
                    f"{name}: the codec of its video is unknown here; `ffprobe` tells its name, and a program that "
                    "plays it may save it as MP4"
                )
            _check_size(streams[0], name)
            yield container, streams[0]
    except av.error.FFmpegError as error:
        if picture := _picture_kind(video):
            raise _still_picture(name, picture) from error
        raise VideoError(
            f"{name} cannot be read as a video (truncated, or not a video?): {error.strerror}; "
            f"readable are {READABLE}. `ffprobe` tells what a file is, and `ffmpeg -i in out.mp4` converts it"
        ) from error


def _check_size(stream: VideoStream, name: str) -> None:
    """A file of some kilobytes may hold frames of gigabytes: after the one that opening it looks at none is decoded, also
    where frames grow on the way."""
    width, height = stream.codec_context.width, stream.codec_context.height
    if width * height > MAX_PAINTED_PIXELS:
        raise VideoError(
            f"{name} is {width}x{height}; at most {MAX_PAINTED_PIXELS // 1_000_000} million pixels are painted at once: "
            "`ffmpeg -i in -vf scale=-2:2160 out.mp4` shrinks it"
        )
    stream.codec_context.options = {**stream.codec_context.options, "max_pixels": str(MAX_PAINTED_PIXELS)}


def describe(video: Path) -> Clip:
    """What the video says about itself, its first frame among it; VideoError when it cannot be worked on."""
    with opened(video) as (container, stream):
        frame = first_frame(container, stream, video.name)
        matrix = frame.side_data.get(SideData.DISPLAYMATRIX)
        return Clip(
            video=FileVersion.of(video),
            picture=picture_format(
                video.name,
                (frame.width, frame.height),
                display_matrix=None if matrix is None else struct.unpack("=9i", bytes(matrix)),
                matrix=int(frame.colorspace),
                primaries=int(frame.color_primaries),
                transfer=int(frame.color_trc),
                color_range=int(frame.color_range),
                pixel_format=frame.format.name,
                sample_aspect_ratio=fraction(stream.sample_aspect_ratio),
            ),
            time_base=str(fraction(stream.time_base)),
            frame_rate=str(_rate(stream)),
            clock_starts_anywhere=bool(Flags(container.format.flags) & Flags.ts_discont),
            interlaced=frame.interlaced_frame,
            times_by_order=_has_no_presentation_times(container, stream),
        )


def video_packets(container: InputContainer, stream: VideoStream, name: str) -> Iterator[VideoPacket]:
    """The video's compressed frames without decoding them; VideoError when the file ends too early."""
    count = 0
    corrupt = False
    end = Fraction(0)
    times_by_order = _has_no_presentation_times(container, stream)
    usual_duration = max(1, round(1 / (_rate(stream) * fraction(stream.time_base))))
    with _complaints(container) as complaints:
        for packet in container.demux():
            if packet.size == 0:
                continue
            end = max(end, _end(packet))
            if packet.stream.index != stream.index:
                continue
            count += 1
            corrupt = packet.is_corrupt
            pts = shown_at(packet, times_by_order)
            if pts is None:
                raise VideoError(
                    f"{name} has frames without timestamps: write them, "
                    "for instance with ffmpeg -fflags +genpts -i in -c copy out.mp4"
                )
            yield VideoPacket(
                pts=pts,
                dts=packet.dts,
                duration=packet.duration or usual_duration,
                keyframe=packet.is_keyframe,
                shown=not packet.is_discard,
                after_damage=complaints.any_new(),
            )
    kind = _kind(container)
    if not count:
        raise VideoError(f"{name} has no frames")
    if count == 1 and (kind in _STILL_FORMATS or container.metadata.get("major_brand") in _STILL_BRANDS):
        raise _still_picture(name, container.metadata.get("major_brand", kind).upper())
    if corrupt and kind not in _STREAMED_FORMATS:
        raise VideoError(
            f"{name} is truncated: its last frame, number {count}, is not whole; upload it again"
        )
    _check_whole(container, stream, name, count, end)


def _check_whole(
    container: InputContainer, stream: VideoStream, name: str, count: int, end: Fraction
) -> None:
    """Compare what was read with what the file announces; transport streams announce nothing."""
    kind = _kind(container)
    if kind in _COUNTED_FORMATS and count < len(stream.index_entries):
        raise VideoError(
            f"{name} is truncated: it announces {len(stream.index_entries)} frames and holds {count}; "
            "upload it again"
        )
    announced = Fraction(container.duration or 0, av.time_base)
    if kind in _TIMED_FORMATS and end < announced - _TIME_SLACK_S:
        raise VideoError(
            f"{name} is truncated: it announces {float(announced):.1f} s and ends after {float(end):.1f} s; "
            "upload it again"
        )


def _end(packet: Packet[Any]) -> Fraction:
    if packet.pts is None:
        return Fraction(0)
    return (packet.pts + (packet.duration or 0)) * fraction(packet.time_base)


def first_frame(container: InputContainer, stream: VideoStream, name: str) -> VideoFrame:
    """The first frame that can be decoded, a whole one if there is any near; VideoError when there is none."""
    damaged = None
    for packet in container.demux(stream):
        if packet.has_sidedata("encryption_info"):
            raise VideoError(f"{name} is encrypted: decrypt it first, or take a copy without protection")
        for frame in decoded(packet):
            if not frame.is_corrupt:
                return frame
            damaged = damaged or frame
    if damaged is not None:
        return damaged
    raise VideoError(
        f"{name} has no frames that can be decoded: its {stream.codec_context.name} video is damaged or encrypted"
    )


def shown_at(packet: Packet[Any], times_by_order: bool) -> int | None:
    """When the frame of a packet is shown, as far as the container knows."""
    return packet.dts if times_by_order or packet.pts is None else packet.pts


def decoded(packet: Packet[VideoStream]) -> list[VideoFrame]:
    """The frames that the decoder gives for a packet; none when it cannot make sense of it."""
    try:
        return packet.decode()
    except av.error.InvalidDataError:
        return []


def coding_threads() -> int:
    """How many threads a decoder or an encoder may use beside the model: a quarter of its, one to four."""
    return min(4, max(1, onnx_session.threads() // 4))


def is_cover_picture(stream: VideoStream) -> bool:
    return Disposition.attached_pic in Disposition(stream.disposition)


class Rational(Protocol):
    """A number with a numerator and a denominator."""

    @property
    def numerator(self) -> int: ...
    @property
    def denominator(self) -> int: ...


def fraction(rational: Rational | None) -> Fraction:
    """A rational number of PyAV's, whose type depends on its version, as a Fraction; 0 where it is undefined."""
    if rational is None or not rational.denominator:
        return Fraction(0)
    return Fraction(rational.numerator, rational.denominator)


class _Complaints:
    """What the reader of a container complains of, such as what it skips to find the next thing it knows."""

    def __init__(self, container: InputContainer, logged: list[tuple[int, str, str]]) -> None:
        self._reader = container.format.name
        self._logged = logged

    def any_new(self) -> bool:
        found = any(reader == self._reader for _, reader, _ in self._logged)
        self._logged.clear()
        return found


@contextmanager
def _complaints(container: InputContainer) -> Iterator[_Complaints]:
    """FFmpeg tells only its log that it skipped damaged parts of a file; what it logs in this thread is kept."""
    level = av.logging.get_level()
    av.logging.set_level(av.logging.ERROR)
    try:
        with av.logging.Capture() as logged:
            yield _Complaints(container, logged)
    finally:
        av.logging.set_level(level)


def _rate(stream: VideoStream) -> Fraction:
    return fraction(stream.average_rate) or fraction(stream.guessed_rate) or Fraction(25)


def _kind(container: InputContainer) -> str:
    return container.format.name.split(",")[0]


def _has_no_presentation_times(container: InputContainer, stream: VideoStream) -> bool:
    """AVI tells only when frames are decoded; where their order changes, the parser of MPEG-4 alone knows more."""
    context = stream.codec_context
    return _kind(container) == "avi" and context.has_b_frames and context.name != "mpeg4"


def _picture_kind(video: Path) -> str | None:
    """The format of a still picture, or None for what is none."""
    try:
        with Image.open(video) as picture:
            return picture.format
    except Exception:  # whatever Pillow stumbles over is no picture
        return None


def _still_picture(name: str, kind: str) -> VideoError:
    return VideoError(
        f"{name} is a still picture ({kind}), not a video: pictures are painted by style_transfer/frames"
    )
