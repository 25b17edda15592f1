"""Makes the demo clip: a crop that moves over scikit-learn's two photographs, with a tone."""

from __future__ import annotations

import argparse
import math
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace
from PIL import Image

from common.output_files import whole_file

FRAME_RATE = 25
SOUND_RATE = 44_100
_SOUND_BLOCK = 1_024
_BT709 = 1


def make_clip(target: Path, *, seconds: float = 8, width: int = 640, height: int = 360) -> None:
    """Write the clip as H.264 and AAC in an MP4 file; `width` and `height` are even.

    The crop wanders over the first photograph, then over the second one; a cut lies between them.
    Keyframes come every second. Needs scikit-learn, which ships the photographs.
    """
    from sklearn.datasets import load_sample_images  # a workstation has it, the compute does not need it

    photographs = [_grown(image, width, height) for image in load_sample_images().images]
    frames = round(seconds * FRAME_RATE)
    with whole_file(target) as temporary, av.open(str(temporary), "w", format="mp4") as out:
        picture = out.add_stream("libx264", FRAME_RATE, {"preset": "medium", "crf": "18"})
        context = picture.codec_context
        context.width, context.height, context.pix_fmt = width, height, "yuv420p"
        context.gop_size = FRAME_RATE
        context.max_b_frames = 0  # with them or with threads, x264 does not give the same bytes every time
        context.thread_count = 1
        context.color_range, context.colorspace = ColorRange.MPEG, _BT709
        context.color_primaries = context.color_trc = _BT709
        sound = out.add_stream("aac", SOUND_RATE)
        sound.codec_context.layout = "mono"
        played = 0
        for number in range(frames):
            out.mux(picture.encode(_picture(photographs, number, frames, width, height)))
            while played * FRAME_RATE < (number + 1) * SOUND_RATE:
                out.mux(sound.encode(_tone(played, frames)))
                played += _SOUND_BLOCK
        out.mux(picture.encode(None))
        out.mux(sound.encode(None))


def _grown(image: np.ndarray[Any, Any], width: int, height: int) -> Image.Image:
    """The photograph at a size that leaves a quarter more than the crop on every side to move in."""
    picture = Image.fromarray(image)
    scale = max(1.5 * width / picture.width, 1.5 * height / picture.height)
    return picture.resize(
        (round(picture.width * scale), round(picture.height * scale)), Image.Resampling.LANCZOS
    )


def _picture(photographs: list[Image.Image], number: int, frames: int, width: int, height: int) -> VideoFrame:
    per_photograph = math.ceil(frames / len(photographs))
    photograph = photographs[number // per_photograph]
    angle = math.tau * (number % per_photograph) / per_photograph
    left = round((photograph.width - width) * (0.5 - 0.5 * math.cos(angle / 2)))
    top = round((photograph.height - height) * (0.5 + 0.45 * math.sin(angle)))
    crop = np.asarray(photograph.crop((left, top, left + width, top + height)))
    frame = VideoFrame.from_ndarray(np.ascontiguousarray(crop), format="rgb24").reformat(
        format="yuv420p",
        dst_colorspace=Colorspace.ITU709,
        src_color_range=ColorRange.JPEG,
        dst_color_range=ColorRange.MPEG,
        threads=1,
    )
    frame.pts = number
    frame.time_base = Fraction(1, FRAME_RATE)
    return frame


def _tone(start: int, frames: int) -> AudioFrame:
    """A soft tone that climbs an octave from 220 Hz over the clip."""
    total = frames * SOUND_RATE / FRAME_RATE
    position = np.arange(start, start + _SOUND_BLOCK)
    phase = math.tau * 220 * position / SOUND_RATE * (1 + position / total / 2)
    samples = (6_000 * np.sin(phase)).astype(np.int16)[None]
    frame = AudioFrame.from_ndarray(samples, format="s16", layout="mono")
    frame.sample_rate = SOUND_RATE
    frame.pts = start
    frame.time_base = Fraction(1, SOUND_RATE)
    return frame


def main() -> None:
    """Make the clip where the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", type=Path)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--height", type=int, default=360)
    args = parser.parse_args()
    make_clip(args.target, seconds=args.seconds, width=args.width, height=args.height)
    print(
        f"{args.target}: {args.seconds:g} s, {args.width}x{args.height}, {args.target.stat().st_size} bytes"
    )


if __name__ == "__main__":
    main()
