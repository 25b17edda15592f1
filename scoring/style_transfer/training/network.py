"""The style network in PyTorch, with one style built in and every weight free to move."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from common.kernel_forms import Floats
from models.style_network import NORM_EPSILON, Affine, NormedConvolution, StyleNetwork


class TrainableStyle(nn.Module):  # type: ignore[misc]
    """Pictures [N, 3, H, W] from 0 to 1 in, painted out; H and W rounded up to multiples of 4."""

    def __init__(self, network: StyleNetwork) -> None:
        super().__init__()
        if not network.has_one_style:
            raise ValueError("the network takes a style vector; build one in before training")
        self.contract_kernels = _parameters(kernel for kernel, _ in network.contract)
        self.contract_biases = _parameters(bias for _, bias in network.contract)
        layers = network.normed()
        self.kernels = _parameters(layer.kernel for layer in layers)
        self.scales = _parameters(layer.scale.offset for layer in layers)
        self.shifts = _parameters(layer.shift.offset for layer in layers)
        self._blocks = len(network.residual)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The pictures painted."""
        for number, (kernel, bias) in enumerate(
            zip(self.contract_kernels, self.contract_biases, strict=True)
        ):
            x = functional.relu(_convolved(x, kernel, bias, stride=1 if number == 0 else 2))
        for block in range(self._blocks):
            y = functional.relu(self._normed(x, 2 * block))
            x = x + self._normed(y, 2 * block + 1)
        last = len(self.kernels) - 1
        for layer in range(2 * self._blocks, last):
            x = functional.interpolate(x, scale_factor=2.0, mode="nearest")
            x = functional.relu(self._normed(x, layer))
        return torch.sigmoid(self._normed(x, last))

    def norm_parameters(self) -> list[nn.Parameter]:
        """Scales and shifts of the norms, which learn faster than the rest."""
        return [*self.scales, *self.shifts]

    def kernel_parameters(self) -> list[nn.Parameter]:
        """Everything but the norms."""
        return [*self.contract_kernels, *self.contract_biases, *self.kernels]

    def load(self, arrays: Mapping[str, npt.NDArray[np.generic]], role: str) -> None:
        """Take the weights that a checkpoint holds under a role."""
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                parameter.copy_(torch.from_numpy(arrays[f"{role}/{name}"]))

    def network(self) -> StyleNetwork:
        """The weights as they are now, for writing a graph."""
        layers = [
            NormedConvolution(_array(kernel), _fixed(scale), _fixed(shift))
            for kernel, scale, shift in zip(self.kernels, self.scales, self.shifts, strict=True)
        ]
        contract = zip(map(_array, self.contract_kernels), map(_array, self.contract_biases), strict=True)
        blocks = [(layers[2 * block], layers[2 * block + 1]) for block in range(self._blocks)]
        return StyleNetwork(contract=list(contract), residual=blocks, expand=layers[2 * self._blocks :])

    def _normed(self, x: torch.Tensor, layer: int) -> torch.Tensor:
        y = _convolved(x, self.kernels[layer])
        return functional.instance_norm(
            y, weight=self.scales[layer], bias=self.shifts[layer], eps=NORM_EPSILON
        )


def _convolved(
    x: torch.Tensor, kernel: torch.Tensor, bias: torch.Tensor | None = None, stride: int = 1
) -> torch.Tensor:
    """A convolution on the mirrored picture."""
    border = kernel.shape[2] // 2
    padded = functional.pad(x, (border, border, border, border), mode="reflect")
    return functional.conv2d(padded, kernel, bias, stride=stride)


def _parameters(arrays: Iterable[Floats]) -> nn.ParameterList:
    return nn.ParameterList(nn.Parameter(torch.from_numpy(np.array(array))) for array in arrays)


def _array(parameter: nn.Parameter) -> Floats:
    array: Floats = parameter.detach().cpu().numpy().astype(np.float32)
    return array


def _fixed(parameter: nn.Parameter) -> Affine:
    values = _array(parameter)
    return Affine(np.zeros((len(values), 0), np.float32), values)
