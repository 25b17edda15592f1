"""The mark of a process: only one that could be seen from here is ever called dead."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from batchscore import process_mark
from batchscore.process_mark import is_mark_of_a_dead_process


@pytest.fixture
def dead() -> dict[str, str]:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return {**process_mark.process_mark(), "pid": str(ended.pid)}


def test_a_process_that_ended_is_dead_and_this_one_is_not(dead: dict[str, str]) -> None:
    assert is_mark_of_a_dead_process(dead)
    assert not is_mark_of_a_dead_process(process_mark.process_mark())


def test_a_later_process_of_the_same_number_is_not_the_one_that_left_the_mark() -> None:
    assert is_mark_of_a_dead_process({**process_mark.process_mark(), "started": "1"})


@pytest.mark.parametrize(
    "elsewhere", [{"machine": "another"}, {"machine": ""}, {"pid": "x"}, {"pid": "²"}, {"pid": ""}]
)
def test_of_any_other_mark_nothing_is_known(dead: dict[str, str], elsewhere: dict[str, str]) -> None:
    assert not is_mark_of_a_dead_process({**dead, **elsewhere})
    assert not is_mark_of_a_dead_process({})


def test_machines_of_one_name_and_containers_of_one_machine_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def machine(boot: str, namespace: str) -> str:
        folder = tmp_path / f"{boot}-{namespace}"
        folder.mkdir()
        (folder / "boot_id").write_text(f"{boot}\n")
        (folder / "pid").symlink_to(f"pid:[{namespace}]")
        monkeypatch.setattr(process_mark, "_BOOT", folder / "boot_id")
        monkeypatch.setattr(process_mark, "_NAMESPACE", folder / "pid")
        return process_mark.machine()

    assert len({machine("a", "1"), machine("a", "2"), machine("b", "1")}) == 3


def test_where_a_process_cannot_tell_where_it_is_it_calls_nobody_dead(
    dead: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_mark, "_BOOT", tmp_path / "none")
    assert process_mark.machine() == ""
    assert not is_mark_of_a_dead_process({**dead, "machine": ""})
    assert not is_mark_of_a_dead_process(dead)
