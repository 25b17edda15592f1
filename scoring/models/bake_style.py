"""Make a named style from a painting: a model that takes frames and nothing else.

    python scoring/models/bake_style.py PAINTING --name NAME [--output FOLDER]

Writes `FOLDER/NAME/model.onnx`, which is `arbitrary/transformer.onnx` with the painting's style vector as a
constant, and a card beside it. It gives exactly what the two models of `arbitrary` give together.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from onnx import helper, numpy_helper

sys.path.insert(0, str(Path(__file__).parents[1]))

from common.output_files import sha256_of, write_whole
from models.card import file_table
from models.painting import load_painting

ARBITRARY = Path(__file__).parent / "arbitrary"
NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
CARD = """\
# {name}

A fixed style: the small arbitrary-style network with the style vector of one painting built in.
Takes `frames` uint8 RGB [N, H, W, 3], gives `stylized` of the same shape; H and W of at least 16 pixels.

{table}
| made from | SHA-256 |
|---|---|
| painting `{painting}` | `{painting_sha256}` |
| `arbitrary/transformer.onnx` | `{transformer_sha256}` |
| `arbitrary/predictor.onnx` | `{predictor_sha256}` |

- **Recipe**: `python scoring/models/bake_style.py {painting} --name {name}`
- **Painting**: say here who painted it, when, and by what right it is used.
- **Licence of the weights**: Apache-2.0, The Magenta Authors; `NOTICE.txt` and the licence texts lie beside this card.
"""
NOTICES = ("NOTICE.txt", "LICENSE.weights.txt", "LICENSE.package.txt")


class StyleError(Exception):
    """A style cannot be made: its name or its painting will not do."""


def main() -> None:
    """Read the arguments, make the style, say where it is."""
    parser = argparse.ArgumentParser(description="Make a named style model from a painting.")
    parser.add_argument("painting", type=Path, help="a picture file")
    parser.add_argument("--name", required=True, help="lower-case letters, digits and single hyphens")
    parser.add_argument(
        "--output", type=Path, default=Path(), help="where the style's folder goes (default: here)"
    )
    arguments = parser.parse_args()
    try:
        folder = bake_style(arguments.painting, arguments.name, arguments.output)
    except StyleError as error:
        raise SystemExit(f"no style made: {error}") from None
    print(f"made {folder / 'model.onnx'}; please complete {folder / 'CARD.md'}")


def bake_style(painting: Path, name: str, output: Path) -> Path:
    """Write the style `name` into a folder of that name in `output`; the folder.

    StyleError when the name cannot be a model's name or the painting is missing or no picture.
    """
    if not NAME.fullmatch(name):
        raise StyleError(f"the name {name!r} must be lower-case letters and digits, joined by single hyphens")
    try:
        picture = load_painting(painting)
    except OSError as error:
        raise StyleError(f"{painting} is not a picture that can be read: {error}") from error
    predictor = ort.InferenceSession(str(ARBITRARY / "predictor.onnx"), providers=["CPUExecutionProvider"])
    (vector,) = predictor.run(["style_vector"], {"style_image": picture})

    about = {"style": name, "painting": painting.name, "painting_sha256": sha256_of(painting)}
    model = with_style(onnx.load(ARBITRARY / "transformer.onnx"), vector, about)
    folder = output / name
    write_whole(folder / "model.onnx", model.SerializeToString(deterministic=True))
    for notice in NOTICES:
        write_whole(folder / notice, (ARBITRARY / notice).read_bytes())
    card = CARD.format(
        name=name,
        table=file_table(folder, ["model.onnx"]),
        painting=painting.name,
        painting_sha256=about["painting_sha256"],
        transformer_sha256=sha256_of(ARBITRARY / "transformer.onnx"),
        predictor_sha256=sha256_of(ARBITRARY / "predictor.onnx"),
    )
    write_whole(folder / "CARD.md", card.encode())
    return folder


def with_style(
    transformer: onnx.ModelProto, vector: npt.NDArray[np.float32], about: dict[str, str]
) -> onnx.ModelProto:
    """The transformer whose input `style_vector` [1, 100] has become a constant."""
    model = onnx.ModelProto()
    model.CopyFrom(transformer)
    inputs: list[Any] = [value for value in model.graph.input if value.name != "style_vector"]
    model.graph.ClearField("input")
    model.graph.input.extend(inputs)
    model.graph.initializer.append(numpy_helper.from_array(vector, "style_vector"))
    helper.set_model_props(model, {entry.key: entry.value for entry in model.metadata_props} | about)
    onnx.checker.check_model(model, full_check=True)
    return model


if __name__ == "__main__":
    main()
