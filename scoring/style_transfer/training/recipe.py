"""The recipe of a training: everything besides the painting and the photographs that decides the result."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

from common.receipts import parameters_hash

LARGEST_SHIFT = 8
"""By how many pixels the two pictures of a pair are shifted at most."""
BORDER = 12
"""The outermost pixels of a pair see different mirrored borders and are not compared."""


@dataclass(frozen=True)
class Recipe:
    """Weights of the losses, sizes in pixels, learning rates. The defaults are those of `train.pipeline.yml`."""

    steps: int = 200
    crop: int = 160
    """Side of the square pieces of photographs that are painted in training."""
    painting_side: int = 400
    """The painting's shorter side: larger means larger strokes in the result."""
    style_weight: float = 10.0
    content_weight: float = 1.0
    variation_weight: float = 0.5
    temporal_weight: float = 30.0
    """How much a picture and the same picture shifted, a little brighter and noisy must be painted alike."""
    batch: int = 2
    seed: int = 0
    norm_rate: float = 1e-2
    kernel_rate: float = 1e-3

    def rate_factor(self, step: int) -> float:
        """What the learning rates are multiplied by at a step, from 1: ten steps of warm-up, a cosine at the end."""
        share = step / self.steps
        cooled = max(0.03, 0.5 * (1 + math.cos(math.pi * (share - 0.3) / 0.7))) if share > 0.3 else 1.0
        return min(1.0, step / 10) * cooled

    @staticmethod
    def averaging(step: int) -> float:
        """How much of the averaged weights stays at a step: the result is an average over the last steps."""
        return min(0.95, step / (step + 5))

    def fingerprint(self, **made_from: str) -> str:
        """A short hash of the recipe and of the versions of what the style is made from."""
        return parameters_hash(asdict(self) | made_from)
