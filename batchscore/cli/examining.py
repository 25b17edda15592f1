"""`doctor`: is everything there that a run needs?"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from batchscore.cli import terminal
from batchscore.cli.environment import CHECKOUT, LOCAL_SETTINGS, host_environment, settings
from batchscore.cli.outcome import Exit
from batchscore.settings import DATA_CONNECTION, SYSTEM_CONNECTION, Settings

if TYPE_CHECKING:
    from batchscore.doctor import Finding

STYLES = {"ok": "green", "warn": "yellow", "fail": "red"}


def doctor(json: terminal.Json = False) -> None:
    """Look at settings, storage, the Azure ML workspace, the event hub, identity, workloads, models, GPU and disk; each line says
    what to do."""
    from batchscore.doctor import examine

    found: list[Finding] = []
    for finding in examine(_settings(), _source(), CHECKOUT):
        found.append(finding)
        if not json:
            _tell(finding)
    failed = sum(finding.verdict == "fail" for finding in found)
    warned = sum(finding.verdict == "warn" for finding in found)
    if json:
        terminal.answer_json({"ok": not failed, "findings": found})
    else:
        summary = "something keeps runs from working" if failed else "runs can work"
        terminal.answer(f"{summary}: {len(found) - failed - warned} ok, {warned} warn, {failed} fail.")
    if failed:
        raise typer.Exit(Exit.FAILED)


def _tell(finding: Finding) -> None:
    terminal.answer(f"{finding.verdict:<4}  {finding.what}: {finding.found}", STYLES[finding.verdict])
    if finding.remedy:
        terminal.answer(f"      → {finding.remedy}")


def _settings() -> Settings | Exception:
    try:
        return settings()
    except Exception as error:  # whatever is wrong with them is a finding
        return error


def _source() -> str:
    """Which of the places that settings come from was used; `environment.values` decides it."""
    if any(name.startswith((SYSTEM_CONNECTION, DATA_CONNECTION)) and os.environ[name] for name in os.environ):
        return "from the environment"
    for folder in (Path.cwd(), CHECKOUT):
        if host_environment(folder) is not None:
            return f"from the dev host that runs for {folder}"
    return f"from {Path.cwd() / LOCAL_SETTINGS}"
