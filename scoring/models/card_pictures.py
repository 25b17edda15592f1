"""Draw the before/after pictures of the arbitrary style's card.

    python scoring/models/card_pictures.py

One strip per painting in samples/paintings: two photographs, the painting, the two photographs in its style.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnxruntime as ort
from PIL import Image
from sklearn.datasets import load_sample_images

sys.path.insert(0, str(Path(__file__).parents[1]))

from models.painting import load_painting

ARBITRARY = Path(__file__).parent / "arbitrary"
PAINTINGS = Path(__file__).parents[2] / "samples" / "paintings"
STYLED_HEIGHT = 360
SHOWN_HEIGHT = 190
GAP = 6


def main() -> None:
    """Write `arbitrary/pictures/<painting>.jpg` for every painting."""
    transformer = ort.InferenceSession(str(ARBITRARY / "transformer.onnx"))
    predictor = ort.InferenceSession(str(ARBITRARY / "predictor.onnx"))
    photographs = [
        at_height(Image.fromarray(pixels), STYLED_HEIGHT) for pixels in load_sample_images().images
    ]
    for painting in sorted(PAINTINGS.glob("*.jpg")):
        (vector,) = predictor.run(None, {"style_image": load_painting(painting)})
        results = []
        for photograph in photographs:
            frames = np.asarray(photograph)[np.newaxis]
            (stylized,) = transformer.run(None, {"frames": frames, "style_vector": vector})
            results.append(Image.fromarray(stylized[0]))
        target = ARBITRARY / "pictures" / painting.name
        target.parent.mkdir(exist_ok=True)
        strip([*photographs, Image.open(painting), *results]).save(target, quality=85, optimize=True)
        print(f"drew {target.name}")


def at_height(picture: Image.Image, height: int) -> Image.Image:
    """The picture at this height, in its proportions."""
    width = round(picture.width * height / picture.height)
    return picture.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)


def strip(pictures: list[Image.Image]) -> Image.Image:
    """The pictures side by side."""
    shown = [at_height(picture, SHOWN_HEIGHT) for picture in pictures]
    width = sum(picture.width for picture in shown) + GAP * (len(shown) - 1)
    result = Image.new("RGB", (width, SHOWN_HEIGHT), "white")
    left = 0
    for picture in shown:
        result.paste(picture, (left, 0))
        left += picture.width + GAP
    return result


if __name__ == "__main__":
    main()
