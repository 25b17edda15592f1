"""A painting as the style predictor wants it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

SIDE = 256


def load_painting(path: Path) -> npt.NDArray[np.uint8]:
    """The middle square of a picture as uint8 RGB [1, 256, 256, 3].

    The camera's rotation is undone and transparent parts become white. Raises OSError when the file is
    missing or no picture.
    """
    with Image.open(path) as opened:
        return as_painting(ImageOps.exif_transpose(opened))


def as_painting(picture: Image.Image) -> npt.NDArray[np.uint8]:
    """The same of an upright picture that has been read."""
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    square = ImageOps.fit(picture.convert("RGB"), (SIDE, SIDE), Image.Resampling.LANCZOS)
    return np.asarray(square, np.uint8)[np.newaxis]
