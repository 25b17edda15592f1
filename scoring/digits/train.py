"""Train the shipped digits model and write it, its labels and its card.

    python scoring/digits/train.py

Takes a second. The same versions of the libraries on the same kind of processor give the same bytes.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import sklearn
from onnx import helper, numpy_helper
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.neural_network import MLPClassifier

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from common.output_files import write_whole
from digits.classifier import LABELS_FILE, MODEL_FILE, SHIPPED_MODEL
from digits.samples import Digits, split_digits
from models.card import file_table

SIDE = 8
HIDDEN_UNITS = 128
OPSET = 18
IR_VERSION = 8
CARD = """\
# digits

Names a handwritten digit. Ships as the default model of the `digits/classify` workload, which is the template for
other image classifiers.

{table}
- **In and out**: `images` float [N, 1, 8, 8], bright ink on black from 0 to 1; `probabilities` float [N, 10].
- **Data**: the {train} + {held_out} digits (8×8, 17 levels) that scikit-learn carries, a copy of the test part of the
  UCI set *Optical Recognition of Handwritten Digits* (Alpaydin, Kaynak, 1998; CC BY 4.0).
- **Model**: scikit-learn {sklearn} `MLPClassifier`, one hidden layer of {hidden} units.
- **Accuracy** on {held_out} digits held out from training: **{accuracy:.4f}**
- **Recipe**: `python scoring/digits/train.py` (part of `make models`)
- **Licence**: the project's own; the data CC BY 4.0.
- **Limits**: one upright digit that fills the picture. Dark ink on white paper must be inverted first.
"""


def main() -> None:
    """Train, measure on what was held out, write."""
    train, held_out = split_digits()
    model = as_image_classifier(trained(train))
    content = model.SerializeToString(deterministic=True)
    accuracy = accuracy_of(content, held_out)
    write_whole(SHIPPED_MODEL / MODEL_FILE, content)
    write_whole(SHIPPED_MODEL / LABELS_FILE, "".join(f"{digit}\n" for digit in range(10)).encode())
    card = CARD.format(
        table=file_table(SHIPPED_MODEL, [MODEL_FILE, LABELS_FILE]),
        train=len(train.digits),
        held_out=len(held_out.digits),
        sklearn=sklearn.__version__,
        hidden=HIDDEN_UNITS,
        accuracy=accuracy,
    )
    write_whole(SHIPPED_MODEL / "CARD.md", card.encode())
    print(f"accuracy on {len(held_out.digits)} held-out digits: {accuracy:.4f}")


def trained(digits: Digits) -> MLPClassifier:
    """The network, trained on these digits."""
    network = MLPClassifier((HIDDEN_UNITS,), alpha=1e-3, max_iter=400, random_state=0)
    return network.fit(digits.pictures.reshape(len(digits.pictures), -1), digits.digits)


def as_image_classifier(network: MLPClassifier) -> onnx.ModelProto:
    """The network in ONNX, taking `images` [N, 1, 8, 8] and giving `probabilities` [N, 10] alone."""
    converted = to_onnx(
        network,
        initial_types=[("pixels", FloatTensorType([None, SIDE * SIDE]))],
        options={"zipmap": False},
        target_opset={"": OPSET, "ai.onnx.ml": 3},
    )
    graph = converted.graph
    nodes = _needed(graph, "probabilities")
    used = {name for node in nodes for name in node.input}
    flat = numpy_helper.from_array(np.array([-1, SIDE * SIDE], np.int64), "flat")
    result = helper.make_model(
        helper.make_graph(
            [helper.make_node("Reshape", ["images", "flat"], ["pixels"]), *nodes],
            "digits",
            [helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, ["N", 1, SIDE, SIDE])],
            [helper.make_tensor_value_info("probabilities", onnx.TensorProto.FLOAT, ["N", 10])],
            [flat, *(tensor for tensor in graph.initializer if tensor.name in used)],
        ),
        ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid("", OPSET)],
        producer_name="batchscore",
    )
    onnx.checker.check_model(result, full_check=True)
    return result


def _needed(graph: onnx.GraphProto, output: str) -> list[onnx.NodeProto]:
    """The nodes that `output` is computed from, in order."""
    wanted = {output}
    kept = []
    for node in reversed(graph.node):
        if wanted & set(node.output):
            wanted |= set(node.input)
            kept.append(node)
    return kept[::-1]


def accuracy_of(model: bytes, digits: Digits) -> float:
    """The share of these digits that the ONNX model names correctly."""
    session: Any = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    (probabilities,) = session.run(["probabilities"], {"images": digits.pictures[:, np.newaxis]})
    return float(np.mean(probabilities.argmax(1) == digits.digits))


if __name__ == "__main__":
    main()
