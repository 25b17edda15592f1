"""What of a video does not come through as it was, a sentence each: what is converted and what is left out."""

from __future__ import annotations

from pathlib import Path

from av.container import InputContainer
from av.sidedata.sidedata import Type as SideData
from av.stream import Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from style_transfer.labels import codec_name
from style_transfer.segments import Clip
from style_transfer.sound import HELD_BY_MP4, held_streams
from style_transfer.video import first_frame, is_cover_picture, opened

FILE = "notes.txt"
_KINDS = {
    "video": "the second video stream",
    "audio": "the sound",
    "subtitle": "the subtitles",
    "data": "the data stream",
    "attachment": "the attachment",
}


def notes(video: Path, clip: Clip) -> list[str]:
    """The sentences, pictures first; none for a video that comes through whole."""
    with opened(video) as (container, stream):
        found = _about_streams(container, stream)
        return [*_about_pictures(first_frame(container, stream, video.name), clip), *found]


def _about_pictures(frame: VideoFrame, clip: Clip) -> list[str]:
    found = []
    depth = max(component.bits for component in frame.format.components)
    if clip.picture.is_hdr:
        found.append("high dynamic range is converted to BT.709, the range of common screens")
    if depth > 8:
        found.append(f"the {depth} bits of each colour become 8")
    if clip.interlaced:
        found.append("interlaced frames are made progressive, one for one")
    if any(component.is_alpha for component in frame.format.components):
        found.append("transparency is left out: an MP4 file of H.264 has none")
    if SideData.A53_CC in frame.side_data:
        found.append("closed captions inside the pictures (CEA-608/708) are left out")
    return found


def _about_streams(container: InputContainer, pictures: VideoStream) -> list[str]:
    held = {stream.index for stream in held_streams(container.streams)}
    return [
        sentence
        for stream in container.streams
        if stream.index != pictures.index and (sentence := _about(stream, stream.index in held))
    ]


def _about(stream: Stream, held: bool) -> str | None:
    name = codec_name(stream)
    language = stream.metadata.get("language", "und")
    codec = name if language == "und" else f"{name}, {language}"
    which = f"{_KINDS.get(stream.type, stream.type)} ({codec}), stream {stream.index} of the file,"
    if not held:
        if isinstance(stream, VideoStream) and is_cover_picture(stream):
            return "the cover picture is left out"
        if stream.type == "subtitle":
            return f"{which} are left out: they are no text, and an MP4 file holds text"
        if stream.type == "audio":
            return f"{which} is left out: it cannot be decoded"
        return f"{which} is left out"
    if stream.type == "audio" and name not in HELD_BY_MP4:
        return f"{which} becomes AAC: an MP4 file does not hold it as it is"
    if stream.type == "subtitle" and name != "mov_text":
        return f"{which} become text of MP4 files (mov_text), without the places they had on screen"
    return None
