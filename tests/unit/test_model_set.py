"""Model sets: what is written is read again, slices read nothing else, and a value that no model has is named."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from sensors.errors import ModelSetError
from sensors.model_set import (
    MANIFEST,
    MODELS,
    SENSORS,
    SKIPPED,
    VERSION,
    SensorFigures,
    SkippedSensor,
    open_model_set,
    verify_model_set,
    write_model_set,
)
from sensors.packed_models import PackedModels, together

NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)
FINITE = st.floats(-1e300, 1e300)
ABOVE_0 = st.floats(1e-300, 1e300)


@st.composite
def packed_models(draw: st.DrawFn, most: int = 6) -> PackedModels:
    sensors = sorted(draw(st.sets(st.tuples(NAMES, NAMES), min_size=1, max_size=most)))
    counts = draw(st.lists(st.integers(1, 5), min_size=len(sensors), max_size=len(sensors)))
    count, total = len(sensors), sum(counts)

    def values(each: st.SearchStrategy[float], length: int) -> np.ndarray[Any, Any]:
        return np.array(draw(st.lists(each, min_size=length, max_size=length)))

    return PackedModels(
        sensors,
        np.cumsum([0, *counts]),
        values(FINITE, total),
        values(FINITE, total),
        values(FINITE, count),
        values(ABOVE_0, count),
        values(FINITE, count),
        values(ABOVE_0, count),
    )


def write(folder: Path, models: PackedModels, **more: Any) -> Path:
    figures = [
        SensorFigures(sensor, 100, int(count), 0.01)
        for sensor, count in zip(models.sensors, np.diff(models.offsets), strict=True)
    ]
    write_model_set(folder, models, figures, name="pumps", created_at="2026-11-21T12:00:00Z", **more)
    return folder


def assert_same(one: PackedModels, other: PackedModels) -> None:
    assert list(one.sensors) == list(other.sensors)
    for name in ("offsets", "support_vectors", "dual_coef", "intercept", "gamma", "mean", "scale"):
        mine, its = getattr(one, name), getattr(other, name)
        assert mine.dtype == its.dtype
        assert mine.tobytes() == its.tobytes(), name


THREE = PackedModels(
    [("1", "4"), ("1", "Überdruck"), ("2", "1")],
    np.array([0, 2, 3, 6]),
    np.array([0.5, -0.5, 1.0, 0.1, 0.2, 0.3]),
    np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),
    np.array([-1.0, -2.0, -3.0]),
    np.array([0.1, 0.2, 0.3]),
    np.array([80.0, 0.0, 12.5]),
    np.array([1.5, 1.0, 3.0]),
)


@given(packed_models())
def test_what_is_written_is_read_bit_by_bit(
    tmp_path_factory: pytest.TempPathFactory, models: PackedModels
) -> None:
    folder = write(tmp_path_factory.mktemp("set"), models)
    assert_same(verify_model_set(folder).read(), models)


@given(packed_models(), st.data())
def test_a_slice_is_the_same_as_the_models_one_by_one(models: PackedModels, data: st.DataObject) -> None:
    wanted = np.array(sorted(data.draw(st.sets(st.integers(0, len(models) - 1)))), np.int64)
    slice_ = models.pick(wanted)
    assert list(slice_.sensors) == [models.sensors[index] for index in wanted]
    for position, index in enumerate(wanted):
        mine = slice(*slice_.offsets[position : position + 2])
        its = slice(*models.offsets[index : index + 2])
        assert slice_.support_vectors[mine].tobytes() == models.support_vectors[its].tobytes()
        assert slice_.dual_coef[mine].tobytes() == models.dual_coef[its].tobytes()
        for name in ("intercept", "gamma", "mean", "scale"):
            assert getattr(slice_, name)[position] == getattr(models, name)[index]


@given(packed_models(), st.data())
def test_parts_put_together_are_the_whole_in_whatever_order(
    models: PackedModels, data: st.DataObject
) -> None:
    order = data.draw(st.permutations(range(len(models))))
    assert_same(together([models.pick(np.array([index])) for index in order]), models)


def test_two_parts_with_the_same_sensor_are_refused() -> None:
    with pytest.raises(ModelSetError, match="device '2', tag '1' is there twice"):
        together([THREE, THREE.pick(np.array([2]))])


def test_sensors_are_found_by_device_and_tag(tmp_path: Path) -> None:
    models = open_model_set(write(tmp_path, THREE))
    assert models.find([("2", "1"), ("2", "4"), ("1", "Überdruck")]).tolist() == [2, -1, 1]


def test_only_the_slice_that_is_asked_for_is_read(tmp_path: Path) -> None:
    """The other models' support vectors are not even looked at: one of them is no number."""
    folder = write(tmp_path, THREE)
    rewrite(folder, support_vectors=lambda values: values.__setitem__(2, np.nan))
    models = open_model_set(folder)
    assert models.read(np.array([0, 2])).support_vectors.tolist() == [0.5, -0.5, 0.1, 0.2, 0.3]
    with pytest.raises(
        ModelSetError, match=r"support_vectors of device '1', tag 'Überdruck' holds nan at position 0"
    ):
        models.read(np.array([1]))


