"""The photographs that a style is trained on: random pieces, and pairs of them as in a shaking, noisy video."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, UnidentifiedImageError

from style_transfer.errors import TrainingError
from style_transfer.training.recipe import LARGEST_SHIFT, Recipe

LONGEST_SHORT_SIDE = 480
SMALLEST_SIDE = 64
KEPT_IN_MEMORY = 256
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")


@dataclass(frozen=True)
class Pair:
    """The same pieces twice [N, 3, S, S]: as they are, and shifted by (down, right), with another gain and noise."""

    plain: torch.Tensor
    shaken: torch.Tensor
    down: int
    right: int


class Photographs:
    """The pictures of a folder. What comes at a step depends on the seed and the step alone."""

    def __init__(self, folder: Path) -> None:
        """TrainingError when there is no picture in the folder that can be read."""
        found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
        self.files = [path for path in found if _is_picture(path)]
        if not self.files:
            raise TrainingError(
                f"no photograph in the folder {folder.name}: training needs some, {', '.join(SUFFIXES)}, of any subject "
                "but paintings"
            )

    def pair(self, recipe: Recipe, step: int) -> Pair:
        """The pieces of a step."""
        random = np.random.default_rng((recipe.seed, step))
        side = recipe.crop
        pieces = [self._piece(random, side + LARGEST_SHIFT) for _ in range(recipe.batch)]
        large = torch.from_numpy(np.stack(pieces)).permute(0, 3, 1, 2)
        down, right = (int(random.integers(0, LARGEST_SHIFT + 1)) for _ in range(2))
        shifted = large[:, :, down : down + side, right : right + side]
        noise = random.standard_normal((recipe.batch, 3, side, side), np.float32) * np.float32(0.012)
        gain = float(random.uniform(0.97, 1.03))
        shaken = (shifted * gain + torch.from_numpy(noise)).clamp(0, 1)
        return Pair(large[:, :, :side, :side].contiguous(), shaken, down, right)

    def some(self, count: int) -> list[npt.NDArray[np.uint8]]:
        """A few of the pictures, spread over the folder: RGB [H, W, 3]."""
        chosen = np.linspace(0, len(self.files) - 1, min(count, len(self.files))).astype(int)
        return [_pixels(self.files[number]) for number in chosen]

    def _piece(self, random: np.random.Generator, side: int) -> npt.NDArray[np.float32]:
        """A square of a random picture at a random scale, perhaps mirrored, in other light: [side, side, 3]."""
        picture = Image.fromarray(_pixels(self.files[int(random.integers(len(self.files)))]))
        width, height = picture.size
        short = min(width, height)
        least = max(side, 0.45 * short)
        size = int(random.uniform(least, short)) if short > side else short
        left, top = int(random.integers(0, width - size + 1)), int(random.integers(0, height - size + 1))
        box = (left, top, left + size, top + size)
        square = picture.resize((side, side), Image.Resampling.BILINEAR, box=box, reducing_gap=None)
        values = np.asarray(square, np.float32) / np.float32(255)
        if random.random() < 0.5:
            values = values[:, ::-1]
        contrast, light = random.uniform(0.85, 1.15), random.uniform(-0.08, 0.08)
        lit: npt.NDArray[np.float32] = np.clip((values - 0.5) * contrast + 0.5 + light, 0, 1).astype(
            np.float32
        )
        return lit


@lru_cache(KEPT_IN_MEMORY)
def _pixels(path: Path) -> npt.NDArray[np.uint8]:
    """A picture as RGB, made smaller where it is large."""
    with Image.open(path) as opened:
        opened.draft("RGB", (LONGEST_SHORT_SIDE, LONGEST_SHORT_SIDE))
        picture = opened.convert("RGB")
    factor = LONGEST_SHORT_SIDE / min(picture.size)
    if factor < 1:
        size = (round(picture.width * factor), round(picture.height * factor))
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    return np.asarray(picture, np.uint8)


def _is_picture(path: Path) -> bool:
    """Whether a file can be read to its end as a picture that is not tiny; says so when not."""
    try:
        height, width, _ = _pixels(path).shape
        large = bool(min(height, width) >= SMALLEST_SIDE)
        why = f"smaller than {SMALLEST_SIDE} pixels"
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError, ValueError):
        large, why = False, "no picture that can be read"
    if not large:
        print(f"left out {path.name}, {why}", flush=True)
    return large
