"""Pickles of the reference are read and never unpickled: same models, and whatever else a pickle can do is refused."""

from __future__ import annotations

import builtins
import csv
import json
import operator
import os
import pickle
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.svm import SVC, OneClassSVM

from sensors import import_pickles
from sensors.errors import ModelSetError
from sensors.import_pickles import blind_sensors
from sensors.inert_pickle import read_inert
from sensors.legacy_model import read_legacy
from sensors.model_set import MANIFEST, SKIPPED, verify_model_set
from sensors.svm import decisions

SENSOR = ("1", "4")
SCRIPT = Path(import_pickles.__file__)


def pipeline(nu: float = 1e-4, gamma: Any = 0.01, **options: Any) -> Pipeline:
    values = 80 + np.random.default_rng(7).normal(size=(500, 1))
    steps = [("scale", StandardScaler()), ("svm", OneClassSVM(nu=nu, gamma=gamma, **options))]
    return Pipeline(steps).fit(values)


def old_stream(model: Pipeline, **changes: Any) -> bytes:
    """What scikit-learn 0.19 on Python 3.6 wrote, opcode by opcode: its modules, attributes and protocol 3."""
    scaler, machine = model[0], model[1]
    out = [b"\x80\x03"]

    def emit(value: Any) -> None:
        if value is None:
            out.append(b"N")
        elif isinstance(value, bool):
            out.append(b"\x88" if value else b"\x89")
        elif isinstance(value, int):
            out.append(b"J" + struct.pack("<i", value))
        elif isinstance(value, float):
            out.append(b"G" + struct.pack(">d", value))
        elif isinstance(value, str):
            out.append(b"X" + struct.pack("<I", len(value.encode())) + value.encode())
        elif isinstance(value, bytes):
            out.append(b"B" + struct.pack("<I", len(value)) + value)
        elif isinstance(value, tuple):
            out.append(b"(")
            for each in value:
                emit(each)
            out.append(b"t")
        elif isinstance(value, np.ndarray):
            code = value.dtype.str[1:]
            out.append(b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n")
            emit((0,))
            emit(b"b")
            out.append(b"\x87R(K\x01")
            emit(value.shape)
            out.append(b"cnumpy\ndtype\n")
            emit(code)
            out.append(b"K\x00K\x01\x87R(K\x03")
            emit("<")
            for each in (None, None, None, -1, -1, 0):
                emit(each)
            out.append(b"tb\x89")
            emit(value.tobytes())
            out.append(b"tb")
        else:
            raise AssertionError(type(value))

    def instance(module: str, name: str, state: dict[str, Any]) -> None:
        out.append(f"c{module}\n{name}\n".encode() + b")\x81}(")
        for key, value in state.items():
            emit(key)
            if key == "steps":
                out.append(b"](")
                for step in value:
                    out.append(b"(")
                    emit(step[0])
                    instance(*step[1:])
                    out.append(b"t")
                out.append(b"e")
            else:
                emit(value)
        out.append(b"ub")

    scaler_state = {
        "with_mean": True,
        "with_std": True,
        "copy": True,
        "scale_": scaler.scale_,
        "n_samples_seen_": 500,
        "mean_": scaler.mean_,
        "var_": scaler.var_,
        "_sklearn_version": "0.19.1",
    }
    machine_state = {
        "decision_function_shape": None,
        "kernel": "rbf",
        "degree": 3,
        "gamma": machine.gamma,
        "coef0": 0.0,
        "tol": 0.001,
        "C": 0.0,
        "nu": machine.nu,
        "epsilon": 0.0,
        "shrinking": True,
        "probability": False,
        "cache_size": 200,
        "class_weight": None,
        "verbose": False,
        "max_iter": -1,
        "random_state": None,
        "_sparse": False,
        "class_weight_": np.empty(0),
        "_gamma": machine._gamma,
        "support_": machine.support_,
        "support_vectors_": machine.support_vectors_,
        "n_support_": np.array([len(machine.support_), 0], np.int32),
        "dual_coef_": machine.dual_coef_,
        "intercept_": machine.intercept_,
        "probA_": np.empty(0),
        "probB_": np.empty(0),
        "fit_status_": 0,
        "shape_fit_": (500, 1),
        "_intercept_": machine.intercept_,
        "_dual_coef_": machine.dual_coef_,
        "_sklearn_version": "0.19.1",
        **changes,
    }
    steps = [
        ("scale", "sklearn.preprocessing.data", "StandardScaler", scaler_state),
        ("svm", "sklearn.svm.classes", "OneClassSVM", machine_state),
    ]
    instance("sklearn.pipeline", "Pipeline", {"memory": None, "steps": steps, "_sklearn_version": "0.19.1"})
    return b"".join(out) + b"."


STREAMS: dict[str, Callable[[Pipeline], bytes]] = {
    "protocol 2": lambda model: pickle.dumps(model, protocol=2),
    "protocol 3": lambda model: pickle.dumps(model, protocol=3),
    "protocol 4": lambda model: pickle.dumps(model, protocol=4),
    "protocol 5": lambda model: pickle.dumps(model, protocol=5),
    "scikit-learn 0.19": old_stream,
}


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize(("nu", "gamma"), [(1e-4, 0.01), (0.1, "scale"), (0.05, "auto")])
def test_the_same_model_comes_out_of_every_protocol(stream: str, nu: float, gamma: Any) -> None:
    theirs = pipeline(nu, gamma)
    read = read_legacy(SENSOR, STREAMS[stream](theirs))
    assert read.model.support_vectors.tobytes() == theirs[1].support_vectors_.tobytes()
    assert read.model.dual_coef.tobytes() == theirs[1].dual_coef_.tobytes()
    assert read.model.gamma[0] == theirs[1]._gamma
    assert (read.nu, read.samples) == (nu, 500)
    values = np.linspace(60, 100, 999)
    expected = theirs.decision_function(values[:, None])
    found = decisions(read.model, values, np.array([0, len(values)]))
    assert np.max(np.abs(found - expected)) <= 1e-12 * abs(theirs[1].intercept_[0])


def test_the_version_is_told() -> None:
    assert read_legacy(SENSOR, old_stream(pipeline())).version == "0.19.1"


class Runs:
    """What unpickling would call."""

    def __init__(self, call: Any, *arguments: Any) -> None:
        self.call, self.arguments = call, arguments

    def __reduce__(self) -> Any:
        return self.call, self.arguments


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize(
    ("call", "named"),
    [
        (os.system, "posix.system"),
        (builtins.eval, r"(builtins|__builtin__).eval"),
        (builtins.exec, r"(builtins|__builtin__).exec"),
        (builtins.getattr, r"(builtins|__builtin__).getattr"),
        (subprocess.Popen, r"\w+.Popen"),
        (operator.attrgetter, "operator.attrgetter"),
        (np.load, "numpy.*load"),
        (pickle.loads, r"\w+.loads"),
    ],
)
def test_what_would_run_is_refused_by_name_and_does_not_run(
    protocol: int, call: Any, named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = tmp_path / "mark"
    content = pickle.dumps(Runs(call, f"touch {mark}"), protocol=protocol)
    for owner, name in ((os, "system"), (builtins, "eval"), (pickle, "loads"), (pickle, "Unpickler")):
        monkeypatch.setattr(owner, name, lambda *_, **__: pytest.fail("it ran"))
    with pytest.raises(ModelSetError, match=rf"it names {named}, which is no part .* Nothing of it was run"):
        read_legacy(SENSOR, content)
    assert not mark.exists()


def test_what_would_run_inside_a_good_model_is_refused_too(tmp_path: Path) -> None:
    model = pipeline()
    model[1].note = Runs(os.system, f"touch {tmp_path / 'mark'}")
    with pytest.raises(ModelSetError, match=r"it names posix.system"):
        read_legacy(SENSOR, pickle.dumps(model, protocol=3))
    assert not list(tmp_path.iterdir())


SCALER = b"csklearn.preprocessing.data\nStandardScaler\n"
DTYPE = b"cnumpy\ndtype\nX\x02\x00\x00\x00f8K\x00K\x01\x87R"
ARRAY = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no pickle that can be read"),
        (b"\x00" * 40, "no pickle that can be read"),
        (b"PK\x03\x04" + b"x" * 40, "it uses the opcode|no pickle"),
        (b"\x80\x03.", "no pickle that can be read"),
        (b"\x80\x03K\x01.", "it holds no Pipeline but int"),
        (b"\x80\x03}.", "it holds no Pipeline but dict"),
        (b"\x80\x03(K\x01K\x02.", "it holds no Pipeline but int"),
        (b"(ios\nsystem\n.", "it uses the opcode INST"),
        (b"(cos\nsystem\no.", "it names os.system"),
        (b"\x80\x03P1\n.", "it uses the opcode PERSID"),
        (b"\x80\x03NQ.", "it uses the opcode BINPERSID"),
        (b"\x80\x03\x82\x01.", "it uses the opcode EXT1"),
        (b"\x80\x04N2.", "it uses the opcode DUP"),
        (b"\x80\x04N0.", "it uses the opcode POP"),
        (SCALER + b"))}\x92.", "it uses the opcode NEWOBJ_EX"),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93.", "it names os.system"),
        (b"\x80\x04]]\x93.", r"it names \?.\?, which is no part"),
        (SCALER + b")R.", "it calls something other than what makes NumPy's arrays"),
        (SCALER + b"K\x01\x85\x81.", "it makes an object of something that is no class"),
        (DTYPE[:-1] + b"\x81.", "it makes an object of something"),
        (b"N}b.", "it sets the state of something other"),
        (b"cnumpy\ndtype\nX\x02\x00\x00\x00O8K\x00K\x01\x87R.", "it holds an array of 'O8'"),
        (b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\ndtype\nK\x00\x85C\x01b\x87R.", "a class of its own"),
        (ARRAY + b".", "an array in it was begun and never filled"),
        (b"\x8a\x09" + b"\x01" * 9 + b".", "a number of more than 64 bits"),
        (b"\x8b\xff\xff\xff\x7f", "no pickle that can be read|it uses the opcode LONG4"),
        (b"\x8e" + b"\xff" * 7 + b"\x7f" + b"x", "no pickle that can be read|it uses the opcode BINBYTES8"),
        (b"h\x05.", "no pickle that can be read"),
        (b"t.", "no pickle that can be read"),
        (b"}]]s.", "no pickle that can be read"),
        (b"c_codecs\nencode\nX\x01\x00\x00\x00aX\x05\x00\x00\x00utf_7\x86R.", "no pickle that can be read"),
    ],
)
def test_what_is_no_model_is_refused(content: bytes, message: str) -> None:
    with pytest.raises(ModelSetError, match=message):
        read_legacy(SENSOR, content)


def array_of(shape: bytes, data: bytes = b"\x00" * 8) -> bytes:
    return ARRAY + b"(K\x01" + shape + DTYPE + b"\x89C" + bytes([len(data)]) + data + b"tb."


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (b"J\xff\xff\xff\x7f\x85", r"an array of the shape \[2147483647\] would not fit its 8 bytes"),
        (b"J\xff\xff\xff\x7fJ\xff\xff\xff\x7f\x86", "would not fit its 8 bytes"),
        (b"J\xff\xff\xff\xff\x85", "an array of a shape that no model has"),
        (b"K\x01K\x01K\x01\x87", "an array of a shape that no model has"),
        (b"]", "made of bytes, a type and a shape"),
        (b"G?\xf0\x00\x00\x00\x00\x00\x00\x85", "an array of a shape that no model has"),
    ],
)
def test_an_array_takes_no_more_memory_than_the_file_has(shape: bytes, message: str) -> None:
    with pytest.raises(ModelSetError, match=message):
        read_inert(array_of(shape))