def test_the_tables_say_what_is_known_of_each_sensor(tmp_path: Path) -> None:
    figures = [
        SensorFigures(sensor, samples, 1, rate)
        for sensor, samples, rate in zip(THREE.sensors, (5, None, 7), (0.2, None, 0.0), strict=True)
    ]
    write_model_set(
        tmp_path,
        THREE,
        figures,
        [SkippedSensor(("3", "1,5"), 2, "too few samples: 2, and min_samples is 20")],
        name="pumps",
        created_at="2026-11-21T12:00:00Z",
        parameters={"nu": 0.01},
    )
    with (tmp_path / SENSORS).open(newline="", encoding="utf-8") as stream:
        rows = list(csv.reader(stream))
    assert rows[0] == ["Device", "Tag", "Samples", "SupportVectors", "TrainingAnomalyRate"]
    assert rows[2] == ["1", "Überdruck", "", "1", ""]
    with (tmp_path / SKIPPED).open(newline="", encoding="utf-8") as stream:
        assert list(csv.reader(stream))[1] == ["3", "1,5", "2", "too few samples: 2, and min_samples is 20"]
    manifest = json.loads((tmp_path / MANIFEST).read_bytes())
    assert (manifest["sensors"], manifest["skipped"], manifest["support_vectors"]) == (3, 1, 6)
    assert manifest["parameters"] == {"nu": 0.01}


def test_a_set_is_called_by_its_version_once_it_has_one(tmp_path: Path) -> None:
    folder = write(tmp_path, THREE)
    assert open_model_set(folder).label == "pumps@2026-11-21T12:00:00Z"
    (folder / VERSION).write_text('{"model": "pumps:3"}')
    assert open_model_set(folder).label == "pumps:3"


Change = Callable[[Any], Any]


def rewrite(folder: Path, **changes: Change) -> None:
    tensors = load_file(folder / MODELS)
    for name, change in changes.items():
        tensors[name] = tensors[name].copy()
        changed = change(tensors[name])
        if changed is not None:
            tensors[name] = changed
    save_file(tensors, folder / MODELS)


def put(position: int, value: float) -> Change:
    return lambda values: values.__setitem__(position, value)


