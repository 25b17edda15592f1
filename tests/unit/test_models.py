"""The shipped style models: what they take and give, where they come from, and named styles made from them."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
SCORING = ROOT / "scoring"
sys.path.insert(0, str(SCORING))

from models.bake_style import StyleError, bake_style  # noqa: E402
from models.card import files_in  # noqa: E402
from models.flicker import arbitrary_painter, measure, painter, photographs  # noqa: E402
from models.painting import load_painting  # noqa: E402

MODELS = SCORING / "models"
ARBITRARY = MODELS / "arbitrary"
PAINTINGS = sorted((ROOT / "samples" / "paintings").glob("*.jpg"))
CARDS = sorted(MODELS.glob("*/CARD.md"))
ONNX_FILES = sorted(MODELS.glob("*/*.onnx"))
STYLES = sorted(path.parent.name for path in MODELS.glob("*/losses.csv"))

Frames = npt.NDArray[np.uint8]
Vector = npt.NDArray[np.float32]


def open_model(path: Path) -> ort.InferenceSession:
    return ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def stylize() -> Callable[[Frames, Vector], Frames]:
    session = open_model(ARBITRARY / "transformer.onnx")

    def run(frames: Frames, vector: Vector) -> Frames:
        result: Frames = session.run(["stylized"], {"frames": frames, "style_vector": vector})[0]
        return result

    return run


@pytest.fixture(scope="module")
def vectors() -> dict[str, Vector]:
    session = open_model(ARBITRARY / "predictor.onnx")
    return {
        path.stem: session.run(["style_vector"], {"style_image": load_painting(path)})[0]
        for path in PAINTINGS
    }


def pictures(count: int, height: int, width: int) -> Frames:
    """Colour gradients with noise, different in each frame."""
    random = np.random.default_rng(count * height * width)
    rows, columns = np.mgrid[0:height, 0:width]
    base = np.stack(
        [rows * 255 // height, columns * 255 // width, (rows + columns) * 255 // (height + width)], -1
    )
    noisy = base[np.newaxis] + random.integers(-40, 40, (count, height, width, 3))
    return noisy.clip(0, 255).astype(np.uint8)


class TestTransformer:
    @pytest.mark.parametrize(
        "shape",
        [(1, 16, 16), (1, 17, 16), (1, 16, 19), (1, 90, 160), (3, 67, 101), (2, 31, 250), (4, 18, 33)],
        ids=lambda shape: "{}x{}x{}".format(*shape),
    )
    def test_gives_frames_of_the_size_it_got(self, stylize, vectors, shape):
        frames = pictures(*shape)
        stylized = stylize(frames, vectors["starry-night"])
        assert stylized.shape == frames.shape
        assert stylized.dtype == np.uint8
        assert stylized.std() > 5, "an even surface is no painting"

    def test_is_deterministic(self, stylize, vectors):
        frames = pictures(2, 61, 83)
        first, second = (stylize(frames, vectors["night-cafe"]) for _ in range(2))
        assert np.array_equal(first, second)

    def test_paints_each_frame_of_a_batch_as_it_would_alone(self, stylize, vectors):
        frames, vector = pictures(3, 60, 81), vectors["cafe-terrace"]
        alone = np.concatenate([stylize(frame[np.newaxis], vector) for frame in frames])
        assert np.abs(stylize(frames, vector).astype(int) - alone).max() <= 1

    def test_two_paintings_give_two_pictures(self, stylize, vectors):
        frames = pictures(1, 60, 80)
        blue, red = stylize(frames, vectors["starry-night"]), stylize(frames, vectors["renoir-roses"])
        assert blue[..., 2].mean() > red[..., 2].mean() + 30
        assert red[..., 0].mean() > blue[..., 0].mean() + 30

    def test_mirrors_its_input_up_to_the_smallest_side_only(self, stylize, vectors):
        with pytest.raises(Exception, match="Pad"):
            stylize(pictures(1, 3, 40), vectors["starry-night"])


class TestPredictor:
    def test_tells_paintings_apart(self, vectors):
        names = sorted(vectors)
        assert len(names) >= 5
        for number, name in enumerate(names):
            assert vectors[name].shape == (1, 100)
            for other in names[number + 1 :]:
                assert np.abs(vectors[name] - vectors[other]).max() > 0.1, (name, other)

    def test_hardly_minds_the_size_of_the_painting(self, tmp_path, vectors):
        with Image.open(ROOT / "samples" / "paintings" / "starry-night.jpg") as picture:
            picture.resize((picture.width * 3 // 4, picture.height * 3 // 4)).save(tmp_path / "smaller.png")
        session = open_model(ARBITRARY / "predictor.onnx")
        (vector,) = session.run(None, {"style_image": load_painting(tmp_path / "smaller.png")})
        near = np.linalg.norm(vector - vectors["starry-night"])
        far = min(np.linalg.norm(vector - vectors[name]) for name in vectors if name != "starry-night")
        assert near < far / 2


class TestPainting:
    @pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1", "CMYK", "I;16"])
    def test_any_kind_of_picture_becomes_256_rgb(self, tmp_path, mode):
        path = tmp_path / ("picture.tif" if mode in ("CMYK", "I;16") else "picture.png")
        Image.new(mode, (300, 40)).save(path)
        assert load_painting(path).shape == (1, 256, 256, 3)

    def test_the_middle_square_is_taken(self, tmp_path):
        picture = Image.new("RGB", (300, 100), "red")
        picture.paste("blue", (100, 0, 200, 100))
        picture.save(tmp_path / "wide.png")
        middle = load_painting(tmp_path / "wide.png")[0, :, 4:-4]
        assert middle.reshape(-1, 3).mean(0) == pytest.approx([0, 0, 255], abs=1)

    def test_transparent_parts_become_white(self, tmp_path):
        Image.new("RGBA", (20, 20), (0, 0, 0, 0)).save(tmp_path / "clear.png")
        assert (load_painting(tmp_path / "clear.png") == 255).all()


class TestNamedStyle:
    def test_gives_exactly_what_the_two_models_give(self, tmp_path, stylize, vectors):
        folder = bake_style(
            ROOT / "samples" / "paintings" / "langlois-bridge.jpg", "langlois-bridge", tmp_path
        )
        session = open_model(folder / "model.onnx")
        assert [value.name for value in session.get_inputs()] == ["frames"]
        for frames in (pictures(1, 90, 160), pictures(2, 33, 47)):
            (painted,) = session.run(["stylized"], {"frames": frames})
            assert np.array_equal(painted, stylize(frames, vectors["langlois-bridge"]))

    def test_has_a_card_with_its_hash_and_the_licences_beside_it(self, tmp_path):
        painting = ROOT / "samples" / "paintings" / "night-cafe.jpg"
        folder = bake_style(painting, "night-cafe", tmp_path)
        named = files_in(folder / "CARD.md")
        assert named["model.onnx"] == sha256(folder / "model.onnx")
        assert sha256(painting) in (folder / "CARD.md").read_text("utf-8")
        assert (folder / "NOTICE.txt").read_text("utf-8") == (ARBITRARY / "NOTICE.txt").read_text("utf-8")

    def test_is_the_same_file_each_time(self, tmp_path):
        painting = ROOT / "samples" / "paintings" / "night-cafe.jpg"
        first, second = (bake_style(painting, "night-cafe", tmp_path / str(turn)) for turn in (1, 2))
        assert (first / "model.onnx").read_bytes() == (second / "model.onnx").read_bytes()

    @pytest.mark.parametrize(
        "name", ["", "Night", "night cafe", "../night", "night-", "night--cafe", "night:3"]
    )
    def test_a_name_that_no_model_can_have_is_refused(self, tmp_path, name):
        with pytest.raises(StyleError, match="lower-case letters"):
            bake_style(ROOT / "samples" / "paintings" / "night-cafe.jpg", name, tmp_path)
        assert not list(tmp_path.iterdir())

    def test_a_painting_that_is_no_picture_is_refused_by_name(self, tmp_path):
        (tmp_path / "letter.jpg").write_text("Dear Theo")
        for painting in ("letter.jpg", "missing.jpg"):
            with pytest.raises(StyleError, match=painting):
                bake_style(tmp_path / painting, "letter", tmp_path / "styles")
        assert not (tmp_path / "styles").exists()

    def test_the_command_says_where_the_style_is(self, tmp_path):
        script = [sys.executable, str(MODELS / "bake_style.py")]
        painting = str(ROOT / "samples" / "paintings" / "renoir-roses.jpg")
        made = subprocess.run(
            [*script, painting, "--name", "roses", "--output", str(tmp_path)], capture_output=True, text=True
        )
        assert made.returncode == 0, made.stderr
        assert str(tmp_path / "roses" / "model.onnx") in made.stdout
        refused = subprocess.run([*script, "nothing.jpg", "--name", "roses"], capture_output=True, text=True)
        assert refused.returncode == 1
        assert "nothing.jpg" in refused.stderr
        assert "Traceback" not in refused.stderr


class TestShippedStyles:
    @pytest.mark.parametrize("name", STYLES)
    def test_paints_frames_of_any_size_unlike_its_untrained_start(self, name, stylize, vectors):
        session = open_model(MODELS / name / "model.onnx")
        assert [value.name for value in session.get_inputs()] == ["frames"]
        frames = pictures(2, 67, 101)
        (painted,) = session.run(["stylized"], {"frames": frames})
        assert painted.shape == frames.shape
        assert painted.std() > 15, "an even surface is no painting"
        assert np.abs(painted.astype(int) - stylize(frames, vectors[name])).mean() > 10

    @pytest.mark.parametrize("name", STYLES)
    def test_is_calmer_than_the_arbitrary_style_and_its_card_gives_the_figure(self, name):
        arbitrary = arbitrary_painter(ROOT / "samples" / "paintings" / f"{name}.jpg")
        small = [picture[:128, :160] for picture in photographs()]
        before, after = measure(arbitrary, small), measure(painter(MODELS / name / "model.onnx"), small)
        assert after.pan_error < before.pan_error
        assert after.static < before.static
        card = (MODELS / name / "CARD.md").read_text("utf-8")
        told = re.findall(r"^\| (pan error|static flicker).* \| \*\*([\d.]+)\*\* \| ([\d.]+) \|$", card, re.M)
        assert [row[0] for row in told] == ["pan error", "static flicker"]
        assert all(float(row[1]) < float(row[2]) for row in told)

    @pytest.mark.parametrize("name", STYLES)
    def test_its_card_names_the_painting_the_data_the_recipe_and_the_licences(self, name):
        card = (MODELS / name / "CARD.md").read_text("utf-8")
        assert sha256(ROOT / "samples" / "paintings" / f"{name}.jpg") in card
        for said in ("public domain", "photographs", "`temporal_weight`", "Apache-2.0", "before-after.jpg"):
            assert said in card, said
        steps = int(re.search(r"`steps` (\d+)", card)[1])
        assert len((MODELS / name / "losses.csv").read_text().splitlines()) == steps + 1
        assert (MODELS / name / "NOTICE.txt").read_bytes() == (ARBITRARY / "NOTICE.txt").read_bytes()

    def test_there_are_at_least_four_each_of_a_sample_painting(self):
        assert len(STYLES) >= 4
        assert set(STYLES) <= {path.stem for path in PAINTINGS}

    def test_all_shipped_models_together_are_smaller_than_30_megabytes(self):
        assert sum(path.stat().st_size for path in ONNX_FILES) < 30_000_000


class TestCards:
    @pytest.mark.parametrize("card", CARDS, ids=lambda card: card.parent.name)
    def test_names_every_model_file_with_its_hash(self, card):
        expected = {path.name: sha256(path) for path in card.parent.glob("*.onnx")}
        assert expected
        assert expected.items() <= files_in(card).items()

    @pytest.mark.parametrize("card", CARDS, ids=lambda card: card.parent.name)
    def test_shows_pictures_that_exist(self, card):
        for picture in re.findall(r"!\[[^]]+\]\(([^)]+)\)", card.read_text("utf-8")):
            with Image.open(card.parent / picture) as opened:
                opened.load()
            assert (card.parent / picture).stat().st_size <= 150_000

    def test_the_notices_of_the_weights_are_kept(self):
        notice = (ARBITRARY / "NOTICE.txt").read_text("utf-8")
        assert "The Magenta Authors" in notice
        assert "Apache License, Version 2.0" in notice
        assert "Changed for this project" in notice
        assert "TERMS AND CONDITIONS" in (ARBITRARY / "LICENSE.weights.txt").read_text("utf-8")
        package = (ARBITRARY / "LICENSE.package.txt").read_text("utf-8")
        assert "MIT License" in package
        assert "Copyright (c) 2026 Ekaghni" in package

    @pytest.mark.parametrize("path", ONNX_FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
    def test_no_model_file_holds_a_path_or_a_trace_of_the_machine_that_made_it(self, path):
        model = onnx.load(path)
        for node in model.graph.node:
            assert not node.doc_string
            assert not node.metadata_props
        for tensor in model.graph.initializer:
            tensor.ClearField("raw_data")
        text = model.SerializeToString()
        for trace in (
            rb"/home/",
            rb"/root/",
            rb"/tmp/",
            rb"/usr/",
            rb"[A-Z]:\\",
            rb"\.py\b",
            rb"site-packages",
        ):
            assert not re.search(trace, text), trace

    @pytest.mark.parametrize(
        ("path", "limit_bytes"), [("transformer.onnx", 1_000_000), ("predictor.onnx", 3_000_000)]
    )
    def test_the_style_models_stay_small(self, path, limit_bytes):
        assert (ARBITRARY / path).stat().st_size <= limit_bytes


class TestPaintings:
    @pytest.mark.parametrize("path", PAINTINGS, ids=lambda path: path.stem)
    def test_is_small_and_listed_as_public_domain(self, path):
        with Image.open(path) as picture:
            assert max(picture.size) <= 640
        assert path.stat().st_size <= 150_000
        listed = (path.parent / "README.md").read_text("utf-8").splitlines()
        assert any(f"`{path.name}`" in line and "public domain" in line for line in listed)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
