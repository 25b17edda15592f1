"""Images to classify: scikit-learn's handwritten digits as PNG files.

    python scoring/digits/samples.py FOLDER [--count N]

Writes those that the shipped model has not been trained on, named `<number>-is-<digit>.png`.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from common.output_files import whole_file

HELD_OUT = 450
LEVELS = 16
"""The brightest pixel of scikit-learn's digits."""


@dataclass(frozen=True)
class Digits:
    """Pictures [N, 8, 8] from 0 to 1, bright on black, the digit each shows, and its number in the collection."""

    pictures: npt.NDArray[np.float32]
    digits: npt.NDArray[np.int64]
    numbers: npt.NDArray[np.int64]


def split_digits() -> tuple[Digits, Digits]:
    """The digits to train on and those held out, always the same, each digit in proportion."""
    collection: Any = load_digits()
    numbers = np.arange(len(collection.target))
    train, held_out = train_test_split(
        numbers, test_size=HELD_OUT, random_state=0, stratify=collection.target
    )
    pictures = (collection.images / LEVELS).astype(np.float32)
    return tuple(  # type: ignore[return-value]
        Digits(pictures[chosen], collection.target[chosen], chosen) for chosen in (train, np.sort(held_out))
    )


def write_samples(folder: Path, count: int = HELD_OUT, scale: int = 1) -> dict[str, str]:
    """Write the first `count` held-out digits as grey PNG files of 8 * scale pixels; name -> digit."""
    _, held_out = split_digits()
    written: dict[str, str] = {}
    rows = zip(held_out.pictures, held_out.digits, held_out.numbers, strict=True)
    for picture, digit, number in list(rows)[:count]:
        name = f"{number:04d}-is-{digit}.png"
        pixels = np.round(picture * 255).astype(np.uint8).repeat(scale, 0).repeat(scale, 1)
        with whole_file(folder / name) as path:
            Image.fromarray(pixels).save(path, format="PNG")
        written[name] = str(digit)
    return written


def main() -> None:
    """Read the arguments and write the files."""
    parser = argparse.ArgumentParser(description="Write handwritten digits as PNG files.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=50, help=f"how many, at most {HELD_OUT} (default: 50)")
    arguments = parser.parse_args()
    print(f"wrote {len(write_samples(arguments.folder, arguments.count))} images into {arguments.folder}")


if __name__ == "__main__":
    main()
