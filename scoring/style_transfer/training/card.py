"""The card of a trained style: what it is made from, how, and how calm it is."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from common.output_files import write_whole
from models.card import file_table
from models.flicker import Flicker

if TYPE_CHECKING:
    from style_transfer.training.session import Facts

ARBITRARY = Path(__file__).resolve().parents[2] / "models" / "arbitrary"
NOTICES = ("NOTICE.txt", "LICENSE.weights.txt", "LICENSE.package.txt")
CARD = """\
# {name}

A fixed style, trained from one painting. Takes `frames` uint8 RGB [N, H, W, 3], gives `stylized` of the same shape;
H and W of at least 16 pixels.

{table}
| made from | SHA-256 |
|---|---|
| painting `{painting}` | `{painting_sha256}` |
| `arbitrary/transformer.onnx` | `{transformer_sha256}` |

- **Painting**: say here who painted it, when, and by what right it is used.
- **Flicker** on photographs of the training's folder: {after}. Before training: {before}.
- **Data**: {photographs} photographs; the model holds none of them.
- **Recipe**: the workload `style_transfer/train` with {recipe}.
- **Cost**: {seconds:.0f} CPU-seconds on {device}; `losses.csv` has every step.
- **Licence of the weights**: Apache-2.0, The Magenta Authors, changed by training; `NOTICE.txt` and the licence texts lie
  beside this card. They were judged by VGG-16 with its published ImageNet weights (CC BY 4.0), of which the model holds
  nothing.
"""


@dataclass(frozen=True)
class Measured:
    """The flicker of a trained style, and of the same style before its training."""

    after: Flicker
    before: Flicker

    def __str__(self) -> str:
        return f"{self.after}; before training {self.before}"


def write_card(folder: Path, name: str, painting: Path, facts: Facts, measured: Measured) -> None:
    """Write the card and the licence texts beside the model in `folder`."""
    for notice in NOTICES:
        write_whole(folder / notice, (ARBITRARY / notice).read_bytes())
    card = CARD.format(
        name=name,
        table=file_table(folder, ["model.onnx"]),
        painting=painting.name,
        painting_sha256=facts.made_from["painting"],
        transformer_sha256=facts.made_from["transformer"],
        after=measured.after,
        before=measured.before,
        photographs=facts.photographs,
        recipe=", ".join(f"{key} {value:g}" for key, value in asdict(facts.recipe).items()),
        seconds=facts.cpu_seconds,
        device=facts.device,
    )
    write_whole(folder / "CARD.md", card.encode())
