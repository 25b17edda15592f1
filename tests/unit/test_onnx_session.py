"""ONNX models: what is refused, where they run, and how many threads they take."""

from __future__ import annotations

from pathlib import Path
from typing import IO

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from common.onnx_session import Device, DeviceError, ModelError, Tensor, choose_device, open_model, threads

FRAMES = {"frames": Tensor("uint8", (None, None, None, 3))}
STYLIZED = {"stylized": Tensor("uint8", (None, None, None, 3))}


def save_model(path: Path, *, name: str = "frames", type_: int = onnx.TensorProto.UINT8) -> Path:
    shape = ["n", "h", "w", 3]
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", [name], ["stylized"])],
        "identity",
        [onnx.helper.make_tensor_value_info(name, type_, shape)],
        [onnx.helper.make_tensor_value_info("stylized", type_, shape)],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=8)
    onnx.save(model, str(path))
    return path


def test_a_model_that_fits_runs(tmp_path: Path) -> None:
    model = open_model(save_model(tmp_path / "model.onnx"), inputs=FRAMES, outputs=STYLIZED)
    frames = np.arange(2 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 4, 5, 3)
    (result,) = model.run(frames=frames)
    assert (result == frames).all()
    assert model.device == Device("cpu")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no model file model\.onnx"):
        open_model(tmp_path / "model.onnx")


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x08\x08\x12"])
def test_what_is_not_onnx_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(ModelError, match=r"model\.onnx in .* cannot be opened as an ONNX model"):
        open_model(tmp_path / "model.onnx", inputs=FRAMES)


@pytest.mark.parametrize(
    ("wrong", "found"),
    [
        ({"name": "pixels"}, r"pixels: tensor\(uint8\)"),
        ({"type_": onnx.TensorProto.FLOAT}, r"frames: tensor\(float\)"),
    ],
)
def test_other_tensors_than_expected_are_named(tmp_path: Path, wrong: dict[str, object], found: str) -> None:
    path = save_model(tmp_path / "model.onnx", **wrong)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match=rf"{found}.*must have \(frames: uint8\[\?, \?, \?, 3\]\)"):
        open_model(path, inputs=FRAMES)


def test_asking_for_cuda_where_there_is_none_fails_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CPUExecutionProvider"])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    with pytest.raises(DeviceError, match="install onnxruntime-gpu"):
        choose_device("cuda")
    assert choose_device("auto") == Device("cpu")


def test_asking_for_cuda_on_a_machine_without_a_gpu_fails_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    with pytest.raises(DeviceError, match="no NVIDIA GPU"):
        choose_device("cuda")


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_a_silent_fall_back_to_the_cpu_is_an_error_when_cuda_was_asked_for(tmp_path: Path) -> None:
    if "CUDAExecutionProvider" in ort.get_available_providers():
        pytest.skip("this ONNX Runtime has a CUDA provider")
    path = save_model(tmp_path / "model.onnx")
    with pytest.raises(DeviceError, match="fell back to the CPU"):
        open_model(path, Device("cuda", 0))


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_auto_says_so_and_takes_the_cpu_when_the_gpu_cannot_be_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if "CUDAExecutionProvider" in ort.get_available_providers():
        pytest.skip("this ONNX Runtime has a CUDA provider")
    model = open_model(save_model(tmp_path / "model.onnx"), Device("cuda", 0, required=False))
    assert model.device == Device("cpu")
    assert "fell back to the CPU" in capsys.readouterr().err


def test_each_worker_claims_its_own_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """flock tells open files apart, so that two claims in one process stand for two workers."""
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    held: list[IO[str]] = []
    monkeypatch.setattr("common.onnx_session._held", held)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2")
    assert [choose_device("cuda").index for _ in range(3)] == [0, 1, 2]
    assert choose_device("cuda").index in (0, 1, 2)
    held.pop(1).close()
    assert choose_device("cuda").index == 1
    for lock in held:
        lock.close()


def test_an_unknown_device_is_named() -> None:
    with pytest.raises(DeviceError, match="'gpu'; it must be one of auto, cpu, cuda"):
        choose_device("gpu")


def test_threads_follow_omp_num_threads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    model = open_model(save_model(tmp_path / "model.onnx"))
    assert model.session.get_session_options().intra_op_num_threads == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "")
    assert threads() >= 1
