"""A picture file's content as an upright picture in 8 bits or more, or the reason why it is none."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import simplejpeg
from PIL import Image, ImageChops, ImageCms, UnidentifiedImageError

MAX_PIXELS = 100_000_000
Image.MAX_IMAGE_PIXELS = MAX_PIXELS  # Pillow warns above its own bound, and raises above twice that
MAX_FILE_BYTES = 1_000_000_000
FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "BMP", "DIB", "TIFF", "GIF", "PPM", "TGA", "JPEG2000", "AVIF")
"""What is read: formats of pictures alone. Pillow knows more, some of which start other programs."""
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1")


class UnreadablePictureError(Exception):
    """The file cannot be read as a picture. The words go on after the file's name: `is empty`."""


@dataclass(frozen=True)
class PictureFile:
    """An upright picture, in any of Pillow's modes but those of inks, and how many pictures its file holds."""

    picture: Image.Image
    count: int = 1


def read_content(path: Path) -> bytes:
    """All bytes of a file, unless they are more than any picture has."""
    try:
        size_bytes = path.stat().st_size
        if size_bytes > MAX_FILE_BYTES:
            raise UnreadablePictureError(
                f"has {size_bytes:,} bytes; a picture may have at most {MAX_FILE_BYTES:,}"
            )
        return path.read_bytes()
    except OSError as error:
        raise UnreadablePictureError(f"cannot be read: {error.strerror or error}") from error


def decode(content: bytes) -> PictureFile:
    """The picture in these bytes, the first one of several, turned upright as its EXIF data says.

    Inks (CMYK) become RGB, by the picture's own colour profile where it has one.
    """
    if not content:
        raise UnreadablePictureError("is empty")
    try:
        with Image.open(io.BytesIO(content), formats=_readable()) as opened:
            check_size(opened)
            count = _count(opened)  # before the picture is loaded, which may close the file
            return PictureFile(_upright(_loaded(content, opened)), count)
    except UnidentifiedImageError as error:
        raise UnreadablePictureError(_no_picture(content)) from error
    except Image.DecompressionBombError as error:
        raise UnreadablePictureError(_too_large(f"more than {2 * MAX_PIXELS:,}")) from error
    except UnreadablePictureError:
        raise
    except Exception as error:  # a damaged file makes Pillow's many readers raise almost anything
        raise UnreadablePictureError(f"cannot be read: {error}") from error


def check_size(picture: Image.Image) -> None:
    """UnreadablePictureError when the header speaks of more pixels than are decoded."""
    if picture.width * picture.height > MAX_PIXELS:
        raise UnreadablePictureError(_too_large(f"{picture.width}x{picture.height}"))


def orientation_of(picture: Image.Image) -> int:
    """How the camera was held, 1 when upright; broken EXIF data says nothing."""
    try:
        return int(picture.getexif().get(_ORIENTATION, 1))
    except Exception:  # any bytes can stand there
        return 1


def eight_bits(picture: Image.Image) -> Image.Image:
    """A grey picture of 16 or 32 bits as one of 8, scaled; Pillow's own conversion cuts values off.

    Numbers above 65,535 are taken for 32 bits, floats up to 1 for parts of white.
    """
    levels = np.asarray(picture)
    if levels.dtype == np.int32:
        levels = levels.view(np.uint32)  # Pillow has no other mode for 32 bits without a sign
    values = np.nan_to_num(levels.astype(np.float32))
    largest = values.max(initial=0)
    if picture.mode == "F" and largest <= 1:
        top = 1.0
    else:
        top = 65_535.0 if largest <= 65_535 or picture.mode == "F" else 2.0**32 - 1
    grey = Image.fromarray(np.rint(values.clip(0, top) * np.float32(255 / top)).astype(np.uint8))
    clear = picture.info.get("transparency")
    if isinstance(clear, int):
        grey.putalpha(Image.fromarray(np.where(values == clear, 0, 255).astype(np.uint8)))
    return grey


def _loaded(content: bytes, opened: Image.Image) -> Image.Image:
    if opened.format not in ("JPEG", "MPO"):
        opened.load()
        return _without_inks(opened.copy()) if opened.mode == "CMYK" else opened.copy()
    pixels = _jpeg_pixels(content)
    if opened.mode in ("RGB", "L") and pixels is not None:
        picture = Image.fromarray(pixels.squeeze(2) if opened.mode == "L" else pixels)
        picture.info = dict(opened.info)
        return picture
    opened.load()
    if opened.mode != "CMYK":
        return opened.copy()
    # Adobe's programs store inks upside down and say so. Pillow takes every file for one of theirs.
    return _without_inks(opened.copy() if "adobe" in opened.info else ImageChops.invert(opened))


def _jpeg_pixels(content: bytes) -> np.ndarray[tuple[int, int, int], np.dtype[np.uint8]] | None:
    """What libjpeg decodes, as strictly as it can; None for what it does not know.

    Pillow goes on silently where the data is damaged, and so would deliver half a picture.
    """
    try:
        _, _, space, _ = simplejpeg.decode_jpeg_header(content)
        wanted = {"Gray": "GRAY", "CMYK": "CMYK", "YCCK": "CMYK"}.get(space, "RGB")
        return simplejpeg.decode_jpeg(content, colorspace=wanted)  # type: ignore[no-any-return]
    except ValueError as error:
        words = str(error)
        harmless = "extraneous bytes" in words  # some cameras pad
        if words.startswith(("Corrupt JPEG data", "Premature end")) and not harmless:
            raise UnreadablePictureError(f"is damaged or cut off: {words}") from error
        return None


def _without_inks(picture: Image.Image) -> Image.Image:
    profile = picture.info.get("icc_profile") or b""
    if profile[16:20] == b"CMYK":
        try:
            made = ImageCms.profileToProfile(
                picture, io.BytesIO(profile), ImageCms.createProfile("sRGB"), outputMode="RGB"
            )
        except ImageCms.PyCMSError:  # a broken profile: do without
            made = None
        if made is not None:
            made.info.pop("icc_profile", None)
            return made
    plain = picture.convert("RGB")
    plain.info.pop("icc_profile", None)
    return plain


def _upright(picture: Image.Image) -> Image.Image:
    turn = _TURNS.get(orientation_of(picture))
    return picture if turn is None else picture.transpose(turn)


def _count(opened: Image.Image) -> int:
    if opened.format == "MPO":  # one photo, and beside it previews and depth maps
        return 1
    try:
        return int(getattr(opened, "n_frames", 1))
    except Exception:  # a later picture is damaged; the first may be sound
        return 2


def _readable() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _no_picture(content: bytes) -> str:
    if content[4:8] == b"ftyp" and content[8:12] in _HEIF_BRANDS:
        return "is a HEIC picture, which cannot be read: convert it to JPEG or PNG"
    return "is not a picture"


def _too_large(pixels: str) -> str:
    return f"has {pixels} pixels; at most {MAX_PIXELS // 1_000_000} million are allowed"
