"""The stylizer: batches of frames through one ONNX model, decoding and encoding alongside."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np

from common.onnx_session import ModelError, OnnxModel, Tensor, choose_device, open_model
from style_transfer.damage import DamageReport
from style_transfer.decoding import ShownFrame, segment_frames
from style_transfer.encode import SegmentEncoder
from style_transfer.errors import StyleError
from style_transfer.frame_reader import FrameReader
from style_transfer.overlap import overlapped
from style_transfer.pictures import SMALLEST_SIDE
from style_transfer.segments import Segment
from style_transfer.style import VECTOR_SIZE, Style, style_vector

Frames = np.ndarray[Any, np.dtype[np.uint8]]
_FRAMES = Tensor("uint8", (None, None, None, 3))
_CUDA_PIXELS_PER_BATCH = 4_000_000
_CUDA_LARGEST_BATCH = 16


class Stylizer:
    """One open style: uint8 RGB frames [N, H, W, 3] in, the same shape out.

    `strength` blends the result with the original: 1 is the style alone, 0 the original.
    The style vector of a picture is computed once. StyleError when the model cannot be used.
    """

    def __init__(self, style: Style, *, strength: float = 1.0, device: str = "auto") -> None:
        if not 0 <= strength <= 1:
            raise StyleError(f"strength is {strength}; it must be between 0 and 1")
        self._weight = round(strength * 256)
        chosen = choose_device(device)
        inputs = {"frames": _FRAMES}
        self._fixed: dict[str, Frames | np.ndarray[Any, np.dtype[np.float32]]] = {}
        try:
            if style.picture is not None:
                inputs["style_vector"] = Tensor("float", (1, VECTOR_SIZE))
                self._fixed["style_vector"] = style_vector(style, chosen)
            self._model: OnnxModel = open_model(
                style.model, chosen, inputs=inputs, outputs={"stylized": _FRAMES}
            )
        except ModelError as error:
            raise StyleError(f"the style {style.folder.name} cannot be used: {error}") from error
        self.device = self._model.device

    def batch_size(self, width: int, height: int) -> int:
        """How many frames of this size go through the model at once: one on a CPU, where more gain nothing."""
        if self.device.kind == "cpu":
            return 1
        return max(1, min(_CUDA_LARGEST_BATCH, _CUDA_PIXELS_PER_BATCH // (width * height)))

    def stylize(self, frames: Frames) -> Frames:
        """Stylise a batch; a batch that is not full is filled up on a GPU, where every new shape costs."""
        count, height, width, _ = frames.shape
        if min(height, width) < SMALLEST_SIDE:
            raise StyleError(
                f"frames of {width}x{height} are too small: both sides need {SMALLEST_SIDE} pixels or more"
            )
        if self._weight == 0:
            return frames
        short = self.batch_size(width, height) - count
        fed = np.concatenate([frames, np.repeat(frames[-1:], short, 0)]) if short > 0 else frames
        result: Frames = self._model.run(frames=fed, **self._fixed)[0][:count]
        if result.shape != frames.shape:
            raise StyleError(
                f"{self._model.path.name} turns frames of shape {frames.shape} into {result.shape}; "
                "a style must keep the shape"
            )
        return result if self._weight == 256 else blended(frames, result, self._weight)


def blended(original: Frames, styled: Frames, weight: int) -> Frames:
    """(original * (256 - weight) + styled * weight) / 256, rounded."""
    mixed = original * np.uint16(256 - weight)
    mixed += styled * np.uint16(weight)
    mixed += np.uint16(128)
    return (mixed >> 8).astype(np.uint8)


@dataclass
class Timings:
    """Milliseconds that each phase was busy; the phases overlap, so that `total` is less than their sum."""

    frames: int = 0
    milliseconds: dict[str, float] = field(default_factory=dict)

    def add(self, phase: str, started: float) -> None:
        spent = 1000 * (time.perf_counter() - started)
        self.milliseconds[phase] = self.milliseconds.get(phase, 0.0) + spent


@dataclass(frozen=True)
class Batch:
    """Frames of equal size with the tick of the clip's clock at which each is shown, and for how long."""

    frames: Frames
    ticks: list[int]
    durations: list[int]


def stylize_segment(
    stylizer: Stylizer,
    video: Path,
    segment: Segment,
    target: IO[bytes],
    *,
    max_height: int | None = None,
    damage: DamageReport | None = None,
) -> Timings:
    """Decode, stylise and encode one segment into `target`, an MP4 whose clock begins at the segment's start.

    Frames that are damaged are noted in `damage`.
    """
    started = time.perf_counter()
    timings = Timings()
    reader = FrameReader(segment.clip.picture, max_height)
    with SegmentEncoder(target, segment.clip, reader.size) as encoder:

        def infer(batch: Batch) -> Batch:
            began = time.perf_counter()
            styled = Batch(stylizer.stylize(batch.frames), batch.ticks, batch.durations)
            timings.add("infer", began)
            return styled

        def encode(batch: Batch) -> None:
            began = time.perf_counter()
            for array, ticks, duration in zip(batch.frames, batch.ticks, batch.durations, strict=True):
                encoder.write(array, ticks - segment.start_pts, duration)
            timings.frames += len(batch.ticks)
            timings.add("encode", began)

        frames = (damage or DamageReport(segment)).watch(segment_frames(video, segment))
        overlapped(_batches(frames, reader, stylizer, timings), infer, encode)
        began = time.perf_counter()
    timings.add("encode", began)
    timings.add("total", started)
    return timings


def _batches(
    frames: Iterable[ShownFrame], reader: FrameReader, stylizer: Stylizer, timings: Timings
) -> Iterator[Batch]:
    size = stylizer.batch_size(*reader.size)
    arrays: list[Frames] = []
    ticks: list[int] = []
    durations: list[int] = []
    began = time.perf_counter()
    for shown in frames:
        arrays.append(reader.read(shown.frame))
        ticks.append(shown.pts)
        durations.append(shown.duration)
        if len(arrays) == size:
            batch = Batch(_stacked(arrays), ticks, durations)
            timings.add("decode", began)
            yield batch
            began = time.perf_counter()
            arrays, ticks, durations = [], [], []
    if arrays:
        timings.add("decode", began)
        yield Batch(_stacked(arrays), ticks, durations)


def _stacked(arrays: Iterable[Frames]) -> Frames:
    arrays = list(arrays)
    return arrays[0][None] if len(arrays) == 1 else np.stack(arrays)
