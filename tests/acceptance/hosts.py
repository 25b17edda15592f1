"""A dev host with the product's own app, and what a user does with it from outside."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from batchscore import paths
from batchscore.application import Application
from batchscore.devhost.launch import DevHostProcess
from batchscore.runs import Run
from batchscore.settings import Settings

ROOT = Path(__file__).parents[2]


class User:
    """Uploads, drops trigger files, looks and fetches."""

    def __init__(self, host: DevHostProcess, application: Application) -> None:
        self.host = host
        self.application = application
        self._data = application.storage.container("data", application.settings.data_container)
        self._triggers = application.storage.container("data", application.settings.trigger_container)
        wait_until(lambda: self._data.exists() and self._triggers.exists())  # the host makes them

    def upload(self, name: str, data: bytes) -> None:
        self._data.upload_blob(name, data, overwrite=True)

    def drop(self, body: dict[str, Any] | bytes, name: str = "job.json") -> str:
        """Drop a trigger file; gives the id of the run that it causes."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        etag = self._triggers.upload_blob(name, data, overwrite=True).get_blob_properties().etag
        return paths.run_id("trigger_file", name, paths.normal_etag(etag))

    def put(self, name: str, data: bytes) -> str:
        """Put a file in the inbox; gives the id of the run that it causes."""
        etag = self._data.upload_blob(name, data, overwrite=True).get_blob_properties().etag
        return paths.run_id("inbox_file", name, paths.normal_etag(etag))

    def wait(self, run_id: str, until: Callable[[Run], bool] | None = None, patience_s: float = 90) -> Run:
        """The run once it has ended, or once `until` says so."""
        done = until or (lambda run: run.state.ended)
        run: Run | None = None
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            found = self.application.store.find(run_id)
            run = found[0] if found else None
            if run is not None and done(run):
                return run
            time.sleep(0.05)
        raise AssertionError(
            f"run {run_id} is {run} after {patience_s} s; the host said:\n{self.host.log[-3000:]}"
        )

    def run(self, body: dict[str, Any]) -> Run:
        """Drop a trigger file and wait for its run to end."""
        return self.wait(self.drop(body))

    def results(self, run: Run, output: str) -> dict[str, bytes]:
        """The files of one output by name."""
        assert run.job is not None
        prefix = run.job.outputs[output].path + "/"
        names = self._data.list_blob_names(name_starts_with=prefix)
        return {name.removeprefix(prefix): self._data.download_blob(name).readall() for name in names}

    def http(
        self, method: str, route: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, dict[str, Any]]:
        """Call the run API; gives status and document."""
        request = urllib.request.Request(f"{self.host.url}/api/{route}", body, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)


@contextmanager
def user_of_a_host(folder: Path, *arguments: str, **environment: str) -> Iterator[User]:
    """A host on `folder` (its storage stays there for a second one), and its user. It has no event hub unless the
    environment names one. `arguments` are those of its command line."""
    own = {"LOCAL_WORK_FOLDER": str(folder / "work"), "POLL_INTERVAL_S": "1", "EVENT_HUB": ""}
    environment = {**own, **environment}
    with DevHostProcess(ROOT, folder=folder / "host", environment=environment, arguments=arguments) as host:
        storage = dict.fromkeys(("AzureWebJobsStorage", "DATA_STORAGE"), host.connection_string)
        application = Application(Settings.from_environment({**environment, **storage}))
        try:
            yield User(host, application)
        finally:
            application.close()


def wait_until(true: Callable[[], object], patience_s: float = 30) -> None:
    deadline = time.monotonic() + patience_s
    while not true():
        assert time.monotonic() < deadline, f"not within {patience_s} s"
        time.sleep(0.05)
