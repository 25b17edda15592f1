"""What the documents name is there: links, make targets, workloads, routes."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from batchscore.workloads import Workloads

ROOT = Path(__file__).parents[2]
TRACKED = subprocess.run(
    ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
    cwd=ROOT,
    check=True,
    capture_output=True,
    text=True,
).stdout.split("\n")
DOCUMENTS = [name for name in TRACKED if name.endswith(".md")]
README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_link_leads_somewhere(name: str) -> None:
    text = (ROOT / name).read_text()
    links = re.findall(r"\]\(([^)#\s]+)", text)
    local = [link for link in links if "://" not in link]
    assert [link for link in local if not ((ROOT / name).parent / link).exists()] == []


def test_each_promise_is_in_the_table_of_tests_once() -> None:
    """A merge that takes both sides of two sections says everything twice."""
    text = (ROOT / "tests" / "README.md").read_text()
    told = re.findall(r"^(## .*|\| (?!Promise \|).*? \|)", text, re.MULTILINE)
    assert len(told) > 50
    assert sorted(told) == sorted(set(told))


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_make_target_that_is_named_exists(name: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"`make ([a-z-]+)", (ROOT / name).read_text()))
    assert named <= targets


def test_make_help_lists_what_people_need() -> None:
    told = subprocess.run(["make", "help"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for target in ("start", "demo", "test", "lint", "bench", "clean"):
        assert f"make {target} " in told


def test_the_readme_names_every_workload_with_its_inputs() -> None:
    workloads = Workloads(ROOT / "scoring")
    for name in workloads.names():
        assert f"`{name}`" in README
        for given in workloads.pipeline(name).inputs:
            assert f"`{given}`" in README, f"{name}: {given}"


def test_the_readmes_trigger_file_is_a_good_one() -> None:
    from batchscore.triggers import parse

    example = re.search(r"```json\n(.*?)```", README, re.DOTALL)
    assert example
    request = parse(json.dumps(json.loads(example[1])).encode(), Workloads(ROOT / "scoring"), 65_536)
    assert request.workload == "style_transfer/video"


def test_the_http_page_names_every_route() -> None:
    page = (ROOT / "docs" / "http.md").read_text()
    source = (ROOT / "function_app.py").read_text()
    routes = re.findall(r'route="([^"]+)", methods=\["(\w+)"\]', source)
    assert len(routes) == 7
    assert [route for route in routes if f"`{route[1]} /api/{route[0]}`" not in page] == []


def test_the_control_plane_and_the_data_plane_stay_apart() -> None:
    for name in TRACKED:
        path = ROOT / name
        if not name.endswith(".py") or not path.exists():
            continue
        imports = re.findall(r"^\s*(?:from|import) (\w+)", path.read_text(), re.MULTILINE)
        if name.startswith("scoring/"):
            assert not {"batchscore", "azure"} & set(imports), name
        if name.startswith("batchscore/"):
            assert not {"scoring", "common", "style_transfer", "digits", "numpy", "av", "onnxruntime"} & set(
                imports
            ), name
