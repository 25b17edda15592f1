"""How a command ends: exit codes, sentences instead of tracebacks, and a quick start."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from batchscore import runs
from batchscore.cli import app, environment, programs, records
from batchscore.cli.once import how_many
from batchscore.cli.outcome import Exit, code_of, code_of_run
from batchscore.errors import (
    BatchscoreError,
    ComputeUnavailableError,
    DefinitionError,
    JobRefusedError,
    RequestError,
    RunConflictError,
    RunNotFoundError,
    SettingsError,
    StorageUnavailableError,
)
from batchscore.runs import Cause, RunState
from batchscore.triggers import RunRequest


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SettingsError("x"), Exit.USAGE),
        (RequestError("x"), Exit.USAGE),
        (DefinitionError(()), Exit.USAGE),
        (RunConflictError("x"), Exit.USAGE),
        (RunNotFoundError("x"), Exit.NOT_FOUND),
        (StorageUnavailableError("x"), Exit.UNAVAILABLE),
        (ComputeUnavailableError("x"), Exit.UNAVAILABLE),
        (JobRefusedError("x"), Exit.FAILED),
        (BatchscoreError("x"), Exit.FAILED),
    ],
)
def test_every_error_has_an_exit_code(error: BatchscoreError, code: Exit) -> None:
    assert code_of(error) is code


@pytest.mark.parametrize(
    ("state", "code"),
    [
        (RunState.SUCCEEDED, Exit.OK),
        (RunState.SUCCEEDED_WITH_ERRORS, Exit.WITH_ERRORS),
        (RunState.FAILED, Exit.FAILED),
        (RunState.CANCELED, Exit.FAILED),
        (RunState.REJECTED, Exit.FAILED),
    ],
)
def test_a_program_can_tell_how_a_run_ended(state: RunState, code: Exit) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    run = runs.accepted(Cause("cli", "x"), RunRequest("w/p", {}), now)
    assert code_of_run(replace(run, state=state)) is code


def test_an_interrupt_ends_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(records, "application", interrupted)

    result = CliRunner().invoke(app, ["runs"])

    assert result.exit_code == Exit.INTERRUPTED
    assert result.stderr == "interrupted.\n"


def test_without_settings_a_command_says_how_to_give_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(environment, "host_environment", lambda _: None)
    for name in ("AzureWebJobsStorage", "DATA_STORAGE"):
        monkeypatch.delenv(name, raising=False)

    result = CliRunner().invoke(app, ["runs"])

    assert result.exit_code == Exit.USAGE
    assert "make start" in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("arguments", [["runs", "--limit", "0"], ["show"], ["nonsense"], ["run"]])
def test_wrong_usage_ends_with_2(arguments: list[str]) -> None:
    assert CliRunner().invoke(app, arguments).exit_code == Exit.USAGE


def test_help_loads_nothing_heavy() -> None:
    """No Azure SDK, no YAML, no arrays: `batchscore --help` answers at once."""
    code = (
        "import sys, batchscore.cli\n"
        "heavy = {'azure', 'yaml', 'msgspec', 'numpy', 'av', 'onnxruntime', 'azure_functions_runtime'}\n"
        "print(sorted(heavy & {name.partition('.')[0] for name in sys.modules}))"
    )

    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert loaded.stdout.strip() == "[]"


def test_every_command_has_a_sentence_of_help() -> None:
    text = CliRunner().invoke(app, ["--help"]).stdout

    for name in (
        *("submit", "runs", "show", "watch", "logs", "fetch", "cancel", "retry", "replay"),
        *("run", "check", "split", "stitch", "start", "models", "doctor"),
    ):
        line = next(line for line in text.splitlines() if line.strip("│ ").startswith(f"{name} "))
        assert len(line.strip("│ ").split()) > 3


@pytest.mark.parametrize(
    ("arguments", "passed"),
    [
        (["split", "a.mp4", "frames", "--format", "png"], ["split", "a.mp4", "frames", "--format", "png"]),
        (["stitch", "frames", "b.mp4", "--rate=25"], ["stitch", "frames", "b.mp4", "--rate=25"]),
    ],
)
def test_frames_are_split_and_stitched_by_the_workloads_own_script(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], passed: list[str]
) -> None:
    script = tmp_path / "style_transfer" / "frames_cli.py"
    script.parent.mkdir()
    script.write_text(
        "import sys, pathlib\npathlib.Path('seen').write_text(repr(sys.argv[1:]))\nsys.exit(7)\n"
    )
    monkeypatch.setenv("WORKLOADS_FOLDER", str(tmp_path))
    monkeypatch.chdir(tmp_path)

    result = CliRunner().invoke(app, arguments)

    assert result.exit_code == 7
    assert (tmp_path / "seen").read_text() == repr(passed)


def test_without_the_script_the_folder_of_workloads_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKLOADS_FOLDER", str(tmp_path))

    result = CliRunner().invoke(app, ["split", "a.mp4", "frames"])

    assert result.exit_code == Exit.USAGE
    assert "frames_cli.py is not there. Set WORKLOADS_FOLDER" in result.stderr


def test_start_becomes_the_dev_host_with_the_options_given(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, Sequence[str]]] = []

    def execv(program: str, arguments: Sequence[str]) -> None:
        seen.append((program, arguments))

    monkeypatch.setattr(programs.os, "execv", execv)

    CliRunner().invoke(app, ["start", "--port", "7071", "--no-reload"])
    assert seen == [
        (sys.executable, [sys.executable, "-m", "batchscore.devhost", "--port", "7071", "--no-reload"])
    ]


def test_start_shows_the_options_of_the_dev_host_and_its_own() -> None:
    shown = CliRunner().invoke(app, ["start", "--help"])
    assert shown.exit_code == 0
    assert {"--once", "--keys", "--no-reload", "--port"} <= set(
        shown.stdout.replace("[", " ").replace("]", " ").split()
    )


@pytest.mark.parametrize(
    ("states", "says"),
    [
        ([], "nothing waited."),
        ([RunState.SUCCEEDED], "1 run ended, 1 succeeded."),
        ([RunState.SUCCEEDED, RunState.FAILED, RunState.REJECTED], "3 runs ended, 1 succeeded."),
        (
            [RunState.SUCCEEDED_WITH_ERRORS, RunState.CANCELED],
            "2 runs ended, 0 succeeded, 1 succeeded with errors.",
        ),
    ],
)
def test_once_tells_runs_with_errors_from_those_that_failed(states: list[RunState], says: str) -> None:
    assert how_many(states) == says
