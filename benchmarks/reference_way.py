"""The reference architecture's way, timed: each frame by itself through the full-size net in torch eager, with Pillow.

Needs torch (an environment of its own, see video_job.py). The weights are random: they do not change the time.
Usage: python reference_way.py FOLDER_OF_JPEGS; prints the seconds per frame of loading, painting and saving.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn


class Block(nn.Module):
    """Reflection padding, convolution, instance normalisation, ReLU."""

    def __init__(
        self, ins: int, outs: int, kernel: int, stride: int = 1, *, up: bool = False, last: bool = False
    ):
        super().__init__()
        layers: list[nn.Module] = [nn.Upsample(scale_factor=2, mode="nearest")] if up else []
        layers += [nn.ReflectionPad2d(kernel // 2), nn.Conv2d(ins, outs, kernel, stride)]
        if not last:
            layers += [nn.InstanceNorm2d(outs, affine=True), nn.ReLU()]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


class Residual(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3),
            nn.InstanceNorm2d(channels, affine=True),
            nn.ReLU(),
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3),
            nn.InstanceNorm2d(channels, affine=True),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.layers(x)


def full_size_net() -> nn.Module:
    """The feed-forward net of Johnson et al. (2016) as the reference uses it: 32-64-128 channels, five residual blocks."""
    return nn.Sequential(
        Block(3, 32, 9),
        Block(32, 64, 3, 2),
        Block(64, 128, 3, 2),
        *(Residual(128) for _ in range(5)),
        Block(128, 64, 3, up=True),
        Block(64, 32, 3, up=True),
        Block(32, 3, 9, last=True),
    ).eval()


def main() -> None:
    net = full_size_net()
    frames = sorted(Path(sys.argv[1]).glob("*.jpg"))
    with tempfile.TemporaryDirectory() as target, torch.no_grad():
        paint(net, frames[0], Path(target))  # warm-up
        began = time.perf_counter()
        for frame in frames:
            paint(net, frame, Path(target))
        print((time.perf_counter() - began) / len(frames))


def paint(net: nn.Module, frame: Path, target: Path) -> None:
    pixels = torch.from_numpy(np.array(Image.open(frame).convert("RGB"))).permute(2, 0, 1)[None].float()
    painted = net(pixels)[0].clamp(0, 255).byte().permute(1, 2, 0).numpy()
    Image.fromarray(painted).save(target / frame.name)


if __name__ == "__main__":
    main()
