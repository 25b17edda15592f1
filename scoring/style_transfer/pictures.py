"""Pictures in and out: read whole or refused with a reason, written in the format they came in."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
from PIL import Image, ImageOps, UnidentifiedImageError

from style_transfer.errors import PictureError

Pixels = np.ndarray[Any, np.dtype[np.uint8]]
MAX_PIXELS = 100_000_000
SMALLEST_SIDE = 16
WRITTEN_AS: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 95, "subsampling": "4:2:0"},
    "PNG": {"compress_level": 3},
    "WEBP": {"quality": 95},
    "BMP": {},
    "TIFF": {},
}
_FORMATS = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".png": "PNG",
    ".webp": "WEBP",
    ".bmp": "BMP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
}
_WITH_ALPHA = ("PNG", "WEBP", "TIFF")
_ORIENTATION, _UPRIGHT = 0x0112, 1


@dataclass(frozen=True)
class Picture:
    """A picture ready for the model: RGB [height, width, 3], and what is put back on the result."""

    rgb: Pixels
    alpha: Image.Image | None = None
    icc_profile: bytes | None = None


def read_picture(path: Path) -> Image.Image:
    """The decoded picture, turned upright as its EXIF data says; PictureError names the file and the reason."""
    return decode_picture(path.name, _content(path))


def read_pixels(path: Path) -> Pixels:
    """The picture as RGB [height, width, 3], turned upright; PictureError names the file and the reason."""
    content = _content(path)
    plain = plain_jpeg(path.name, content)
    return np.asarray(decode_picture(path.name, content).convert("RGB")) if plain is None else plain.rgb


def decode_for_model(name: str, content: bytes, max_height: int | None) -> Picture:
    """`for_model` of the picture in these bytes, by a shorter way where there is one."""
    plain = plain_jpeg(name, content)
    if plain is not None:
        height, width, _ = plain.rgb.shape
        if min(height, width) >= SMALLEST_SIDE and (max_height is None or height <= max_height):
            return plain
    return for_model(name, decode_picture(name, content), max_height)


def plain_jpeg(name: str, content: bytes) -> Picture | None:
    """The picture in these bytes if it is a sound JPEG in colour that needs no turning, else None.

    The same pixels as Pillow's in half the time, and other threads run meanwhile.
    """
    if not simplejpeg.is_jpeg(content):
        return None
    try:
        with Image.open(io.BytesIO(content)) as header:
            _check_size(name, header)
            upright = header.getexif().get(_ORIENTATION, _UPRIGHT) == _UPRIGHT
            if (header.format, header.mode, upright) != ("JPEG", "RGB", True):
                return None
            return Picture(simplejpeg.decode_jpeg(content), None, header.info.get("icc_profile"))
    except PictureError:
        raise
    except Exception:  # Pillow reads it all the same, or says what is wrong
        return None


def decode_picture(name: str, content: bytes) -> Image.Image:
    """The picture in these bytes, turned upright as its EXIF data says; PictureError names the reason."""
    if not content:
        raise PictureError(f"{name} is empty")
    try:
        with Image.open(io.BytesIO(content)) as picture:
            _check_size(name, picture)
            picture.load()
            return ImageOps.exif_transpose(picture)
    except UnidentifiedImageError as error:
        raise PictureError(f"{name} is not a picture") from error
    except PictureError:
        raise
    except Exception as error:  # a damaged file makes Pillow's many readers raise almost anything
        raise PictureError(f"{name} cannot be read: {error}") from error


def for_model(name: str, picture: Image.Image, max_height: int | None) -> Picture:
    """Shrink to `max_height` and take apart: grey becomes RGB, transparency is kept for the result."""
    profile = picture.info.get("icc_profile")
    if picture.mode.startswith(("I", "F")):
        picture = _eight_bits(picture)
    if max_height is not None and picture.height > max_height:
        picture = picture.resize(
            (max(1, round(picture.width * max_height / picture.height)), max_height), Image.Resampling.LANCZOS
        )
    if min(picture.size) < SMALLEST_SIDE:
        raise PictureError(
            f"{name} is {picture.width}x{picture.height}; both sides need {SMALLEST_SIDE} pixels or more"
        )
    alpha = picture.convert("RGBA").getchannel("A") if picture.has_transparency_data else None
    return Picture(np.asarray(picture.convert("RGB")), alpha, profile if picture.mode == "RGB" else None)


def output_name(name: str) -> str:
    """The name of an item's output: its own, with `.png` added where the item's format is not written."""
    return name if Path(name).suffix.lower() in _FORMATS else f"{name}.png"


def encode_picture(name: str, original: Picture, rgb: Pixels) -> bytes:
    """The stylised picture in the format that `name` ends with; transparency is kept where it can be."""
    kind = _FORMATS[Path(name).suffix.lower()]
    if kind == "JPEG" and original.icc_profile is None:
        return _plain_jpeg_of(rgb)
    picture = Image.fromarray(rgb)
    if original.alpha is not None and kind in _WITH_ALPHA:
        picture.putalpha(original.alpha)
    content = io.BytesIO()
    options = dict(WRITTEN_AS[kind])
    if original.icc_profile is not None and kind != "BMP":
        options["icc_profile"] = original.icc_profile
    picture.save(content, kind, **options)
    return content.getvalue()


def _plain_jpeg_of(rgb: Pixels) -> bytes:
    options = WRITTEN_AS["JPEG"]
    content: bytes = simplejpeg.encode_jpeg(
        np.ascontiguousarray(rgb),
        quality=options["quality"],
        colorspace="RGB",
        colorsubsampling=options["subsampling"].replace(":", ""),
    )
    return content


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise PictureError(f"{path.name} cannot be read: {error.strerror or error}") from error


def _check_size(name: str, picture: Image.Image) -> None:
    if picture.width * picture.height > MAX_PIXELS:
        raise PictureError(
            f"{name} has {picture.width}x{picture.height} pixels; "
            f"at most {MAX_PIXELS // 1_000_000} million are allowed"
        )


def _eight_bits(picture: Image.Image) -> Image.Image:
    """A grey picture of 16 or 32 bits (PNG, TIFF) as one of 8; Pillow's own conversion cuts values off."""
    values = np.asarray(picture, np.float64)
    top = 1.0 if picture.mode == "F" and values.max(initial=0) <= 1 else 65_535.0
    return Image.fromarray(np.rint(values.clip(0, top) * (255 / top)).astype(np.uint8))