def test_a_whole_array_is_read() -> None:
    assert read_inert(array_of(b"K\x01\x85", struct.pack("<d", 2.5))).tolist() == [2.5]


def nested(levels: int, opcode: bytes) -> bytes:
    """A container of two of a container of two of …, by the memo: 2 ** levels parts for whoever walks through it."""
    out = b")" + b"q\x00"
    for _ in range(levels):
        out += b"h\x00h\x00" + opcode + b"q\x00"
    return out


BOMB = nested(200, b"\x86")


@pytest.mark.parametrize(
    "content",
    [
        BOMB + b".",
        b"cnumpy\ndtype\n" + BOMB + b"\x85R.",
        b"}" + BOMB + b"Ns.",
        BOMB + BOMB + b"\x93.",
        array_of(BOMB),
        b"csklearn.pipeline\nPipeline\n)\x81}X\x05\x00\x00\x00steps" + BOMB + b"sb.",
        b"csklearn.pipeline\nPipeline\n)\x81}X\x05\x00\x00\x00steps](" + BOMB + b"eb" + b"s.",
    ],
)
def test_a_bomb_of_references_is_not_walked_through(content: bytes) -> None:
    began = time.process_time()
    with pytest.raises(ModelSetError):
        read_legacy(SENSOR, content)
    assert time.process_time() - began < 5


