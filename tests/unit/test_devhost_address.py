"""The address file: it leads to a host that lives, and to none that does not."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from batchscore.devhost import address
from batchscore.devhost.address import ADDRESS_FILE, RunningHost, running_host
from batchscore.process_mark import start_of


@pytest.fixture
def host() -> RunningHost:
    """A host that is this very process."""
    return RunningHost(
        url="http://127.0.0.1:1",
        pid=os.getpid(),
        environment={"AzureWebJobsStorage": "x"},
        function_key="k",
        started=start_of(os.getpid()),
    )


def test_a_running_host_is_found(tmp_path: Path, host: RunningHost) -> None:
    address.write(tmp_path / ADDRESS_FILE, host)
    assert running_host(tmp_path) == host


def test_its_file_is_for_its_owner_only(tmp_path: Path, host: RunningHost) -> None:
    address.write(tmp_path / ADDRESS_FILE, host)
    assert (tmp_path / ADDRESS_FILE).stat().st_mode & 0o077 == 0
    assert [file.name for file in (tmp_path / ADDRESS_FILE).parent.iterdir()] == [ADDRESS_FILE.name]


def test_no_file_is_no_host(tmp_path: Path) -> None:
    assert running_host(tmp_path) is None


def test_a_host_that_ended_is_none(tmp_path: Path, host: RunningHost) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait()
    address.write(tmp_path / ADDRESS_FILE, replace(host, pid=ended.pid, started=""))
    assert running_host(tmp_path) is None


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="start times are read from /proc")
def test_a_pid_that_now_belongs_to_another_process_is_none(tmp_path: Path, host: RunningHost) -> None:
    address.write(tmp_path / ADDRESS_FILE, replace(host, started="1"))
    assert running_host(tmp_path) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"url": "x", "pid": "y", "environment": {}}'])
def test_a_damaged_file_is_no_host(tmp_path: Path, text: str) -> None:
    file = tmp_path / ADDRESS_FILE
    file.parent.mkdir()
    file.write_text(text)
    assert running_host(tmp_path) is None


def test_secrets_do_not_show_in_its_text(host: RunningHost) -> None:
    assert "environment" not in repr(host)
    assert "function_key" not in repr(host)
