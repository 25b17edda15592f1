"""The demo clip: what the photographs make of themselves, the same every time."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from style_transfer.sample_clip import make_clip
from tests.style_clips import read_frames, sound_packets


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    make_clip(path, seconds=2, width=160, height=90)
    return path


def test_it_has_picture_and_sound_of_the_length_asked_for(clip: Path) -> None:
    with av.open(str(clip)) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert (video.codec_context.name, audio.codec_context.name) == ("h264", "aac")
        assert (video.width, video.height, video.average_rate) == (160, 90, 25)
        assert container.duration is not None
        assert container.duration / 1e6 == pytest.approx(2, abs=0.05)
        packets = [packet for packet in container.demux(video) if packet.size]
    assert len(packets) == 50
    assert [packet.pts for packet in packets if packet.is_keyframe] == [0, packets[0].duration * 25]


def test_it_moves_over_two_photographs(clip: Path) -> None:
    frames = [frame.rgb.astype(np.int16) for frame in read_frames(clip)]
    changes = [float(np.abs(a - b).mean()) for a, b in pairwise(frames)]
    assert min(changes) > 0
    assert int(np.argmax(changes)) == 24  # the cut from one photograph to the other
    assert all(frame.std() > 10 for frame in frames)


def test_it_is_the_same_every_time(clip: Path, tmp_path: Path) -> None:
    make_clip(tmp_path / "again.mp4", seconds=2, width=160, height=90)
    assert sound_packets(tmp_path / "again.mp4") == sound_packets(clip)
    again = read_frames(tmp_path / "again.mp4")
    differences = [
        float(np.abs(a.rgb.astype(np.int16) - b.rgb).mean())
        for a, b in zip(again, read_frames(clip), strict=True)
    ]
    told = {number: round(difference, 2) for number, difference in enumerate(differences) if difference}
    coded = [
        a == b for a, b in zip(coded_pictures(tmp_path / "again.mp4"), coded_pictures(clip), strict=True)
    ]
    # levels of 255: the same pictures, whatever the encoder rounds
    assert max(differences) < 0.5, f"frames differ by {told}; packets that differ: {coded.count(False)}"


def coded_pictures(clip: Path) -> list[bytes]:
    with av.open(str(clip)) as container:
        return [bytes(packet) for packet in container.demux(video=0) if packet.size]
