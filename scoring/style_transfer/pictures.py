"""Pictures in and out: read whole or refused with a reason, written in the format they came in."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
from PIL import Image

from common.picture_file import (
    PictureFile,
    UnreadablePictureError,
    check_size,
    decode,
    eight_bits,
    orientation_of,
    read_content,
)
from style_transfer.errors import PictureError

Pixels = np.ndarray[Any, np.dtype[np.uint8]]
MAX_PAINTED_PIXELS = 50_000_000
"""The model takes some 140 bytes a pixel on a CPU: more would end the worker instead of the picture."""
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
_UPRIGHT = 1
_SPACE = slice(16, 20)
"""Where a colour profile says what it is of (ICC.1, 7.2.6)."""


@dataclass(frozen=True)
class Picture:
    """A picture ready for the model: RGB [height, width, 3], and what is put back on the result."""

    rgb: Pixels
    alpha: Image.Image | None = None
    icc_profile: bytes | None = None
    note: str | None = None
    """What a person ought to know about how it was read."""


def read_picture(path: Path) -> Image.Image:
    """The picture in 8 bits, turned upright as its EXIF data says; PictureError names the file and the reason."""
    picture = decode_picture(path.name, _content(path))
    return eight_bits(picture) if picture.mode.startswith(("I", "F")) else picture


def read_pixels(path: Path) -> Pixels:
    """The picture as RGB [height, width, 3], turned upright; PictureError names the file and the reason."""
    content = _content(path)
    plain = plain_jpeg(path.name, content)
    return np.asarray(read_picture(path).convert("RGB")) if plain is None else plain.rgb


def decode_for_model(name: str, content: bytes, max_height: int | None) -> Picture:
    """`for_model` of the picture in these bytes, by a shorter way where there is one."""
    plain = plain_jpeg(name, content)
    if plain is not None:
        height, width, _ = plain.rgb.shape
        if _painted_size(name, (width, height), max_height) == (width, height):
            return plain
    file = _decoded(name, content)
    note = f"holds {file.count} pictures; the first one was painted" if file.count > 1 else None
    return replace(for_model(name, file.picture, max_height), note=note)


def plain_jpeg(name: str, content: bytes) -> Picture | None:
    """The picture in these bytes if it is a sound JPEG in colour that needs no turning, else None.

    The same pixels as Pillow's in half the time, and other threads run meanwhile.
    """
    if not simplejpeg.is_jpeg(content):
        return None
    try:
        with Image.open(io.BytesIO(content), formats=("JPEG",)) as header:
            check_size(header)
            if header.mode != "RGB" or orientation_of(header) != _UPRIGHT:
                return None
            return Picture(simplejpeg.decode_jpeg(content), None, _rgb_profile(header))
    except UnreadablePictureError as error:
        raise PictureError(f"{name} {error}") from error
    except Exception:  # the longer way reads it all the same, or says what is wrong
        return None


def decode_picture(name: str, content: bytes) -> Image.Image:
    """The picture in these bytes, turned upright as its EXIF data says; PictureError names the reason."""
    return _decoded(name, content).picture


def for_model(name: str, picture: Image.Image, max_height: int | None) -> Picture:
    """Shrink to `max_height` and take apart: grey becomes RGB, transparency is kept for the result."""
    size = _painted_size(name, picture.size, max_height)
    try:
        profile = _rgb_profile(picture)
        if picture.mode.startswith(("I", "F")):
            picture = eight_bits(picture)
        picture = picture.convert("RGBA" if picture.has_transparency_data else "RGB")
        if size != picture.size:
            picture = picture.resize(size, Image.Resampling.LANCZOS)
        alpha = picture.getchannel("A") if picture.mode == "RGBA" else None
        return Picture(np.asarray(picture.convert("RGB")), alpha, profile)
    except ValueError as error:  # a mode that Pillow knows no way from
        raise PictureError(f"{name} cannot be read: {error}") from error


def _painted_size(name: str, size: tuple[int, int], max_height: int | None) -> tuple[int, int]:
    width, height = size
    if max_height is not None and height > max_height:
        width, height = max(1, round(width * max_height / height)), max_height
    if min(width, height) < SMALLEST_SIDE:
        raise PictureError(f"{name} is {width}x{height}; both sides need {SMALLEST_SIDE} pixels or more")
    if width * height > MAX_PAINTED_PIXELS:
        raise PictureError(
            f"{name} is {width}x{height}; at most {MAX_PAINTED_PIXELS // 1_000_000} million pixels are painted "
            "at once: give a max_height, and it is shrunk"
        )
    return width, height


def _rgb_profile(picture: Image.Image) -> bytes | None:
    """The picture's colour profile if it is one of RGB, as what is written will be."""
    profile: bytes | None = picture.info.get("icc_profile")
    return profile if profile and profile[_SPACE] == b"RGB " else None


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
        return read_content(path)
    except UnreadablePictureError as error:
        raise PictureError(f"{path.name} {error}") from error


def _decoded(name: str, content: bytes) -> PictureFile:
    try:
        return decode(content)
    except UnreadablePictureError as error:
        raise PictureError(f"{name} {error}") from error
