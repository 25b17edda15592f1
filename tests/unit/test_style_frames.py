"""A folder of pictures is painted: every picture once, in its own format; what fails is listed by name."""

from __future__ import annotations

import csv
import io
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from common.onnx_session import Device
from style_transfer import stylize_frames
from style_transfer.collect import collect
from style_transfer.errors import PictureError, ResultError
from style_transfer.pictures import (
    Picture,
    decode_for_model,
    decode_picture,
    encode_picture,
    for_model,
    output_name,
    plain_jpeg,
)
from style_transfer.style import ARBITRARY, Style, style_vector
from tests.picture_files import sound_files
from tests.style_clips import SCORING, make_style

Run = Callable[..., list[str]]
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    folder = tmp_path / "frames"
    folder.mkdir()
    return folder


@pytest.fixture
def run(tmp_path: Path, frames: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A fresh worker that takes the folder as one mini-batch; gives the rows."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    style = make_style(tmp_path / "inverted")

    def work(*extra: str) -> list[str]:
        folders = ["--stylized", str(tmp_path / "stylized"), "--receipts", str(tmp_path / "receipts")]
        monkeypatch.setattr("sys.argv", ["x", "--style", str(style), *folders, "--other", "1", *extra])
        stylize_frames.init()
        return stylize_frames.run([str(path) for path in sorted(frames.rglob("*")) if path.is_file()])

    return work


def plain(color: str | tuple[int, ...], size: tuple[int, int] = (32, 24), mode: str = "RGB") -> Image.Image:
    return Image.new(mode, size, color)


def painted(tmp_path: Path, name: str) -> Image.Image:
    with Image.open(tmp_path / "stylized" / name) as picture:
        picture.load()
        return picture


def test_pictures_of_all_sizes_and_formats_come_back_inverted(tmp_path: Path, frames: Path, run: Run) -> None:
    sizes = {"a.jpg": (32, 24), "b.JPEG": (40, 24), "c.png": (32, 24), "d.webp": (17, 33), "e.bmp": (32, 24)}
    for name, size in (sizes | {"f.tiff": (32, 24)}).items():
        plain((200, 100, 40), size).save(frames / name)
    rows = run()
    assert rows == [f"{name},{w},{h}" for name, (w, h) in sorted((sizes | {"f.tiff": (32, 24)}).items())]
    for path in frames.iterdir():
        with Image.open(path) as original:
            result = painted(tmp_path, path.name)
            assert (result.size, result.format) == (original.size, original.format)
        middle = result.convert("RGB").getpixel((8, 8))
        assert isinstance(middle, tuple)
        assert np.abs(np.array(middle) - (55, 155, 215)).max() <= 4


def test_a_corrupt_picture_fails_alone_and_is_listed_with_the_reason(
    tmp_path: Path, frames: Path, run: Run
) -> None:
    for name in ("a.png", "c.png"):
        plain("red").save(frames / name)
    content = (frames / "a.png").read_bytes()
    (frames / "b.png").write_bytes(content[:60])
    (frames / "d.png").write_bytes(b"")
    (frames / "notes.txt").write_text("no picture")
    plain("red", (8, 300)).save(frames / "thin.png")
    assert run() == ["a.png,32,24", "c.png,32,24"]
    story = collect(frames, tmp_path / "receipts", tmp_path / "report")
    assert story == "2 of 6 pictures painted, 4 failed"
    with (tmp_path / "report" / "failed.csv").open() as table:
        failed = {row["item"]: row["reason"] for row in csv.DictReader(table)}
    assert failed.pop("b.png").startswith("b.png cannot be read: ")
    assert failed == {
        "d.png": "d.png is empty",
        "notes.txt": "notes.txt is not a picture",
        "thin.png": "thin.png is 8x300; both sides need 16 pixels or more",
    }
    with (tmp_path / "report" / "timings.csv").open() as table:
        timings = list(csv.DictReader(table))
    assert [row["item"] for row in timings] == ["a.png", "c.png"]
    assert all(float(row["total_ms"]) > 0 for row in timings)


def test_grey_becomes_colour_and_transparency_is_kept(tmp_path: Path, frames: Path, run: Run) -> None:
    plain((200,), mode="L").save(frames / "grey.png")
    plain((200, 100, 40, 77), mode="RGBA").save(frames / "alpha.png")
    plain((50, 90), mode="LA").save(frames / "grey-alpha.png")
    plain((10, 20, 30, 40), mode="CMYK").save(frames / "cmyk.jpg")
    plain(1, mode="1").save(frames / "bits.png")
    palette = plain((200, 100, 40)).quantize(4)
    palette.info["transparency"] = 0
    palette.save(frames / "palette.png", transparency=0)
    Image.fromarray(np.full((24, 32), 51_400, np.uint16)).save(frames / "deep.png")
    assert len(run()) == 7
    assert painted(tmp_path, "grey.png").getpixel((9, 9)) == (55, 55, 55)
    assert painted(tmp_path, "alpha.png").getpixel((9, 9)) == (55, 155, 215, 77)
    assert painted(tmp_path, "grey-alpha.png").getpixel((9, 9)) == (205, 205, 205, 90)
    assert painted(tmp_path, "cmyk.jpg").mode == "RGB"
    assert painted(tmp_path, "bits.png").getpixel((9, 9)) == (0, 0, 0)
    assert painted(tmp_path, "palette.png").mode == "RGBA"
    assert painted(tmp_path, "deep.png").getpixel((9, 9)) == (55, 55, 55)


def test_a_picture_of_a_turned_camera_comes_out_upright(tmp_path: Path, frames: Path, run: Run) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    plain("red", (40, 24)).save(frames / "turned.jpg", exif=exif)
    assert run() == ["turned.jpg,24,40"]
    assert painted(tmp_path, "turned.jpg").getexif().get(0x0112, 1) == 1


def test_max_height_shrinks_what_is_higher(tmp_path: Path, frames: Path, run: Run) -> None:
    plain("red", (100, 60)).save(frames / "high.png")
    plain("red", (40, 20)).save(frames / "low.png")
    assert run("--max-height", "30") == ["high.png,50,30", "low.png,40,20"]


def test_what_is_valid_is_skipped_and_what_changed_is_done_again(
    tmp_path: Path, frames: Path, run: Run
) -> None:
    for name in ("a.png", "b.png", "c.png"):
        plain("red").save(frames / name)
    rows = run()
    plain("blue").save(frames / "b.png")
    (tmp_path / "stylized" / "c.png").write_bytes(b"")
    times = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "stylized").iterdir()}
    assert run() == rows
    again = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "stylized").iterdir()}
    assert {name for name in again if again[name] != times[name]} == {"b.png", "c.png"}
    assert painted(tmp_path, "b.png").getpixel((9, 9)) == (255, 255, 0)


