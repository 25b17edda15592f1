"""An ONNX graph that can be searched for patterns and changed in place; needs onnx and numpy alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, helper, numpy_helper, shape_inference
from onnx.reference import ReferenceEvaluator

Array = np.ndarray[Any, np.dtype[Any]]
_ARITHMETIC = frozenset({"Add", "Cast", "Concat", "Constant", "ConstantOfShape", "Div", "Gather", "Identity"})
_ARITHMETIC |= {"Mul", "Reshape", "Slice", "Squeeze", "Sub", "Transpose", "Unsqueeze"}
"""Operators with which exporters compute constants, such as the sizes of a border."""


_LARGEST_FOLDED = 1 << 24
"""Values of more elements are left to be computed when the model runs."""


class EditableGraph:
    """The main graph of a model: what makes and what uses each value, constants, shapes; nodes can be replaced.

    The model is changed in place; call `finish` at the end.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.opset = next((each.version for each in model.opset_import if each.domain in ("", "ai.onnx")), 0)
        if model.ir_version < 4:
            self._free_constants_from_inputs()
        self.nodes = [_copied(node) for node in model.graph.node]
        given = {value.name for value in model.graph.input}
        self._constants: dict[str, Array | None] = {
            each.name: numpy_helper.to_array(each)
            for each in model.graph.initializer
            if each.name not in given
        }
        self._makers = {name: node for node in self.nodes for name in node.output}
        self._uses = Counter(_names_used(self.nodes))
        self._uses.update(value.name for value in model.graph.output)
        self._fold_constants()
        self._shapes = _inferred_shapes(model)
        self._names = set(self._makers) | set(self._uses) | given

    def maker(self, name: str) -> onnx.NodeProto | None:
        """The node that makes a value; None for inputs and initializers."""
        return self._makers.get(name)

    def used_once(self, name: str) -> bool:
        """Whether one node uses the value and the graph does not give it out."""
        return self._uses[name] == 1

    def shape(self, name: str) -> tuple[int | None, ...] | None:
        """The shape as far as it is known without running the model; None where not even the rank is."""
        return self._shapes.get(name)

    def constant(self, name: str) -> Array | None:
        """The value if it is the same whatever the inputs are, else None."""
        if name not in self._constants:
            self._constants[name] = None
            self._constants[name] = self._evaluated(self._makers.get(name))
        return self._constants[name]

    def new_constant(self, hint: str, value: Array) -> str:
        """Add an initializer; its name, made from `hint`."""
        name = self.new_name(hint)
        self.model.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        self._constants[name] = value
        return name

    def new_name(self, hint: str) -> str:
        name, number = hint, 1
        while name in self._names:
            number += 1
            name = f"{hint}_{number}"
        self._names.add(name)
        return name

    def replace(self, node: onnx.NodeProto, nodes: Sequence[onnx.NodeProto]) -> None:
        """Put nodes in the place of one; the last of them makes the value that it made."""
        index = next(index for index, each in enumerate(self.nodes) if each is node)
        self.nodes[index : index + 1] = nodes
        self._makers.update((name, each) for each in nodes for name in each.output)

    def finish(self) -> None:
        """Remove what nothing uses any more, and check the model."""
        graph = self.model.graph
        while True:
            used = set(_names_used(self.nodes)) | {value.name for value in graph.output}
            kept = [node for node in self.nodes if used.intersection(node.output)]
            if len(kept) == len(self.nodes):
                break
            self.nodes = kept
        graph.ClearField("node")
        graph.node.extend(self.nodes)
        initializers = [each for each in graph.initializer if each.name in used]
        graph.ClearField("initializer")
        graph.initializer.extend(initializers)
        made = {name for node in graph.node for name in node.output}
        described = [value for value in graph.value_info if value.name in made]
        graph.ClearField("value_info")
        graph.value_info.extend(described)
        onnx.checker.check_model(self.model, full_check=True)

    def _fold_constants(self) -> None:
        """Compute beforehand what is always the same, so that shapes can be inferred through it."""
        given_out = {value.name for value in self.model.graph.output}
        kept = []
        for node in self.nodes:
            value = self.constant(node.output[0]) if given_out.isdisjoint(node.output) else None
            if value is None or value.size > _LARGEST_FOLDED:
                kept.append(node)
            else:
                self.model.graph.initializer.append(
                    numpy_helper.from_array(np.ascontiguousarray(value).reshape(value.shape), node.output[0])
                )
        self.nodes = kept
        self.model.graph.ClearField("node")
        self.model.graph.node.extend(kept)

    def _evaluated(self, node: onnx.NodeProto | None) -> Array | None:
        if node is None or node.domain not in ("", "ai.onnx") or node.op_type not in _ARITHMETIC:
            return None
        values = {name: self.constant(name) for name in node.input if name}
        if any(value is None for value in values.values()):
            return None
        graph = helper.make_graph(
            [node], "constant", [_any_tensor(name) for name in values], [_any_tensor(node.output[0])]
        )
        alone = helper.make_model(graph, opset_imports=list(self.model.opset_import))
        try:
            (result,) = ReferenceEvaluator(alone).run(None, values)
        except Exception:  # an operator of a version that onnx itself cannot run: not known, then
            return None
        return np.asarray(result)

    def _free_constants_from_inputs(self) -> None:
        """Files of before IR version 4 list every initializer as an input, too; nobody feeds those."""
        graph = self.model.graph
        constants = {each.name for each in graph.initializer}
        inputs = [value for value in graph.input if value.name not in constants]
        graph.ClearField("input")
        graph.input.extend(inputs)
        self.model.ir_version = 4


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """A node's attributes by name; texts as str."""
    found: dict[str, Any] = {}
    for each in node.attribute:
        value = helper.get_attribute_value(each)
        found[str(each.name)] = value.decode() if isinstance(value, bytes) else value
    return found


def _copied(node: onnx.NodeProto) -> onnx.NodeProto:
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    return copy


def _names_used(nodes: Iterable[onnx.NodeProto]) -> Iterator[str]:
    """Every name that a node reads, also inside the branches and bodies of control flow."""
    for node in nodes:
        yield from node.input
        for inner in _graphs_in(node.attribute):
            yield from _names_used(inner.node)
            yield from (value.name for value in inner.output)


def _graphs_in(attributes_of_node: Iterable[AttributeProto]) -> Iterator[onnx.GraphProto]:
    for attribute in attributes_of_node:
        if attribute.type == AttributeProto.GRAPH:
            yield attribute.g
        yield from attribute.graphs


def _inferred_shapes(model: onnx.ModelProto) -> dict[str, tuple[int | None, ...]]:
    try:
        known = shape_inference.infer_shapes(model, data_prop=True)
    except Exception:  # shapes then are unknown, which every pattern copes with
        known = model
    graph = known.graph
    return {
        value.name: tuple(
            size.dim_value if size.HasField("dim_value") else None
            for size in value.type.tensor_type.shape.dim
        )
        for value in (*graph.value_info, *graph.input, *graph.output)
        if value.type.tensor_type.HasField("shape")
    }


def _any_tensor(name: str) -> onnx.ValueInfoProto:
    value = onnx.ValueInfoProto()
    value.name = name
    return value
