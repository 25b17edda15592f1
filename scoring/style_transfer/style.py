"""The style: a named model, or a picture that the arbitrary-style model turns into a style vector."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common.onnx_session import Device, Tensor, open_model
from common.output_files import sha256_of
from models.painting import SIDE, as_painting
from style_transfer.errors import PictureError, StyleError
from style_transfer.pictures import read_picture

ARBITRARY = Path(__file__).resolve().parent.parent / "models" / "arbitrary"
NAMED_MODEL, TRANSFORMER, PREDICTOR = "model.onnx", "transformer.onnx", "predictor.onnx"
VECTOR_SIZE = 100


@dataclass(frozen=True)
class Style:
    """A folder with `model.onnx`, or one with `transformer.onnx` and `predictor.onnx` and a style picture."""

    folder: Path
    picture: Path | None = None

    @property
    def model(self) -> Path:
        return self.folder / (NAMED_MODEL if self.picture is None else TRANSFORMER)

    def fingerprint(self) -> dict[str, str]:
        """The content of everything that makes up the style, for receipts."""
        files = [self.model] if self.picture is None else [self.model, self.folder / PREDICTOR, self.picture]
        roles = ["model", "predictor", "picture"]
        return {role: sha256_of(path) for role, path in zip(roles, files, strict=False)}


def choose_style(style: Path | None, style_image: Path | None, arbitrary: Path = ARBITRARY) -> Style:
    """The style that was asked for, its files found and its picture read once; StyleError says what is wrong.

    Exactly one of a named style and a style picture is needed. A `style` folder that holds the arbitrary
    model itself (a newer version of it, say) goes together with a picture.
    """
    if style is not None and style.is_file():
        style = style.parent
    if style is None and style_image is None:
        raise StyleError(
            "no style given: name a style (style) or give a picture to take it from (style_image)"
        )
    if style is not None and not style.is_dir():
        raise StyleError(f"there is no style folder {style.name}")
    if style is not None and (style / NAMED_MODEL).is_file():
        if style_image is not None:
            raise StyleError(
                f"two styles given, the style {style.name} and the picture {style_image.name}: give one of them"
            )
        return Style(style)
    if style is not None and not (style / TRANSFORMER).is_file():
        raise StyleError(
            f"the style {style.name} holds no {NAMED_MODEL} (nor {TRANSFORMER} and {PREDICTOR} of an arbitrary style)"
        )
    folder = arbitrary if style is None else style
    if style_image is None:
        raise StyleError(f"the style {folder.name} takes its style from a picture: give one (style_image)")
    for name in (TRANSFORMER, PREDICTOR):
        if not (folder / name).is_file():
            raise StyleError(f"the arbitrary-style model has no {name} in {folder}")
    try:
        read_picture(style_image)
    except PictureError as error:
        raise StyleError(f"the style picture cannot be used: {error}") from error
    return Style(folder, style_image)


def style_vector(style: Style, device: Device) -> np.ndarray[Any, np.dtype[np.float32]]:
    """The vector [1, 100] that the predictor makes of the style's picture."""
    if style.picture is None:
        raise StyleError(f"the style {style.folder.name} has no picture")
    predictor = open_model(
        style.folder / PREDICTOR,
        device,
        inputs={"style_image": Tensor("uint8", (1, SIDE, SIDE, 3))},
        outputs={"style_vector": Tensor("float", (1, VECTOR_SIZE))},
    )
    vector: np.ndarray[Any, np.dtype[np.float32]] = predictor.run(
        style_image=as_painting(read_picture(style.picture))
    )[0]
    return vector
