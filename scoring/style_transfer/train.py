"""Entry script of the train step: a painting and photographs in, trained weights out.

Needs PyTorch and the weights of the loss network (`make torch`). Killed at any moment, it goes on from the last
checkpoint in the folder `--training` when it is started again, and comes to the same result.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from style_transfer.errors import StyleTransferError
from style_transfer.training.recipe import Recipe
from style_transfer.training.requirements import check_torch

CHECKPOINT_EVERY = 10


def main() -> None:
    """Train, and say what it took."""
    arguments = _arguments()
    recipe = Recipe(
        steps=arguments.steps,
        crop=arguments.size,
        painting_side=arguments.painting_side,
        style_weight=arguments.style_weight,
        content_weight=arguments.content_weight,
        temporal_weight=arguments.temporal_weight,
        seed=arguments.seed,
    )
    os.environ.setdefault(
        "OMP_WAIT_POLICY", "PASSIVE"
    )  # threads that spin while they wait slow a shared machine
    try:
        check_torch()
        from style_transfer.training.session import train_style

        facts = train_style(
            arguments.painting,
            arguments.photos,
            recipe,
            arguments.device,
            arguments.training,
            arguments.checkpoint_every,
        )
    except StyleTransferError as error:
        raise SystemExit(f"no style trained: {error}") from None
    print(f"trained on {facts.photographs} photographs in {facts.cpu_seconds:.0f} CPU-s")


def _arguments() -> argparse.Namespace:
    recipe = Recipe()
    parser = argparse.ArgumentParser(description="Train a style from a painting.")
    parser.add_argument("--painting", type=Path, required=True, help="the picture to paint like")
    parser.add_argument("--photos", type=Path, required=True, help="a folder of photographs of any subject")
    parser.add_argument("--training", type=Path, required=True, help="folder for the weights and the losses")
    parser.add_argument("--steps", type=int, default=recipe.steps)
    parser.add_argument("--size", type=int, default=recipe.crop, help="side of the pieces of photographs")
    parser.add_argument("--painting-side", type=int, default=recipe.painting_side)
    parser.add_argument("--style-weight", type=float, default=recipe.style_weight)
    parser.add_argument("--content-weight", type=float, default=recipe.content_weight)
    parser.add_argument("--temporal-weight", type=float, default=recipe.temporal_weight)
    parser.add_argument("--seed", type=int, default=recipe.seed)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--checkpoint-every", type=int, default=CHECKPOINT_EVERY, help="steps")
    return parser.parse_args()


if __name__ == "__main__":
    main()
