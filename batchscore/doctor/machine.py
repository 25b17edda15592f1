"""What this machine has: Python, packages, disk, GPU, Node with Azurite, a dev host and its port."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from batchscore.doctor.findings import Finding

PYTHON = (3, 13)
LEAST_NODE = 20
PORT = 7071
PROGRAM_TIMEOUT_S = 30
LITTLE_DISK = 5 * 10**9
NO_DISK = 500 * 10**6
PACKAGES = {
    "azure.storage.blob": "the control plane",
    "azure.storage.queue": "the control plane",
    "azure.identity": "the control plane",
    "azure_functions_runtime": "the dev host",
    "yaml": "pipeline files",
    "msgspec": "run records",
    "numpy": "the workloads",
    "PIL": "the workloads",
    "av": "style_transfer",
    "onnxruntime": "the workloads",
}
"""What is imported, and what for; all of it is in requirements.lock."""


def python() -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] == PYTHON:
        yield Finding.ok("Python", f"{version}, {sys.executable}")
    else:
        wanted = ".".join(map(str, PYTHON))
        yield Finding.fail(
            "Python", f"{version}; the product needs {wanted}", "'make setup' makes .venv with it"
        )


def packages() -> Iterator[Finding]:
    missing = {name: use for name, use in PACKAGES.items() if not _is_installed(name)}
    if not missing:
        yield Finding.ok("packages", f"{len(PACKAGES)} of {len(PACKAGES)} are there")
        return
    names = ", ".join(f"{name} ({use})" for name, use in missing.items())
    yield Finding.fail("packages", f"missing: {names}", "'make setup' installs what requirements.lock names")


def _is_installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # its parent is missing
        return False


def disk(folder: Path) -> Iterator[Finding]:
    """Room for inputs, outputs and intermediates of the runs that this machine works on."""
    there = next(each for each in (folder, *folder.parents) if each.exists())
    free = shutil.disk_usage(there).free
    words = f"{free / 1e9:,.1f} GB free below {there}"
    remedy = f"make room there, or set LOCAL_WORK_FOLDER to another disk ({folder} is used)"
    if not os.access(there, os.W_OK):
        yield Finding.fail(
            "disk", f"{there} cannot be written to", "set LOCAL_WORK_FOLDER to a folder of yours"
        )
    elif free < NO_DISK:
        yield Finding.fail("disk", words, remedy)
    elif free < LITTLE_DISK:
        yield Finding.warn("disk", f"{words}: little for videos", remedy)
    else:
        yield Finding.ok("disk", words)


def gpu() -> Iterator[Finding]:
    """What the driver sees and what ONNX Runtime can use: both are needed."""
    devices = _said(["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"])
    code = "import onnxruntime; print(','.join(onnxruntime.get_available_providers()))"
    providers = _said([sys.executable, "-c", code])
    if providers is None:
        remedy = f"{sys.executable} -c 'import onnxruntime' says why; 'make setup' installs it"
        yield Finding.fail("GPU", "ONNX Runtime cannot be imported", remedy)
        return
    cuda = "CUDAExecutionProvider" in providers
    if not devices:
        cores = os.process_cpu_count() or 1
        yield Finding.ok("GPU", f"none; steps run on {cores} CPU cores")
        if cuda:
            yield Finding.warn(
                "GPU",
                "ONNX Runtime is the one for CUDA, and nvidia-smi finds no GPU",
                "look at the driver ('nvidia-smi'), or 'make setup' again for the CPU",
            )
        return
    names = "; ".join(line.strip() for line in devices.splitlines())
    if cuda:
        yield Finding.ok("GPU", f"{names}; ONNX Runtime uses CUDA")
    else:
        yield Finding.warn(
            "GPU", f"{names}, but ONNX Runtime is the one for CPUs, so it stays idle", "make setup GPU=1"
        )


def azurite(checkout: Path) -> Iterator[Finding]:
    """What stands in for storage on a workstation; a run on real accounts does without."""
    version = _said(["node", "--version"])
    if version is None:
        remedy = f"install Node.js {LEAST_NODE} or newer: nodejs.org, or 'nvm install {LEAST_NODE}'"
        yield Finding.warn(
            "Azurite", "there is no Node.js, so 'make start' has no storage of its own", remedy
        )
        return
    number = version.strip().lstrip("v").split(".")[0]
    if not number.isdecimal() or int(number) < LEAST_NODE:
        yield Finding.warn(
            "Azurite", f"Node.js is {version.strip()}", f"install Node.js {LEAST_NODE} or newer: nodejs.org"
        )
        return
    script = checkout / "node_modules" / ".bin" / "azurite"
    if script.exists():
        yield Finding.ok("Azurite", f"Node.js {version.strip()}, {script}")
    else:
        yield Finding.warn("Azurite", f"it is not in {checkout / 'node_modules'}", "'make setup' installs it")


def host(folders: Sequence[Path]) -> Iterator[Finding]:
    from batchscore.devhost.address import running_host

    for folder in folders:
        found = running_host(folder)
        if found is not None:
            yield Finding.ok("host", f"a dev host runs at {found.url} (process {found.pid})")
            return
    if _listens(PORT):
        yield Finding.warn(
            "host",
            f"no dev host runs for this folder, and another program listens on port {PORT}",
            "'make start' takes another port by itself; 'batchscore start --port N' chooses one",
        )
    else:
        yield Finding.warn(
            "host", "no dev host runs for this folder", "'make start' starts one; on Azure none is needed"
        )


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def _said(command: Sequence[str]) -> str | None:
    """What a program prints; None when it is not there, fails or hangs."""
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=PROGRAM_TIMEOUT_S,
            check=True,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return done.stdout.strip() or None
