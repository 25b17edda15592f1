"""Azurite as a child process: it is ready when started, keeps what was written, and ends."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from batchscore.devhost.azurite import Azurite, Ports
from batchscore.errors import SettingsError
from batchscore.storage import Storage
from tests.azurite import settings_for


def test_it_answers_at_once_keeps_blobs_and_ends(tmp_path: Path) -> None:
    folder = tmp_path / "azurite"
    for round_ in range(2):
        with Azurite(folder) as azurite:
            storage = Storage(settings_for(azurite.connection_string, tmp_path))
            container = storage.container("data", "kept", create=True)
            if round_ == 0:
                container.upload_blob("name", b"kept")
            assert container.download_blob("name").readall() == b"kept"
            storage.close()
            port = int(azurite.blob_endpoint.rsplit(":", 1)[1].split("/")[0])
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0
        assert azurite.pid is None


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match=str(port)):
            Azurite(tmp_path, Ports(blob=port)).start()
