"""The stand-in as a child process, for tests and for the dev host: ended by who started it, however that one ends."""

from __future__ import annotations

import json
import os
import re
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from batchscore.devhost.azureml.address import DEVELOPMENT
from batchscore.devhost.azureml.certificate import CA_FILE
from batchscore.devhost.server_process import ServerProcess
from batchscore.errors import StorageUnavailableError

STORAGE_VARIABLE = "AZUREML_STORAGE"
SCHEMAS_VARIABLE = "AZUREML_SCHEMAS"
ANSWER_TIMEOUT_S = 30.0
_LISTENING = re.compile(r"^Listening: https://localhost:(\d+)$")


class AzureMLWorkspace(ServerProcess):
    """A workspace on this machine. `with AzureMLWorkspace(folder=…, storage=…) as workspace:` starts the process, waits
    for it and ends it.

    All it knows is in `folder`; a second process on the same folder finds it and takes the same port, as long as nobody
    else has taken it. `storage` is the connection string of an Azurite, for snapshots, logs and datastores. `schemas`
    is a folder with Microsoft's schemas and list of operations; without it bodies and addresses are not checked.
    `environment` and `working_folder` are those of the process, and so of jobs: LOCAL_PYTHON, for example, is read there.
    """

    NAME = "Azure ML"
    READY_TIMEOUT_S = 60.0

    def __init__(
        self,
        *,
        folder: Path,
        storage: str,
        schemas: Path | None = None,
        port: int = 0,
        environment: Mapping[str, str] | None = None,
        working_folder: Path | None = None,
    ) -> None:
        super().__init__()
        self._environment = dict(os.environ if environment is None else environment)
        self._working_folder = working_folder
        self.folder = folder.absolute()
        self.storage = storage
        self.schemas = schemas
        self.port = port

    @property
    def endpoint(self) -> str:
        """What stands for https://management.azure.com; known once started."""
        return f"https://localhost:{self.port}"

    @property
    def ca_file(self) -> Path:
        """The certificate of the authority that signed the server's."""
        return self.folder / CA_FILE

    def settings(self) -> dict[str, str]:
        """The settings with which the product finds this workspace."""
        return {
            "AZURE_SUBSCRIPTION_ID": DEVELOPMENT.subscription,
            "AZURE_RESOURCE_GROUP": DEVELOPMENT.group,
            "AZUREML_WORKSPACE_NAME": DEVELOPMENT.workspace,
            "AZUREML_ENDPOINT": self.endpoint,
            "AZUREML_CA_FILE": str(self.ca_file),
        }

    def _launched(self) -> subprocess.Popen[str]:
        command = [sys.executable, "-u", "-m", "batchscore.devhost.azureml", "--stop-with-stdin"]
        command += ["--folder", str(self.folder), "--port", str(self.port)]
        schemas = {} if self.schemas is None else {SCHEMAS_VARIABLE: str(self.schemas)}
        return self._spawned(
            command,
            environment={**self._environment, STORAGE_VARIABLE: self.storage, **schemas},
            working_folder=self._working_folder,
        )

    def _follow(self, lines: Iterable[str]) -> None:
        for line in lines:
            found = _LISTENING.match(line)
            if found:
                self.port = int(found[1])
                self._ready()
            else:
                self._last_words.append(line.strip())

    def requests(self) -> list[dict[str, Any]]:
        """The requests so far, the oldest first: method, path, query, status (0 where the connection was cut), at, seconds."""
        answer: list[dict[str, Any]] = self._ask("/requests")["requests"]
        return answer

    def switch(self, **switches: float | str) -> None:
        """Set how jobs fare; faults.Switches explains each."""
        self._ask("/switches", switches)

    def fault(self, **fault: float | str) -> None:
        """Let something happen to the next requests that fit; faults.Fault explains each field."""
        self._ask("/faults", fault)

    def clear(self) -> None:
        """Forget every fault and set every switch back."""
        self._ask("/clear", {})

    def _ask(self, path: str, document: dict[str, Any] | None = None) -> dict[str, Any]:
        request = urllib.request.Request(  # noqa: S310
            f"{self.endpoint}/stand-in{path}",
            data=None if document is None else json.dumps(document).encode(),
            headers={"Content-Type": "application/json"},
        )
        trust = ssl.create_default_context(cafile=str(self.ca_file))
        try:
            with urllib.request.urlopen(request, timeout=ANSWER_TIMEOUT_S, context=trust) as response:  # noqa: S310
                answer: dict[str, Any] = json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                raise ValueError(json.load(error)["error"]) from None
        except urllib.error.URLError as error:
            raise StorageUnavailableError(
                f"Azure ML at {self.endpoint} does not answer: {error.reason}"
            ) from error
        return answer
