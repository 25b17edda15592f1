"""What people call things: languages and titles of streams, the title of a video, its chapters."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from av.container import OutputContainer
from av.stream import Stream

from style_transfer.video import opened

_OF_THE_FILE = frozenset({"major_brand", "minor_version", "compatible_brands", "encoder", "duration"})


@dataclass(frozen=True)
class Labels:
    """The labels of a whole video, as PyAV gives them."""

    metadata: dict[str, str]
    chapters: list[Any]

    def put_on(self, out: OutputContainer) -> None:
        out.metadata.update(self.metadata)
        if self.chapters:
            out.set_chapters(self.chapters)


def labels_of(video: Path) -> Labels:
    """Title, author, date and so on, and the chapters; what speaks of the file itself is left out."""
    with opened(video) as (container, _):
        metadata = {
            name: value for name, value in container.metadata.items() if name.lower() not in _OF_THE_FILE
        }
        return Labels(metadata, container.chapters())


def keep_labels(source: Stream, target: Stream) -> None:
    """Language, title and purpose of a stream, on its copy. MP4 files call the title a name."""
    target.disposition = source.disposition
    labels = {
        "language": source.metadata.get("language"),
        "title": source.metadata.get("title") or source.metadata.get("name"),
    }
    target.metadata.update({name: value for name, value in labels.items() if value})


def codec_name(stream: Stream) -> str:
    """What a stream is encoded as, whichever decoder is used for it."""
    return "unknown" if stream.codec_context is None else stream.codec_context.codec.canonical_name