def jpeg(picture: Image.Image, **options: object) -> bytes:
    content = io.BytesIO()
    picture.save(content, "JPEG", **options)
    return content.getvalue()


def noise() -> Image.Image:
    values = np.random.default_rng(0).integers(0, 256, (25, 33, 3), np.uint8)
    return Image.fromarray(values).resize((67, 51))


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("progressive", [False, True])
def test_the_short_way_to_a_jpeg_gives_the_pixels_of_pillow(subsampling: str, progressive: bool) -> None:
    content = jpeg(noise(), subsampling=subsampling, progressive=progressive, quality=90, icc_profile=PROFILE)
    short = plain_jpeg("a.jpg", content)
    assert short is not None
    assert np.array_equal(short.rgb, np.asarray(decode_picture("a.jpg", content)))
    assert short.icc_profile == PROFILE


def test_jpegs_that_are_grey_turned_or_in_inks_go_the_long_way() -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    for content in (jpeg(noise().convert("L")), jpeg(noise().convert("CMYK")), jpeg(noise(), exif=turned)):
        assert plain_jpeg("a.jpg", content) is None
        assert decode_for_model("a.jpg", content, None).rgb.shape[2] == 3


def test_a_jpeg_that_ends_too_early_is_refused() -> None:
    content = jpeg(noise(), quality=95)
    for length in (len(content) // 2, 100, 3):
        with pytest.raises(
            PictureError,
            match=r"a\.jpg (is damaged or cut off: .*|cannot be read: Truncated.*|is not a picture)",
        ):
            decode_for_model("a.jpg", content[:length], None)


def test_max_height_and_the_smallest_side_hold_for_plain_jpegs() -> None:
    assert decode_for_model("a.jpg", jpeg(noise()), 20).rgb.shape == (20, 26, 3)
    with pytest.raises(PictureError, match=r"a\.jpg is 40x12; both sides need 16 pixels or more"):
        decode_for_model("a.jpg", jpeg(plain("red", (40, 12))), None)


def test_jpegs_are_written_with_subsampled_colour_at_quality_95() -> None:
    original = np.asarray(noise())
    for profile in (None, PROFILE):
        content = encode_picture("a.jpg", Picture(original, icc_profile=profile), original)
        with Image.open(io.BytesIO(content)) as written:
            assert written.info.get("icc_profile") == profile
            assert [component[1:3] for component in written.layer] == [(2, 2), (1, 1), (1, 1)]
            assert written.quantization[0][0] == 2


def test_a_format_that_is_not_written_becomes_png() -> None:
    assert output_name("a.JPG") == "a.JPG"
    assert output_name("a.gif") == "a.gif.png"
    picture = for_model("a.gif", plain("red"), None)
    with Image.open(io.BytesIO(encode_picture("a.gif.png", picture, picture.rgb))) as written:
        assert written.format == "PNG"


def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded() -> None:
    header = plain("red", (16, 16))
    content = encode_picture("a.png", for_model("a.png", header, None), np.asarray(header))
    huge = content.replace((16).to_bytes(4) + (16).to_bytes(4), (20_000).to_bytes(4) + (8_000).to_bytes(4))
    huge = huge[:29] + zlib.crc32(huge[12:29]).to_bytes(4) + huge[33:]
    with (
        pytest.raises(PictureError, match=r"a\.png has 20000x8000 pixels; at most 100 million"),
        pytest.warns(Image.DecompressionBombWarning),
    ):
        decode_picture("a.png", huge)


def test_pictures_of_one_name_in_several_folders_stay_apart(tmp_path: Path, frames: Path, run: Run) -> None:
    for folder, color in (("one", "red"), ("two", "blue")):
        (frames / folder).mkdir()
        plain(color).save(frames / folder / "a.png")
    assert run("--frames", str(frames)) == ["one/a.png,32,24", "two/a.png,32,24"]
    assert painted(tmp_path, "one/a.png").getpixel((9, 9)) == (0, 255, 255)
    assert painted(tmp_path, "two/a.png").getpixel((9, 9)) == (255, 255, 0)
    assert collect(frames, tmp_path / "receipts", tmp_path / "report") == "2 of 2 pictures painted, 0 failed"


def test_a_picture_whose_result_would_take_the_name_of_another_is_refused(
    tmp_path: Path, frames: Path, run: Run
) -> None:
    plain("red").save(frames / "a.gif")
    plain("red").save(frames / "a.gif.png")
    assert run() == ["a.gif.png,32,24"]
    collect(frames, tmp_path / "receipts", tmp_path / "report")
    assert "a.gif would be written as a.gif.png, which is another picture" in (
        tmp_path / "report" / "failed.csv"
    ).read_text("utf-8")


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ResultError, match="folder of frames is empty"):
        collect(tmp_path, tmp_path / "receipts", tmp_path / "report")


