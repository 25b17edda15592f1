"""What the Function app carries: its requirements, and what indexing its doors imports."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
DATA_PLANE = {
    "av",
    "numpy",
    "onnx",
    "onnxruntime",
    "onnxruntime-gpu",
    "pandas",
    "pillow",
    "pyarrow",
    "safetensors",
    "scikit-learn",
    "scipy",
    "simplejpeg",
    "skl2onnx",
    "torch",
}
SDK = "azure-ai-ml"
SETTINGS = {
    "AzureWebJobsStorage": "UseDevelopmentStorage=true",
    "DATA_STORAGE": "UseDevelopmentStorage=true",
    "EVENT_HUB": "UseDevelopmentEventHub=true",
    "COMPUTE": "azureml",
    "AZURE_SUBSCRIPTION_ID": "1b2c3d4e-0000-4000-8000-000000000000",
    "AZURE_RESOURCE_GROUP": "scoring",
    "AZUREML_WORKSPACE_NAME": "scoring",
}
INDEXING = """
import json, logging, sys
logging.getLogger().setLevel(logging.DEBUG)  # as the worker of Azure Functions does
import function_app
doors = [function.get_function_name() for function in function_app.app.get_functions()]
loud = [
    name
    for name in ("batchscore", "azure.core.pipeline.policies.http_logging_policy", "azure.identity", "azure.ai.ml")
    if logging.getLogger(name).isEnabledFor(logging.INFO)
]
print(json.dumps({"doors": doors, "modules": sorted(sys.modules), "loud": loud}))
"""


def required(*further: str, without: str = "") -> set[str]:
    """The distributions that requirements/app.in brings, and `further` ones, with those that they need."""
    lines = (ROOT / "requirements" / "app.in").read_text().split("\n")
    found: set[str] = set()
    todo = [Requirement(line) for line in (*lines, *further) if line and not line.startswith("#")]
    while todo:
        wanted = todo.pop()
        name = canonicalize_name(wanted.name)
        if name in found or name == without:
            continue
        found.add(name)
        try:
            needs = distribution(name).requires or []
        except PackageNotFoundError:  # for another system
            continue
        environments = [{"extra": extra} for extra in wanted.extras] or [{"extra": ""}]
        for need in map(Requirement, needs):
            if need.marker is None or any(need.marker.evaluate(each) for each in environments):
                todo.append(need)
    return found


@pytest.fixture(scope="module")
def indexed() -> dict[str, list[str]]:
    """The doors, and every module that is there once they are indexed in a process of its own."""
    environment = {**os.environ, **SETTINGS, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", INDEXING],
        env=environment,
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    answer: dict[str, list[str]] = json.loads(done.stdout)
    return answer


def test_the_app_brings_nothing_of_the_data_plane() -> None:
    brought = required()
    assert SDK in brought
    assert not brought & DATA_PLANE


def test_every_door_is_indexed_with_every_setting(indexed: dict[str, list[str]]) -> None:
    assert {"accept_trigger_file", "reconcile_by_timer", "land_readings", "score_hours"} <= set(
        indexed["doors"]
    )


def test_the_sdk_says_nothing_of_single_requests(indexed: dict[str, list[str]]) -> None:
    """On Azure every line is kept and paid for, and each request would be two."""
    assert indexed["loud"] == ["batchscore"]


def test_what_alerts_read_is_never_sampled_away() -> None:
    sampling = json.loads((ROOT / "host.json").read_text())["logging"]["applicationInsights"][
        "samplingSettings"
    ]
    assert {"Trace", "Exception", "Request"} <= set(sampling["excludedTypes"].split(";"))


def test_indexing_imports_neither_the_sdk_nor_a_compute_nor_anything_of_the_data_plane(
    indexed: dict[str, list[str]],
) -> None:
    modules = indexed["modules"]
    scoring = {path.stem for path in (ROOT / "scoring").iterdir() if (path / "__init__.py").is_file()}
    assert scoring >= {"common", "style_transfer", "digits", "sensors"}
    wrong = [
        name
        for name in modules
        if name.startswith(
            (
                "azure.ai",
                "batchscore.compute.local",
                "batchscore.compute.azureml.client",
                "batchscore.compute.azureml.backend",
                "batchscore.deploying",
                "batchscore.devhost",
                "batchscore.doctor",
                "batchscore.cli",
            )
        )
        or name.partition(".")[0] in scoring
    ]
    assert wrong == []


def test_what_indexing_imports_is_required_without_the_sdk(indexed: dict[str, list[str]]) -> None:
    """What is imported and only there because something else wants it would break when that is gone."""
    known = packages_distributions()
    light = required(
        "aiohttp", without=SDK
    )  # which azure-core takes where it is there, as it is on a workstation
    stray = {
        top: known[top]
        for top in {name.partition(".")[0] for name in indexed["modules"]}
        if top in known
        and top not in ("azure", "batchscore", "function_app")
        and not light & {canonicalize_name(name) for name in known[top]}
    }
    assert stray == {}
    azure = {".".join(name.split(".")[:2]) for name in indexed["modules"] if name.startswith("azure.")}
    assert azure <= {"azure.core", "azure.functions", "azure.identity", "azure.storage"}
