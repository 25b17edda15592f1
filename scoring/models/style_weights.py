"""The weights of a style network, read back from the ONNX graph that `style_network.write_graph` wrote."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import onnx

from common.kernel_forms import Floats
from models.quantised_graph import constants
from models.style_network import Affine, NormedConvolution, StyleNetwork

_RESIDUAL_BLOCKS = 5


def read_weights(model: onnx.ModelProto) -> StyleNetwork:
    """The network of a graph written by `write_graph`, with a style vector or with one style built in.

    The two rearrangements of the graph are undone; kernels come back to the rounding of float32. ValueError when
    the graph is another network.
    """
    values = constants(model)
    try:
        kernels = [f"residual{block}.{part}.kernel" for block in range(_RESIDUAL_BLOCKS) for part in (0, 1)]
        normed = [
            *(_floats(values, name) for name in kernels),
            *(_enlarging_kernel(_floats(values, f"expand{number}.kernel")) for number in (0, 1)),
            _last_kernel(_floats(values, "last.kernel")),
        ]
        read = _norms_of_one_style if "style.matrix" not in values else _norms_of_any_style
        norms = read(values, [kernel.shape[0] for kernel in normed])
        layers = [
            NormedConvolution(kernel, scale, shift)
            for kernel, (scale, shift) in zip(normed, norms, strict=True)
        ]
        contract = [
            (_floats(values, f"contract{number}.kernel"), _floats(values, f"contract{number}.bias"))
            for number in range(3)
        ]
    except KeyError as error:
        raise ValueError(f"the graph is no style network of this project: it has no {error}") from error
    blocks = [(layers[2 * block], layers[2 * block + 1]) for block in range(_RESIDUAL_BLOCKS)]
    return StyleNetwork(contract=contract, residual=blocks, expand=layers[2 * _RESIDUAL_BLOCKS :])


def with_one_style(network: StyleNetwork, vector: Floats) -> StyleNetwork:
    """The network with the style vector [1, 100] built into its norms."""

    def fixed(affine: Affine) -> Affine:
        return Affine(affine.matrix[:, :0], affine.matrix @ vector.reshape(-1) + affine.offset)

    def built_in(layer: NormedConvolution) -> NormedConvolution:
        return replace(layer, scale=fixed(layer.scale), shift=fixed(layer.shift))

    return StyleNetwork(
        contract=network.contract,
        residual=[(built_in(first), built_in(second)) for first, second in network.residual],
        expand=[built_in(layer) for layer in network.expand],
    )


def _norms_of_any_style(
    values: Mapping[str, npt.NDArray[np.generic]], channels: list[int]
) -> list[tuple[Affine, Affine]]:
    cuts = np.cumsum([count for count in channels for _ in range(2)])[:-1]
    matrices = np.split(_floats(values, "style.matrix"), cuts)
    offsets = np.split(_floats(values, "style.offset"), cuts)
    parts = [Affine(matrix, offset) for matrix, offset in zip(matrices, offsets, strict=True)]
    return list(zip(parts[::2], parts[1::2], strict=True))


def _norms_of_one_style(
    values: Mapping[str, npt.NDArray[np.generic]], channels: list[int]
) -> list[tuple[Affine, Affine]]:
    def affine(name: str, count: int) -> Affine:
        return Affine(np.zeros((count, 0), np.float32), _floats(values, name))

    return [
        (affine(f"norm{number}.scale", count), affine(f"norm{number}.shift", count))
        for number, count in enumerate(channels)
    ]


def _enlarging_kernel(small: Floats) -> Floats:
    """The 3×3 kernel [out, in, 3, 3] of a 2×2 one for four phases (see `style_network._upsampled_convolution`).

    At phase 0 the taps at the two small pixels are (t0 + t1, t2), at phase 1 they are (t0, t1 + t2).
    """
    phases = small.reshape(2, 2, small.shape[0] // 4, *small.shape[1:]).astype(np.float64)
    taps = np.zeros((3, 2, 2))  # tap, phase, offset
    taps[0, 1, 0] = taps[1, 0, 0] = taps[2, 0, 1] = 1
    taps[1, 1, 0] = -1
    kernel: Floats = np.einsum("tyu,sxv,yxocuv->octs", taps, taps, phases).astype(np.float32)
    return kernel


def _last_kernel(blocked: Floats) -> Floats:
    """The 9×9 kernel [3, in, 9, 9] from the 10×10 one that holds it at four places."""
    size = blocked.shape[2] - 1
    return np.ascontiguousarray(blocked[: blocked.shape[0] // 4, :, :size, :size])


def _floats(values: Mapping[str, npt.NDArray[np.generic]], name: str) -> Floats:
    return values[name].astype(np.float32)
