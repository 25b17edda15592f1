"""The infrastructure has nothing to show to bicepcheck, Microsoft's parser of Kusto, our schemas and checkov."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.infra import checkers
from tests.infra.bicep import Files
from tests.infra.scenarios import EVENT_SUBSCRIPTIONS, MAIN, ROOT


@pytest.fixture(scope="module")
def files() -> Files:
    return Files(ROOT)


def test_bicepcheck_finds_neither_errors_nor_warnings(files: Files, tmp_path: Path) -> None:
    assert checkers.bicepcheck(files, tmp_path) == []


def test_azure_yaml_and_host_json_hold_only_what_is_read(files: Files) -> None:
    assert checkers.schemas(files) == []


def test_every_alert_is_a_query_of_tables_that_there_are(files: Files) -> None:
    queries = {path: files[path] for path in files if path.endswith(".kql")}
    assert queries
    assert checkers.kql(queries) == []


@pytest.mark.parametrize("template", [MAIN, EVENT_SUBSCRIPTIONS])
def test_the_bicep_compiler_takes_it(template: str) -> None:
    az = shutil.which("az")
    if az is None:
        pytest.skip("az is not on this machine: bicepcheck and the rules stand in for its compiler")
    built = subprocess.run(
        [az, "bicep", "build", "--file", str(ROOT / template), "--stdout"], capture_output=True, text=True
    )
    assert (built.returncode, built.stderr) == (0, "")