def test_more_opcodes_than_a_model_has_are_not_followed() -> None:
    with pytest.raises(ModelSetError, match="more than 200000 opcodes"):
        read_inert(b"N" * 1_000_000 + b".")


def test_a_list_that_holds_itself_is_harmless() -> None:
    with pytest.raises(ModelSetError, match="its steps are none"):
        read_legacy(SENSOR, b"csklearn.pipeline\nPipeline\n)\x81}X\x05\x00\x00\x00steps]q\x00h\x00asb.")


NO_NUMBER = np.array([np.nan])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kernel": "poly"}, "its kernel is 'poly'; only 'rbf' can be scored"),
        ({"kernel": NO_NUMBER}, "its kernel is a ndarray"),
        ({"_sparse": True}, "it was fitted to sparse data"),
        ({"_sparse": NO_NUMBER}, "its _sparse is a ndarray; it must be True or False"),
        ({"nu": 0.0}, "its nu is 0.0; it must be above 0"),
        ({"nu": "much"}, "its nu is 'much'; it must be a number"),
        ({"nu": None}, "its nu is not there; it must be a number"),
        ({"_gamma": 0.0, "gamma": 0.0}, "gamma of device '1', tag '4' is 0.0; it must be a number above 0"),
        ({"_gamma": float("nan"), "gamma": "auto"}, "gamma of device '1', tag '4' is nan"),
        ({"_gamma": 0.5}, "its gamma is 0.01, and it was fitted with 0.5"),
        (
            {"support_vectors_": np.zeros((2, 3))},
            r"its support_vectors_ has the shape \[2, 3\]; a model of one sensor",
        ),
        (
            {"support_vectors_": np.zeros((0, 1)), "dual_coef_": np.zeros((1, 0))},
            "a model has one support vector",
        ),
        (
            {"support_vectors_": np.zeros((2, 1), np.int32)},
            "its support_vectors_ is a ndarray; it must be an array of floats",
        ),
        ({"dual_coef_": np.ones((1, 9))}, r"its dual_coef_ has the shape \[1, 9\]"),
        ({"dual_coef_": np.array([[0.1, -0.05]])}, "a weight in dual_coef_ is not above 0"),
        (
            {"dual_coef_": np.array([[0.1, np.nan]])},
            "dual_coef of device '1', tag '4' holds nan at position 1",
        ),
        ({"intercept_": NO_NUMBER}, "intercept of device '1', tag '4' is nan"),
        ({"intercept_": np.zeros(3)}, r"its intercept_ has the shape \[3\]"),
        ({"intercept_": "0"}, "its intercept_ is '0'; it must be an array of floats"),
    ],
)
def test_a_parameter_that_cannot_be_is_named(changes: dict[str, Any], message: str) -> None:
    model = pipeline()
    assert len(model[1].support_) == 2
    with pytest.raises(ModelSetError, match=message):
        read_legacy(SENSOR, old_stream(model, **changes))