@pytest.mark.parametrize(
    ("tensor", "change", "message"),
    [
        ("gamma", put(1, 0.0), r"gamma of device '1', tag 'Überdruck' is 0.0; it must be a number above 0"),
        ("scale", put(2, -1.0), r"scale of device '2', tag '1' is -1.0; it must be a number above 0"),
        ("scale", put(2, np.inf), r"scale of device '2', tag '1' is inf"),
        ("mean", put(0, np.nan), r"mean of device '1', tag '4' is nan; it must be a finite number"),
        ("intercept", put(0, -np.inf), r"intercept of device '1', tag '4' is -inf"),
        ("dual_coef", put(5, np.nan), r"dual_coef of device '2', tag '1' holds nan at position 2"),
        ("offsets", put(1, 3), r"offsets 1 and 2 are 3 and 3; each must be larger"),
        ("offsets", put(0, 1), r"offsets go from 1 to 6; they must go from 0 to 6"),
        ("offsets", put(3, 5), r"offsets go from 0 to 5; they must go from 0 to 6"),
        ("offsets", lambda v: v[1:], r"offsets has the shape \[3\]; it must be \[4\]"),
        (
            "offsets",
            lambda v: v.astype(np.float64),
            r"offsets is F64 \[4\]; it must be I64 with one dimension",
        ),
        ("mean", lambda v: v[:2], r"mean holds 2 values; there must be 3"),
        ("dual_coef", lambda v: v[:2], r"dual_coef holds 2 values; there must be 6"),
        ("mean", lambda v: v.reshape(3, 1), r"mean is F64 \[3, 1\]"),
        (
            "devices",
            lambda v: v[::-1].copy(),
            r"device '1', tag 'Überdruck' stands after device '2', tag '4'",
        ),
        ("devices", put(1, 255), r"devices is not UTF-8"),
        ("devices_offsets", put(1, 9), r"devices_offsets must go up from 0 to 3"),
        ("devices_offsets", put(1, 0), r"device '', tag '4' has an empty name"),
        ("tags_offsets", lambda v: v[[0, 1, 3]], r"there are 3 devices and 2 tags"),
    ],
)
def test_a_value_that_no_model_has_is_named(
    tmp_path: Path, tensor: str, change: Change, message: str
) -> None:
    folder = write(tmp_path, THREE)
    rewrite(folder, **{tensor: change})
    with pytest.raises(ModelSetError, match=message) as caught:
        open_model_set(folder).read()
    assert str(folder / MODELS) in str(caught.value)


def test_no_such_set_is_written_either(tmp_path: Path) -> None:
    bad = THREE.pick(np.array([0, 1, 2]))
    bad.gamma[0] = np.nan
    with pytest.raises(ModelSetError, match="gamma of device '1', tag '4' is nan"):
        write(tmp_path, bad)
    assert not list(tmp_path.iterdir())


def without_tensor(folder: Path) -> None:
    tensors = load_file(folder / MODELS)
    del tensors["gamma"]
    save_file(tensors, folder / MODELS)


def cut_short(folder: Path) -> None:
    (folder / MODELS).write_bytes((folder / MODELS).read_bytes()[:-8])


def other_manifest(**changes: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        manifest = json.loads((folder / MANIFEST).read_bytes()) | changes
        (folder / MANIFEST).write_text(json.dumps(manifest))

    return change


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (without_tensor, "has no tensor 'gamma'"),
        (cut_short, "model.safetensors cannot be read"),
        (lambda folder: (folder / MODELS).write_bytes(b""), "model.safetensors cannot be read"),
        (lambda folder: (folder / MODELS).unlink(), "model.safetensors is missing; the set is not whole"),
        (lambda folder: (folder / MANIFEST).unlink(), "holds no manifest.json, so it is no model set"),
        (lambda folder: (folder / MANIFEST).write_text("{"), "manifest.json cannot be read"),
        (lambda folder: (folder / MANIFEST).write_text("[1]"), "has the format 'None'"),
        (
            other_manifest(format="batchscore-model-set/2"),
            "has the format 'batchscore-model-set/2'; this version",
        ),
        (other_manifest(sensors=4), "manifest.json speaks of 4 sensors; there are 3"),
        (other_manifest(sensors="3"), "has no 'sensors' that is an int"),
    ],
)
def test_a_folder_that_is_no_whole_set_is_refused(
    tmp_path: Path, damage: Callable[[Path], object], message: str
) -> None:
    folder = write(tmp_path, THREE)
    damage(folder)
    with pytest.raises(ModelSetError, match=message):
        open_model_set(folder)


def test_verifying_also_finds_files_that_are_others_than_the_manifests(tmp_path: Path) -> None:
    folder = write(tmp_path, THREE)
    verify_model_set(folder)
    (folder / SENSORS).write_text("Device,Tag\n")
    with pytest.raises(ModelSetError, match=r"sensors.csv is not the file that manifest.json speaks of"):
        verify_model_set(folder)


def test_equal_models_are_equal_files(tmp_path: Path) -> None:
    one, other = (write(tmp_path / name, THREE) / MODELS for name in ("one", "other"))
    assert one.read_bytes() == other.read_bytes()
