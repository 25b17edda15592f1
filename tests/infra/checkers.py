"""The checkers that others made, on our files: each gives what it finds as texts."""

from __future__ import annotations

import gzip
import importlib.util
import json
import os
import shutil
import subprocess
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from tests.infra.bicep import Files
from tests.infra.scenarios import EVENT_SUBSCRIPTIONS, MAIN, ROOT, Infra
from tests.needed import need, shared

CHECKOV = ROOT / ".venv-infra" / "bin" / "checkov"
KUSTO = ROOT / "node_modules" / "@kusto" / "language-service-next" / "package.json"
ARM_SCENARIOS = ("as it comes", "private network")
_ARM = "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#"
_SCHEMAS = Path(__file__).parent / "schemas"


def bicepcheck(files: Files, folder: Path) -> list[str]:
    """Errors and warnings of bicepcheck; `folder` is where changed files can be written."""
    root = written(files, folder) if files.changed else files.root
    module, types = _bicepcheck(shared("bicepcheck", "bicepcheck.py"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # it leaves closing its files to Python
        checker = module.Checker(types)
        for template in (MAIN, EVENT_SUBSCRIPTIONS):
            checker.run(str(root / template))
        found = list(checker.params_json(str(root / MAIN), str(root / "infra/main.parameters.json")))
    for path, file in checker.files.items():
        for line, _, kind, message in sorted({*file.errs, *file.warn}):
            found.append(f"{Path(path).relative_to(root)}:{line}: {kind}: {message}")
    return found


def written(files: Files, folder: Path) -> Path:
    """A copy of `infra/` with the changes."""
    for path in files:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(files[path], encoding="utf-8")
    return folder


def schemas(files: Files) -> list[str]:
    """What azure.yaml and host.json say that nobody would read, and keys that are said twice."""
    found = []
    for path, read in (("azure.yaml", _yaml), ("host.json", _json)):
        schema = json.loads((_SCHEMAS / f"{path.removesuffix('.json')}.json").read_text(encoding="utf-8"))
        try:
            document = read(files[path])
        except ValueError as error:
            found.append(f"{path}: {error}")
            continue
        for error in jsonschema.Draft202012Validator(schema).iter_errors(document):
            found.append(f"{path}: {error.json_path}: {error.message}")
    return found


def kql(queries: Mapping[str, str]) -> list[str]:
    """What Microsoft's parser finds in Kusto queries."""
    need(KUSTO, "'make setup' installs it")
    node = shutil.which("node")
    assert node is not None, "node is on PATH, as Azurite needs it"
    answer = subprocess.run(
        [node, str(Path(__file__).with_name("kql.js"))],
        input=json.dumps(dict(queries)),
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    return [f"{name}:{line}: {message}" for name, line, message in json.loads(answer.stdout)]


@dataclass(frozen=True)
class Failure:
    """What checkov finds wrong: the check, the type of the resource, and in which folder and file."""

    check: str
    resource: str
    folder: str
    file: str


def for_checkov(infra: Infra, folder: Path) -> None:
    """What checkov can read of it: the Bicep files, and what they come to in two scenarios as ARM templates, in which no
    expression hides what is deployed."""
    for path in infra.files:
        if path.endswith(".bicep"):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            # Its parser does not know this type.
            (folder / path).write_text(infra.files[path].replace("string[]", "array"), encoding="utf-8")
    for name in ARM_SCENARIOS:
        resources = [
            {"type": each.type, "apiVersion": each.version, **each.body}
            for each in infra.deployments[name].resources
        ]
        template = {"$schema": _ARM, "contentVersion": "1.0.0.0", "resources": resources}
        (folder / f"{name.replace(' ', '-')}.json").write_text(json.dumps(template), encoding="utf-8")


def checkov(folder: Path) -> list[Failure]:
    """What checkov finds in the folders of a folder, of which each was made by `for_checkov`."""
    need(CHECKOV, "'make infra-check' makes it")
    command = [
        "-d",
        str(folder),
        "--framework",
        "bicep",
        "arm",
        "--skip-download",
        "--compact",
        "--output",
        "json",
    ]
    answer = subprocess.run(
        [str(CHECKOV), *command], capture_output=True, text=True, env={**os.environ, "LOG_LEVEL": "CRITICAL"}
    )
    reports = {each["check_type"]: each["results"] for each in json.loads(answer.stdout)}
    assert reports.keys() == {"bicep", "arm"}
    unread = [file for report in reports.values() for file in report["parsing_errors"]]
    assert not unread, f"checkov cannot read {', '.join(unread)}"
    found = set()
    for report in reports.values():
        for each in report["failed_checks"]:
            _, of, *inside = each["file_path"].split("/")
            found.add(Failure(each["check_id"], each["resource"].split(".")[1], of, "/".join(inside)))
    return sorted(found, key=str)


@cache
def _bicepcheck(program: Path) -> tuple[Any, Any]:
    specification = importlib.util.spec_from_file_location("bicepcheck", program)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    with gzip.open(program.with_name("bicep_types.json.gz")) as file:
        return module, json.load(file)


def _json(text: str) -> object:
    def once(pairs: list[tuple[str, object]]) -> dict[str, object]:
        for key, _ in pairs:
            if [name for name, _ in pairs].count(key) > 1:
                raise ValueError(f"{key} is said twice")
        return dict(pairs)

    return json.loads(text, object_pairs_hook=once)


class _OnceLoader(yaml.SafeLoader):
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]  # type: ignore[no-untyped-call]
        for key in keys:
            if keys.count(key) > 1:
                raise ValueError(f"{key} is said twice")
        return super().construct_mapping(node, deep)


def _yaml(text: str) -> object:
    return yaml.load(text, _OnceLoader)
