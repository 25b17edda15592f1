"""Where a command finds its settings, and what it says when it finds none."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from batchscore.cli import environment
from batchscore.errors import SettingsError, StorageUnavailableError
from batchscore.settings import Connection

STORAGE = {"AzureWebJobsStorage": "system", "DATA_STORAGE": "data"}


@pytest.fixture
def hosts(monkeypatch: pytest.MonkeyPatch) -> dict[Path, dict[str, str]]:
    """The dev hosts that run, by app folder."""
    found: dict[Path, dict[str, str]] = {}
    monkeypatch.setattr(environment, "host_environment", found.get)
    return found


def write_settings(folder: Path, **values: str) -> None:
    (folder / "local.settings.json").write_text(json.dumps({"IsEncrypted": False, "Values": values}))


def test_an_environment_that_says_where_storage_is_stands_alone(
    tmp_path: Path, hosts: dict[Path, dict[str, str]]
) -> None:
    write_settings(tmp_path, AzureWebJobsStorage="file", DATA_STORAGE="file", MAX_ATTEMPTS="7")
    hosts[tmp_path] = {"AzureWebJobsStorage": "host", "DATA_STORAGE": "host"}

    assert environment.values({"DATA_STORAGE__blobServiceUri": "x"}, (tmp_path,)) == {
        "DATA_STORAGE__blobServiceUri": "x"
    }


def test_a_running_host_comes_before_the_settings_file_which_gives_the_rest(
    tmp_path: Path, hosts: dict[Path, dict[str, str]]
) -> None:
    write_settings(tmp_path, AzureWebJobsStorage="file", DATA_STORAGE="file", MAX_ATTEMPTS="7")
    hosts[tmp_path] = {"AzureWebJobsStorage": "host", "DATA_STORAGE": "host"}

    found = environment.values({"PATH": "p"}, (tmp_path,))

    assert found == {"AzureWebJobsStorage": "host", "DATA_STORAGE": "host", "MAX_ATTEMPTS": "7", "PATH": "p"}


def test_the_host_of_the_checkout_serves_every_folder(
    tmp_path: Path, hosts: dict[Path, dict[str, str]]
) -> None:
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    write_settings(checkout, AzureWebJobsStorage="file", WORKLOADS_FOLDER="scoring")
    hosts[checkout] = {"AzureWebJobsStorage": "host"}
    expected = {"AzureWebJobsStorage": "host", "WORKLOADS_FOLDER": str(checkout / "scoring")}

    assert environment.values({}, (tmp_path, checkout)) == expected


def test_folders_that_a_host_names_are_relative_to_its_app(
    tmp_path: Path, hosts: dict[Path, dict[str, str]]
) -> None:
    hosts[tmp_path] = {"WORKLOADS_FOLDER": "scoring", "LOCAL_WORK_FOLDER": "/elsewhere"}

    found = environment.values({}, (Path("/another/folder"), tmp_path))

    assert found == {"WORKLOADS_FOLDER": str(tmp_path / "scoring"), "LOCAL_WORK_FOLDER": "/elsewhere"}


def test_without_a_host_the_settings_file_counts_and_the_environment_changes_single_settings(
    tmp_path: Path, hosts: dict[Path, dict[str, str]]
) -> None:
    write_settings(tmp_path, **STORAGE, MAX_ATTEMPTS="7")

    assert environment.values({"MAX_ATTEMPTS": "2"}, (tmp_path,)) == {**STORAGE, "MAX_ATTEMPTS": "2"}


def test_without_anything_it_says_how_to_start_a_host_and_which_settings_to_give(
    tmp_path: Path, hosts: dict[Path, dict[str, str]]
) -> None:
    with pytest.raises(SettingsError, match=r"make start.*AzureWebJobsStorage and DATA_STORAGE"):
        environment.values({}, (tmp_path,))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read"),
        ("[]", 'has no "Values"'),
        ('{"IsEncrypted": true, "Values": {"AzureWebJobsStorage": "x"}}', "is encrypted"),
    ],
)
def test_a_settings_file_that_cannot_be_used_is_named(
    tmp_path: Path, hosts: dict[Path, dict[str, str]], text: str, message: str
) -> None:
    (tmp_path / "local.settings.json").write_text(text)

    with pytest.raises(SettingsError, match=message) as caught:
        environment.values({}, (tmp_path,))
    assert str(tmp_path / "local.settings.json") in str(caught.value)


def test_the_folder_of_workloads_needs_no_storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WORKLOADS_FOLDER", raising=False)
    assert environment.workloads_folder() == environment.CHECKOUT / "scoring"

    (tmp_path / "mine").mkdir()
    write_settings(tmp_path, WORKLOADS_FOLDER="mine")
    assert environment.workloads_folder() == tmp_path / "mine"

    monkeypatch.setenv("WORKLOADS_FOLDER", str(tmp_path / "nowhere"))
    with pytest.raises(SettingsError, match="nowhere"):
        environment.workloads_folder()


def test_storage_of_a_running_host_is_waited_for_and_no_other(
    hosts: dict[Path, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host that reloads is without its storage for some seconds."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        endpoint = f"BlobEndpoint=http://127.0.0.1:{listening.getsockname()[1]}/account"
        connection = Connection("AzureWebJobsStorage", endpoint)
        pauses: list[float] = []

        def pause(seconds: float) -> None:
            pauses.append(seconds)
            listening.listen()

        monkeypatch.setattr(environment.time, "sleep", pause)
        with pytest.raises(StorageUnavailableError, match="no storage listens"):
            environment.must_listen(connection)
        assert not pauses
        hosts[Path.cwd()] = {"AzureWebJobsStorage": endpoint}
        environment.must_listen(connection)
        assert len(pauses) == 1
