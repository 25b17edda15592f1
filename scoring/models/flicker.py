"""How much a style flickers in a video: two figures in levels of 255, lower is calmer.

    python scoring/models/flicker.py [MODEL.onnx …]

Without models: every shipped style, and `arbitrary` with each painting in samples/paintings. The pictures are the two
photographs of scikit-learn at 480×320.

- **pan error**: a picture is painted, then the same picture 1 to 3 pixels further, 1 % brighter and a little noisy. Moved
  back, the two should be the same; the figure is their mean absolute difference.
- **static flicker**: the mean absolute difference between a picture painted with and without that noise, as in a video
  of something that does not move.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))

from models.painting import load_painting

Frame = npt.NDArray[np.uint8]
"""RGB [H, W, 3]."""
Paint = Callable[[Frame], Frame]

SHIFTS = (1, 2, 3)
BORDER = 16
"""Pixels at the edge that mirrored borders reach; they are left out."""
GAIN = 1.01
NOISE_LEVELS = 2.55
MODELS = Path(__file__).parent
PAINTINGS = Path(__file__).parents[2] / "samples" / "paintings"


@dataclass(frozen=True)
class Flicker:
    """Mean absolute differences in levels of 255."""

    pan_error: float
    static: float

    def __str__(self) -> str:
        return f"pan error {self.pan_error:.1f}/255, static flicker {self.static:.1f}/255"


def measure(paint: Paint, pictures: Sequence[Frame]) -> Flicker:
    """The flicker of a style, a mean over pictures of at least 64×64; the noise is the same at every call."""
    random = np.random.default_rng(0)
    pan, static = [], []
    for picture in pictures:
        height, width = (side - max(SHIFTS) for side in picture.shape[:2])
        still = picture[:height, :width]
        first = paint(still).astype(np.int16)
        for shift in SHIFTS:
            moved = picture[shift : shift + height, shift : shift + width]
            second = paint(_noisy(moved, random, GAIN))
            here = first[BORDER + shift : height - BORDER, BORDER + shift : width - BORDER]
            there = second[BORDER : height - BORDER - shift, BORDER : width - BORDER - shift]
            pan.append(np.abs(here - there).mean())
        static.append(np.abs(first - paint(_noisy(still, random, 1.0))).mean())
    return Flicker(float(np.mean(pan)), float(np.mean(static)))


def _noisy(frame: Frame, random: np.random.Generator, gain: float) -> Frame:
    noise = random.standard_normal(frame.shape, np.float32) * np.float32(NOISE_LEVELS)
    levels: Frame = np.clip(np.rint(frame * np.float32(gain) + noise), 0, 255).astype(np.uint8)
    return levels


def painter(model: Path, **fixed: npt.NDArray[np.generic]) -> Paint:
    """What a model paints; `fixed` holds its inputs besides the frames."""
    session = ort.InferenceSession(str(model), providers=["CPUExecutionProvider"])

    def paint(frame: Frame) -> Frame:
        stylized: Frame = session.run(
            ["stylized"], {"frames": np.ascontiguousarray(frame[np.newaxis]), **fixed}
        )[0][0]
        return stylized

    return paint


def arbitrary_painter(painting: Path) -> Paint:
    """What `arbitrary` paints in the style of a painting."""
    predictor = ort.InferenceSession(str(MODELS / "arbitrary" / "predictor.onnx"))
    (vector,) = predictor.run(["style_vector"], {"style_image": load_painting(painting)})
    return painter(MODELS / "arbitrary" / "transformer.onnx", style_vector=vector)


def photographs() -> list[Frame]:
    """The pictures that the figures in the cards are measured on."""
    from sklearn.datasets import load_sample_images

    return [
        np.asarray(Image.fromarray(pixels).resize((480, 320), Image.Resampling.LANCZOS))
        for pixels in load_sample_images().images
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Measure how much styles flicker.")
    parser.add_argument("models", nargs="*", type=Path, help="ONNX files that take frames alone")
    models = parser.parse_args().models
    paints = {str(path): painter(path) for path in models}
    if not models:
        paints = {
            path.parent.name: painter(path)
            for path in sorted(MODELS.glob("*/model.onnx"))
            if path.parent.name != "digits"
        }
        paints |= {
            f"arbitrary, {path.stem}": arbitrary_painter(path) for path in sorted(PAINTINGS.glob("*.jpg"))
        }
    pictures = photographs()
    for name, paint in paints.items():
        print(f"{name}: {measure(paint, pictures)}", flush=True)


if __name__ == "__main__":
    main()
