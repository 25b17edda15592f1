"""What `make` looks at before it installs anything."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


def check_node(path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/bash", str(SCRIPTS / "check-node.sh")],
        env={"PATH": str(path)},
        capture_output=True,
        text=True,
        check=False,
    )


def install_node(path: Path, version: str) -> None:
    for name in ("node", "npm"):
        program = path / name
        program.write_text(f"#!/bin/bash\necho {version}\n")
        program.chmod(0o755)


@pytest.mark.parametrize("version", ["v20.0.0", "v20.20.2", "v24.1.0", "v100.0.0-nightly"])
def test_node_20_and_newer_is_good(tmp_path: Path, version: str) -> None:
    install_node(tmp_path, version)
    answer = check_node(tmp_path)
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "", "")


def test_an_older_node_is_named_with_what_is_needed(tmp_path: Path) -> None:
    install_node(tmp_path, "v18.19.1")
    answer = check_node(tmp_path)
    assert answer.returncode == 1
    assert "v18.19.1" in answer.stderr
    assert "20 or newer is needed" in answer.stderr


def test_missing_node_is_named_with_the_way_to_get_it(tmp_path: Path) -> None:
    answer = check_node(tmp_path)
    assert answer.returncode == 1
    assert "Install Node.js 20 or newer" in answer.stderr
