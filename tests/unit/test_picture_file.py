"""A picture file is read for what it shows; what is damaged, too large or no picture is refused with the reason."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from common import picture_file
from common.picture_file import UnreadablePictureError, decode, eight_bits, read_content
from tests.picture_files import encoded, in_inks, truth


def shown(content: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.asarray(decode(content).picture.convert("RGB"))


def profile_of_inks() -> bytes:
    """A colour profile (ICC.1, lut8Type) by which cyan is shown as a light grey (L* 80), black as black and all else as white."""
    mixtures = [(cyan, black) for cyan in (0, 1) for _ in range(4) for black in (0, 1)]
    corners = b"".join(bytes([0 if black else 204 if cyan else 255, 128, 128]) for cyan, black in mixtures)
    identity = [65_536 if number % 4 == 0 else 0 for number in range(9)]
    straight = bytes(range(256))
    table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + struct.pack(">9i", *identity)
    table += straight * 4 + corners + straight * 3
    head = struct.pack(
        ">I4sI4s4s4s12x4s", 144 + len(table), b"test", 0x02400000, b"prtr", b"CMYK", b"Lab ", b"acsp"
    )
    head += bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    head = head.ljust(128, b"\0")
    return head + struct.pack(">I4sII", 1, b"A2B0", 144, len(table)) + table


@pytest.mark.parametrize("adobe", [True, False])
def test_inks_are_read_upside_down_only_where_adobes_mark_stands(adobe: bool) -> None:
    difference = np.abs(shown(in_inks(truth(), adobe=adobe)).astype(int) - truth())
    assert difference.mean() <= 2


def test_inks_are_shown_by_the_pictures_own_colour_profile() -> None:
    inks = Image.new("CMYK", (32, 32), (255, 0, 0, 0))
    plain = shown(encoded(inks, "JPEG", quality=95))
    assert np.ptp(plain[8, 8]) > 200, "cyan"
    by_profile = decode(encoded(inks, "JPEG", quality=95, icc_profile=profile_of_inks())).picture
    assert by_profile.getpixel((8, 8)) == pytest.approx((198, 198, 198), abs=3)
    assert "icc_profile" not in by_profile.info


def test_a_broken_colour_profile_is_left_out() -> None:
    inks = Image.new("CMYK", (32, 32), (255, 0, 0, 0))
    broken = profile_of_inks()[:132] + bytes(80)
    assert shown(encoded(inks, "JPEG", quality=95, icc_profile=broken))[8, 8] == pytest.approx(
        (0, 255, 255), abs=3
    )


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")  # Pillow says so, and we go on
@pytest.mark.parametrize(
    "exif", [b"", b"Exif\0\0", b"Exif\0\0MM\0*\0\0\xff\xff", b"Exif\0\0" + bytes(range(200))]
)
def test_broken_exif_data_says_nothing(exif: bytes) -> None:
    content = encoded(truth(), "JPEG", quality=95, exif=exif)
    assert np.abs(shown(content).astype(int) - truth()).mean() <= 2


def test_bytes_that_a_camera_padded_with_do_no_harm() -> None:
    content = encoded(truth(), "JPEG", quality=95)
    padded = content[:-2] + bytes(100) + content[-2:]
    assert np.array_equal(shown(padded), shown(content))


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_jpeg_whose_data_ends_in_the_middle_is_refused_though_pillow_would_take_it(mode: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    content = bytearray(encoded(Image.fromarray(noise).convert(mode), "JPEG", quality=90))
    middle = len(content) // 2
    content[middle : middle + 2] = b"\xff\xd9"
    with Image.open(io.BytesIO(content)) as taken:
        taken.load()
    with pytest.raises(UnreadablePictureError, match="is damaged or cut off: Corrupt JPEG data"):
        decode(bytes(content))


@pytest.mark.parametrize(
    "values",
    [
        np.array([[0, 25_700, 65_535]], np.uint16),
        np.array([[0, 100 * 0x01010101, 0xFFFFFFFF]], np.uint32).view(np.int32),
        np.array([[0, 100 / 255, 1]], np.float32),
        np.array([[0, 25_700, 65_535]], np.float32),
        np.array([[np.nan, 25_700, 70_000]], np.float32),
    ],
    ids=["16 bits", "32 bits", "parts of white", "floats", "floats out of range"],
)
def test_greys_of_more_bits_are_scaled_and_not_clipped(values: np.ndarray[Any, Any]) -> None:
    assert np.asarray(eight_bits(Image.fromarray(values))).tolist() == [[0, 100, 255]]


def test_the_clear_grey_of_a_picture_of_16_bits_stays_clear() -> None:
    picture = Image.fromarray(np.array([[0, 25_700, 65_535]], np.uint16))
    picture.info["transparency"] = 25_700
    found = eight_bits(picture)
    assert [found.getpixel((x, 0)) for x in range(3)] == [(0, 255), (100, 0), (255, 255)]


def test_formats_that_start_other_programs_are_not_read() -> None:
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"
    with pytest.raises(UnreadablePictureError, match="is not a picture"):
        decode(postscript)


def test_a_file_larger_than_any_picture_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "film.jpg").write_bytes(bytes(11))
    monkeypatch.setattr(picture_file, "MAX_FILE_BYTES", 10)
    with pytest.raises(UnreadablePictureError, match="has 11 bytes; a picture may have at most 10"):
        read_content(tmp_path / "film.jpg")


def test_a_file_that_went_away_is_named_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(UnreadablePictureError, match="cannot be read: No such file"):
        read_content(tmp_path / "gone.jpg")
