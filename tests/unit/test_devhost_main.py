"""The command line of the dev host: its document names exactly its options."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from batchscore.devhost.__main__ import parser
from batchscore.devhost.azurite import Ports

DOCUMENT = Path(__file__).parents[2] / "docs" / "dev-host.md"


def test_the_document_names_every_option_and_no_other() -> None:
    options = set(re.findall(r"--[a-z-]+", parser().format_help())) - {"--help"}
    documented = set(re.findall(r"^\| `(--[a-z-]+)", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE))
    assert documented == options


def test_ports_are_three_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    assert parser().parse_args(["--azurite-ports", "1,2,3"]).azurite_ports == Ports(1, 2, 3)
    with pytest.raises(SystemExit):
        parser().parse_args(["--azurite-ports", "10000"])
    assert "three ports such as 10000,10001,10002" in capsys.readouterr().err
