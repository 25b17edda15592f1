"""Small videos of every kind, a style that inverts, and the style transfer steps run as an engine runs them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import onnx

SCORING = Path(__file__).resolve().parent.parent / "scoring"
SOUND_RATE = 48_000


@dataclass(frozen=True)
class ClipRecipe:
    """A clip whose frame n is a grey of `grey(n)`, with a brighter corner at the top left."""

    frames: int = 24
    width: int = 64
    height: int = 48
    rate: int = 12
    ticks: Sequence[int] | None = None
    """Presentation timestamps; one per frame in units of the time base. Default: 0, 1, 2, …"""
    time_base: Fraction | None = None
    keyframe_interval: int = 6
    b_frames: int = 0
    open_gop: bool = False
    codec: str = "libx264"
    pixel_format: str = "yuv420p"
    container: str = "mp4"
    sound: str | None = "aac"
    muxer: dict[str, str] = field(default_factory=dict)
    rotation: int = 0
    mirrored: bool = False
    sample_aspect_ratio: Fraction | None = None


def grey(number: int) -> int:
    return 40 + 5 * (number % 32)


def picture(number: int, width: int, height: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    array = np.full((height, width, 3), grey(number), np.uint8)
    array[: height // 4, : width // 4] = 235
    return array


def make_clip(path: Path, recipe: ClipRecipe) -> Path:
    """Write the clip that the recipe describes."""
    base = recipe.time_base or Fraction(1, recipe.rate)
    with av.open(str(path), "w", format=recipe.container, options=recipe.muxer) as out:
        stream = out.add_stream(recipe.codec, recipe.rate, _codec_options(recipe))
        context = stream.codec_context
        context.width, context.height, context.pix_fmt = recipe.width, recipe.height, recipe.pixel_format
        context.time_base = base
        stream.time_base = base
        context.gop_size = recipe.keyframe_interval
        context.max_b_frames = recipe.b_frames
        if recipe.sample_aspect_ratio:
            context.sample_aspect_ratio = recipe.sample_aspect_ratio
        if recipe.rotation or recipe.mirrored:
            stream.set_display_rotation(recipe.rotation, hflip=recipe.mirrored)
        sound = out.add_stream(recipe.sound, SOUND_RATE) if recipe.sound else None
        if sound is not None:
            sound.codec_context.layout = "mono"
        ticks = recipe.ticks or range(recipe.frames)
        for number, tick in enumerate(ticks):
            frame = av.VideoFrame.from_ndarray(picture(number, recipe.width, recipe.height), format="rgb24")
            frame = frame.reformat(format=recipe.pixel_format, threads=1)
            frame.pts, frame.time_base = tick, base
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
        if sound is not None:
            seconds = (ticks[-1] - ticks[0]) * base + Fraction(1, recipe.rate)
            _add_tone(out, sound, float(ticks[0] * base), float(seconds))
    return path


def overwrite(video: Path, packets: Iterable[int]) -> None:
    """Put zeros in place of the compressed frames with these numbers, in decoding order; only of a file that
    holds them in one piece each, such as MP4."""
    with av.open(str(video)) as container:
        places = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    content = bytearray(video.read_bytes())
    for number in packets:
        position, size = places[number]
        content[position : position + size] = bytes(size)
    video.write_bytes(content)


def _codec_options(recipe: ClipRecipe) -> dict[str, str]:
    if recipe.codec != "libx264":
        return {}
    return {
        "preset": "ultrafast",
        "crf": "10",
        "x264-params": f"scenecut=0:open-gop={int(recipe.open_gop)}:b-adapt=0:min-keyint=1",
    }


def _add_tone(out: Any, sound: Any, start_s: float, seconds: float) -> None:
    start, block = round(start_s * SOUND_RATE), 1024
    for done in range(0, round(seconds * SOUND_RATE), block):
        samples = (8000 * np.sin(np.arange(done, done + block) * 2 * np.pi * 440 / SOUND_RATE)).astype(
            np.int16
        )
        frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = SOUND_RATE, start + done, Fraction(1, SOUND_RATE)
        out.mux(sound.encode(frame))
    out.mux(sound.encode(None))


def make_style(folder: Path, operator: str = "BitwiseNot") -> Path:
    """A named style that inverts every pixel (or does what another operator of one input does)."""
    folder.mkdir(parents=True, exist_ok=True)
    shape = ["n", "h", "w", 3]
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node(operator, ["frames"], ["stylized"])],
        "style",
        [onnx.helper.make_tensor_value_info("frames", onnx.TensorProto.UINT8, shape)],
        [onnx.helper.make_tensor_value_info("stylized", onnx.TensorProto.UINT8, shape)],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=8)
    onnx.save(model, str(folder / "model.onnx"))
    return folder


@dataclass(frozen=True)
class Frame:
    """A decoded frame: when it is shown in seconds, and its pixels."""

    seconds: Fraction
    rgb: np.ndarray[Any, np.dtype[np.uint8]]

    @property
    def grey(self) -> float:
        """The mean of the middle of the frame, which every clip fills with one grey."""
        height, width, _ = self.rgb.shape
        return float(self.rgb[height // 3 : -height // 3, width // 3 : -width // 3].mean())


def read_frames(path: Path) -> list[Frame]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        base = Fraction(stream.time_base.numerator, stream.time_base.denominator)
        return [
            Frame(frame.pts * base, frame.to_ndarray(format="rgb24", src_color_range="MPEG"))
            for frame in container.decode(stream)
        ]


def sound_packets(path: Path) -> list[tuple[bytes, Fraction]]:
    """Content and time in seconds of each packet of the first sound stream."""
    with av.open(str(path)) as container:
        return [
            (bytes(packet), packet.pts * Fraction(packet.time_base.numerator, packet.time_base.denominator))
            for packet in container.demux(audio=0)
            if packet.size
        ]


@dataclass(frozen=True)
class Steps:
    """The folders of one run, and its steps as processes."""

    work: Path
    video: Path
    style: Sequence[str]

    @property
    def segments(self) -> Path:
        return self.work / "segments"

    @property
    def stylized(self) -> Path:
        return self.work / "stylized"

    @property
    def receipts(self) -> Path:
        return self.work / "receipts"

    @property
    def result(self) -> Path:
        return self.work / "result"

    def split(self, seconds: float = 0.5) -> subprocess.CompletedProcess[str]:
        folders = ["--segments", str(self.segments), "--audio", str(self.work / "audio")]
        return self._script("split", *self.style, *folders, "--segment-seconds", str(seconds))

    def stylize_arguments(self, *extra: str) -> list[str]:
        folders = ["--stylized", str(self.stylized), "--receipts", str(self.receipts)]
        return ["--video", str(self.video), *self.style, *folders, *extra]

    def stitch(self) -> subprocess.CompletedProcess[str]:
        names = ("segments", "audio", "stylized", "receipts", "result")
        folders = [part for name in names for part in (f"--{name}", str(self.work / name))]
        return self._script("stitch", *folders)

    def items(self) -> list[str]:
        return [str(path) for path in sorted(self.segments.iterdir())]

    def _script(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        script = SCORING / "style_transfer" / f"{name}.py"
        command = [sys.executable, str(script), "--video", str(self.video), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