VALUES = np.random.default_rng(1).normal(size=(50, 1))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (OneClassSVM().fit(VALUES), "it holds no Pipeline but OneClassSVM"),
        (
            make_pipeline(OneClassSVM()).fit(VALUES),
            "its steps are OneClassSVM; they must be StandardScaler, OneClassSVM",
        ),
        (
            make_pipeline(MinMaxScaler(), OneClassSVM()).fit(VALUES),
            "it names sklearn.preprocessing._data.MinMaxScaler",
        ),
        (
            make_pipeline(StandardScaler(), SVC()).fit(VALUES, VALUES[:, 0] > 0),
            "it names sklearn.svm._classes.SVC",
        ),
        (
            make_pipeline(StandardScaler(), LinearRegression()).fit(VALUES, VALUES),
            "it names sklearn.linear_model",
        ),
        (
            make_pipeline(StandardScaler(), OneClassSVM()),
            "its nu is|its support_vectors_ is not there|its _gamma is not there",
        ),
        (
            make_pipeline(StandardScaler(), OneClassSVM()).fit(np.hstack([VALUES, VALUES])),
            r"support_vectors_ has the shape",
        ),
    ],
)
def test_another_model_is_refused(model: Any, message: str) -> None:
    with pytest.raises(ModelSetError, match=message):
        read_legacy(SENSOR, pickle.dumps(model, protocol=3))


