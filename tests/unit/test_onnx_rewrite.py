"""Convolutions of any model are rewritten to the same ones in another form; what only looks alike stays as it is."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from common import onnx_patterns
from common.onnx_patterns import rewrite
from common.onnx_rewrite import RewriteError, largest_difference, rewrite_file
from tests.style_clips import SCORING

RANDOM = np.random.default_rng(7)
TRANSFORMER = SCORING / "models" / "arbitrary" / "transformer.onnx"
Array = np.ndarray[Any, np.dtype[Any]]
SIZES = [(8, 6), (5, 7), (9, 4), (2, 2), (1, 1)]


@dataclass
class Graph:
    """A model in the making: input `x`, output `y`."""

    opset: int = 18
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: dict[str, Array] = field(default_factory=dict)

    def __call__(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output

    def constant(self, name: str, value: Any, dtype: type = np.float32) -> str:
        self.constants[name] = np.array(value, dtype)
        return name

    def weights(self, out: int, channels: int, *size: int, bias: bool = True) -> list[str]:
        names = [self.constant("kernel", RANDOM.normal(0, 0.3, (out, channels, *size)))]
        return [*names, self.constant("bias", RANDOM.normal(0, 1, out))] if bias else names

    def enlarge(self, x: str = "x", **attributes: Any) -> str:
        scales = self.constant("scales", [1, 1, 2, 2])
        if self.opset < 10:
            return self("Upsample", [x, scales], "large", mode="nearest")
        if self.opset == 10:
            return self("Resize", [x, scales], "large", mode="nearest")
        asked = {
            "mode": "nearest",
            "coordinate_transformation_mode": "asymmetric",
            "nearest_mode": "floor",
        } | attributes
        region = self.constant("region", []) if self.opset < 13 else ""
        return self("Resize", [x, region, scales], "large", **asked)

    def border(self, x: str, sizes: list[int], mode: str = "reflect") -> str:
        if self.opset < 11:
            return self("Pad", [x], "bordered", mode=mode, pads=sizes)
        return self("Pad", [x, self.constant("sizes", sizes, np.int64)], "bordered", mode=mode)

    def model(
        self, channels: int, size: tuple[int, int] | None = None, outputs: tuple[str, ...] = ("y",)
    ) -> onnx.ModelProto:
        height, width = size or ("h", "w")
        graph = helper.make_graph(
            self.nodes,
            "test",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, channels, height, width])],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * 4) for name in outputs],
            [numpy_helper.from_array(value, name) for name, value in self.constants.items()],
        )
        model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", self.opset)])
        onnx.checker.check_model(model)
        return model


ONE = [0, 0, 1, 1, 0, 0, 1, 1]


def run(model: onnx.ModelProto, x: Array) -> list[Array]:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return list(session.run(None, {"x": x}))


def rewritten(model: onnx.ModelProto) -> tuple[onnx.ModelProto, onnx_patterns.Report]:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy, rewrite(copy)


def operators(model: onnx.ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


def assert_same(
    before: onnx.ModelProto, after: onnx.ModelProto, channels: int, size: tuple[int, int]
) -> None:
    """Equal up to rounding everywhere, at the borders as in the middle."""
    x = RANDOM.normal(0, 1, (1, channels, *size)).astype(np.float32)
    for expected, found in zip(run(before, x), run(after, x), strict=True):
        assert found.shape == expected.shape
        assert np.abs(found - expected).max() <= 2e-6 * max(1, np.abs(expected).max())


class TestEnlargedPicture:
    """Enlargement by two, a border of one pixel and a 3×3 convolution."""

    @pytest.mark.parametrize("size", SIZES)
    @pytest.mark.parametrize("mode", ["reflect", "edge", "constant"])
    @pytest.mark.parametrize("known", [True, False], ids=["known size", "any size"])
    def test_gives_the_same_with_any_border_at_any_size(
        self, size: tuple[int, int], mode: str, known: bool
    ) -> None:
        graph = Graph()
        graph("Conv", [graph.border(graph.enlarge(), ONE, mode), *graph.weights(6, 5, 3, 3)], "y")
        before = graph.model(5, size if known else None)
        after, report = rewritten(before)
        assert report.rewritten == ["y (6×5×3×3) on an enlarged picture: now 2×2 on the small one"]
        assert operators(after) == {"Pad": 1, "Conv": 1, "DepthToSpace": 1, "Slice": 1}
        assert_same(before, after, 5, size)

    @pytest.mark.parametrize("opset", [9, 10, 11, 13, 17, 18, 21])
    def test_in_the_words_of_every_version(self, opset: int) -> None:
        graph = Graph(opset)
        graph("Conv", [graph.border(graph.enlarge(), ONE), *graph.weights(6, 5, 3, 3)], "y")
        before = graph.model(5)
        after, report = rewritten(before)
        assert len(report.rewritten) == 1
        assert "Upsample" not in operators(after)
        assert "Resize" not in operators(after)
        assert_same(before, after, 5, (7, 8))

    def test_with_the_convolutions_own_border_of_nothing_and_without_bias(self) -> None:
        graph = Graph()
        graph("Conv", [graph.enlarge(), *graph.weights(6, 5, 3, 3, bias=False)], "y", pads=[1, 1, 1, 1])
        before = graph.model(5)
        after, report = rewritten(before)
        assert len(report.rewritten) == 1
        assert_same(before, after, 5, (7, 8))

    def test_with_a_border_of_another_value(self) -> None:
        graph = Graph()
        value = graph.constant("value", 3.5)
        large, sizes = graph.enlarge(), graph.constant("sizes", ONE, np.int64)
        graph("Conv", [graph("Pad", [large, sizes, value], "bordered"), *graph.weights(6, 5, 3, 3)], "y")
        before = graph.model(5)
        after, report = rewritten(before)
        assert len(report.rewritten) == 1
        assert_same(before, after, 5, (7, 8))

    def test_with_a_border_of_named_axes(self) -> None:
        graph = Graph()
        sizes, axes = (
            graph.constant("sizes", [1, 1, 1, 1], np.int64),
            graph.constant("axes", [-1, 2], np.int64),
        )
        bordered = graph("Pad", [graph.enlarge(), sizes, "", axes], "bordered", mode="edge")
        graph("Conv", [bordered, *graph.weights(6, 5, 3, 3)], "y")
        before = graph.model(5)
        after, report = rewritten(before)
        assert len(report.rewritten) == 1
        assert_same(before, after, 5, (7, 8))

    @pytest.mark.parametrize(
        "coordinates", ["asymmetric", "half_pixel", "pytorch_half_pixel", "align_corners"]
    )
    @pytest.mark.parametrize("nearest", ["floor", "ceil", "round_prefer_floor", "round_prefer_ceil"])
    def test_only_where_pixels_are_repeated_as_onnx_runtime_does_it(
        self, coordinates: str, nearest: str
    ) -> None:
        """Whichever way of rounding: it is rewritten just where the enlarged picture is a repeated one."""
        graph = Graph()
        large = graph.enlarge(coordinate_transformation_mode=coordinates, nearest_mode=nearest)
        graph("Conv", [graph.border(large, ONE), *graph.weights(6, 5, 3, 3)], "y")
        before = graph.model(5, outputs=("y",))
        alone = Graph()
        alone.enlarge(coordinate_transformation_mode=coordinates, nearest_mode=nearest)
        x = RANDOM.normal(0, 1, (1, 5, 6, 7)).astype(np.float32)
        repeats = np.array_equal(run(alone.model(5, outputs=("large",)), x)[0], x.repeat(2, 2).repeat(2, 3))
        after, report = rewritten(before)
        by_chance = coordinates == "align_corners"  # that it repeats them depends on the size
        assert bool(report.rewritten) == (repeats and not by_chance)
        assert_same(before, after, 5, (6, 7))

    @pytest.mark.parametrize("twice", [True, False])
    def test_where_sizes_are_given_in_place_of_scales(self, twice: bool) -> None:
        graph = Graph()
        sizes = graph.constant("large_size", [1, 5, 12, 16 if twice else 17], np.int64)
        asked = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        large = graph("Resize", ["x", "", "", sizes], "large", **asked)
        graph("Conv", [graph.border(large, ONE), *graph.weights(6, 5, 3, 3)], "y")
        before = graph.model(5, (6, 8))
        after, report = rewritten(before)
        assert bool(report.rewritten) == twice
        assert_same(before, after, 5, (6, 8))

    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            ("border of two", "border of the enlarged picture is not one pixel"),
            ("border on one side", "border of the enlarged picture is not one pixel"),
            ("second border", "does not have a border of one pixel in all"),
            ("no border", "does not have a border of one pixel in all"),
            ("wrapped", "border of the enlarged picture is of mode wrap"),
            ("5×5", "the kernel on the enlarged picture is (5, 5)"),
            ("strided", "strided or dilated"),
            ("dilated", "strided or dilated"),
            ("divided", "divided into 5 groups"),
            ("threefold", "not enlarged exactly twofold"),
            ("smooth", "not enlarged exactly twofold"),
            ("used twice", "used elsewhere"),
            ("given out", "used elsewhere"),
            ("weights that are an input's", "weights are not constant"),
        ],
    )
    def test_what_looks_alike_stays_and_the_report_says_why(self, change: str, reason: str) -> None:
        graph = Graph(19)
        out, kernel, attributes = 6, (3, 3), {}
        large = graph.enlarge(**({"mode": "linear"} if change == "smooth" else {}))
        if change == "threefold":
            graph.constant("scales", [1, 1, 3, 3])
        if change == "no border":
            x = large
        else:
            sizes = {
                "border of two": [0, 0, 2, 2, 0, 0, 2, 2],
                "border on one side": [0, 0, 2, 1, 0, 0, 0, 1],
            }
            x = graph.border(large, sizes.get(change, ONE), "wrap" if change == "wrapped" else "reflect")
        if change == "second border":
            attributes["pads"] = [1, 1, 1, 1]
        if change == "5×5":
            kernel = (5, 5)
        if change == "strided":
            attributes["strides"] = [2, 2]
        if change == "dilated":
            attributes["dilations"] = [2, 2]
        if change == "divided":
            out, attributes["group"] = 10, 5
        weights = graph.weights(out, 1 if change == "divided" else 5, *kernel)
        if change == "weights that are an input's":
            kernel_name = graph("Mul", [weights[0], graph("ReduceMean", ["x"], "mean", keepdims=0)], "scaled")
            weights = [kernel_name, weights[1]]
        graph("Conv", [x, *weights], "y", **attributes)
        outputs = ("y", "large") if change == "given out" else ("y",)
        if change == "used twice":
            graph("Relu", [large], "also")
            outputs = ("y", "also")
        before = graph.model(5, outputs=outputs)
        after, report = rewritten(before)
        assert not report.rewritten
        assert any(reason in line for line in report.left), report.left
        assert operators(after) == operators(before)
        assert_same(before, after, 5, (8, 9))


class TestFewChannels:
    """A convolution of stride 1 to few channels."""

    @pytest.mark.parametrize("size", [(12, 14), (13, 14), (12, 15), (13, 15)])
    @pytest.mark.parametrize("kernel", [(3, 3), (9, 9), (5, 3), (4, 4), (1, 7)])
    @pytest.mark.parametrize("known", [True, False], ids=["known size", "any size"])
    def test_gives_the_same_at_even_and_odd_sizes(
        self, size: tuple[int, int], kernel: tuple[int, int], known: bool
    ) -> None:
        graph = Graph()
        graph("Conv", ["x", *graph.weights(3, 4, *kernel)], "y")
        before = graph.model(4, size if known else None)
        after, report = rewritten(before)
        [line] = report.rewritten
        assert line.endswith("to few channels: now 2×2 pixels at once")
        even = all((side - taps + 1) % 2 == 0 for side, taps in zip(size, kernel, strict=True))
        assert ("Slice" in operators(after)) == (not (known and even)), "cut only where it may be odd"
        assert_same(before, after, 4, size)

    @pytest.mark.parametrize("pads", [[4, 4, 4, 4], [0, 1, 2, 3], [3, 0, 0, 0]])
    @pytest.mark.parametrize("out", [1, 2, 4])
    def test_with_any_border_of_its_own(self, pads: list[int], out: int) -> None:
        graph = Graph()
        graph("Conv", ["x", *graph.weights(out, 4, 9, 9)], "y", pads=pads, auto_pad="NOTSET")
        before = graph.model(4)
        after, report = rewritten(before)
        assert len(report.rewritten) == 1
        for size in ((12, 13), (11, 10)):
            assert_same(before, after, 4, size)

    @pytest.mark.parametrize("opset", [9, 10, 13, 18])
    def test_in_the_words_of_every_version(self, opset: int) -> None:
        graph = Graph(opset)
        bordered = graph.border("x", [0, 0, 4, 4, 0, 0, 4, 4])
        graph("Conv", [bordered, *graph.weights(3, 4, 9, 9)], "y", auto_pad="VALID")
        for size in ((11, 12), (10, 12)):
            before = graph.model(4, size)
            after, report = rewritten(before)
            assert len(report.rewritten) == 1
            assert_same(before, after, 4, size)

    def test_an_unknown_size_in_words_too_old_to_compute_with_it_stays(self) -> None:
        graph = Graph(9)
        graph("Conv", ["x", *graph.weights(3, 4, 9, 9)], "y")
        after, report = rewritten(graph.model(4))
        assert operators(after) == {"Conv": 1}
        assert "size is unknown" in report.left[0]

    @pytest.mark.parametrize(
        "attributes", [{"strides": [2, 2]}, {"dilations": [1, 2]}, {"auto_pad": "SAME_UPPER"}], ids=str
    )
    def test_what_looks_alike_stays_and_the_report_says_why(self, attributes: dict[str, Any]) -> None:
        graph = Graph()
        graph("Conv", ["x", *graph.weights(3, 4, 5, 5)], "y", **attributes)
        before = graph.model(4)
        after, report = rewritten(before)
        assert report.left
        assert operators(after) == {"Conv": 1}
        assert_same(before, after, 4, (11, 12))

    @pytest.mark.parametrize(("out", "kernel"), [(5, (9, 9)), (3, (1, 1)), (3, (2, 2))])
    def test_many_channels_and_small_kernels_gain_nothing_and_stay(
        self, out: int, kernel: tuple[int, int]
    ) -> None:
        graph = Graph()
        graph("Conv", ["x", *graph.weights(out, 4, *kernel)], "y")
        after, report = rewritten(graph.model(4))
        assert operators(after) == {"Conv": 1}
        assert not report.rewritten

    def test_weights_of_another_precision_stay(self) -> None:
        graph = Graph()
        names = [
            graph.constant(name, RANDOM.normal(0, 1, shape), np.float16)
            for name, shape in (("k", (3, 4, 5, 5)),)
        ]
        graph("Cast", [graph("Conv", [graph("Cast", ["x"], "half", to=10), *names], "z")], "y", to=1)
        _, report = rewritten(graph.model(4))
        assert not report.rewritten
        assert "float16" in report.left[0]


class TestWholeModels:
    def test_borders_that_an_exporter_computes_and_weights_by_another_name(self) -> None:
        """As torch writes them: sizes of borders from a chain of constants, shared weights behind Identity."""
        graph = Graph(17)
        graph.constant("ones", [1, 1, 1, 1], np.int64)
        graph.constant("four", [4], np.int64)
        graph("ConstantOfShape", ["four"], "zeros", value=numpy_helper.from_array(np.array([0], np.int64)))
        graph("Concat", ["ones", "zeros"], "both", axis=0)
        graph("Reshape", ["both", graph.constant("pairs", [-1, 2], np.int64)], "paired")
        for name, value in (("first", [-1]), ("last", [-(2**63) + 1]), ("axis", [0]), ("step", [-1])):
            graph.constant(name, value, np.int64)
        graph("Slice", ["paired", "first", "last", "axis", "step"], "reversed")
        graph("Transpose", ["reversed"], "turned", perm=[1, 0])
        graph("Reshape", ["turned", graph.constant("flat", [-1], np.int64)], "sizes_in_a_row")
        graph("Cast", ["sizes_in_a_row"], "border_sizes", to=TensorProto.INT64)
        bordered = graph("Pad", [graph.enlarge(), "border_sizes"], "bordered", mode="reflect")
        kernel, bias = graph.weights(6, 5, 3, 3)
        graph("Conv", [bordered, kernel, graph("Identity", [bias], "shared")], "y")
        before = graph.model(5, (6, 7))
        after, report = rewritten(before)
        assert len(report.rewritten) == 1
        assert operators(after) == {"Pad": 1, "Conv": 1, "DepthToSpace": 1, "Slice": 1}
        assert {each.name for each in after.graph.initializer}.isdisjoint({"ones", "kernel", "scales"})
        assert_same(before, after, 5, (6, 7))

    def test_weights_that_old_files_list_as_inputs(self) -> None:
        graph = Graph(9)
        graph("Conv", ["x", *graph.weights(3, 4, 9, 9)], "y")
        before = graph.model(4, (12, 13))
        for name in ("kernel", "bias"):
            shape = graph.constants[name].shape
            before.graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
        before.ir_version = 3
        after, report = rewritten(before)
        assert len(report.rewritten) == 1
        assert [value.name for value in after.graph.input] == ["x"]
        assert_same(before, after, 4, (12, 13))

    def test_weights_that_a_newer_file_lets_the_caller_replace_stay(self) -> None:
        graph = Graph()
        graph("Conv", ["x", *graph.weights(3, 4, 9, 9)], "y")
        before = graph.model(4, (12, 13))
        before.graph.input.append(helper.make_tensor_value_info("kernel", TensorProto.FLOAT, (3, 4, 9, 9)))
        _, report = rewritten(before)
        assert not report.rewritten

    def test_several_convolutions_that_share_their_weights(self) -> None:
        graph = Graph()
        weights = graph.weights(4, 4, 5, 5)
        middle = graph("Relu", [graph("Conv", ["x", *weights], "a", pads=[2, 2, 2, 2])], "b")
        graph("Conv", [middle, *weights], "y", pads=[2, 2, 2, 2])
        before = graph.model(4)
        after, report = rewritten(before)
        assert len(report.rewritten) == 2
        assert_same(before, after, 4, (9, 8))

    def test_the_shipped_network_has_nothing_left_to_rewrite(self) -> None:
        after, report = rewritten(onnx.load(TRANSFORMER))
        assert not report.rewritten
        assert largest_difference(onnx.load(TRANSFORMER), after, (33, 34)) == 0


class TestTool:
    @pytest.fixture
    def source(self, tmp_path: Path) -> Path:
        graph = Graph()
        large = graph.border(graph.enlarge(), ONE)
        middle = graph("Relu", [graph("Conv", [large, *graph.weights(6, 5, 3, 3)], "a")], "b")
        last = graph.constant("last", RANDOM.normal(0, 1, (3, 6, 9, 9)))
        graph("Conv", [middle, last], "y", pads=[4, 4, 4, 4])
        onnx.save(graph.model(5), str(tmp_path / "net.onnx"))
        return tmp_path / "net.onnx"

    def test_says_what_it_did_and_how_far_the_outputs_differ(self, source: Path, tmp_path: Path) -> None:
        target = tmp_path / "fast.onnx"
        done = subprocess.run(
            [sys.executable, SCORING / "common" / "onnx_rewrite.py", source, target, "--size", "20", "31"],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        first, second, difference, written = done.stdout.splitlines()
        assert first == "rewritten: a (6×5×3×3) on an enlarged picture: now 2×2 on the small one"
        assert second == "rewritten: y (3×6×9×9) to few channels: now 2×2 pixels at once"
        found = re.fullmatch(r"largest difference on 1×5×20×31: (\S+) of the largest value", difference)
        assert found
        assert float(found[1]) < 1e-5
        assert written == f"written: {target}"
        assert_same(onnx.load(source), onnx.load(target), 5, (11, 12))

    def test_compares_at_an_even_and_an_odd_size_where_the_size_is_free(self, source: Path) -> None:
        story = rewrite_file(source, source.with_name("fast.onnx"))
        assert re.findall(r"on 1×5×(\d+×\d+)", story) == ["96×128", "97×131"]

    def test_writes_nothing_when_the_outputs_differ(
        self, source: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(
            onnx_patterns, "at_four_places", lambda k: onnx_patterns.np.zeros((12, 6, 10, 10), "f")
        )
        with pytest.raises(RewriteError, match="more than rounding"):
            rewrite_file(source, source.with_name("fast.onnx"))
        assert not source.with_name("fast.onnx").exists()

    def test_writes_nothing_when_there_is_nothing_to_do(self, tmp_path: Path) -> None:
        assert "nothing to rewrite" in rewrite_file(TRANSFORMER, tmp_path / "fast.onnx")
        assert not (tmp_path / "fast.onnx").exists()

    @pytest.mark.parametrize("content", [None, b"", b"no model"])
    def test_names_a_file_that_is_no_model(self, tmp_path: Path, content: bytes | None) -> None:
        if content is not None:
            (tmp_path / "net.onnx").write_bytes(content)
        with pytest.raises(RewriteError, match=r"net\.onnx cannot be read as an ONNX model"):
            rewrite_file(tmp_path / "net.onnx", tmp_path / "fast.onnx")
