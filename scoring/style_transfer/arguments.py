"""The arguments that both stylize steps take, and what they open."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from common.onnx_session import DEVICES
from common.receipts import ReceiptBook, parameters_hash
from style_transfer.engine import Stylizer
from style_transfer.style import choose_style


def style_arguments(description: str | None) -> argparse.ArgumentParser:
    """A parser that knows the style, how it is applied, and where outputs and receipts go."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--style", type=Path, help="folder of a named style")
    parser.add_argument("--style-image", type=Path, help="picture to take the style from")
    parser.add_argument("--strength", type=float, default=1.0)
    parser.add_argument("--max-height", type=int)
    parser.add_argument("--device", choices=DEVICES, default="auto")
    parser.add_argument("--stylized", type=Path, required=True, help="folder for the outputs")
    parser.add_argument("--receipts", type=Path, required=True, help="folder for the receipts")
    return parser


def open_style(args: argparse.Namespace, written_as: Mapping[str, object]) -> tuple[Stylizer, ReceiptBook]:
    """The stylizer that the arguments ask for, and the receipts of outputs made with exactly these arguments.

    `written_as` is what else decides an output: formats and their options.
    """
    style = choose_style(args.style, args.style_image)
    parameters = {
        **style.fingerprint(),
        "strength": args.strength,
        "max_height": args.max_height,
        "written_as": dict(written_as),
    }
    args.stylized.mkdir(parents=True, exist_ok=True)
    stylizer = Stylizer(style, strength=args.strength, device=args.device)
    print(f"style {style.folder.name} on {stylizer.device}", flush=True)
    return stylizer, ReceiptBook(args.receipts, args.stylized, parameters_hash(parameters))
