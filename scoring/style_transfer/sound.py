"""What goes with the pictures: sound and subtitles, copied as they are or made into what an MP4 file holds."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol, cast

import av
from av.audio.frame import AudioFrame
from av.audio.layout import AudioLayout
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.packet import Packet
from av.stream import Stream

from common.output_files import whole_file
from style_transfer.errors import VideoError
from style_transfer.labels import codec_name, keep_labels
from style_transfer.subtitles import SubtitleTrack, is_text
from style_transfer.video import fraction, opened

FILE = "audio.mp4"
HELD_BY_MP4 = frozenset({"aac", "mp3", "ac3", "eac3", "opus", "flac", "alac"})
_AAC_BIT_RATE = 192_000
_AAC_RATES = (96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000)
_OTHER_RATE = 48_000
_AAC_LAYOUTS = ("mono", "stereo", "3.0", "4.0", "5.0", "5.1", "7.1")
_LAYOUT_OF_COUNT = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1", 8: "7.1"}
_LONGEST_CLOCK = 2**31


class Track(Protocol):
    """One stream on its way into an MP4 file; `story` says in a sentence what becomes of it."""

    @property
    def story(self) -> str: ...
    def take(self, packet: Packet[Any]) -> None: ...
    def finish(self) -> None: ...


def extract_sound(video: Path, folder: Path) -> str:
    """Write the video's sound and subtitles to `folder` and say in a sentence what was done.

    No file when there is neither. VideoError when they cannot be read.
    """
    with opened(video) as (container, _):
        streams = held_streams(container.streams)
        if not streams:
            (folder / FILE).unlink(missing_ok=True)
            return "the video has no sound"
        clocks = math.lcm(*(fraction(stream.time_base).denominator for stream in streams))
        options = {"movie_timescale": str(clocks)} if clocks < _LONGEST_CLOCK else {}
        with (
            whole_file(folder / FILE) as temporary,
            av.open(str(temporary), "w", format="mp4", options=options) as out,
        ):
            tracks: dict[int, Track] = {
                stream.index: _SoundTrack(stream, out)
                if isinstance(stream, AudioStream)
                else SubtitleTrack(stream, out)
                for stream in streams
            }
            try:
                for packet in container.demux(streams):
                    tracks[packet.stream.index].take(packet)
                for track in tracks.values():
                    track.finish()
            except av.error.FFmpegError as error:
                raise VideoError(f"the sound of {video.name} cannot be read: {error.strerror}") from error
    stories = [track.story for track in tracks.values()]
    if not any(isinstance(stream, AudioStream) for stream in streams):
        stories.insert(0, "the video has no sound")
    return "; ".join(stories)


def held_streams(streams: Iterable[Stream]) -> list[Any]:
    """The sound and subtitles that can come along: those that are copied, or decoded and written anew."""
    return [
        stream
        for stream in streams
        if stream.codec_context is not None and (stream.type == "audio" or is_text(stream))
    ]


def aac_layout(source: AudioLayout) -> str:
    """The loudspeakers that AAC is to speak to: those of the source where it can, else two."""
    if source.name in _AAC_LAYOUTS:
        return source.name
    if source.name == f"{source.nb_channels} channels":
        return _LAYOUT_OF_COUNT.get(source.nb_channels, "stereo")
    return "stereo" if source.nb_channels > 1 else "mono"


class _SoundTrack:
    """One sound stream on its way into an MP4 file."""

    def __init__(self, source: AudioStream, out: OutputContainer) -> None:
        self._out = out
        self._lost = 0
        self._name = codec_name(source)
        self._copied = self._name in HELD_BY_MP4
        if self._copied:
            self._stream = out.add_stream_from_template(source)
        else:
            rate = source.codec_context.sample_rate
            self._stream = out.add_stream("aac", rate if rate in _AAC_RATES else _OTHER_RATE)
            self._stream.codec_context.layout = aac_layout(source.codec_context.layout)
            self._stream.codec_context.bit_rate = _AAC_BIT_RATE
        keep_labels(source, self._stream)

    @property
    def story(self) -> str:
        if self._copied:
            return f"the sound ({self._name}) is copied as it is"
        lost = f"; {self._lost} packets of it are damaged and left out" if self._lost else ""
        return f"the sound ({self._name}) is no format for an MP4 file and was encoded as AAC{lost}"

    def take(self, packet: Packet[Any]) -> None:
        if not self._copied:
            try:
                frames = packet.decode()
            except av.error.InvalidDataError:
                self._lost += 1
                return
            for frame in frames:
                self._out.mux(self._stream.encode(cast("AudioFrame", frame)))
        elif packet.size:
            packet.stream = self._stream
            self._out.mux(packet)

    def finish(self) -> None:
        if not self._copied:
            self._out.mux(self._stream.encode(None))
