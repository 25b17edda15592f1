"""Microsoft's SDK as a guest: what it says of itself stays out of the app's log."""

from __future__ import annotations

import subprocess
import sys


def test_the_sdk_logs_errors_alone_and_by_way_of_the_apps_log() -> None:
    """In a process of its own: the SDK gives itself a handler and a level when it is imported."""
    code = (
        "import logging\n"
        "from batchscore.compute.azureml.client import open_client\n"
        "from batchscore.settings import Workspace\n"
        "open_client(Workspace('0' * 32, 'group', 'name', endpoint='https://localhost:1'))\n"
        "logging.basicConfig(format='app: %(message)s')\n"
        "inner = logging.getLogger('azure.ai.ml._utils._experimental')\n"
        "inner.warning('an experimental class')\n"
        "inner.error('an error')\n"
    )
    said = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True
    )
    assert (said.stdout, said.stderr) == ("", "app: an error\n")
