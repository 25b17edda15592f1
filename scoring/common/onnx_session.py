"""ONNX models opened on the device that was asked for, with the inputs and outputs that were expected."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import onnxruntime as ort

DEVICES = ("auto", "cpu", "cuda")
_CUDA = "CUDAExecutionProvider"
_held: list[IO[str]] = []


class ModelError(Exception):
    """A model cannot be used: it is missing, no ONNX, or takes and gives other tensors than expected."""


class DeviceError(Exception):
    """The device that was asked for cannot be used."""


@dataclass(frozen=True)
class Device:
    """Where sessions of this process run: `cpu`, or `cuda` with the GPU of this index.

    A device that is `required` is used or the session fails; one that is not may turn into the CPU.
    """

    kind: str
    index: int = 0
    required: bool = True

    def __str__(self) -> str:
        return self.kind if self.kind == "cpu" else f"{self.kind}:{self.index}"


@dataclass(frozen=True)
class Tensor:
    """An expected tensor: ONNX element type (`uint8`, `float`, …) and shape, None where any size will do."""

    type: str
    shape: tuple[int | None, ...]

    def __str__(self) -> str:
        return f"{self.type}[{', '.join('?' if size is None else str(size) for size in self.shape)}]"

    def accepts(self, type_name: str, shape: list[int | str | None]) -> bool:
        """Whether a model's tensor of this type and shape can stand where this one is expected."""
        return type_name == f"tensor({self.type})" and (
            not shape
            or (
                len(shape) == len(self.shape)
                and all(
                    wanted is None or not isinstance(size, int) or size == wanted
                    for size, wanted in zip(shape, self.shape, strict=True)
                )
            )
        )


class OnnxModel:
    """An open ONNX Runtime session that is called with arrays by name."""

    def __init__(self, path: Path, session: ort.InferenceSession, device: Device) -> None:
        self.path = path
        self.session = session
        self.device = device
        self.outputs = [output.name for output in session.get_outputs()]

    def run(self, **inputs: np.ndarray[Any, Any]) -> list[np.ndarray[Any, Any]]:
        """The outputs in the model's order; the interpreter lock is free while the session works."""
        result: list[np.ndarray[Any, Any]] = self.session.run(self.outputs, inputs)
        return result


def choose_device(wanted: str = "auto") -> Device:
    """The device of this process: `auto` takes a GPU where ONNX Runtime has its CUDA provider and one is there.

    On a machine with several GPUs, each worker process claims one by a lock that dies with it; when there
    are more workers than GPUs, the rest share. DeviceError when `cuda` is asked for and cannot be had.
    """
    if wanted not in DEVICES:
        raise DeviceError(f"device is {wanted!r}; it must be one of {', '.join(DEVICES)}")
    if wanted == "cpu":
        return Device("cpu")
    gpus = _gpu_count()
    built_in = _CUDA in ort.get_available_providers()
    if built_in and gpus:
        return Device("cuda", _claim_gpu(gpus), required=wanted == "cuda")
    if wanted == "auto":
        return Device("cpu")
    if not built_in:
        raise DeviceError(
            f"device is cuda, but this ONNX Runtime ({ort.__version__}) has no CUDA provider: "
            "install onnxruntime-gpu in place of onnxruntime, or use device auto or cpu"
        )
    raise DeviceError("device is cuda, but this machine shows no NVIDIA GPU: use device auto or cpu")


def open_model(
    path: Path,
    device: Device | str = "cpu",
    *,
    inputs: Mapping[str, Tensor] | None = None,
    outputs: Mapping[str, Tensor] | None = None,
) -> OnnxModel:
    """Open the ONNX file at `path`; `inputs` and `outputs` are the tensors the caller relies on.

    `OMP_NUM_THREADS` says how many threads one operator may use (default: the cores this process may run
    on). Idle threads do not spin, so that decoding and encoding beside the session get their time.
    ModelError when the model cannot be used, DeviceError when it would run elsewhere than asked for.
    """
    device = choose_device(device) if isinstance(device, str) else device
    if not path.is_file():
        raise ModelError(f"there is no model file {path.name} in {path.parent}")
    session, device = _session(path, device)
    _check("input", path, {i.name: (i.type, i.shape) for i in session.get_inputs()}, inputs, exact=True)
    _check("output", path, {o.name: (o.type, o.shape) for o in session.get_outputs()}, outputs, exact=False)
    return OnnxModel(path, session, device)


def threads() -> int:
    """How many threads one operator may use: `OMP_NUM_THREADS`, else the cores of this process."""
    text = os.environ.get("OMP_NUM_THREADS", "").strip()
    if text.isdecimal() and int(text) > 0:
        return int(text)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _session(path: Path, device: Device) -> tuple[ort.InferenceSession, Device]:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads()
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    providers: list[str | tuple[str, dict[str, str]]] = ["CPUExecutionProvider"]
    if device.kind == "cuda":
        if hasattr(ort, "preload_dlls"):
            ort.preload_dlls()
        cuda = {"device_id": str(device.index), "cudnn_conv_algo_search": "EXHAUSTIVE"}
        providers.insert(0, (_CUDA, cuda))
    try:
        session = ort.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # ONNX Runtime's own exceptions share no public base class
        raise ModelError(
            f"{path.name} in {path.parent} cannot be opened as an ONNX model: {error}"
        ) from error
    if device.kind == "cuda" and _CUDA not in session.get_providers():
        reason = (
            f"ONNX Runtime {ort.__version__} fell back to the CPU: its CUDA provider could not be loaded "
            "(check the NVIDIA driver and that the CUDA and cuDNN libraries match it)"
        )
        if device.required:
            raise DeviceError(f"device is {device}, but {reason}; or use device auto or cpu")
        print(reason, file=sys.stderr, flush=True)
        device = Device("cpu")
    return session, device


def _check(
    kind: str,
    path: Path,
    found: Mapping[str, tuple[str, list[int | str | None]]],
    wanted: Mapping[str, Tensor] | None,
    *,
    exact: bool,
) -> None:
    if wanted is None:
        return
    has = ", ".join(f"{name}: {type_name}{shape}" for name, (type_name, shape) in found.items())
    must = ", ".join(f"{name}: {tensor}" for name, tensor in wanted.items())
    fits = all(name in found and tensor.accepts(*found[name]) for name, tensor in wanted.items())
    if not fits or (exact and found.keys() != wanted.keys()):
        raise ModelError(f"{path.name} in {path.parent} has the {kind}s ({has}); it must have ({must})")


def _gpu_count() -> int:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        named = [entry.strip() for entry in visible.split(",")]
        return len([entry for entry in named if entry and not entry.startswith("-")])
    cards = [entry for entry in Path("/dev").glob("nvidia[0-9]*") if entry.name[6:].isdecimal()]
    return len(cards) or int(Path("/dev/dxg").exists())


def _claim_gpu(count: int) -> int:
    """The first GPU that no other worker of this machine holds, else one to share."""
    if count == 1:
        return 0
    import fcntl  # not on Windows, where nobody has several GPUs to share among workers

    for index in range(count):
        lock = (Path(tempfile.gettempdir()) / f"batchscore-gpu-{index}.lock").open("a")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            continue
        _held.append(lock)  # held until the process ends
        return index
    shared = os.getpid() % count
    print(f"more workers than the {count} GPUs: sharing GPU {shared}", file=sys.stderr, flush=True)
    return shared
