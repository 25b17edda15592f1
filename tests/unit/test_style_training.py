"""Training a style: what of it needs no PyTorch (the rest is in acceptance/test_train_style)."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import yaml

SCORING = Path(__file__).parents[2] / "scoring"
sys.path.insert(0, str(SCORING))

from models.flicker import measure  # noqa: E402
from models.style_network import write_graph  # noqa: E402
from models.style_weights import read_weights, with_one_style  # noqa: E402
from style_transfer.training.checkpoint import Checkpoint  # noqa: E402
from style_transfer.training.recipe import Recipe  # noqa: E402

TRANSFORMER = SCORING / "models" / "arbitrary" / "transformer.onnx"


def picture(height: int, width: int) -> np.ndarray:
    random = np.random.default_rng(height * width)
    coarse = random.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), np.uint8)
    return coarse.repeat(8, 0).repeat(8, 1)[:height, :width]


class TestWeights:
    def test_a_graph_written_from_weights_that_were_read_is_the_same_graph(self):
        model = onnx.load(TRANSFORMER)
        about = {entry.key: entry.value for entry in model.metadata_props}
        again = write_graph(read_weights(model), about)
        values = [
            {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in each.graph.initializer}
            for each in (model, again)
        ]
        assert values[0].keys() == values[1].keys()
        for name, value in values[0].items():
            assert np.allclose(value, values[1][name], rtol=0, atol=1e-6), name

    def test_a_style_built_in_paints_what_the_style_vector_paints(self):
        model = onnx.load(TRANSFORMER)
        vector = np.random.default_rng(0).normal(0, 0.6, (1, 100)).astype(np.float32)
        fixed = write_graph(with_one_style(read_weights(model), vector), {"style": "x"})
        assert [value.name for value in fixed.graph.input] == ["frames"]
        frames = picture(67, 101)[np.newaxis]
        free, built_in = (ort.InferenceSession(each.SerializeToString()) for each in (model, fixed))
        (expected,) = free.run(None, {"frames": frames, "style_vector": vector})
        (found,) = built_in.run(None, {"frames": frames})
        assert np.abs(found.astype(int) - expected).max() <= 1

    def test_the_weights_of_a_style_can_be_read_back_to_train_on(self):
        network = read_weights(onnx.load(TRANSFORMER))
        fixed = with_one_style(network, np.ones((1, 100), np.float32))
        again = read_weights(write_graph(fixed, {}))
        assert again.has_one_style
        for expected, found in zip(fixed.normed(), again.normed(), strict=True):
            assert np.allclose(expected.kernel, found.kernel, rtol=0, atol=1e-6)
            assert np.array_equal(expected.scale.offset, found.scale.offset)

    def test_another_network_is_refused(self):
        with pytest.raises(ValueError, match="no style network of this project"):
            read_weights(onnx.load(SCORING / "models" / "digits" / "model.onnx"))


class TestFlicker:
    def test_a_style_that_changes_nothing_shows_the_noise_alone(self):
        flicker = measure(lambda frame: frame, [picture(96, 120)])
        assert flicker.static == pytest.approx(2.55 * np.sqrt(2 / np.pi), abs=0.4), (
            "mean of a normal's absolute value"
        )
        assert 1.5 < flicker.pan_error < 4, "noise and one per cent of gain"

    def test_an_even_surface_is_perfectly_calm(self):
        flicker = measure(lambda frame: np.full_like(frame, 90), [picture(96, 120)])
        assert (flicker.pan_error, flicker.static) == (0, 0)

    def test_a_texture_that_stays_where_it_is_while_the_picture_moves_counts_as_pan_error_alone(self):
        texture = np.random.default_rng(1).integers(0, 256, (96, 120, 3), np.uint8)
        flicker = measure(lambda frame: texture[: frame.shape[0], : frame.shape[1]], [picture(96, 120)])
        assert flicker.static == 0
        assert flicker.pan_error == pytest.approx(85, abs=5), "two random levels differ by a third of 255"


class TestCheckpoint:
    def test_what_was_written_is_read(self, tmp_path):
        arrays = {"net/a": np.arange(6, dtype=np.float32).reshape(2, 3)}
        Checkpoint("training-1", 7, arrays).write(tmp_path / "c.npz")
        found = Checkpoint.read(tmp_path / "c.npz", "training-1")
        assert found is not None
        assert found.step == 7
        assert np.array_equal(found.arrays["net/a"], arrays["net/a"])

    def test_one_of_another_training_a_torn_one_and_none_are_no_checkpoint(self, tmp_path):
        path = tmp_path / "c.npz"
        assert Checkpoint.read(path, "training-1") is None
        Checkpoint("training-1", 7, {"a": np.zeros(1000)}).write(path)
        assert Checkpoint.read(path, "training-2") is None
        path.write_bytes(path.read_bytes()[:500])
        assert Checkpoint.read(path, "training-1") is None

    def test_pickled_objects_are_not_loaded(self, tmp_path):
        path = tmp_path / "c.npz"
        np.savez(path, training=np.array("t"), step=np.array(1), a=np.array([{"b": 1}], dtype=object))
        assert Checkpoint.read(path, "t") is None


class TestRecipe:
    def test_the_learning_rate_warms_up_stays_and_cools_down(self):
        recipe = Recipe(steps=100)
        factors = [recipe.rate_factor(step) for step in range(1, 101)]
        assert factors[:9] == sorted(factors[:9])
        assert factors[9:30] == [1.0] * 21
        assert factors[30:] == sorted(factors[30:], reverse=True)
        assert 0 < factors[-1] < 0.05

    def test_anything_that_decides_the_result_makes_another_training(self):
        made = Recipe().fingerprint(painting="a")
        assert made == Recipe().fingerprint(painting="a")
        assert made != Recipe(seed=1).fingerprint(painting="a")
        assert made != Recipe().fingerprint(painting="b")

    @pytest.mark.parametrize("file", ["train.yml", "train.pipeline.yml"])
    def test_the_pipelines_defaults_are_the_recipes(self, file):
        inputs = yaml.safe_load((SCORING / "style_transfer" / file).read_text("utf-8"))["inputs"]
        recipe = Recipe()
        for name in ("steps", "painting_side", "style_weight", "content_weight", "temporal_weight", "seed"):
            assert inputs[name]["default"] == getattr(recipe, name), name
        assert inputs["size"]["default"] == recipe.crop
