"""The patterns of convolutions that are rewritten, and when they are safe to rewrite."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import helper

from common.kernel_forms import Floats, at_four_places, on_small_pixels
from common.onnx_graph import Array, EditableGraph, attributes

FEW_CHANNELS = 4
_BORDER = (0, 0, 1, 1, 0, 0, 1, 1)


class _Unlike(Exception):  # noqa: N818
    """A node looks like a pattern and differs; the words say in what."""


@dataclass
class Report:
    """What was rewritten and what was left, a line each."""

    rewritten: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Convolution:
    """A convolution of stride 1 whose weights are known."""

    node: onnx.NodeProto
    kernel: Floats
    bias: Floats | None
    pads: tuple[int, int, int, int]

    @property
    def name(self) -> str:
        return f"{self.node.name or self.node.output[0]} ({'×'.join(map(str, self.kernel.shape))})"


def rewrite(model: onnx.ModelProto) -> Report:
    """Rewrite the model in place, as far as its patterns are known."""
    graph = EditableGraph(model)
    report = Report()
    for node in list(graph.nodes):
        if node.op_type != "Conv" or node.domain not in ("", "ai.onnx"):
            continue
        for form in (_on_enlarged, _to_few_channels):
            try:
                done = form(graph, node)
            except _Unlike as reason:
                report.left.append(f"{node.name or node.output[0]}: {reason}")
                continue
            if done:
                report.rewritten.append(done)
                break
    graph.finish()
    return report


def _on_enlarged(graph: EditableGraph, node: onnx.NodeProto) -> str | None:
    """Resize by 2, border of 1, 3×3 convolution -> border of 1, 2×2 convolution, DepthToSpace, border off."""
    source = node.input[0]
    pad = graph.maker(source)
    if pad is not None and pad.op_type == "Pad":
        mode, value = _border_of_one(graph, pad)
        between, resize = [source, pad.input[0]], graph.maker(pad.input[0])
    else:
        mode, value = "constant", 0.0
        between, resize, pad = [source], pad, None
    if resize is None or resize.op_type not in ("Resize", "Upsample"):
        return None
    convolution = _plain_convolution(graph, node)
    if convolution.kernel.shape[2:] != (3, 3):
        raise _Unlike(f"the kernel on the enlarged picture is {convolution.kernel.shape[2:]}, not 3×3")
    if mode is None:
        raise _Unlike("the border of the enlarged picture is not one pixel on each side")
    if convolution.pads != ((0, 0, 0, 0) if pad is not None else (1, 1, 1, 1)):
        raise _Unlike("the convolution on the enlarged picture does not have a border of one pixel in all")
    if mode not in ("reflect", "edge", "constant"):
        raise _Unlike(f"the border of the enlarged picture is of mode {mode}")
    if not _repeats_pixels_twice(graph, resize):
        raise _Unlike("the picture is not enlarged exactly twofold by repeating its pixels")
    if not all(graph.used_once(name) for name in between):
        raise _Unlike("the enlarged picture is used elsewhere, too")
    # The mirrored border of the large picture is the repeated one of the small picture.
    build = _Builder(graph, node)
    bordered = build.pad(resize.input[0], "constant" if mode == "constant" else "edge", value)
    blocks = build.convolution(
        bordered, on_small_pixels(convolution.kernel), convolution.bias, (1, 1), (0,) * 4
    )
    pixels = build.node("DepthToSpace", blocks, blocksize=2)
    build.crop(
        pixels,
        (1, 1),
        graph.new_constant("all_but_one", np.array([-1, -1])) if graph.opset >= 10 else (-1, -1),
    )
    build.put()
    return f"{convolution.name} on an enlarged picture: now 2×2 on the small one"


def _to_few_channels(graph: EditableGraph, node: onnx.NodeProto) -> str | None:
    """A convolution to few channels -> one with stride 2 to four times as many, DepthToSpace."""
    weights = graph.constant(node.input[1])
    if weights is None or weights.ndim != 4 or weights.shape[0] > FEW_CHANNELS or max(weights.shape[2:]) < 3:
        return None
    convolution = _plain_convolution(graph, node)
    height, width = weights.shape[2:]
    top, left, bottom, right = convolution.pads
    grows = (top + bottom - height + 1, left + right - width + 1)
    shape = graph.shape(node.input[0]) or (None,) * 4
    sizes = [None if size is None else size + grow for size, grow in zip(shape[2:], grows, strict=True)]
    even = all(size is not None and size % 2 == 0 for size in sizes)
    build = _Builder(graph, node)
    end: str | tuple[int, ...] | None = None
    if not even:  # a row and a column more, which are cut off again
        bottom, right = bottom + 1, right + 1
        if None not in sizes:
            known = tuple(size for size in sizes if size is not None)
            end = graph.new_constant("size", np.array(known)) if graph.opset >= 10 else known
        elif graph.opset >= 10:
            end = build.size_of(node.input[0], grows)
        else:
            raise _Unlike("its picture's size is unknown, and the model's operators are of before version 10")
    blocks = build.convolution(
        node.input[0],
        at_four_places(convolution.kernel),
        convolution.bias,
        (2, 2),
        (top, left, bottom, right),
    )
    pixels = build.node("DepthToSpace", blocks, blocksize=2)
    if end is not None:
        build.crop(pixels, (0, 0), end)
    build.put()
    return f"{convolution.name} to few channels: now 2×2 pixels at once"


class _Builder:
    """The nodes that take the place of one; the last one made takes over its output."""

    def __init__(self, graph: EditableGraph, old: onnx.NodeProto) -> None:
        self._graph = graph
        self._old = old
        self._nodes: list[onnx.NodeProto] = []

    def node(self, operator: str, *inputs: str, **values: Any) -> str:
        output = self._graph.new_name(f"{self._old.output[0]}.{operator.lower()}")
        self._nodes.append(helper.make_node(operator, inputs, [output], name=output, **values))
        return output

    def pad(self, x: str, mode: str, value: float) -> str:
        if self._graph.opset < 11:
            return self.node(
                "Pad", x, mode=mode, pads=_BORDER, **({"value": value} if mode == "constant" else {})
            )
        inputs = [x, self._graph.new_constant("border", np.array(_BORDER))]
        if mode == "constant" and value:
            inputs.append(self._graph.new_constant("border_value", np.array(value, np.float32)))
        return self.node("Pad", *inputs, mode=mode)

    def convolution(
        self, x: str, kernel: Floats, bias: Floats | None, strides: Sequence[int], pads: Sequence[int]
    ) -> str:
        inputs = [x, self._graph.new_constant(f"{self._old.input[1]}.rearranged", kernel)]
        if bias is not None:
            inputs.append(self._graph.new_constant(f"{self._old.input[2]}.repeated", np.tile(bias, 4)))
        return self.node("Conv", *inputs, kernel_shape=kernel.shape[2:], strides=strides, pads=pads)

    def crop(self, x: str, start: tuple[int, int], end: str | tuple[int, ...]) -> str:
        """Cut height and width; `end` is the name of a value, or the values where operators are old."""
        if isinstance(end, tuple):
            return self.node("Slice", x, starts=start, ends=end, axes=(2, 3))
        first = self._graph.new_constant("start", np.array(start))
        return self.node(
            "Slice", x, first, end, self._graph.new_constant("height_and_width", np.array([2, 3]))
        )

    def size_of(self, x: str, grows: tuple[int, int]) -> str:
        """Height and width of a value when the model runs, and something more."""
        both = self._graph.new_constant("height_and_width", np.array([2, 3]))
        size = self.node("Gather", self.node("Shape", x), both)
        return self.node("Add", size, self._graph.new_constant("grows", np.array(grows)))

    def put(self) -> None:
        self._nodes[-1].output[0] = self._old.output[0]
        self._graph.replace(self._old, self._nodes)


def _plain_convolution(graph: EditableGraph, node: onnx.NodeProto) -> _Convolution:
    """The convolution if it is of stride 1, undivided, undilated and of known float32 weights, else _Unlike."""
    values = attributes(node)
    kernel = graph.constant(node.input[1])
    has_bias = len(node.input) > 2 and node.input[2] != ""
    bias = graph.constant(node.input[2]) if has_bias else None
    if kernel is None or (has_bias and bias is None):
        raise _Unlike("its weights are not constant")
    if kernel.dtype != np.float32 or kernel.ndim != 4:
        raise _Unlike(f"its weights are {kernel.dtype} of {kernel.ndim} dimensions, not float32 of 4")
    if values.get("group", 1) != 1:
        raise _Unlike(f"it is divided into {values['group']} groups")
    if set(values.get("strides", [1])) != {1} or set(values.get("dilations", [1])) != {1}:
        raise _Unlike("it is strided or dilated")
    kind = values.get("auto_pad", "NOTSET")
    if kind not in ("NOTSET", "VALID"):
        raise _Unlike(f"its border is {kind}")
    top, left, bottom, right = values.get("pads", (0, 0, 0, 0)) if kind == "NOTSET" else (0, 0, 0, 0)
    return _Convolution(node, kernel, bias, (top, left, bottom, right))


def _border_of_one(graph: EditableGraph, pad: onnx.NodeProto) -> tuple[str | None, float]:
    """Mode and value of a Pad that adds one pixel to each side of height and width; no mode for any other."""
    values = attributes(pad)
    mode, value = str(values.get("mode", "constant")), float(values.get("value", 0.0))
    sizes: Sequence[int] | Array | None = values.get("pads")
    if len(pad.input) > 1:
        sizes = graph.constant(pad.input[1])
    if len(pad.input) > 2 and pad.input[2]:
        given = graph.constant(pad.input[2])
        if given is None:
            return None, 0.0
        value = float(given.reshape(-1)[0])
    if sizes is None:
        return None, 0.0
    total = [0] * 8
    if len(pad.input) > 3 and pad.input[3]:
        axes = graph.constant(pad.input[3])
        if axes is None:
            return None, 0.0
        places = [int(axis) % 4 for axis in axes]
        places += [4 + place for place in places]
    else:
        places = list(range(8))
    if len(places) != len(sizes):
        return None, 0.0
    for place, size in zip(places, sizes, strict=True):
        total[place] = int(size)
    return (mode if tuple(total) == _BORDER else None), value


def _repeats_pixels_twice(graph: EditableGraph, resize: onnx.NodeProto) -> bool:
    """Whether large pixel 2i and 2i + 1 are small pixel i, in height and width, and nothing else is changed."""
    values = attributes(resize)
    if values.get("mode", "nearest") != "nearest" or values.get("antialias", 0) or "axes" in values:
        return False
    if resize.op_type == "Upsample" or graph.opset < 11:
        scales = values.get("scales")
        if len(resize.input) > 1:
            scales = graph.constant(resize.input[1])
        return scales is not None and [float(scale) for scale in scales] == [1, 1, 2, 2]
    if not _doubles(graph, resize):
        return False
    kind = values.get("coordinate_transformation_mode", "half_pixel")
    nearest = _NEAREST[values.get("nearest_mode", "round_prefer_floor")]
    if kind not in _COORDINATES:
        return False
    # The pattern repeats with every second large pixel; ones before the border are moved into the picture.
    return all(max(0, nearest(_COORDINATES[kind](large))) == large // 2 for large in range(8))


def _doubles(graph: EditableGraph, resize: onnx.NodeProto) -> bool:
    names = [*resize.input, "", "", ""]
    scales = graph.constant(names[2]) if names[2] else None
    if scales is not None and scales.size:
        return [float(scale) for scale in scales] == [1, 1, 2, 2]
    sizes = graph.constant(names[3]) if names[3] else None
    shape = graph.shape(resize.input[0])
    if sizes is None or shape is None or len(shape) != 4 or None in shape:
        return False
    batch, channels, height, width = (size or 0 for size in shape)
    return [int(size) for size in sizes] == [batch, channels, 2 * height, 2 * width]


_COORDINATES: dict[str, Callable[[int], float]] = {
    "asymmetric": lambda large: large / 2,
    "half_pixel": lambda large: (large + 0.5) / 2 - 0.5,
    "half_pixel_symmetric": lambda large: (large + 0.5) / 2 - 0.5,
    "pytorch_half_pixel": lambda large: (large + 0.5) / 2 - 0.5,
    "tf_half_pixel_for_nn": lambda large: (large + 0.5) / 2,
}
_NEAREST: dict[str, Callable[[float], int]] = {
    "floor": lambda x: int(np.floor(x)),
    "ceil": lambda x: int(np.ceil(x)),
    "round_prefer_floor": lambda x: int(np.ceil(x - 0.5)),
    "round_prefer_ceil": lambda x: int(np.floor(x + 0.5)),
}
