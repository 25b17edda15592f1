"""How frames are decoded: with as many threads as the codec bears."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from av.codec.context import ThreadType

from style_transfer import decoding
from style_transfer.segments import read_segments
from style_transfer.split import split
from tests.ffmpeg import film


@pytest.mark.parametrize(
    ("suffix", "codec", "side_by_side"), [("ogv", "libtheora", False), ("mp4", "libx264", True)]
)
def test_frames_that_ffmpeg_decodes_wrongly_side_by_side_are_decoded_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, codec: str, side_by_side: bool
) -> None:
    """Of Theora, with several threads and a busy machine, one clip in ten."""
    grey = np.stack([np.full((48, 64, 3), 10 * number, np.uint8) for number in range(12)])
    video = film(tmp_path / f"clip.{suffix}", grey, "-c:v", codec)
    split(video, tmp_path / "segments", 2)
    seen, opened = [], decoding.opened

    @contextmanager
    def watched(*of: Any) -> Iterator[Any]:
        with opened(*of) as (container, stream):
            seen.append(stream)
            yield container, stream

    monkeypatch.setattr(decoding, "opened", watched)
    (segment,) = read_segments(tmp_path / "segments")
    frames = decoding.segment_frames(video, segment, threads=4)
    next(frames)
    assert bool(seen[0].thread_type & ThreadType.FRAME) is side_by_side
    assert len(list(frames)) == 11
