"""Joining stylised segments and the sound to one MP4 file without encoding anything again."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

from common.output_files import sha256_of, whole_file
from common.receipts import Receipt, read_folder
from style_transfer.errors import ResultError
from style_transfer.labels import Labels, keep_labels
from style_transfer.segments import Segment
from style_transfer.timings import newest_and_worked
from style_transfer.video import fraction

_LONGEST_CLOCK = 2**31


def finished_segments(
    segments: Sequence[Segment], segments_folder: Path, stylized: Path, receipts: Path
) -> dict[str, Receipt]:
    """The receipt of every segment; ResultError names each one that failed, is missing or is not whole."""
    newest, worked = newest_and_worked(read_folder(receipts))
    problems = []
    for segment in segments:
        where = f"{segment.item.removesuffix('.json')} (from {segment.start_s:.3f} s)"
        found = newest.get(segment.item)
        if found is None:
            problems.append(f"{where} was never finished")
        elif not found.succeeded:
            problems.append(f"{where} failed: {found.error}")
        elif found.input != sha256_of(segments_folder / segment.item):
            problems.append(f"{where} was made from another version of the video")
        elif not all(output.is_at(stylized) for output in found.outputs):
            problems.append(f"{where} is not whole: {segment.output} is not what its receipt says")
    if problems:
        raise ResultError(
            f"{len(problems)} of {len(segments)} segments cannot be joined:\n  " + "\n  ".join(problems)
        )
    return {segment.item: worked.get(segment.item, newest[segment.item]) for segment in segments}


def join(
    segments: Sequence[Segment],
    stylized: Path,
    sound: Path | None,
    target: Path,
    labels: Labels | None = None,
) -> int:
    """Write the segments' packets, the sound's and the subtitles' to `target`, its index in front.

    Gives the number of frames.

    Timestamps are those of the source; a clock that started anywhere begins at 0. The file appears whole.
    ResultError when a segment holds other frames than it should.
    """
    base = Fraction(1, segments[0].clip.seconds_per_tick.denominator)
    shift = _first_moment(segments[0], sound) if segments[0].clip.clock_starts_anywhere else Fraction(0)
    with ExitStack() as stack:
        first = stack.enter_context(av.open(str(stylized / segments[0].output)))
        voice = None if sound is None else stack.enter_context(av.open(str(sound)))
        temporary = stack.enter_context(whole_file(target))
        out = stack.enter_context(
            av.open(str(temporary), "w", format="mp4", options=_muxer_options(base, voice))
        )
        if labels is not None:
            labels.put_on(out)
        picture = out.add_stream_from_template(first.streams.video[0])
        packets = [_picture_packets(segments, stylized, picture, base)]
        if voice is not None:
            packets.append(_sound_packets(voice, out))
        for packet in heapq.merge(*packets, key=_decoded_at):
            ticks = round(shift / fraction(packet.time_base))
            packet.pts = _ticks(packet.pts) - ticks
            packet.dts = _ticks(packet.dts) - ticks
            out.mux(packet)
    return sum(segment.frames for segment in segments)


def _picture_packets(
    segments: Sequence[Segment], stylized: Path, stream: VideoStream, base: Fraction
) -> Iterator[Packet[Any]]:
    parameters: bytes | None = None
    for segment in segments:
        start = segment.start_pts * segment.clip.seconds_per_tick.numerator
        end = segment.end_time * segment.clip.seconds_per_tick.numerator
        count = 0
        with av.open(str(stylized / segment.output)) as container:
            source = container.streams.video[0]
            parameters = source.codec_context.extradata if parameters is None else parameters
            if source.codec_context.extradata != parameters:
                raise ResultError(
                    f"{segment.output} was encoded with other parameters than the first segment"
                )
            for packet in container.demux(source):
                if packet.size == 0 or packet.pts is None or packet.dts is None:
                    continue
                count += 1
                ticks_per_base = fraction(packet.time_base) / base
                packet.pts = start + round(packet.pts * ticks_per_base)
                packet.dts = start + round(packet.dts * ticks_per_base)
                packet.duration = max(0, end - packet.pts) if count == segment.frames else 0
                packet.time_base = base
                packet.stream = stream
                yield packet
        if count != segment.frames:
            raise ResultError(f"{segment.output} has {count} frames; it must have {segment.frames}")


def _sound_packets(container: InputContainer, out: OutputContainer) -> Iterator[Packet[Any]]:
    streams = {}
    for stream in container.streams:
        streams[stream.index] = out.add_stream_from_template(stream)
        keep_labels(stream, streams[stream.index])
    return _renamed(container.demux(), streams)


def _renamed(packets: Iterable[Packet[Any]], streams: Mapping[int, Stream]) -> Iterator[Packet[Any]]:
    for packet in packets:
        if packet.size and packet.pts is not None and packet.dts is not None:
            packet.stream = streams[packet.stream.index]
            yield packet


def _decoded_at(packet: Packet[Any]) -> Fraction:
    return _ticks(packet.dts) * fraction(packet.time_base)


def _ticks(timestamp: int | None) -> int:
    if timestamp is None:
        raise ResultError("a packet without a timestamp cannot be joined")
    return timestamp


def _first_moment(first: Segment, sound: Path | None) -> Fraction:
    """When the first picture or the first sound begins, whichever is earlier."""
    moments = [first.start_pts * first.clip.seconds_per_tick]
    if sound is not None:
        with av.open(str(sound)) as container:
            moments += [
                stream.start_time * fraction(stream.time_base)
                for stream in container.streams.audio
                if stream.start_time is not None
            ]
    return min(moments)


def _muxer_options(base: Fraction, sound: InputContainer | None) -> dict[str, str]:
    """Clocks fine enough that the start of every stream is told exactly; the index before the packets."""
    streams = () if sound is None else sound.streams.audio
    clock = math.lcm(base.denominator, *(fraction(stream.time_base).denominator for stream in streams))
    return {
        "movflags": "+faststart",
        "movie_timescale": str(clock if clock < _LONGEST_CLOCK else base.denominator),
        "video_track_timescale": str(base.denominator),
    }
