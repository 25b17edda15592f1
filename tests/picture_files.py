"""Picture files as people have them, sound and damaged, all made of one picture whose pixels are known."""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

Pixels = np.ndarray[Any, np.dtype[np.uint8]]
WIDTH, HEIGHT = 96, 64
_ADOBE_MARKER_BYTES = 16


@dataclass(frozen=True)
class Sound:
    """A file that can be painted: its content, what is to be seen in it, and what it is written as."""

    content: bytes
    pixels: Pixels
    written_as: str
    tolerance: float = 1
    """By how much a channel may differ on average: more where colours are subsampled or few."""
    alpha: bool = False
    pictures: int = 1


@dataclass(frozen=True)
class Unsound:
    """A file that cannot be painted, and words of the reason."""

    content: bytes
    reason: str


def truth() -> Pixels:
    """Red grows to the right, green to the bottom; a blue corner at the top left shows how it is turned."""
    x, y = np.meshgrid(np.linspace(20, 235, WIDTH), np.linspace(20, 235, HEIGHT))
    pixels = np.stack([x, y, np.full_like(x, 60)], 2)
    pixels[:16, :24, 2] = 220
    return np.rint(pixels).astype(np.uint8)


def encoded(picture: Image.Image | Pixels, kind: str, **options: Any) -> bytes:
    """The picture as a file's content."""
    picture = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    content = io.BytesIO()
    picture.save(content, kind, **options)
    return content.getvalue()


def png_16(values: np.ndarray[Any, Any]) -> bytes:
    """A PNG of 16 bits a channel from values [height, width, channels]; Pillow writes none with colour."""
    height, width, channels = values.shape
    color = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in (
            (b"IHDR", struct.pack(">IIBBBBB", width, height, 16, color, 0, 0, 0)),
            (b"IDAT", zlib.compress(rows)),
            (b"IEND", b""),
        )
    )


def in_inks(pixels: Pixels, *, adobe: bool) -> bytes:
    """A CMYK JPEG with every ink in use: upside down and marked as Adobe's programs do it, or neither."""
    red, green, blue = (pixels[..., channel].astype(float) for channel in range(3))
    black = (255 - np.maximum(np.maximum(red, green), blue)) / 2
    white = 255 - black
    inks = [255 - 255 * channel / white for channel in (red, green, blue)]
    cmyk = np.rint(np.stack([*inks, black], 2)).astype(np.uint8)
    if adobe:
        return encoded(Image.fromarray(cmyk, "CMYK"), "JPEG", quality=98)
    content = encoded(Image.fromarray(255 - cmyk, "CMYK"), "JPEG", quality=98)
    marker = content.index(b"\xff\xee\x00\x0eAdobe")
    return content[:marker] + content[marker + _ADOBE_MARKER_BYTES :]


def turned(orientation: int, kind: str) -> bytes:
    """The picture as a camera held that way stores it, with the note that says so."""
    stored = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = "Camera"
    options = {"lossless": True} if kind == "WEBP" else {"quality": 95} if kind == "JPEG" else {}
    return encoded(Image.fromarray(truth()).transpose(stored), kind, exif=exif.tobytes(), **options)


