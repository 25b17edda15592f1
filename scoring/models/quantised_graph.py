"""Reading an ONNX graph that was quantised to int8: its weights, and what it computes without rounding."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

Floats = npt.NDArray[np.float32]


def constants(model: onnx.ModelProto) -> dict[str, npt.NDArray[np.generic]]:
    """The constant tensors of a graph by name."""
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def without_rounding(model: onnx.ModelProto, *, keep_int8_kernels: bool = False) -> onnx.ModelProto:
    """The same network computed in float32: activations are not quantised, weights have the values they stand for.

    With `keep_int8_kernels`, convolution kernels stay int8 in the file behind a DequantizeLinear each, which
    is a quarter of the size and exactly the same numbers.
    """
    values = constants(model)
    kernels = {node.input[1] for node in model.graph.node if node.op_type == "Conv"}
    source: dict[str, str] = {}
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        quantised, output = node.input[0], node.output[0]
        if node.op_type == "QuantizeLinear" or (
            node.op_type == "DequantizeLinear" and quantised not in values
        ):
            source[output] = quantised
        elif node.op_type == "DequantizeLinear" and not (keep_int8_kernels and output in kernels):
            values[output] = _dequantised(node, values)
        else:
            nodes.append(node)

    def origin(name: str) -> str:
        while name in source:
            name = source[name]
        return name

    renamed = {origin(output.name): output.name for output in model.graph.output}
    for node in nodes:
        node.input[:] = [renamed.get(origin(name), origin(name)) for name in node.input]
        node.output[:] = [renamed.get(name, name) for name in node.output]
    used = {name for node in nodes for name in node.input}
    tensors = [
        numpy_helper.from_array(np.ascontiguousarray(value), name)
        for name, value in values.items()
        if name in used
    ]
    result = onnx.ModelProto()
    result.CopyFrom(model)
    for field, content in (("node", nodes), ("initializer", tensors), ("value_info", [])):
        result.graph.ClearField(field)
        getattr(result.graph, field).extend(content)
    return result


def _dequantised(node: onnx.NodeProto, values: dict[str, npt.NDArray[np.generic]]) -> Floats:
    """(quantised - zero point) * scale, per channel of the node's axis where the scale is a vector."""
    quantised, scale, *rest = (values[name].astype(np.float32) for name in node.input)
    zero_point = rest[0] if rest else np.zeros_like(scale)
    if scale.size > 1:
        axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 1)
        shape = [-1 if dimension == axis else 1 for dimension in range(quantised.ndim)]
        scale, zero_point = scale.reshape(shape), zero_point.reshape(shape)
    else:
        scale, zero_point = scale.reshape(()), zero_point.reshape(())
    result: Floats = (quantised - zero_point) * scale
    return result