def test_a_scaler_that_does_not_scale_is_one() -> None:
    values = 80 + VALUES
    model = make_pipeline(StandardScaler(with_mean=False, with_std=False), OneClassSVM(gamma=0.1)).fit(values)
    read = read_legacy(SENSOR, pickle.dumps(model)).model
    assert (read.mean[0], read.scale[0]) == (0.0, 1.0)


def test_a_file_that_was_cut_off_is_refused_wherever_it_was() -> None:
    whole = old_stream(pipeline())
    for length in range(len(whole)):
        with pytest.raises(ModelSetError):
            read_legacy(SENSOR, whole[:length])


WHOLE = pickle.dumps(pipeline(0.05), protocol=4)


@given(st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), min_size=1, max_size=8))
def test_whatever_is_flipped_there_is_a_whole_model_or_a_reason(flips: list[tuple[int, int]]) -> None:
    content = bytearray(WHOLE)
    for place, value in flips:
        content[place] = value
    try:
        read = read_legacy(SENSOR, bytes(content))
    except ModelSetError:
        return
    read.model.check()


@given(st.binary(max_size=200))
def test_whatever_the_bytes_there_is_a_reason(content: bytes) -> None:
    with pytest.raises(ModelSetError):
        read_legacy(SENSOR, content)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "pickles"
    folder.mkdir()
    (folder / "model_1_4").write_bytes(old_stream(pipeline()))
    (folder / "model_pump_7_2.pkl").write_bytes(pickle.dumps(pipeline(0.05), protocol=3))
    return folder


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, SCRIPT, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_a_folder_of_pickles_becomes_a_set(folder: Path, tmp_path: Path) -> None:
    ran = run(folder, tmp_path / "set", "--name", "pumps")
    assert ran.returncode == 0, ran.stderr
    assert "2 models of pumps" in ran.stdout
    models = verify_model_set(tmp_path / "set")
    assert list(models.sensors) == [("1", "4"), ("pump_7", "2")]
    assert models.manifest["name"] == "pumps"
    assert "0.19.1" in models.manifest["versions"]["scikit-learn"]


def test_nothing_is_imported_when_a_file_is_refused_unless_it_may_be_left_out(
    folder: Path, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    (folder / "model_6_6").write_bytes(pickle.dumps(Runs(os.system, f"touch {mark}")))
    (folder / "notes.txt").write_text("words")
    (folder / "model_1_4.pkl").write_bytes(old_stream(pipeline()))
    ran = run(folder, tmp_path / "set")
    assert ran.returncode == 1
    assert "3 of 5 files are refused, so nothing is imported" in ran.stderr
    assert "model_6_6: it names posix.system" in ran.stderr
    assert "notes.txt: its name says no device and tag" in ran.stderr
    assert "model_1_4.pkl: there is another file for device '1', tag '4'" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert not (tmp_path / "set").exists()

    ran = run(folder, tmp_path / "set", "--leave-out")
    assert ran.returncode == 0, ran.stderr
    assert json.loads((tmp_path / "set" / MANIFEST).read_bytes())["skipped"] == 3
    with (tmp_path / "set" / SKIPPED).open(newline="") as stream:
        reasons = {row["Device"]: row["Reason"] for row in csv.DictReader(stream)}
    assert reasons["6"].startswith("model_6_6: it names posix.system")
    assert not mark.exists()


@pytest.mark.parametrize(
    ("make", "message"),
    [(lambda path: None, "is not a folder"), (lambda path: path.mkdir(), "no file in .* can be imported")],
)
def test_a_folder_without_pickles_is_told(make: Callable[[Path], None], message: str, tmp_path: Path) -> None:
    make(tmp_path / "pickles")
    with pytest.raises(ModelSetError, match=message):
        import_pickles.import_pickles(tmp_path / "pickles", tmp_path / "set", "x")


def test_models_that_call_everything_abnormal_are_told(folder: Path, tmp_path: Path) -> None:
    model = pipeline()
    lower = model[1].intercept_ - 1
    (folder / "model_9_9").write_bytes(old_stream(model, intercept_=lower, _intercept_=lower))
    said = import_pickles.import_pickles(folder, tmp_path / "set", "x")
    assert "1 of them call everything abnormal, such as that of device '9', tag '9': train these" in said
    assert blind_sensors(verify_model_set(tmp_path / "set").read()) == [("9", "9")]
