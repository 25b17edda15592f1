"""Subtitles: text of any kind becomes MP4's own (mov_text); pictures of text cannot come along."""

from __future__ import annotations

from typing import Any

import av
from av.container import OutputContainer
from av.packet import Packet
from av.stream import Stream
from av.subtitles.stream import SubtitleStream

from style_transfer.labels import codec_name, keep_labels

# Codecs of text by FFmpeg's names; dvb_subtitle, dvd_subtitle, hdmv_pgs_subtitle and xsub are pictures.
_TEXT = frozenset({"subrip", "ass", "webvtt", "mov_text", "text", "microdvd", "subviewer", "sami", "ttml"})


def is_text(stream: Stream) -> bool:
    return isinstance(stream, SubtitleStream) and codec_name(stream) in _TEXT


class SubtitleTrack:
    """One stream of text on its way into an MP4 file. Italics and the like come along, places do not."""

    def __init__(self, source: SubtitleStream, out: OutputContainer) -> None:
        self._out = out
        self._lost = 0
        self._name = codec_name(source)
        self._copied = self._name == "mov_text"
        if self._copied:
            self._stream: Any = out.add_stream_from_template(source)
        else:
            self._stream = out.add_stream("mov_text")
            source.codec_context.open(strict=False)
            # The encoder wants to know which styles the text will name; the decoder makes a list of them.
            self._stream.codec_context.subtitle_header = source.codec_context.subtitle_header
        keep_labels(source, self._stream)

    @property
    def story(self) -> str:
        how = "copied as they are" if self._copied else "kept as MP4 text (mov_text)"
        lost = f"; {self._lost} of them are damaged and left out" if self._lost else ""
        return f"the subtitles ({self._name}) are {how}{lost}"

    def take(self, packet: Packet[Any]) -> None:
        if not packet.size:
            return
        if self._copied:
            packet.stream = self._stream
            self._out.mux(packet)
            return
        try:
            subtitle = packet.stream.codec_context.decode2(packet)
        except av.error.InvalidDataError:
            self._lost += 1
            return
        if subtitle is None or packet.pts is None:
            return
        encoded = self._stream.codec_context.encode_subtitle(subtitle)
        encoded.pts = encoded.dts = packet.pts
        encoded.duration = packet.duration
        encoded.time_base = packet.time_base
        encoded.stream = self._stream
        self._out.mux(encoded)

    def finish(self) -> None:
        """Nothing is held back."""
