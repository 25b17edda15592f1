"""The digits workload: its model, the entry scripts run as an engine runs them, and what a bad image does."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image

from batchscore.compute.base import JobState
from batchscore.compute.local.engine import Engine
from batchscore.definitions import load_pipeline

ROOT = Path(__file__).parents[2]
SCORING = ROOT / "scoring"
sys.path.insert(0, str(SCORING))

from common.onnx_session import ModelError  # noqa: E402
from digits import classify, collect, samples, train  # noqa: E402
from digits.classifier import SHIPPED_MODEL, Classifier, ImageError  # noqa: E402

PIPELINE = SCORING / "digits" / "classify.pipeline.yml"


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Twelve digits, named after what they show; the model takes one of them for another."""
    samples.write_samples(tmp_path / "images", 12)
    return tmp_path / "images"


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier.open()


def start(monkeypatch: pytest.MonkeyPatch, receipts: Path, images: Path, *arguments: object) -> None:
    """Call init() as a worker process does, with arguments of the driver that are none of its business."""
    given = ["--images", images, "--receipts", receipts, "--progress_update_timeout", 600, *arguments]
    monkeypatch.setattr(sys, "argv", ["driver", *map(str, given)])
    classify.init()


def run(images: Sequence[Path]) -> list[str]:
    return classify.run([str(path) for path in images])


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def lines(receipts: Path) -> list[dict[str, object]]:
    return [json.loads(line) for path in files(receipts) for line in path.read_text("utf-8").splitlines()]


def digit_in(name: str) -> str:
    match = re.search(r"-is-(\d)", name)
    assert match
    return match[1]


def table(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.reader(stream))


class TestModel:
    def test_names_held_out_digits_as_well_as_its_card_says(self):
        card = (SHIPPED_MODEL / "CARD.md").read_text("utf-8")
        promised = re.search(
            r"\*\*Accuracy\*\* on (\d+) digits held out from training: \*\*([\d.]+)\*\*", card
        )
        assert promised
        _, held_out = samples.split_digits()
        assert len(held_out.digits) == int(promised[1])
        accuracy = train.accuracy_of((SHIPPED_MODEL / "model.onnx").read_bytes(), held_out)
        assert round(accuracy, 4) >= float(promised[2]) >= 0.97

    def test_no_held_out_digit_was_trained_on(self):
        trained, held_out = samples.split_digits()
        assert not set(trained.numbers) & set(held_out.numbers)
        assert len(trained.numbers) + len(held_out.numbers) == 1797

    def test_training_again_gives_a_model_that_answers_the_same(self):
        trained, held_out = samples.split_digits()
        again = train.as_image_classifier(train.trained(trained)).SerializeToString(deterministic=True)
        shipped = (SHIPPED_MODEL / "model.onnx").read_bytes()
        accuracies = [train.accuracy_of(model, held_out) for model in (again, shipped)]
        assert accuracies[0] == pytest.approx(accuracies[1], abs=0.01)


