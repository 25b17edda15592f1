"""The packages of the images in scoring/environments: lock them, and check without Docker that steps find what they import.

    python scripts/environments.py lock [NAME …]    write NAME.lock, every package with its version and hashes
    python scripts/environments.py check [NAME …]   install NAME.lock as the Dockerfile does, on the image's Python, and NAME.txt on
                                                    the older one that Azure ML supports; import every entry script in both

`make environments` checks those that take a minute (cpu, sensors); gpu and torch bring gigabytes of CUDA.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import yaml
from rich.console import Console

ROOT = Path(__file__).resolve().parents[1]
SCORING = ROOT / "scoring"
FOLDER = SCORING / "environments"
IMAGE_PYTHON, OLDER_PYTHON = "3.12", "3.11"
PLATFORM = "x86_64-manylinux_2_28"
PARTS = {
    "cpu": ("cpu.txt", "azureml.txt"),
    "gpu": ("gpu.txt", "azureml.txt"),
    "sensors": ("sensors.txt", "azureml.txt"),
    "torch": ("torch.txt",),
}
"""What each image holds."""
SETUPTOOLS = "setuptools<81"
"""What the Dockerfiles install beside Python."""

console = Console(highlight=False, markup=False, soft_wrap=True)

_PARALLEL = """
import runpy, sys
found = runpy.run_path(sys.argv[1], run_name="entry_script")
missing = [name for name in ("init", "run") if not callable(found.get(name))]
sys.exit(f"has no {' and no '.join(missing)}" if missing else 0)
"""
_COMMAND = "import runpy, sys; runpy.run_path(sys.argv[1], run_name='imported')"
_DRIVER = "import azureml.core, azureml.dataprep, azureml.dataprep.fuse"
_CUDA = "import onnxruntime; assert 'CUDAExecutionProvider' in onnxruntime.get_available_providers()"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("lock", "check"))
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(PARTS)}; all without one")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.names if name not in PARTS]
    if unknown:
        parser.error(f"there is no environment {unknown[0]!r}; there are {', '.join(PARTS)}")
    act = lock if arguments.what == "lock" else check
    return max(act(name) for name in arguments.names or PARTS)


def lock(name: str) -> int:
    """Write the lock of the image's Python."""
    _uv(
        *("pip", "compile", "--quiet", "--python-version", IMAGE_PYTHON, "--python-platform", PLATFORM),
        *("--generate-hashes", "--no-header", "--no-annotate", "--no-emit-index-url"),
        *(part for part in PARTS[name]),
        *("--output-file", f"{name}.lock"),
    )
    console.print(f"wrote {name}.lock")
    return 0


def check(name: str) -> int:
    """How many of the imports failed, at most 1."""
    failed = 0
    for version, requirements in (
        (IMAGE_PYTHON, ("--require-hashes", "--no-deps", "-r", f"{name}.lock")),
        (OLDER_PYTHON, tuple(word for part in PARTS[name] for word in ("-r", part))),
    ):
        started = time.monotonic()
        with tempfile.TemporaryDirectory(prefix=f"batchscore-{name}-") as folder:
            python = Path(folder) / "bin" / "python"
            _uv("venv", "--quiet", "--python", interpreter(version), folder)
            _uv("pip", "install", "--quiet", "--python", str(python), SETUPTOOLS)
            _uv("pip", "install", "--quiet", "--python", str(python), *requirements)
            installed = time.monotonic()
            results = [(what, _import(python, code, script)) for what, code, script in imports(name)]
        wrong = [(what, said) for what, said in results if said]
        failed = failed or bool(wrong)
        told = "all good" if not wrong else f"{len(wrong)} failed"
        console.print(
            f"{name}, Python {version}: installed in {installed - started:.0f} s; {len(results)} imports in "
            f"{time.monotonic() - installed:.0f} s, {told}"
        )
        for what, said in wrong:
            console.print(f"  {what}: {said}")
    return int(failed)


def imports(name: str) -> Iterator[tuple[str, str, str]]:
    """What must be possible in the environment: its name, the code and the script that the code gets."""
    if "azureml.txt" in PARTS[name]:
        yield "Azure ML's parallel driver", _DRIVER, ""
    if name == "gpu":
        yield "ONNX Runtime with CUDA", _CUDA, ""
    for file in sorted(SCORING.glob("*/*.yml")):
        component = yaml.safe_load(file.read_text("utf-8"))
        task = component.get("task", component)
        if task.get("environment") != f"azureml:batchscore-{name}@latest":
            continue
        if "entry_script" in task:
            yield task["entry_script"], _PARALLEL, task["entry_script"]
            continue
        match = re.match(r"python (\S+\.py)", task["command"])
        if match:
            yield match[1], _COMMAND, match[1]


def interpreter(version: str) -> str:
    """A Python of this version: of PATH, of pyenv, else what uv finds or brings."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    found = shutil.which(f"python{version}")
    if found and subprocess.run([found, "--version"], capture_output=True, check=False).returncode == 0:
        return found
    there = sorted(pyenv.glob(f"{version}.*/bin/python"))
    return str(there[-1]) if there else version


def _import(python: Path, code: str, script: str) -> str:
    """The last line of what went wrong; empty when nothing did."""
    done = subprocess.run(
        [python, "-c", code, script], cwd=SCORING, capture_output=True, text=True, check=False, timeout=600
    )
    lines = done.stderr.strip().splitlines() or [f"ended with {done.returncode}"]
    return lines[-1] if done.returncode else ""


def _uv(*arguments: str) -> None:
    beside = Path(sys.executable).with_name("uv")
    command = [str(beside) if beside.is_file() else "uv", *arguments]
    done = subprocess.run(command, cwd=FOLDER, check=False)
    if done.returncode:
        sys.exit(f"uv {' '.join(arguments[:2])} failed")


if __name__ == "__main__":
    sys.exit(main())
