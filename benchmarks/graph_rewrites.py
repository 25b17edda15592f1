"""The full-size style net at 640x360 on one thread: torch eager, ONNX Runtime, ONNX Runtime after onnx_rewrite.

The net of reference_way.py, exported by torch as a user would; calls take turns and are timed in CPU seconds. Runs
itself in .venv-torch, which video_job.py makes when it is missing.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HEIGHT, WIDTH = 360, 640
ROUNDS = 9
MEASURE = "--measure"


def main() -> None:
    if MEASURE in sys.argv:
        measure()
        return
    from benchmarks.video_job import torch_python

    python = torch_python()
    if python is None:
        print("skipped: no Python 3.11 on PATH for torch; the others do not need it")
        return
    subprocess.run([python, __file__, MEASURE], check=True)


def measure() -> None:
    sys.path[:0] = [str(ROOT / "benchmarks"), str(ROOT / "scoring")]
    import numpy as np
    import onnxruntime as ort
    import torch
    from reference_way import full_size_net

    from common.onnx_rewrite import rewrite_file

    torch.set_num_threads(1)
    torch.manual_seed(0)
    net = full_size_net()
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    picture = torch.rand(1, 3, HEIGHT, WIDTH) * 255
    with tempfile.TemporaryDirectory() as name, torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain, fast = Path(name, "plain.onnx"), Path(name, "fast.onnx")
        torch.onnx.export(net, (picture,), str(plain), opset_version=17, dynamo=False, input_names=["x"])
        print(rewrite_file(plain, fast))
        sessions = [ort.InferenceSession(str(file), options) for file in (plain, fast)]
        feed = {"x": picture.numpy()}
        calls: list[Callable[[], object]] = [lambda: net(picture)]
        calls += [lambda session=session: session.run(None, feed) for session in sessions]
        painted = [net(picture).numpy(), *(session.run(None, feed)[0] for session in sessions)]
        for label, found in zip(("ONNX Runtime", "rewritten"), painted[1:], strict=True):
            difference = np.abs(found - painted[0]).max() / np.abs(painted[0]).max()
            print(f"{label}: largest difference from torch {difference:.1e} of the largest value")
        rounds = [[cpu_seconds(call) for call in calls] for _ in range(ROUNDS)]
    torch_s, plain_s, fast_s = (statistics.median(each) for each in zip(*rounds, strict=True))
    print(
        f"median of {ROUNDS}: torch {torch_s:.2f} s, ONNX Runtime {plain_s:.2f} s, rewritten {fast_s:.2f} s a frame"
    )
    print(
        f"against torch eager: ONNX Runtime {torch_s / plain_s:.2f} x, rewritten {torch_s / fast_s:.2f} x (target 1.5 x)"
    )
    print(f"rewritten against ONNX Runtime: {plain_s / fast_s:.2f} x")


def cpu_seconds(call: Callable[[], object]) -> float:
    began = time.process_time()
    call()
    return time.process_time() - began


if __name__ == "__main__":
    main()
