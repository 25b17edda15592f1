"""From a painting and photographs to trained weights, with everything that is told about them later."""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import torch
from PIL import Image, ImageOps

from common.output_files import sha256_of, write_whole
from models.painting import load_painting
from models.style_network import StyleNetwork
from models.style_weights import read_weights, with_one_style
from style_transfer.errors import TrainingError
from style_transfer.training.loop import Losses, Training
from style_transfer.training.photographs import Photographs
from style_transfer.training.recipe import Recipe

ARBITRARY = Path(__file__).resolve().parents[2] / "models" / "arbitrary"
CHECKPOINT, LOG, FACTS = "checkpoint.npz", "losses.csv", "training.json"
TOLD_EVERY = 10


@dataclass(frozen=True)
class Facts:
    """What is known of a training that is done; `made_from` holds SHA-256 sums by role."""

    training: str
    recipe: Recipe
    made_from: dict[str, str]
    photographs: int
    cpu_seconds: float
    device: str

    def write(self, folder: Path) -> None:
        """Write them beside the checkpoint."""
        write_whole(folder / FACTS, (json.dumps(asdict(self), indent=2) + "\n").encode())

    @classmethod
    def read(cls, folder: Path) -> Facts:
        """What a training wrote; TrainingError where none was finished."""
        try:
            values = json.loads((folder / FACTS).read_text("utf-8"))
            return cls(**{**values, "recipe": Recipe(**values["recipe"])})
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise TrainingError(f"there is no finished training in {folder.name}: {error}") from error


def train_style(
    painting: Path, photos: Path, recipe: Recipe, device: str, training: Path, checkpoint_every: int
) -> Facts:
    """Train until the recipe's last step; what an earlier start left in the folder `training` is gone on from."""
    chosen = _device(device)
    photographs = Photographs(photos)
    start = start_of(painting)
    made_from = {
        "painting": sha256_of(painting),
        "transformer": sha256_of(ARBITRARY / "transformer.onnx"),
        "photographs": _listing(photographs, photos),
    }
    name = recipe.fingerprint(**made_from, device=chosen)
    picture = _painting(painting, recipe.painting_side)
    session = Training(name, start, picture, photographs, recipe, chosen)
    if session.resume(training / CHECKPOINT):
        print(f"going on after step {session.step} of {recipe.steps}", flush=True)
    log = _Log(training / LOG, recipe.steps, session.step)
    session.run(training / CHECKPOINT, checkpoint_every, log.tell)
    facts = Facts(name, recipe, made_from, len(photographs.files), round(log.seconds, 1), chosen)
    facts.write(training)
    return facts


def start_of(painting: Path) -> StyleNetwork:
    """The arbitrary-style network with the painting's style vector built in; TrainingError for no picture."""
    try:
        picture = load_painting(painting)
    except (OSError, Image.DecompressionBombError) as error:
        raise TrainingError(
            f"the painting {painting.name} is not a picture that can be read: {error}"
        ) from error
    predictor = ort.InferenceSession(str(ARBITRARY / "predictor.onnx"), providers=["CPUExecutionProvider"])
    (vector,) = predictor.run(["style_vector"], {"style_image": picture})
    return with_one_style(read_weights(onnx.load(ARBITRARY / "transformer.onnx")), vector)


class _Log:
    """The losses of every step in a CSV file; some of them for people to see."""

    def __init__(self, path: Path, steps: int, done: int) -> None:
        self._path = path
        self._steps = steps
        self._lines = ["step,style,content,temporal,cpu_seconds"]
        if done and path.is_file():
            self._lines = path.read_text("utf-8").splitlines()[: done + 1]
        self._earlier = float(self._lines[-1].rpartition(",")[2]) if len(self._lines) > 1 else 0.0
        self.seconds = self._earlier

    def tell(self, losses: Losses) -> None:
        self.seconds = self._earlier + losses.seconds
        self._lines.append(
            f"{losses.step},{losses.style:.5f},{losses.content:.5f},{losses.temporal:.6f},{self.seconds:.1f}"
        )
        if losses.step % TOLD_EVERY == 0 or losses.step == self._steps:
            write_whole(self._path, ("\n".join(self._lines) + "\n").encode())
            print(
                f"step {losses.step}/{self._steps}: style {losses.style:.4f}, content {losses.content:.4f}, "
                f"temporal {losses.temporal:.5f}, {self.seconds:.0f} CPU-s",
                flush=True,
            )


def _painting(path: Path, side: int) -> npt.NDArray[np.float32]:
    """The whole painting [H, W, 3] from 0 to 1, its shorter side of this many pixels."""
    with Image.open(path) as opened:
        picture = ImageOps.exif_transpose(opened).convert("RGB")
    factor = side / min(picture.size)
    size = (round(picture.width * factor), round(picture.height * factor))
    return np.asarray(picture.resize(size, Image.Resampling.LANCZOS), np.float32) / np.float32(255)


def _listing(photographs: Photographs, folder: Path) -> str:
    lines = (f"{file.relative_to(folder).as_posix()}\t{file.stat().st_size}\n" for file in photographs.files)
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def _device(asked: str) -> str:
    """The device to train on; TrainingError when a GPU is asked for where there is none."""
    there = torch.cuda.is_available()
    if asked == "cuda" and not there:
        raise TrainingError(
            f"device is cuda, but PyTorch {torch.__version__} of {sys.executable} sees no GPU"
        )
    return "cuda" if asked == "cuda" or (asked == "auto" and there) else "cpu"
