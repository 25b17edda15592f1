"""The style network written as an ONNX graph, node by node, from its weights.

The network is the small arbitrary-style transformer of Ghiasi et al. (2017, arXiv:1705.06830): three
convolutions down to a quarter of the size, five residual blocks, two convolutions on nearest-neighbour
upsampling and a last 9×9 one. Every convolution after the first three is followed by an instance norm whose
scale and shift are an affine function of the style vector. All padding repeats or mirrors the picture.

Written directly instead of through a framework's exporter, the file is the same on every machine, holds no
traces of one, and takes the two exact rewrites that make it fast on a CPU (common/kernel_forms.py), as
common/onnx_rewrite.py does with models that came from elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from common.kernel_forms import Floats, at_four_places, on_small_pixels

OPSET = 18
IR_VERSION = 8
STYLE_SIZE = 100
SMALLEST_SIDE = 16
"""Frames of fewer pixels on a side cannot be mirrored far enough."""
NORM_EPSILON = 1e-5
_HEIGHT_AND_WIDTH = (2, 3)


@dataclass(frozen=True)
class Affine:
    """`matrix @ style vector + offset`: matrix [channels, 100], offset [channels].

    In a network of one style the matrix is [channels, 0]: the offset is the value.
    """

    matrix: Floats
    offset: Floats


@dataclass(frozen=True)
class NormedConvolution:
    """A convolution [out, in, k, k] without bias (the norm would cancel it), and the norm's scale and shift."""

    kernel: Floats
    scale: Affine
    shift: Affine


@dataclass(frozen=True)
class StyleNetwork:
    """All weights, in the order in which the picture meets them."""

    contract: Sequence[tuple[Floats, Floats]]
    """Three pairs of kernel [out, in, k, k] and bias [out]; strides 1, 2, 2; each followed by ReLU."""
    residual: Sequence[tuple[NormedConvolution, NormedConvolution]]
    expand: Sequence[NormedConvolution]
    """Each but the last on a picture enlarged twofold; ReLU after each but the last, there a sigmoid."""

    def normed(self) -> list[NormedConvolution]:
        """The convolutions that have a norm, in order."""
        return [layer for block in self.residual for layer in block] + list(self.expand)

    @property
    def has_one_style(self) -> bool:
        """Whether the style is built in, so that the network takes no style vector."""
        return not self.expand[-1].scale.matrix.size


