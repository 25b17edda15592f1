"""Importing function_app.py, against importing what it cannot do without (azure-functions and the blob binding)."""

from __future__ import annotations

import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROUNDS = 9
TIMED = """
import os, sys, time
os.environ.update(AzureWebJobsStorage="UseDevelopmentStorage=true", DATA_STORAGE="UseDevelopmentStorage=true")
began = time.perf_counter()
import azure.functions, azurefunctions.extensions.bindings.blob
base = time.perf_counter() - began
began = time.perf_counter()
import function_app
print(base, time.perf_counter() - began)
print(*[name for name in ("numpy", "onnxruntime", "av", "azure.ai.ml") if name in sys.modules])
"""


def main() -> None:
    bases, ours, heavy = [], [], set()
    for _ in range(ROUNDS):
        answer = subprocess.run(
            [sys.executable, "-c", TIMED], cwd=ROOT, check=True, capture_output=True, text=True
        ).stdout.splitlines()
        base, own = map(float, answer[0].split())
        bases.append(base)
        ours.append(own)
        heavy |= set(answer[1].split())
    print(f"azure-functions and the blob binding: median {statistics.median(bases):.2f} s")
    print(f"function_app.py beyond that:          median {statistics.median(ours):.2f} s (target 0.3 s)")
    print(f"heavy packages in it: {', '.join(sorted(heavy)) or 'none'}")


if __name__ == "__main__":
    main()