def test_collecting_as_a_process(tmp_path: Path, frames: Path) -> None:
    plain("red").save(frames / "a.png")
    script = SCORING / "style_transfer" / "collect.py"
    folders = {"frames": frames, "receipts": tmp_path / "receipts", "report": tmp_path / "report"}
    arguments = [part for name, folder in folders.items() for part in (f"--{name}", str(folder))]
    done = subprocess.run(
        [sys.executable, str(script), *arguments], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert done.stderr == "error: none of 1 pictures was painted; the first: a.png: never finished\n"
    assert (tmp_path / "report" / "failed.csv").read_text() == "item,reason\na.png,never finished\n"


@pytest.mark.parametrize(
    ("name", "like"),
    [
        ("16 bits grey.png", "grey.jpg"),
        ("CMYK plain.jpg", "CMYK of Adobe.jpg"),
        ("turned 6.jpg", "plain.png"),
    ],
)
def test_a_style_picture_is_read_as_any_other(tmp_path: Path, name: str, like: str) -> None:
    files = sound_files()
    vectors = []
    for each in (name, like):
        (tmp_path / each).write_bytes(files[each].content)
        vectors.append(style_vector(Style(ARBITRARY, tmp_path / each), Device("cpu")))
    difference = np.abs(vectors[0] - vectors[1]).max()
    assert difference <= 0.15 * np.abs(vectors[1]).max()
