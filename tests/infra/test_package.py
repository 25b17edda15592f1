"""The Function package: what travels to Azure, and that the app runs from it with nothing else."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from tests.infra.bicep import Files
from tests.infra.function_package import ROOT, as_azd, make_package, package_files
from tests.infra.rules.functions import app_settings
from tests.infra.scenarios import Infra

DOORS = {
    "accept_trigger_file",
    "accept_inbox_file",
    "land_readings",
    "keep_poison",
    "reconcile_when_kicked",
    "reconcile_by_timer",
    "score_hours",
}
SCENARIO = "as it comes"
MOST_BYTES = 2_000_000
MOST_BYTES_WITH_PACKAGES = 40_000_000
RUNNING = """
import importlib.abc, json, sys
sys.path[:] = [place for place in sys.path if "site-packages" not in place]
sys.path[:0] = PATHS

class Barrier(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BARRED:
            raise ModuleNotFoundError(f"{name} is not among the requirements", name=name)

sys.meta_path.insert(0, Barrier())
import function_app
from batchscore.definitions.compute_targets import load_targets
from batchscore.definitions.placement import environments
from batchscore.definitions.suitability import unsuitable
from batchscore.deployment import definition_hash
from batchscore.compute.azureml import client, job_document, outcomes, submission

folder = function_app.settings.workloads_folder
workloads = function_app.application().workloads
targets, known = load_targets(folder, {}), environments(folder)
problems = [str(each) for name in workloads.names() for each in unsuitable(workloads.pipeline(name), targets, known)]
print(json.dumps({
    "doors": {each.get_function_name(): each.get_dict_repr() for each in function_app.app.get_functions()},
    "definitions": {name: definition_hash(workloads.pipeline(name)) for name in workloads.names()},
    "problems": problems,
    "strays": [m.__file__ for m in list(sys.modules.values()) if (getattr(m, "__file__", None) or "").startswith(ROOT)],
}, default=str))
"""


@pytest.fixture(scope="module")
def files() -> set[str]:
    return set(package_files(ROOT))


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package of this working folder, unpacked where nothing else is."""
    folder = tmp_path_factory.mktemp("wwwroot")
    with zipfile.ZipFile(make_package(ROOT, tmp_path_factory.mktemp("zip") / "package.zip")) as package:
        package.extractall(folder)
    return folder


def pinned(file: Path = ROOT / "requirements.txt") -> dict[str, str]:
    """Versions by name."""
    return dict(re.findall(r"^([a-z0-9-]+)==([^ ;\\]+)", file.read_text(), re.MULTILINE))


def run_from(folder: Path, paths: list[str], barred: list[str], *options: str) -> dict[str, object]:
    """Index the app of an unpacked package in a process that sees these paths and the standard library alone."""
    values = f"PATHS, BARRED, ROOT = {paths!r}, set({barred!r}), {str(ROOT / 'batchscore')!r}\n"
    done = subprocess.run(
        [sys.executable, *options, "-c", values + RUNNING],
        cwd=folder,
        env={"PATH": os.defpath, **app_settings(Infra(Files(ROOT)).deployments[SCENARIO])},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


def definitions_here() -> dict[str, str]:
    from batchscore.deployment import definition_hash
    from batchscore.workloads import Workloads

    workloads = Workloads(ROOT / "scoring")
    return {name: definition_hash(workloads.pipeline(name)) for name in workloads.names()}


def test_nothing_travels_that_is_nobodys_business(files: set[str]) -> None:
    tops = {name.partition("/")[0] for name in files}
    assert tops <= {
        "function_app.py",
        "host.json",
        "requirements.txt",
        "batchscore",
        "scoring",
        ".python_packages",
    }
    own = [name for name in files if not name.startswith(".python_packages/")]
    for part in (
        "tests/",
        ".venv",
        "node_modules",
        "local.settings",
        ".git",
        "demo-output",
        "__pycache__",
        ".env",
        "/.azure",
    ):
        assert not [name for name in own if part in name], part
    assert not [name for name in own if name.endswith((".onnx", ".png", ".jpg", ".pyc", ".lock", ".pem"))]


@pytest.fixture
def littered(tmp_path: Path) -> Path:
    """A working folder with three files that travel, and what people and tools put beside them."""
    for name in (
        "host.json",
        "batchscore/compute/azureml/api.py",
        ".python_packages/lib/site-packages/azure/core.py",
        ".azure/prod/.env",
        ".env",
        "local.settings.json",
        ".venv-infra/lib/x.py",
        "notes.txt",
        "results/host.json",
        "batchscore/__pycache__/x.pyc",
        "batchscore/cli/deep/x.py",
        "scoring/.mypy_cache/3.13/x.json",
        "scoring/models/mine/model.onnx",
        "scoring/models/card.py",
        ".python_packages.new/lib/x.py",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def test_what_is_put_into_the_working_folder_later_does_not_slip_in(littered: Path) -> None:
    travelling = {
        "host.json",
        "batchscore/compute/azureml/api.py",
        ".python_packages/lib/site-packages/azure/core.py",
    }
    assert set(package_files(littered)) == travelling


@pytest.mark.parametrize("look_everywhere", [False, True])
def test_azd_reads_funcignore_as_git_does(littered: Path, files: set[str], look_everywhere: bool) -> None:
    """Its library differs from git in more than one way, and whether it looks into a folder that is ignored is not known."""
    found = set(package_files(littered, as_azd(), look_everywhere=look_everywhere))
    assert found == set(package_files(littered))
    assert files == set(package_files(ROOT, as_azd()))


def test_it_is_small(files: set[str]) -> None:
    own = sum((ROOT / name).stat().st_size for name in files if not name.startswith(".python_packages/"))
    assert own < MOST_BYTES, f"{own} bytes"


def test_every_module_that_is_imported_anywhere_in_it_is_in_it(files: set[str]) -> None:
    """Also where a function imports late, which indexing does not see."""
    missing = set()
    for name in files:
        if not name.startswith("batchscore/") or not name.endswith(".py"):
            continue
        for node in ast.walk(ast.parse((ROOT / name).read_bytes())):
            if isinstance(node, ast.ImportFrom) and not node.level:
                wanted = [node.module or ""]
            elif isinstance(node, ast.Import):
                wanted = [alias.name for alias in node.names]
            else:
                continue
            for module in wanted:
                path = module.replace(".", "/")
                if module.startswith("batchscore") and not {f"{path}.py", f"{path}/__init__.py"} & files:
                    missing.add(f"{name}: {module}")
    assert missing == set()


def test_the_app_is_indexed_from_the_package_with_its_requirements_alone(unpacked: Path) -> None:
    allowed = {canonicalize_name(name) for name in pinned()}
    barred = [
        top
        for top, distributions in packages_distributions().items()
        if not allowed & {canonicalize_name(each) for each in distributions}
    ]
    assert {"numpy", "typer", "pytest"} <= set(barred)
    site = Path(pytest.__file__).parents[1]
    answer = run_from(unpacked, [str(unpacked), str(site)], [*barred], "-I", "-S")
    assert answer["strays"] == []
    doors = answer["doors"]
    assert isinstance(doors, dict)
    assert set(doors) >= DOORS
    sources = {
        binding["source"] for door in doors.values() for binding in door["bindings"] if "source" in binding
    }
    assert sources == {"EventGrid"}


def test_workloads_are_the_same_there_as_where_they_are_deployed_from(unpacked: Path) -> None:
    site = Path(pytest.__file__).parents[1]
    answer = run_from(unpacked, [str(unpacked), str(site)], [], "-I", "-S")
    assert answer["definitions"] == definitions_here()
    assert answer["problems"] == []


def test_the_pinned_packages_are_those_of_the_lock_file() -> None:
    ours, everybodys = pinned(), pinned(ROOT / "requirements.lock")
    assert len(ours) > 30
    assert ours.items() <= everybodys.items()
    text = (ROOT / "requirements.txt").read_text()
    assert text.count("==") == len(ours)
    assert all("--hash=sha256:" in block for block in re.split(r"\n(?=[a-z0-9])", text)[1:])
    wanted = re.findall(r"^([A-Za-z0-9-]+)", (ROOT / "requirements" / "app.in").read_text(), re.MULTILINE)
    assert {canonicalize_name(name) for name in wanted} <= ours.keys()


@pytest.mark.slow
def test_the_app_runs_on_what_the_hook_brings_and_on_nothing_else(tmp_path: Path) -> None:
    """The real thing: the hook of azd brings the wheels, the package is made of them and unpacked."""
    checkout = tmp_path / "checkout"
    for name in package_files(ROOT):
        if not name.startswith(".python_packages/"):
            (checkout / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, checkout / name)
    shutil.copytree(ROOT / "infra" / "hooks", checkout / "infra" / "hooks")
    (checkout / ".venv" / "bin").mkdir(parents=True)
    (checkout / ".venv" / "bin" / "python").symlink_to(sys.executable)
    make = tmp_path / "stubs" / "make"
    make.parent.mkdir()
    make.write_text("#!/bin/sh\n")
    make.chmod(0o755)
    path = f"{make.parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", "infra/hooks/prepackage.sh"],
        cwd=checkout,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
    )
    if done.returncode and "CI" not in os.environ and "No matching distribution" in done.stderr:
        pytest.skip("no package index is reached")
    assert done.returncode == 0, done.stdout + done.stderr
    package = make_package(checkout, tmp_path / "package.zip")
    assert package.stat().st_size < MOST_BYTES_WITH_PACKAGES
    folder = tmp_path / "wwwroot"
    with zipfile.ZipFile(package) as file:
        file.extractall(folder)
    answer = run_from(
        folder, [str(folder), str(folder / ".python_packages/lib/site-packages")], [], "-I", "-S"
    )
    assert answer["definitions"] == definitions_here()
    assert set(answer["doors"]) >= DOORS  # type: ignore[call-overload]
    print(f"the package has {package.stat().st_size / 1e6:.1f} MB")
