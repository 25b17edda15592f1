"""How a video's frames are to be read and written: size, rotation, colour; pure decisions."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from style_transfer.errors import VideoError

# ISO/IEC 23091-2 (H.273) code points of matrix coefficients, and the number swscale knows each one by.
UNSPECIFIED = 2
BT709, BT601_525 = 1, 6
_SWSCALE_MATRIX = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9}
_RESERVED = (0, 3)
FULL_RANGE = 2
_STANDARD_DEFINITION_LINES = 576


@dataclass(frozen=True)
class PictureFormat:
    """The frames of one video as they are stored; colour fields are H.273 code points.

    `rotation` is what a player turns the stored picture by, in degrees counter-clockwise.
    """

    width: int
    height: int
    rotation: int = 0
    matrix: int = BT709
    primaries: int = UNSPECIFIED
    transfer: int = UNSPECIFIED
    full_range: bool = False
    sample_aspect_ratio: str = "1"

    @property
    def swscale_matrix(self) -> int:
        return _SWSCALE_MATRIX[self.matrix]

    def read_size(self, max_height: int | None) -> tuple[int, int]:
        """Width and height to read stored frames at, before they are turned.

        Frames that are shown taller than `max_height` shrink to it, with even sides; others keep their size.
        """
        turned = self.rotation % 180 != 0
        shown_width, shown_height = (self.height, self.width) if turned else (self.width, self.height)
        if max_height is not None and shown_height > max_height:
            height = max(2, max_height // 2 * 2)
            shown_width = max(2, round(shown_width * height / shown_height / 2) * 2)
            shown_height = height
        return (shown_height, shown_width) if turned else (shown_width, shown_height)

    @property
    def shown_aspect_ratio(self) -> Fraction:
        """The shape of one sample as it is shown, width to height."""
        ratio = Fraction(self.sample_aspect_ratio)
        return 1 / ratio if self.rotation % 180 else ratio


def plain_format(width: int, height: int) -> PictureFormat:
    """The format of frames that come from no video: what players assume of a stream that says nothing."""
    return PictureFormat(width, height, matrix=_assumed_matrix(height))


def picture_format(
    name: str,
    size: tuple[int, int],
    *,
    rotation: int,
    matrix: int,
    primaries: int,
    transfer: int,
    color_range: int,
    pixel_format: str,
    sample_aspect_ratio: Fraction,
) -> PictureFormat:
    """Turn what a decoded frame of the video `name` says about itself into the format to read and write.

    A stream that names no matrix is taken for BT.601 up to 576 lines and BT.709 above, as players do.
    VideoError when frames cannot be read correctly.
    """
    width, height = size
    if rotation % 90:
        raise VideoError(
            f"{name} is rotated by {rotation} degrees; only multiples of 90 can be applied: "
            "re-encode it without rotation metadata"
        )
    rgb = pixel_format.startswith(("rgb", "bgr", "gbr", "0rgb", "argb", "abgr", "pal"))
    if matrix in (UNSPECIFIED, *_RESERVED) or rgb:
        matrix = BT709 if rgb else _assumed_matrix(height)
    if matrix not in _SWSCALE_MATRIX:
        raise VideoError(
            f"{name} has colour matrix {matrix} (H.273), which cannot be converted: "
            "re-encode it as BT.709, for instance with ffmpeg -vf colorspace=bt709"
        )
    return PictureFormat(
        width=width,
        height=height,
        rotation=rotation % 360,
        matrix=matrix,
        primaries=UNSPECIFIED if primaries in _RESERVED else primaries,
        transfer=UNSPECIFIED if transfer in _RESERVED else transfer,
        full_range=color_range == FULL_RANGE or pixel_format.startswith("yuvj") or rgb,
        sample_aspect_ratio=str(sample_aspect_ratio) if sample_aspect_ratio > 0 else "1",
    )


def _assumed_matrix(height: int) -> int:
    return BT601_525 if height <= _STANDARD_DEFINITION_LINES else BT709
