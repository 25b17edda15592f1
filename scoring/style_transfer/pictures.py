"""Pictures in and out: read whole or refused with a reason, written in the format they came in."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

from style_transfer.errors import PictureError

MAX_PIXELS = 100_000_000
JPEG_QUALITY = 95
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")


def read_picture(path: Path) -> Image.Image:
    """The decoded picture, turned upright as its EXIF data says; PictureError names the file and the reason."""
    try:
        with Image.open(path) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise PictureError(
                    f"{path.name} has {picture.width}x{picture.height} pixels; "
                    f"at most {MAX_PIXELS // 1_000_000} million are allowed"
                )
            picture.load()
            return ImageOps.exif_transpose(picture)
    except UnidentifiedImageError as error:
        raise PictureError(f"{path.name} is not a picture") from error
    except FileNotFoundError as error:
        raise PictureError(f"there is no picture {path.name}") from error
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise PictureError(f"{path.name} cannot be read: {error}") from error
