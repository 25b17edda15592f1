"""docs/cli.md names every command and exit code, and no option that is not there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main

from batchscore.cli import app
from batchscore.cli.outcome import Exit

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "cli.md").read_text()


def commands(group: Any, prefix: str = "batchscore") -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        yield f"{prefix} {name}", command
        if hasattr(command, "commands"):
            yield from commands(command, f"{prefix} {name}")


def test_every_command_is_named() -> None:
    for name, _ in commands(typer.main.get_command(app)):
        assert f"`{name}" in PAGE


def test_every_command_that_is_named_is_there() -> None:
    there = {name for name, _ in commands(typer.main.get_command(app))}

    for name in re.findall(r"`(batchscore [a-z]+)", PAGE):
        assert name in there


def test_every_option_that_is_named_is_there() -> None:
    there = {
        option
        for _, command in commands(typer.main.get_command(app))
        for parameter in command.params
        for option in parameter.opts
    }

    for option in re.findall(r"(?<![\w-])--[a-z][a-z-]+", PAGE):
        assert option in {*there, "--help"}


def test_every_exit_code_is_explained() -> None:
    explained = {int(code) for code in re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE)}

    assert explained == set(Exit)
