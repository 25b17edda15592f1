"""Entry script of the export step: trained weights in, a style's folder out: model.onnx, its card, its losses."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from style_transfer.errors import StyleTransferError
from style_transfer.training.requirements import check_torch


def main() -> None:
    """Export, verify, measure, describe."""
    parser = argparse.ArgumentParser(description="Make a style's folder of trained weights.")
    parser.add_argument("--name", required=True, help="the style's name")
    parser.add_argument("--painting", type=Path, required=True, help="the picture that was trained on")
    parser.add_argument(
        "--photos", type=Path, required=True, help="the photographs to measure the flicker on"
    )
    parser.add_argument("--training", type=Path, required=True, help="what the train step left")
    parser.add_argument("--style", type=Path, required=True, help="the folder to write")
    arguments = parser.parse_args()
    try:
        check_torch()
        from style_transfer.training.finish import finish_style

        measured = finish_style(
            arguments.name, arguments.painting, arguments.photos, arguments.training, arguments.style
        )
    except StyleTransferError as error:
        raise SystemExit(f"no style made: {error}") from None
    print(f"{arguments.name}: {measured}")


if __name__ == "__main__":
    main()