class TestReadingImages:
    """Whatever the file is like, the model sees the same digit."""

    @pytest.fixture
    def picture(self) -> Image.Image:
        _, held_out = samples.split_digits()
        pixels = np.round(held_out.pictures[0] * 255).astype(np.uint8)
        return Image.fromarray(pixels.repeat(16, 0).repeat(16, 1))

    def saved(self, picture: Image.Image, path: Path, **options: object) -> bytes:
        picture.save(path, **options)
        return path.read_bytes()

    def test_grey_colour_palette_alpha_and_16_bit_give_the_same_numbers(self, tmp_path, classifier, picture):
        clear = Image.new("LA", picture.size, (255, 0))
        clear.paste(Image.merge("LA", (picture, Image.new("L", picture.size, 255))), (0, 0))
        ink_on_nothing = Image.merge("LA", (Image.new("L", picture.size, 255), picture))
        deep = Image.fromarray(np.asarray(picture).astype(np.uint16) * 257)
        expected = classifier.prepare(self.saved(picture, tmp_path / "grey.png"))
        assert expected.shape == (1, 8, 8)
        variants = {
            "rgb": picture.convert("RGB"),
            "rgba": picture.convert("RGBA"),
            "palette": picture.convert("P"),
            "alpha": clear,
            "ink on nothing": ink_on_nothing,
            "16 bit": deep,
        }
        for name, variant in variants.items():
            found = classifier.prepare(self.saved(variant, tmp_path / "variant.png"))
            assert found == pytest.approx(expected, abs=0.01), name

    @pytest.mark.parametrize("size", [(8, 8), (28, 28), (31, 17), (640, 480), (1, 1), (3, 400)])
    def test_any_size_is_scaled_to_the_models(self, tmp_path, classifier, picture, size):
        scaled = self.saved(picture.resize(size), tmp_path / "scaled.png")
        assert classifier.prepare(scaled).shape == (1, 8, 8)

    def test_the_cameras_rotation_is_undone(self, tmp_path, classifier, picture):
        exif = Image.Exif()
        exif[0x0112] = 6  # the camera was turned: shown after a quarter turn clockwise
        turned = picture.transpose(Image.Transpose.ROTATE_90)
        upright = classifier.prepare(self.saved(picture, tmp_path / "upright.png"))
        found = classifier.prepare(self.saved(turned, tmp_path / "turned.png", exif=exif))
        assert found == pytest.approx(upright, abs=0.01)

    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            (b"", "the file is empty"),
            (b"not an image at all", "the file is not a picture"),
            (b"\x89PNG\r\n\x1a\n", "not a picture"),
        ],
    )
    def test_what_is_no_image_is_refused_with_the_reason(self, classifier, content, reason):
        with pytest.raises(ImageError, match=reason):
            classifier.prepare(content)

    def test_a_cut_image_is_refused(self, tmp_path, classifier, picture):
        whole = self.saved(picture.resize((300, 300)).convert("RGB"), tmp_path / "whole.jpg")
        with pytest.raises(ImageError, match="the file is damaged or cut off"):
            classifier.prepare(whole[: len(whole) // 2])

    def test_an_image_of_too_many_pixels_is_refused_unread(self, tmp_path, classifier):
        huge = self.saved(Image.new("1", (16_000, 6_251)), tmp_path / "huge.png")
        with (
            pytest.raises(ImageError, match="the file has 16000x6251 pixels; at most 100 million"),
            pytest.warns(Image.DecompressionBombWarning),
        ):
            classifier.prepare(huge)


class TestClassifyStep:
    def test_gives_one_row_per_image_in_order(self, monkeypatch, tmp_path, images):
        start(monkeypatch, tmp_path / "receipts", images)
        rows = run(files(images))
        assert [row.split(",")[0] for row in rows] == [path.name for path in files(images)]
        answers = [row.split(",") for row in rows]
        assert sum(label == digit_in(name) for name, label, _ in answers) == 11
        assert all(0.5 < float(probability) <= 1 for _, _, probability in answers)

    def test_the_rows_do_not_depend_on_how_images_are_cut_into_mini_batches(
        self, monkeypatch, tmp_path, images
    ):
        start(monkeypatch, tmp_path / "together", images)
        together = run(files(images))
        start(monkeypatch, tmp_path / "alone", images)
        assert [run([path])[0] for path in files(images)] == together

    def test_a_bad_image_fails_alone_and_says_why(self, monkeypatch, tmp_path, images):
        (images / "0000-bad.png").write_bytes(b"scribble")
        (images / "empty.png").touch()
        start(monkeypatch, tmp_path / "receipts", images)
        rows = run([*files(images), images / "missing.png"])
        assert len(rows) == 12
        failed = {
            line["item"]: line["error"] for line in lines(tmp_path / "receipts") if line["status"] == "failed"
        }
        assert failed["0000-bad.png"] == "the file is not a picture"
        assert failed["empty.png"] == "the file is empty"
        assert "No such file" in str(failed["missing.png"])
        assert len(failed) == 3

    def test_a_mini_batch_without_one_good_image_gives_no_rows(self, monkeypatch, tmp_path):
        (tmp_path / "images").mkdir()
        (tmp_path / "images" / "bad.png").write_bytes(b"scribble")
        start(monkeypatch, tmp_path / "receipts", tmp_path / "images")
        assert run(files(tmp_path / "images")) == []

    def test_receipts_count_and_time_every_image(self, monkeypatch, tmp_path, images):
        (images / "bad.png").write_bytes(b"scribble")
        start(monkeypatch, tmp_path / "receipts", images)
        run(files(images))
        (receipt,) = files(tmp_path / "receipts")
        assert ".12ok.1failed." in receipt.name
        for line in lines(tmp_path / "receipts"):
            if line["status"] == "ok":
                assert {"decode", "infer", "total"} == set(line["milliseconds"])

    def test_what_is_done_is_skipped_and_its_row_still_returned(self, monkeypatch, tmp_path, images):
        start(monkeypatch, tmp_path / "receipts", images)
        first = run(files(images))
        start(monkeypatch, tmp_path / "receipts", images)
        assert run(files(images)) == first
        statuses = [line["status"] for line in lines(tmp_path / "receipts")]
        assert statuses.count("ok") == 12
        assert statuses.count("skipped") == 12

    def test_an_image_that_changed_and_other_labels_are_done_again(self, monkeypatch, tmp_path, images):
        start(monkeypatch, tmp_path / "receipts", images)
        run(files(images))
        changed = files(images)[0]
        Image.new("L", (8, 8)).save(changed)
        start(monkeypatch, tmp_path / "receipts", images)
        run(files(images))
        assert [line["status"] for line in lines(tmp_path / "receipts")].count("ok") == 13
        words = tmp_path / "labels.txt"
        words.write_text("\n".join("abcdefghij"), "utf-8")
        start(monkeypatch, tmp_path / "receipts", images, "--labels", words)
        assert run(files(images))[1].split(",")[1] in "abcdefghij"

    def test_images_in_folders_are_named_with_their_folder(self, monkeypatch, tmp_path):
        for folder in ("a", "b"):
            samples.write_samples(tmp_path / "images" / folder, 1)
        start(monkeypatch, tmp_path / "receipts", tmp_path / "images")
        rows = run(files(tmp_path / "images"))
        assert [row.split(",")[0][:2] for row in rows] == ["a/", "b/"]

    def test_labels_are_a_side_input_one_name_a_line(self, monkeypatch, tmp_path, images):
        start(monkeypatch, tmp_path / "receipts", images)
        plain = list(csv.reader(run(files(images))))
        labels = tmp_path / "words.txt"
        words = ["zero", "one", "two", "three", "four", "five", "six, half a dozen", "seven", "eight", "nine"]
        labels.write_text("\n".join(words), "utf-8")
        start(monkeypatch, tmp_path / "receipts", images, "--labels", labels)
        named = list(csv.reader(run(files(images))))
        assert named == [[name, words[int(digit)], probability] for name, digit, probability in plain]


class TestBadModel:
    """init() says what is wrong, before any image is touched."""

    def refused(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *arguments: object) -> str:
        with pytest.raises(ModelError) as caught:
            start(monkeypatch, tmp_path / "receipts", tmp_path, *arguments)
        return str(caught.value)

    def test_missing(self, monkeypatch, tmp_path):
        assert "no model file model.onnx" in self.refused(monkeypatch, tmp_path, "--model", tmp_path / "none")

    def test_not_onnx(self, monkeypatch, tmp_path):
        (tmp_path / "model.onnx").write_bytes(b"pickle")
        assert "cannot be opened as an ONNX model" in self.refused(monkeypatch, tmp_path, "--model", tmp_path)

    def test_other_inputs(self, monkeypatch, tmp_path):
        style = SCORING / "models" / "arbitrary" / "transformer.onnx"
        said = self.refused(monkeypatch, tmp_path, "--model", style)
        assert "frames" in said
        assert "must have one, float [N, C, H, W]" in said

    def test_other_outputs(self, monkeypatch, tmp_path):
        write_classifier(tmp_path / "model.onnx", channels=1, pooled=False)
        assert "must have one float [N, classes]" in self.refused(monkeypatch, tmp_path, "--model", tmp_path)

    def test_logits_taken_for_probabilities(self, monkeypatch, tmp_path):
        write_classifier(tmp_path / "model.onnx", channels=3, pooled=True)
        said = self.refused(monkeypatch, tmp_path, "--model", tmp_path)
        assert "[0. 0. 0.]" in said
        assert "set scores to logits" in said

    def test_labels_that_do_not_fit(self, monkeypatch, tmp_path):
        (tmp_path / "three.txt").write_text("a\nb\nc\n", "utf-8")
        said = self.refused(monkeypatch, tmp_path, "--labels", tmp_path / "three.txt")
        assert "three.txt name 3 classes" in said
        assert "knows 10" in said

    def test_labels_that_are_no_text(self, monkeypatch, tmp_path):
        (tmp_path / "labels.bin").write_bytes(b"\xff\xfe\x00")
        assert "labels.bin cannot be read" in self.refused(
            monkeypatch, tmp_path, "--labels", tmp_path / "labels.bin"
        )


class TestAnotherClassifier:
    """The template's promise: a colour classifier that gives logits runs as it is."""

    def test_three_channels_logits_and_labels_beside_the_model(self, monkeypatch, tmp_path):
        write_classifier(tmp_path / "model" / "model.onnx", channels=3, pooled=True)
        (tmp_path / "model" / "labels.txt").write_text("red\ngreen\nblue\n", "utf-8")
        for colour in ("blue", "red", "lime"):
            path = tmp_path / "images" / f"{colour}.png"
            path.parent.mkdir(exist_ok=True)
            Image.new("RGB", (30, 20), colour).save(path)
        start(
            monkeypatch,
            tmp_path / "receipts",
            tmp_path / "images",
            "--model",
            tmp_path / "model",
            "--scores",
            "logits",
        )
        rows = [row.split(",") for row in run(files(tmp_path / "images"))]
        assert [row[1] for row in rows] == ["blue", "green", "red"]
        assert [float(row[2]) for row in rows] == pytest.approx([np.e / (np.e + 2)] * 3, abs=1e-6)


class TestCollectStep:
    def collected(self, tmp_path: Path, *, expect: int = 0) -> str:
        command = [sys.executable, str(SCORING / "digits" / "collect.py")]
        for name in ("images", "receipts", "predictions"):
            command += [f"--{name}", str(tmp_path / name)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == expect, done.stderr
        return done.stdout + done.stderr

    def test_each_image_has_one_row_in_the_order_of_names(self, monkeypatch, tmp_path, images):
        for _ in range(2):  # a mini-batch that ran twice leaves two receipts for each image
            start(monkeypatch, tmp_path / "receipts", images)
            run(files(images)[6:])
            run(files(images)[:6])
        said = self.collected(tmp_path)
        header, *rows = table(tmp_path / "predictions" / "predictions.csv")
        assert header == ["File", "Prediction", "Probability"]
        assert [row[0] for row in rows] == [path.name for path in files(images)]
        assert "12 images classified, 0 failed" in said
        assert table(tmp_path / "predictions" / "failed.csv") == [["File", "Error"]]

    def test_failed_and_forgotten_images_are_listed_with_the_reason(self, monkeypatch, tmp_path, images):
        (images / "bad, worse.png").write_bytes(b"scribble")
        start(monkeypatch, tmp_path / "receipts", images)
        run([path for path in files(images) if not path.name.startswith(files(images)[0].name)])
        self.collected(tmp_path)
        assert len(table(tmp_path / "predictions" / "predictions.csv")) == 1 + 11
        assert table(tmp_path / "predictions" / "failed.csv")[1:] == [
            [files(images)[0].name, "no worker finished it"],
            ["bad, worse.png", "the file is not a picture"],
        ]

    def test_the_newest_receipt_counts(self, tmp_path, images):
        (first, *_) = files(images)
        receipts = tmp_path / "receipts"
        receipts.mkdir()
        old = {
            "item": first.name,
            "status": "failed",
            "input": "",
            "parameters": "",
            "outputs": [],
            "error": "lost",
        }
        new = old | {"status": "ok", "error": None, "row": f"{first.name},7,0.900000"}
        (receipts / "aaaaaaaaaaaa.1ok.0failed.2000.jsonl").write_text(json.dumps(new) + "\n", "utf-8")
        (receipts / "bbbbbbbbbbbb.0ok.1failed.1000.jsonl").write_text(json.dumps(old) + "\n", "utf-8")
        assert collect.collect(images, receipts).rows == [f"{first.name},7,0.900000"]

    def test_receipts_of_images_that_are_gone_are_left_out(self, monkeypatch, tmp_path, images):
        start(monkeypatch, tmp_path / "receipts", images)
        run(files(images))
        files(images)[0].unlink()
        self.collected(tmp_path)
        assert len(table(tmp_path / "predictions" / "predictions.csv")) == 1 + 11

    def test_not_one_row_is_an_error(self, tmp_path):
        (tmp_path / "images").mkdir()
        assert "no image in" in self.collected(tmp_path, expect=1)
        (tmp_path / "images" / "one.png").touch()
        assert "no image was classified" in self.collected(tmp_path, expect=1)


class TestSamples:
    def test_are_named_after_the_digit_and_read_back_exactly(self, tmp_path):
        written = samples.write_samples(tmp_path, 20, scale=3)
        assert sorted(written) == [path.name for path in files(tmp_path)]
        _, held_out = samples.split_digits()
        classifier = Classifier.open()
        for (name, digit), picture in zip(written.items(), held_out.pictures, strict=False):
            assert digit_in(name) == digit
            assert classifier.prepare((tmp_path / name).read_bytes())[0] == pytest.approx(
                picture, abs=1 / 255
            )

    def test_the_command_says_how_many_it_wrote(self, tmp_path):
        script = [sys.executable, str(SCORING / "digits" / "samples.py"), str(tmp_path), "--count", "3"]
        done = subprocess.run(script, capture_output=True, text=True, check=True)
        assert "wrote 3 images" in done.stdout
        assert len(files(tmp_path)) == 3


class TestWholePipeline:
    def test_runs_on_the_local_engine_as_it_stands(self, tmp_path, images):
        (images / "bad.png").write_bytes(b"scribble")
        labels = tmp_path / "labels.txt"
        labels.write_text("".join(f"digit {digit}\n" for digit in range(10)), "utf-8")
        outputs = {name: tmp_path / name for name in ("receipts", "predictions")}
        status = Engine(
            load_pipeline(PIPELINE),
            {"images": images, "labels": labels},
            outputs,
            tmp_path / "work",
            tmp_path / "logs",
        ).run()
        assert status.state is JobState.SUCCEEDED, status.message
        _, *rows = table(tmp_path / "predictions" / "predictions.csv")
        assert [row[0] for row in rows] == [path.name for path in files(images) if path.name != "bad.png"]
        assert sum(row[1] == f"digit {digit_in(row[0])}" for row in rows) == 11
        assert table(tmp_path / "predictions" / "failed.csv")[1:] == [
            ["bad.png", "the file is not a picture"]
        ]


def write_classifier(path: Path, *, channels: int, pooled: bool) -> None:
    """A model that gives the mean of each channel as a logit, or the pictures themselves."""
    nodes = [helper.make_node("ReduceMean", ["picture", "axes"], ["scores"], keepdims=0)]
    if not pooled:
        nodes = [helper.make_node("Identity", ["picture"], ["scores"])]
    shape = ["N", channels] if pooled else ["N", channels, 4, 4]
    axes = helper.make_tensor("axes", TensorProto.INT64, [2], [2, 3])
    graph = helper.make_graph(
        nodes,
        "means",
        [helper.make_tensor_value_info("picture", TensorProto.FLOAT, ["N", channels, 4, 4])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, shape)],
        [axes] if pooled else [],
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), path)
