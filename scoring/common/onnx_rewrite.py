"""Rewrite convolutions of any ONNX model into forms that are faster on a CPU and compute the same.

    python scoring/common/onnx_rewrite.py IN.onnx OUT.onnx [--size HEIGHT WIDTH]

Two patterns of image-to-image nets are rewritten, by arithmetic that is exact but for the order of sums:

- A convolution of stride 1 to at most four channels (the last one) is done for 2×2 pixels at once, with
  stride 2, and DepthToSpace puts the pixels in place.
- A 3×3 convolution on a picture enlarged twofold by repeating pixels, with a border of one pixel, becomes a 2×2
  convolution on the small picture, with less than half the multiplications.

Whatever only looks like them stays as it is, and the output says why. Both models are then run on noise, and
OUT.onnx is written only when they agree up to the rounding of float32. ONNX Runtime compares where it is
installed, else the (slow) reference evaluator of onnx.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import onnx
from onnx import helper

from common.onnx_graph import Array
from common.onnx_patterns import rewrite
from common.output_files import write_whole

TOLERANCE = 1e-4
"""The largest difference that is called rounding, as a part of the largest value of the output."""
_SIZES = ((96, 128), (97, 131))


class RewriteError(Exception):
    """The model cannot be rewritten; the sentence says why."""


def largest_difference(before: onnx.ModelProto, after: onnx.ModelProto, size: tuple[int, int]) -> float:
    """Run both on the same noise; the largest difference, as a part of the largest value of that output.

    Whole numbers may differ by one, where a value lies between two. `size` stands for free heights and widths.
    """
    feed = _noise(before, size)
    worst = 0.0
    for expected, found in zip(_run(before, feed), _run(after, feed), strict=True):
        if expected.shape != found.shape:
            raise RewriteError(f"an output of shape {expected.shape} has become one of shape {found.shape}")
        difference = np.abs(expected.astype(np.float64) - found.astype(np.float64))
        if np.issubdtype(expected.dtype, np.integer):
            difference[difference <= 1] = 0
        largest = float(np.abs(expected).max(initial=0)) or 1.0
        worst = max(worst, float(difference.max(initial=0)) / largest)
    return worst


def _noise(model: onnx.ModelProto, size: tuple[int, int]) -> dict[str, Array]:
    """A value for each input: free dimensions are 1 for the first and then height and width in turn."""
    random = np.random.default_rng(0)
    constants = {each.name for each in model.graph.initializer}
    feed: dict[str, Array] = {}
    for value in model.graph.input:
        if value.name in constants:
            continue
        kind = value.type.tensor_type
        dtype = helper.tensor_dtype_to_np_dtype(kind.elem_type)
        free = iter(size)
        shape = [
            each.dim_value if each.HasField("dim_value") else 1 if place == 0 else next(free, 1)
            for place, each in enumerate(kind.shape.dim)
        ]
        if np.issubdtype(dtype, np.integer):
            feed[value.name] = random.integers(0, 256 if dtype == np.uint8 else 2, shape).astype(dtype)
        else:
            feed[value.name] = random.uniform(0, 1, shape).astype(dtype)
    return feed


def _sizes(model: onnx.ModelProto, size: Sequence[int] | None) -> list[tuple[int, int]]:
    """The sizes to compare at: one if it was asked for or the model knows no other, else an even and an odd one."""
    if size:
        return [(size[0], size[1])]
    return list({_shapes(model, each): each for each in _SIZES}.values())


def _shapes(model: onnx.ModelProto, size: tuple[int, int]) -> str:
    return " and ".join("×".join(map(str, value.shape)) for value in _noise(model, size).values())


def _run(model: onnx.ModelProto, feed: dict[str, Array]) -> list[Array]:
    try:
        import onnxruntime
    except ImportError:
        from onnx.reference import ReferenceEvaluator

        return list(ReferenceEvaluator(model).run(None, feed))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return list(session.run(None, feed))


def main() -> None:
    """Rewrite, say what was done, compare, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path, metavar="IN.onnx")
    parser.add_argument("target", type=Path, metavar="OUT.onnx")
    parser.add_argument(
        "--size", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"), help="compare at this size where it is free"
    )
    arguments = parser.parse_args()
    try:
        print(rewrite_file(arguments.source, arguments.target, arguments.size))
    except RewriteError as error:
        sys.exit(f"error: {error}")


def rewrite_file(source: Path, target: Path, size: Sequence[int] | None = None) -> str:
    """Rewrite one file into another and compare them; what was done, a line each. RewriteError."""
    try:
        before = onnx.load(source)
        onnx.checker.check_model(before)
    except Exception as error:  # protobuf, the checker and the system each raise their own
        raise RewriteError(f"{source} cannot be read as an ONNX model: {error}") from error
    after = onnx.ModelProto()
    after.CopyFrom(before)
    report = rewrite(after)
    lines = [*(f"rewritten: {line}" for line in report.rewritten), *(f"left: {line}" for line in report.left)]
    if not report.rewritten:
        return "\n".join([*lines, f"nothing to rewrite in {source.name}; {target} was not written"])
    for free in _sizes(before, size):
        worst = largest_difference(before, after, free)
        lines.append(f"largest difference on {_shapes(before, free)}: {worst:.1e} of the largest value")
        if not worst <= TOLERANCE:
            raise RewriteError("\n".join([*lines, f"that is more than rounding; {target} was not written"]))
    write_whole(target, after.SerializeToString(deterministic=True))
    return "\n".join([*lines, f"written: {target}"])


if __name__ == "__main__":
    main()
