"""How a video's frames are to be read and written: size, rotation, colour; pure decisions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from style_transfer.errors import VideoError

# ISO/IEC 23091-2 (H.273) code points of matrix coefficients, and the number swscale knows each one by.
UNSPECIFIED = 2
BT709, BT601_525 = 1, 6
_SWSCALE_MATRIX = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9}
_RESERVED = (0, 3)
_HDR_TRANSFERS = (16, 18)  # SMPTE ST 2084 (PQ) and ARIB STD-B67 (HLG)
_DEGREES_OFF = 1
_ONE = 1 << 16  # display matrices are fixed-point numbers
FULL_RANGE = 2
_STANDARD_DEFINITION_LINES = 576


@dataclass(frozen=True)
class PictureFormat:
    """The frames of one video as they are stored; colour fields are H.273 code points.

    A player mirrors the stored picture left to right where it is `mirrored`, and then turns it by `rotation`
    degrees counter-clockwise. High dynamic range is brought into BT.709 when frames are read, so that what is
    written is tagged with `shown_matrix` and so on.
    """

    width: int
    height: int
    rotation: int = 0
    matrix: int = BT709
    primaries: int = UNSPECIFIED
    transfer: int = UNSPECIFIED
    full_range: bool = False
    sample_aspect_ratio: str = "1"
    mirrored: bool = False

    @property
    def swscale_matrix(self) -> int:
        return _SWSCALE_MATRIX[self.matrix]

    @property
    def is_hdr(self) -> bool:
        return self.transfer in _HDR_TRANSFERS

    def as_shown(self) -> PictureFormat:
        """What the frames are once they are read and written again; sizes are for the writer to say."""
        shown = replace(
            self,
            rotation=0,
            mirrored=False,
            full_range=False,
            sample_aspect_ratio=str(self.shown_aspect_ratio),
        )
        return replace(shown, matrix=BT709, primaries=BT709, transfer=BT709) if self.is_hdr else shown

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
    display_matrix: Sequence[int] | None,
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
    try:
        rotation, mirrored = (0, False) if display_matrix is None else orientation(display_matrix)
    except ValueError as error:
        raise VideoError(f"{name} {error}: re-encode it without rotation metadata") from error
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
        rotation=rotation,
        mirrored=mirrored,
        matrix=matrix,
        primaries=UNSPECIFIED if primaries in _RESERVED else primaries,
        transfer=UNSPECIFIED if transfer in _RESERVED else transfer,
        full_range=color_range == FULL_RANGE or pixel_format.startswith("yuvj") or rgb,
        sample_aspect_ratio=str(sample_aspect_ratio) if sample_aspect_ratio > 0 else "1",
    )


def orientation(display_matrix: Sequence[int]) -> tuple[int, bool]:
    """Degrees counter-clockwise, and whether the picture is mirrored left to right before it is turned.

    The nine numbers of a track header of ISO/IEC 14496-12: a, b, u, c, d, v, x, y, w take a point (x, y) to
    (a*x + c*y, b*x + d*y). ValueError when that is no right angle.
    """
    a, b, _, c, d = (value / _ONE for value in display_matrix[:5])
    mirrored = a * d - b * c < 0
    if mirrored:
        a, b = -a, -b
    degrees = -math.degrees(math.atan2(b, a))
    if abs(degrees - 90 * round(degrees / 90)) > _DEGREES_OFF:
        raise ValueError(f"is rotated by {degrees:.0f} degrees; only multiples of 90 can be applied")
    return 90 * round(degrees / 90) % 360, mirrored


def _assumed_matrix(height: int) -> int:
    return BT601_525 if height <= _STANDARD_DEFINITION_LINES else BT709
