"""docs/migrate.md: its worked example is checked and run as it stands there, and its tables name what there is."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from batchscore.cli import app

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "migrate.md").read_text()
DIGITS = ROOT / "scoring" / "models" / "digits"
KNOBS = (
    "nodes",
    "mini_batch_size",
    "max_concurrency_per_instance",
    "error_threshold",
    "mini_batch_error_threshold",
    "retry_settings",
    "logging_level",
)

sys.path.insert(0, str(ROOT / "scoring"))
from digits import samples  # noqa: E402


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The example's files, its model, and some digits to read."""
    files = re.findall(r"^`([^`\n]+)`:\n\n```\w+\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert len(files) == 2
    for name, text in files:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    shutil.copy(DIGITS / "model.onnx", tmp_path / "digits" / "scripts")
    shutil.copy(DIGITS / "labels.txt", tmp_path)
    samples.write_samples(tmp_path / "images", 12)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def commands() -> list[list[str]]:
    """Those that the page says to type."""
    text = "\n".join(re.findall(r"^```bash\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
    return [line.split()[1:] for line in text.splitlines()]


def test_the_examples_commands_do_what_the_page_says(folder: Path) -> None:
    for arguments in commands():
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == 0, done.output
    assert [arguments[0] for arguments in commands()] == ["check", "run"]
    rows = (folder / "results" / "predictions" / "predictions.txt").read_text().splitlines()
    images = sorted(path.name for path in (folder / "images").iterdir())
    assert sorted(row.split(":")[0] for row in rows) == images
    # files are called after the digit that they show
    right = sum(row.split(": ")[1] == re.findall(r"-is-(\d)", row)[0] for row in rows)
    assert right >= 10


def test_every_knob_of_a_trigger_file_has_its_old_name() -> None:
    for knob in KNOBS:
        assert f"`{knob}`" in PAGE


def test_every_setting_it_names_is_one() -> None:
    known = (ROOT / "docs" / "settings.md").read_text()
    for name in re.findall(r"`((?:AML|MAX|SCORING|POLL)_[A-Z_]+[A-Z])`", PAGE):
        assert f"`{name}`" in known


def test_the_old_and_the_new_form_of_the_example_say_the_same() -> None:
    """The numbers of the Python block are those of the YAML block, one try being the first."""
    old = dict(re.findall(r"^    (\w+)=\"?(\w+)\"?,$", PAGE, re.MULTILINE))
    new = dict(re.findall(r"^ +(\w+): \"?(\w+)\"?$", PAGE, re.MULTILINE))
    assert new["mini_batch_size"] == old["mini_batch_size"]
    assert new["error_threshold"] == old["error_threshold"]
    assert new["instance_count"] == old["node_count"]
    assert new["max_concurrency_per_instance"] == old["process_count_per_node"]
    assert new["timeout"] == old["run_invocation_timeout"]
    assert int(new["max_retries"]) == int(old["run_max_try"]) - 1
    assert new["logging_level"] == old["logging_level"]
