"""docs/deploy.md names what the deployment reads, and nothing else."""

from __future__ import annotations

import json
import re

from batchscore.definitions.compute_targets import load_targets
from batchscore.triggers import parse
from batchscore.workloads import Workloads
from tests.infra.hook_world import ROOT

PAGE = (ROOT / "docs" / "deploy.md").read_text()
OF_AZD = {"AZURE_ENV_NAME", "AZURE_LOCATION", "AZURE_PRINCIPAL_ID", "AZURE_SUBSCRIPTION_ID"}
UNTOLD = {"", "{}"}


def parameters() -> dict[str, str]:
    """Defaults of the variables that main.parameters.json reads."""
    text = (ROOT / "infra" / "main.parameters.json").read_text()
    return dict(re.findall(r"\$\{(\w+)(?:=([^}]*))?\}", text))


def switches() -> dict[str, str]:
    """Defaults of the variables in the table of switches."""
    section = PAGE.partition("\n## Switches\n")[2].partition("\n## ")[0]
    found = {}
    for first, last in re.findall(r"^\| (`[A-Z].*?) \|.*\| (.*?) ?\|$", section, re.MULTILINE):
        names, defaults = re.findall(r"`(\w+)`", first), re.findall(r"`([^`]*)`", last)
        found |= dict(zip(names, defaults or [""] * len(names), strict=True))
    return found


def test_the_switches_are_what_the_deployment_reads_with_its_defaults() -> None:
    assert switches() == {
        name: "" if default in UNTOLD else default
        for name, default in parameters().items()
        if name not in OF_AZD
    }


def test_the_quota_that_is_asked_for_is_what_the_clusters_may_take() -> None:
    for name, target in load_targets(ROOT / "scoring", {}).items():
        row = next(line for line in PAGE.splitlines() if line.startswith(f"| `{name}` |"))
        assert f"| {target.max_nodes} of `{target.size}` |" in row
        assert row.endswith(f"| {target.max_nodes * target.cores} |")


def test_the_first_trigger_file_is_a_good_one() -> None:
    example = re.search(r"```json\n\s*(\{.*?)```", PAGE, re.DOTALL)
    assert example
    request = parse(json.dumps(json.loads(example[1])).encode(), Workloads(ROOT / "scoring"), 65_536)
    assert request.workload == "digits/classify"


def test_what_the_hooks_complain_of_is_in_the_table() -> None:
    hooks = "".join(file.read_text() for file in (ROOT / "infra" / "hooks").glob("*.sh"))
    for told in re.findall(r"^\| `(.*?)`", PAGE.partition("## What you see")[2], re.MULTILINE)[:4]:
        assert told.removeprefix("preprovision: ").removesuffix(" …") in hooks or "roles" in told


def test_every_variable_that_a_hook_names_is_told() -> None:
    told = {*switches(), *OF_AZD}
    for file in (ROOT / "infra" / "hooks").glob("*.sh"):
        for name in re.findall(r"azd env set ([A-Z_]+)", file.read_text()):
            assert name in told, f"{file.name}: {name}"