def sound_files() -> dict[str, Sound]:
    """By name: what is painted."""
    seen = truth()
    grey = np.asarray(Image.fromarray(seen).convert("L"))
    as_grey = np.repeat(grey[..., None], 3, 2)
    picture, other = Image.fromarray(seen), Image.fromarray(255 - seen)
    opaque = np.full((*grey.shape, 1), 65_535)
    few = picture.quantize(64)
    in_few = np.asarray(few.convert("RGB"))
    more = {"save_all": True, "append_images": [other, picture.convert("L").convert("RGB")]}
    alpha = Image.fromarray(np.where(grey > 90, 255, 40).astype(np.uint8))
    clear = picture.copy()
    clear.putalpha(alpha)
    grey_clear = Image.fromarray(grey)
    grey_clear.putalpha(alpha)
    files = {
        "CMYK of Adobe.jpg": Sound(in_inks(seen, adobe=True), seen, "mjpeg", 3),
        "CMYK plain.jpg": Sound(in_inks(seen, adobe=False), seen, "mjpeg", 3),
        "16 bits grey.png": Sound(png_16(grey[..., None].astype(int) * 257), as_grey, "png"),
        "16 bits colour.png": Sound(png_16(seen.astype(int) * 257), seen, "png"),
        "16 bits alpha.png": Sound(
            png_16(np.concatenate([seen.astype(int) * 257, opaque], 2)), seen, "png", alpha=True
        ),
        "16 bits.tif": Sound(
            encoded(Image.fromarray(grey.astype(np.uint16) * np.uint16(257)), "TIFF"), as_grey, "tiff"
        ),
        "palette.png": Sound(encoded(few, "PNG"), in_few, "png"),
        "grey.jpg": Sound(encoded(Image.fromarray(grey), "JPEG", quality=95), as_grey, "mjpeg", 3),
        "alpha.png": Sound(encoded(clear, "PNG"), seen, "png", alpha=True),
        "grey alpha.png": Sound(encoded(grey_clear, "PNG"), as_grey, "png", alpha=True),
        "progressive.jpg": Sound(encoded(seen, "JPEG", quality=95, progressive=True), seen, "mjpeg", 3),
        "animated.gif": Sound(encoded(few, "GIF", **more), in_few, "png", pictures=3),
        "animated.png": Sound(encoded(picture, "PNG", **more), seen, "png", pictures=3),
        "animated.webp": Sound(encoded(picture, "WEBP", lossless=True, **more), seen, "webp", 4, pictures=3),
        "pages.tif": Sound(encoded(picture, "TIFF", **more), seen, "tiff", pictures=3),
        "photo with preview.jpg": Sound(encoded(picture, "MPO", quality=95, **more), seen, "mjpeg", 3),
        "turned.png": Sound(turned(6, "PNG"), seen, "png"),
        "turned.webp": Sound(turned(8, "WEBP"), seen, "webp", 4),
        "turned.tif": Sound(turned(6, "TIFF"), seen, "tiff"),
    }
    for orientation in range(2, 9):
        files[f"turned {orientation}.jpg"] = Sound(turned(orientation, "JPEG"), seen, "mjpeg", 3)
    plain = Sound(encoded(picture, "PNG"), seen, "png")
    return files | {"plain.png": plain} | dict.fromkeys(HARD_NAMES, plain)


HARD_NAMES = (
    "a b  c.png",
    "#1 of 100%.png",
    "%41.png",
    "A.png",
    "50%2F50 + more?.png",
    'it\'s "quoted" & <so on>; $(no) `command`.png',
    "-rf, comma.png",
    "\u00fc \u00f1 \u65e5\u672c\u8a9e \U0001f5bc.png",
    "caf\u00e9.png",  # composed
    "cafe\u0301.png",  # decomposed: another name, the same to the eye
    "one/same.png",
    "two words/same.png",
    "two words/\u00e9/same.png",
    f"{'long' * 60}.png",
)
"""Names that some program on the way might change, split or take for another one."""


def unsound_files() -> dict[str, Unsound]:
    """By name: what fails by itself."""
    jpeg = encoded(truth(), "JPEG", quality=95)
    png = encoded(np.random.default_rng(0).integers(0, 256, truth().shape, np.uint8), "PNG")
    middle = len(jpeg) // 2
    bomb = struct.pack(">II", 30_000, 30_000)
    header = png[:16] + bomb + png[24:29]
    return {
        "cut off.jpg": Unsound(jpeg[:middle], "damaged or cut off"),
        "damaged.jpg": Unsound(jpeg[:middle] + b"\xff\xd9" + jpeg[middle + 2 :], "damaged or cut off"),
        "cut off.png": Unsound(png[: len(png) // 2], "truncated"),
        "empty.jpg": Unsound(b"", "is empty"),
        "text.jpg": Unsound(b"I am a text, whatever my name says.\n" * 20, "is not a picture"),
        "bomb.png": Unsound(header + struct.pack(">I", zlib.crc32(header[12:])) + png[33:], "million"),
        "huge.png": Unsound(
            encoded(Image.new("1", (10_000, 6_000)), "PNG"), "is 10000x6000; at most 50 million pixels"
        ),
        "phone.jpg": Unsound(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 99, "is a HEIC picture"),
        "sub/folder/empty.png": Unsound(b"", "is empty"),
    }
