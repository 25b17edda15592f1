"""docs/operate.md names every state, and no command, option, setting or state that is not there."""

from __future__ import annotations

import re
from pathlib import Path

import typer.main

from batchscore.cli import app
from batchscore.runs import RunState

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "operate.md").read_text()


def test_every_state_has_a_row_that_says_what_comes_next() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.+) \| (.+) \|$", PAGE, re.MULTILINE)
    assert [state for state, _, _ in rows] == list(RunState)


def test_commands_and_options_are_those_of_the_command_line() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    named = re.findall(r"`batchscore ([a-z]+)([^`]*)`", PAGE)
    assert {"retry", "replay", "cancel", "fetch", "doctor", "show", "logs"} <= {name for name, _ in named}
    for name, rest in named:
        options = {option for parameter in commands[name].params for option in parameter.opts}
        assert set(re.findall(r"--[a-z-]+", rest)) <= options, name


def test_settings_are_those_of_the_settings_page() -> None:
    settings = (ROOT / "docs" / "settings.md").read_text()
    for name in re.findall(r"`([A-Z]+(?:_[A-Z]+)+)", PAGE):
        assert f"`{name}`" in settings