def write_graph(network: StyleNetwork, about: Mapping[str, str]) -> onnx.ModelProto:
    """The network as a model: `frames` uint8 [N, H, W, 3] and `style_vector` float [1, 100] give `stylized`.

    `stylized` is uint8 and has the shape of `frames`; N, H and W (at least 16) are free. Pixels are RGB.
    A network of one style takes `frames` alone. `about` becomes the metadata of the file.
    """
    graph = _Graph()
    norms = (_fixed_norms if network.has_one_style else _norms_from_style)(graph, network.normed())

    inputs: dict[str, tuple[int, list[int | str]]] = {"frames": (TensorProto.UINT8, ["N", "H", "W", 3])}
    if not network.has_one_style:
        inputs["style_vector"] = (TensorProto.FLOAT, [1, STYLE_SIZE])
    x = graph.node("Transpose", "frames", perm=[0, 3, 1, 2])
    x = graph.node("Cast", x, to=TensorProto.FLOAT)
    x = graph.node("Mul", x, graph.constant("one_level", np.float32(1 / 255)))
    for number, (kernel, bias) in enumerate(network.contract):
        x = _padded(graph, x, kernel.shape[2] // 2)
        stride = 1 if number == 0 else 2
        weights = (
            graph.constant(f"contract{number}.kernel", kernel),
            graph.constant(f"contract{number}.bias", bias),
        )
        x = graph.node("Relu", graph.node("Conv", x, *weights, strides=[stride, stride]))

    for number, block in enumerate(network.residual):
        y = x
        for part, layer in enumerate(block):
            kernel_name = graph.constant(f"residual{number}.{part}.kernel", layer.kernel)
            y = graph.node("Conv", _padded(graph, y, 1), kernel_name)
            y = _normed(graph, y, next(norms))
            y = graph.node("Relu", y) if part == 0 else y
        x = graph.node("Add", x, y)

    for number, layer in enumerate(network.expand[:-1]):
        x = _upsampled_convolution(graph, x, f"expand{number}.kernel", layer.kernel)
        x = graph.node("Relu", _normed(graph, x, next(norms)))
    x = _last_convolution(graph, x, "last.kernel", network.expand[-1].kernel)
    x = graph.node("Sigmoid", _normed(graph, x, next(norms)))

    x = graph.node("Mul", x, graph.constant("levels", np.float32(255)))
    x = graph.node("Cast", graph.node("Round", x), to=TensorProto.UINT8)
    size = graph.node("Shape", "frames", start=1, end=3)
    x = _cropped(graph, x, graph.constant("origin", _integers(0, 0)), size)
    graph.node("Transpose", x, name="stylized", perm=[0, 2, 3, 1])

    return graph.model(
        "style_transfer",
        inputs=inputs,
        outputs={"stylized": (TensorProto.UINT8, ["N", "H", "W", 3])},
        about=about,
    )


class _Graph:
    """Nodes and constants in the making."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}

    def constant(self, name: str, value: npt.ArrayLike) -> str:
        """Add a constant once; its name."""
        if name not in self._constants:
            self._constants[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def node(self, operator: str, *inputs: str, name: str | None = None, **attributes: Any) -> str:
        """Add a node with one output; the output's name."""
        name = name or f"{operator.lower()}{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, inputs, [name], name=name, **attributes))
        return name

    def split(self, tensor: str, names: Sequence[str], sizes: Sequence[int]) -> None:
        """Cut a vector into consecutive parts."""
        self._nodes.append(
            helper.make_node(
                "Split", [tensor, self.constant("sizes", _integers(*sizes))], names, name="split"
            )
        )

    def model(
        self,
        name: str,
        inputs: Mapping[str, tuple[int, list[int | str]]],
        outputs: Mapping[str, tuple[int, list[int | str]]],
        about: Mapping[str, str],
    ) -> onnx.ModelProto:
        """The finished and checked model."""
        graph = helper.make_graph(
            self._nodes,
            name,
            [helper.make_tensor_value_info(key, *value) for key, value in inputs.items()],
            [helper.make_tensor_value_info(key, *value) for key, value in outputs.items()],
            list(self._constants.values()),
        )
        model = helper.make_model(
            graph,
            ir_version=IR_VERSION,
            opset_imports=[helper.make_opsetid("", OPSET)],
            producer_name="batchscore",
        )
        helper.set_model_props(model, dict(about))
        onnx.checker.check_model(model, full_check=True)
        return model


def _norms_from_style(graph: _Graph, layers: Sequence[NormedConvolution]) -> Iterator[tuple[str, str]]:
    """Compute every norm's scale and shift from the style vector at once; yield their names in order.

    Products and their sum instead of a Gemm: ONNX Runtime then gets the same bits whether it computes them for
    a vector at run time or beforehand for a constant one.
    """
    parts = [part for layer in layers for part in (layer.scale, layer.shift)]
    matrix = graph.constant("style.matrix", np.concatenate([part.matrix for part in parts]))
    offset = graph.constant("style.offset", np.concatenate([part.offset for part in parts]))
    products = graph.node("Mul", "style_vector", matrix)
    sums = graph.node("ReduceSum", products, graph.constant("along_style", _integers(1)), keepdims=0)
    everything = graph.node("Add", sums, offset)
    names = [f"norm{number}.{part}" for number in range(len(layers)) for part in ("scale", "shift")]
    graph.split(everything, names, [part.offset.size for part in parts])
    return iter(zip(names[::2], names[1::2], strict=True))


def _fixed_norms(graph: _Graph, layers: Sequence[NormedConvolution]) -> Iterator[tuple[str, str]]:
    """Every norm's scale and shift as constants; yield their names in order."""
    for number, layer in enumerate(layers):
        yield (
            graph.constant(f"norm{number}.scale", layer.scale.offset),
            graph.constant(f"norm{number}.shift", layer.shift.offset),
        )


def _normed(graph: _Graph, x: str, scale_and_shift: tuple[str, str]) -> str:
    return graph.node("InstanceNormalization", x, *scale_and_shift, epsilon=NORM_EPSILON)


def _padded(graph: _Graph, x: str, border: int, mode: str = "reflect") -> str:
    sizes = graph.constant(f"border{border}", _integers(0, 0, border, border, 0, 0, border, border))
    return graph.node("Pad", x, sizes, mode=mode)


def _cropped(graph: _Graph, x: str, start: str, end: str) -> str:
    return graph.node(
        "Slice", x, start, end, graph.constant("height_and_width", _integers(*_HEIGHT_AND_WIDTH))
    )


def _upsampled_convolution(graph: _Graph, x: str, name: str, kernel: Floats) -> str:
    """Nearest-neighbour enlargement by two, mirrored border and 3×3 convolution, in fewer multiplications.

    The mirrored border of the large picture is the repeated one of the small picture; the outermost large
    pixels are cut off again.
    """
    x = graph.node("Conv", _padded(graph, x, 1, "edge"), graph.constant(name, on_small_pixels(kernel)))
    x = graph.node("DepthToSpace", x, blocksize=2, mode="DCR")
    return _cropped(
        graph, x, graph.constant("one", _integers(1, 1)), graph.constant("all_but_one", _integers(-1, -1))
    )


def _last_convolution(graph: _Graph, x: str, name: str, kernel: Floats) -> str:
    """The 9×9 convolution to 3 channels, computed for 2×2 pixels at once."""
    blocked = graph.constant(name, at_four_places(kernel))
    x = graph.node("Conv", _padded(graph, x, kernel.shape[2] // 2), blocked, strides=[2, 2])
    return graph.node("DepthToSpace", x, blocksize=2, mode="DCR")


def _integers(*values: int) -> npt.NDArray[np.int64]:
    return np.array(values, np.int64)
