"""Writing a segment: RGB frames to H.264 packets that can be joined with those of other segments."""

from __future__ import annotations

from fractions import Fraction
from types import TracebackType
from typing import IO, Any, Self, cast

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Interpolation
from av.video.stream import VideoStream

from style_transfer.segments import Clip
from style_transfer.video import coding_threads

# What every segment of a clip has in common; part of what a receipt's parameters are made of.
# The fastest preset with what repays its time put back: 8x8 transforms and intra blocks, adaptive quantisation.
# On painted frames that gives size, PSNR and SSIM of `superfast` with CAVLC in 70 % of its CPU time; on frames
# from a camera, which are six times smaller, 4 % more bytes and 0.4 dB less.
CODEC, PIXELS, PIXELS_OF_ODD_SIZES = "libx264", "yuv420p", "yuv444p"
ENCODER = {"preset": "ultrafast", "crf": "20", "x264-params": "8x8dct=1:analyse=i8x8:aq-mode=1"}
_KEEPING = Interpolation.BILINEAR  # this way round, swscale is exact to one level without ACCURATE_RND
_KEYFRAME_INTERVAL_S = 2


class SegmentEncoder:
    """Encodes frames [height, width, 3] into an MP4 file whose timestamps begin at 0.

    Closed groups of pictures and no bidirectional frames, so that packets of one segment can follow
    those of another. Frames are converted to and tagged with the clip's own matrix, at limited range.
    A side of odd length is kept in 4:4:4, since a stream in 4:2:0 cannot even be cropped to one.
    """

    def __init__(
        self, target: IO[bytes], clip: Clip, size: tuple[int, int], *, threads: int | None = None
    ) -> None:
        picture = clip.picture.as_shown()
        base = clip.seconds_per_tick
        self._numerator = base.numerator
        self._base = Fraction(1, base.denominator)
        self._matrix = picture.swscale_matrix
        self._pixels = PIXELS_OF_ODD_SIZES if size[0] % 2 or size[1] % 2 else PIXELS
        rate = Fraction(clip.frame_rate)
        self._container = av.open(target, "w", format="mp4")
        self._stream = cast("VideoStream", self._container.add_stream(CODEC, rate, ENCODER))
        context = self._stream.codec_context
        context.width, context.height = size
        context.pix_fmt = self._pixels
        context.time_base = self._base
        self._stream.time_base = self._base
        context.gop_size = max(1, round(rate * _KEYFRAME_INTERVAL_S))
        context.max_b_frames = 0
        context.thread_count = threads or coding_threads()
        context.sample_aspect_ratio = Fraction(picture.sample_aspect_ratio)
        context.color_range = ColorRange.MPEG
        context.colorspace = picture.matrix
        context.color_primaries = picture.primaries
        context.color_trc = picture.transfer

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
        else:
            self._container.close()

    def close(self) -> None:
        """Write what the encoder still holds, and the file's index."""
        try:
            self._container.mux(self._stream.encode(None))
        finally:
            self._container.close()

    def write(self, array: np.ndarray[Any, np.dtype[np.uint8]], ticks: int, duration: int) -> None:
        """Encode one frame that is shown `ticks` of the clip's clock after the segment's start."""
        frame = VideoFrame.from_ndarray(array, format="rgb24").reformat(
            format=self._pixels,
            dst_colorspace=self._matrix,
            src_color_range=ColorRange.JPEG,
            dst_color_range=ColorRange.MPEG,
            interpolation=_KEEPING,
            threads=1,
        )
        frame.pts = ticks * self._numerator
        frame.time_base = self._base
        frame.duration = duration * self._numerator
        self._container.mux(self._stream.encode(frame))
