"""An image classifier in ONNX: pictures of any kind and size in, a label and its probability out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from common.onnx_session import ModelError, OnnxModel, open_model
from common.picture_file import UnreadablePictureError, decode, eight_bits

SHIPPED_MODEL = Path(__file__).resolve().parent.parent / "models" / "digits"
MODEL_FILE, LABELS_FILE = "model.onnx", "labels.txt"
PROBABILITIES, LOGITS = SCORES = ("probabilities", "logits")
_SUM_TOLERANCE = 1e-3

Floats = npt.NDArray[np.float32]


class ImageError(Exception):
    """An image cannot be classified; the sentence says why."""


@dataclass(frozen=True)
class Classifier:
    """An open model with its labels; pictures go in as [channels, height, width]."""

    model: OnnxModel
    input: str
    output: str
    size: tuple[int, int, int]
    scores: str
    labels: tuple[str, ...]

    @classmethod
    def open(
        cls, model: Path | None = None, labels: Path | None = None, scores: str = PROBABILITIES
    ) -> Classifier:
        """Open a model folder (or file), the shipped one when None is given, and try it once.

        The model must have one input float [N, C, H, W] with C 1 or 3 and an output float [N, classes].
        The labels, one a line, come from `labels`, else from `labels.txt` beside the model, else they are
        0, 1, 2, …. `scores` says what the output holds: probabilities, or logits. Raises ModelError.
        """
        path = model if model is not None and model.is_file() else (model or SHIPPED_MODEL) / MODEL_FILE
        opened = open_model(path, "auto")
        name, size = _picture_input(opened)
        output = _score_output(opened)
        try:
            tried = opened.session.run([output], {name: np.zeros((1, *size), np.float32)})[0]
        except Exception as error:  # ONNX Runtime's own exceptions share no public base class
            raise ModelError(
                f"{path.name} in {path.parent} cannot classify a black picture: {error}"
            ) from error
        if scores == PROBABILITIES and (tried.min() < 0 or abs(tried.sum() - 1) > _SUM_TOLERANCE):
            raise ModelError(
                f"{path.name} in {path.parent} gives {output} that are no probabilities: they must be positive and "
                f"sum to 1, but a black picture gets {np.array2string(tried[0], precision=3, threshold=6)}; "
                f"where they are logits, set scores to {LOGITS}"
            )
        classes = tried.shape[-1]
        if labels is None and (path.parent / LABELS_FILE).is_file():
            labels = path.parent / LABELS_FILE
        return cls(opened, name, output, size, scores, _read_labels(labels, classes))

    def prepare(self, content: bytes) -> Floats:
        """An image file's content as the model takes it: [C, H, W] from 0 to 1; ImageError says what is wrong.

        This is the place to change for a model that wants other numbers than 0 to 1 or another crop.
        """
        channels, height, width = self.size
        try:
            picture = decode(content).picture
        except UnreadablePictureError as error:
            raise ImageError(f"the file {error}") from error
        if channels == 1:
            levels = _grey(picture)
        else:
            if picture.mode.startswith(("I", "F")):
                picture = eight_bits(picture)
            levels = np.asarray(_on_black(picture).convert("RGB"), np.float32) / np.float32(255)
        bands = levels.reshape(*levels.shape[:2], channels).transpose(2, 0, 1)
        return np.stack([_resized(band, width, height) for band in bands])

    def classify(self, pictures: Sequence[Floats]) -> list[tuple[str, float]]:
        """The most probable label of each picture, with its probability."""
        batch = {self.input: np.stack(pictures)}
        scores = self.model.session.run([self.output], batch)[0]
        probabilities = _softmax(scores) if self.scores == LOGITS else scores
        best = probabilities.argmax(1)
        return [
            (self.labels[index], float(row[index])) for index, row in zip(best, probabilities, strict=True)
        ]


def _picture_input(model: OnnxModel) -> tuple[str, tuple[int, int, int]]:
    inputs = model.session.get_inputs()
    if len(inputs) == 1 and inputs[0].type == "tensor(float)" and len(inputs[0].shape) == 4:
        count, channels, height, width = inputs[0].shape
        sizes_known = all(isinstance(size, int) for size in (channels, height, width))
        if not isinstance(count, int) and sizes_known and channels in (1, 3):
            return inputs[0].name, (channels, height, width)
    found = ", ".join(f"{value.name}: {value.type}{value.shape}" for value in inputs)
    raise ModelError(
        f"{model.path.name} in {model.path.parent} has the inputs ({found}); "
        "an image classifier must have one, float [N, C, H, W] with N free, C 1 or 3, H and W fixed"
    )


def _score_output(model: OnnxModel) -> str:
    outputs = model.session.get_outputs()
    for value in outputs:
        if value.type == "tensor(float)" and len(value.shape) == 2:
            return str(value.name)
    found = ", ".join(f"{value.name}: {value.type}{value.shape}" for value in outputs)
    raise ModelError(
        f"{model.path.name} in {model.path.parent} has the outputs ({found}); "
        "an image classifier must have one float [N, classes]"
    )


def _read_labels(path: Path | None, classes: int) -> tuple[str, ...]:
    if path is None:
        return tuple(str(index) for index in range(classes))
    try:
        labels = tuple(line.strip() for line in path.read_text("utf-8-sig").splitlines() if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"the labels {path.name} cannot be read as UTF-8 text: {error}") from error
    if len(labels) != classes:
        raise ModelError(
            f"the labels {path.name} name {len(labels)} classes, one a line; the model knows {classes}"
        )
    return labels


def _grey(picture: Image.Image) -> Floats:
    """Brightness from 0 to 1; 16-bit pictures keep their depth."""
    if picture.mode.startswith("I;16"):
        return np.asarray(picture, np.float32) / np.float32(65535)
    if picture.mode.startswith(("I", "F")):
        picture = eight_bits(picture)
    return np.asarray(_on_black(picture).convert("L"), np.float32) / np.float32(255)


def _on_black(picture: Image.Image) -> Image.Image:
    """Transparent parts become black, the colour around the digits that the shipped model has learnt."""
    if not picture.has_transparency_data:
        return picture
    picture = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", picture.size, "black"), picture)


def _resized(band: Floats, width: int, height: int) -> Floats:
    """Averaged over areas, in float32, so that nothing is rounded to 8 bits on the way."""
    resized = Image.fromarray(np.ascontiguousarray(band)).resize((width, height), Image.Resampling.BOX)
    return np.asarray(resized, np.float32)


def _softmax(scores: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    values = scores.astype(np.float64)
    powers = np.exp(values - values.max(1, keepdims=True))
    result: npt.NDArray[np.float64] = powers / powers.sum(1, keepdims=True)
    return result
