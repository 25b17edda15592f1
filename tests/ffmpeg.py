"""Debian's ffmpeg and ffprobe, which know nothing of PyAV: makers of fixtures, and independent readers of results."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Pixels = np.ndarray[Any, np.dtype[np.uint8]]


def ffmpeg(*arguments: object, feed: bytes | None = None) -> bytes:
    """Run ffmpeg; gives what it writes to its standard output."""
    return _run("ffmpeg", "-loglevel", "error", "-y", *arguments, feed=feed).stdout


def ffmpeg_says(*arguments: object) -> str:
    """What ffmpeg tells while it works."""
    return _run("ffmpeg", "-hide_banner", "-nostats", *arguments).stderr.decode()


def _run(program: str, *arguments: object, feed: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    path = shutil.which(program)
    if path is None:
        pytest.fail(f"{program} is missing: install Debian's package ffmpeg (apt-get install ffmpeg)")
    done = subprocess.run(
        [path, *map(str, arguments)], input=feed, capture_output=True, check=False, timeout=60
    )
    assert done.returncode == 0, f"{program} {arguments}: {done.stderr.decode(errors='replace')}"
    return done


@dataclass(frozen=True)
class Probe:
    """What ffprobe says of a file, every frame decoded and every packet read."""

    path: Path

    @cached_property
    def _said(self) -> dict[str, Any]:
        shown = ("-show_streams", "-show_format", "-show_frames", "-show_packets", "-show_chapters")
        said = _run("ffprobe", "-loglevel", "error", "-count_frames", *shown, "-of", "json", self.path)
        found: dict[str, Any] = json.loads(said.stdout)
        return found

    def streams(self, kind: str) -> list[dict[str, Any]]:
        return [stream for stream in self._said["streams"] if stream["codec_type"] == kind]

    @property
    def video(self) -> dict[str, Any]:
        (stream,) = self.streams("video")
        return stream

    @property
    def size(self) -> tuple[int, int]:
        return self.video["width"], self.video["height"]

    @property
    def frame_count(self) -> int:
        return int(self.video["nb_read_frames"])

    @property
    def rotation(self) -> list[Any]:
        """What the file asks players to turn the picture by."""
        return [each for each in self.video.get("side_data_list", []) if "rotation" in each]

    @property
    def moments(self) -> list[Fraction]:
        """When each frame of the video is shown, in seconds; by its packets where the frames do not tell."""
        base = Fraction(self.video["time_base"])
        frames = [each for each in self._of_video("frame") if "pts" in each]
        if len(frames) == self.frame_count:
            return [each["pts"] * base for each in frames]
        return sorted(each.get("pts", each.get("dts")) * base for each in self._of_video("packet"))

    def _of_video(self, kind: str) -> list[dict[str, Any]]:
        number = self.video["index"]
        return [
            each
            for each in self._said["packets_and_frames"]
            if each["type"] == kind and each["stream_index"] == number
        ]

    @property
    def chapters(self) -> list[tuple[str, str, str]]:
        return [
            (each["tags"]["title"], each["start_time"], each["end_time"]) for each in self._said["chapters"]
        ]

    @property
    def tags(self) -> dict[str, str]:
        tags: dict[str, str] = self._said["format"].get("tags", {})
        return tags

    @property
    def seconds(self) -> float:
        return float(self._said["format"]["duration"])

    def lengths(self) -> dict[int, float]:
        """How long each stream is, in seconds, by its number."""
        return {each["index"]: float(each["duration"]) for each in self._said["streams"]}

    def first_moment(self, kind: str) -> float:
        """When the first packet of the first stream of a kind is played, in seconds."""
        first = self.streams(kind)[0]["index"]
        packets = [each for each in self._said["packets_and_frames"] if each["type"] == "packet"]
        return min(float(each["pts_time"]) for each in packets if each["stream_index"] == first)

    def packets(self, stream: int) -> str:
        """Checksums of the packets of one stream, which ffmpeg takes out of the file as they are."""
        hashes = ffmpeg("-i", self.path, "-map", f"0:{stream}", "-c", "copy", "-f", "framehash", "-")
        return "\n".join(line.split(",")[5] for line in hashes.decode().splitlines() if line[0] != "#")

    def pictures(self) -> Pixels:
        """The frames as RGB [number, height, width, 3], the way a player shows them."""
        flags = "scale=sws_flags=accurate_rnd+full_chroma_int+bilinear"
        raw = ffmpeg(
            *("-threads", "1"),  # with more, FFmpeg decodes Theora wrongly now and then
            *("-i", self.path, "-map", "0:v:0", "-fps_mode", "passthrough", "-vf", flags),
            *("-pix_fmt", "rgb24", "-f", "rawvideo", "-"),
        )
        width, height = self.size
        turned = [abs(int(each["rotation"])) % 180 == 90 for each in self.rotation]
        if any(turned):
            width, height = height, width
        return np.frombuffer(raw, np.uint8).reshape(-1, height, width, 3)


def film(path: Path, pictures: Pixels, *arguments: object, rate: int = 12) -> Path:
    """Encode RGB pictures [number, height, width, 3] with ffmpeg, `arguments` between its input and the file."""
    height, width = pictures.shape[1:3]
    ffmpeg(
        *("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", rate, "-i", "-"),
        *arguments,
        path,
        feed=pictures.tobytes(),
    )
    return path
