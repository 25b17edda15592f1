"""Decoded frames as RGB arrays, the way they are shown: turned, mirrored, at most so high, in plain colours."""

from __future__ import annotations

from typing import Any

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter

from style_transfer.picture_format import BT709, PictureFormat

_SCALING = Interpolation.BICUBIC | Interpolation.ACCURATE_RND
_KEEPING = Interpolation.BILINEAR | Interpolation.ACCURATE_RND


# Converters are prepared for one conversion; mapping the tones of high dynamic range takes seconds to prepare. The last
# one used is taken first, by whichever thread comes.
_idle: list[tuple[VideoReformatter, VideoReformatter]] = []


class FrameReader:
    """Turns decoded frames into RGB arrays [height, width, 3], as they are shown, at most so high.

    A frame of another size than the first one is scaled to it, since a video has one size.
    """

    def __init__(self, picture: PictureFormat, max_height: int | None = None) -> None:
        self._picture = picture
        self._width, self._height = picture.read_size(max_height)
        self._turns = picture.rotation // 90
        # High dynamic range is brought into BT.709 by swscale, which maps the tones.
        self._tones = {"dst_color_trc": BT709, "dst_color_primaries": BT709} if picture.is_hdr else {}

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the arrays."""
        return (self._height, self._width) if self._turns % 2 else (self._width, self._height)

    def read(self, frame: VideoFrame) -> np.ndarray[Any, np.dtype[np.uint8]]:
        try:
            converters = _idle.pop()
        except IndexError:
            converters = (VideoReformatter(), VideoReformatter())
        try:
            return self._upright(self._converted(frame, *converters))
        finally:
            _idle.append(converters)

    def _converted(
        self, frame: VideoFrame, to_planes: VideoReformatter, to_rgb: VideoReformatter
    ) -> np.ndarray[Any, np.dtype[np.uint8]]:
        scales = (self._width, self._height) != (frame.width, frame.height)
        planes = to_planes.reformat(
            frame,
            width=self._width,
            height=self._height,
            format="gbrp",  # swscale's way to it is exact to one level and three times faster than to rgb24
            src_colorspace=self._picture.swscale_matrix,
            src_color_range=ColorRange.JPEG if self._picture.full_range else ColorRange.MPEG,
            dst_color_range=ColorRange.JPEG,
            interpolation=_SCALING if scales else _KEEPING,
            threads=1,
            **self._tones,
        )
        rgb = to_rgb.reformat(planes, format="rgb24", threads=1)
        return rgb.to_ndarray()  # type: ignore[return-value]

    def _upright(self, array: np.ndarray[Any, np.dtype[np.uint8]]) -> np.ndarray[Any, np.dtype[np.uint8]]:
        if self._picture.mirrored:
            array = array[:, ::-1]
        if self._turns or self._picture.mirrored:
            array = np.ascontiguousarray(np.rot90(array, self._turns))
        return array
