"""A workspace with the sample workload deployed, and runs on it that a test moves by hand."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from batchscore import paths
from batchscore.application import Application
from batchscore.deploying.deploy import deploy_all
from batchscore.devhost.azureml import AzureMLWorkspace
from batchscore.runs import Run
from batchscore.settings import Settings
from batchscore.storage import Storage
from tests.azurite import blob_names
from tests.local_pipelines import write
from tests.local_workloads import write_workload

PATIENCE_S = 60.0


@dataclass
class World:
    """One control plane, which no host moves: `pass_` does."""

    settings: Settings
    workspace: AzureMLWorkspace
    folder: Path
    applications: list[Application] = field(default_factory=list)

    @property
    def application(self) -> Application:
        """The control plane as it is now; `restarted` makes another."""
        if not self.applications:
            self.restarted()
        return self.applications[-1]

    def restarted(self) -> Application:
        """What a new process on the same storage would be."""
        self.applications.append(Application(self.settings))
        return self.applications[-1]

    @property
    def gate(self) -> Path:
        """The file that gated runs wait for."""
        return self.folder / "gate"

    def worked_on(self) -> list[str]:
        """The names of the items that were worked on, once for each time."""
        notes = self.folder / "gate.notes"
        names = [path.name.rpartition(".")[0] for path in notes.iterdir()] if notes.exists() else []
        return sorted(name for name in names if name != "pid")

    def upload_inputs(self, prefix: str) -> None:
        """Three small files below a prefix of the data container."""
        data = self.application.storage.container("data", self.settings.data_container)
        for name in ("a", "b", "c"):
            data.upload_blob(f"{prefix}/{name}.txt", f"text {name}".encode(), overwrite=True)

    def drop(self, **body: Any) -> str:
        """A trigger file on three small files of its own; gives the id of its run."""
        prefix = f"in-{uuid.uuid4().hex[:8]}"
        self.upload_inputs(prefix)
        inputs = {"data": prefix, "mode": "ok", "gate": str(self.gate), **body.pop("inputs", {})}
        document = json.dumps({"workload": "sample/score", "inputs": inputs, **body}).encode()
        return self.deliver(document)

    def deliver(self, body: bytes) -> str:
        """A trigger file with this content, as a host delivers it; gives the id of its run."""
        container = self.application.storage.container("data", self.settings.trigger_container)
        blob = container.get_blob_client(f"{uuid.uuid4().hex}.json")
        blob.upload_blob(body)
        run = self.application.intake.trigger_file(blob)
        assert run is not None
        return run.id

    def pass_(self) -> None:
        """One look of the reconciler at all runs."""
        assert self.application.reconciler.tick(wait_s=5).ran

    def kicked(self) -> None:
        """What the app does when a kick comes."""
        assert self.application.kicked(datetime.now(UTC).isoformat().encode()).ran

    def until(self, run_id: str, true: Callable[[Run], object], patience_s: float = PATIENCE_S) -> Run:
        """Pass after pass, until the run is so."""
        deadline = time.monotonic() + patience_s
        while True:
            self.pass_()
            run = self.application.store.get(run_id)
            if true(run):
                return run
            assert not run.state.ended, f"it ended as {run.state}: {run.reason}"
            assert time.monotonic() < deadline, f"not within {patience_s} s: {run}"
            time.sleep(0.05)

    def ended(self, run_id: str, patience_s: float = PATIENCE_S) -> Run:
        return self.until(run_id, lambda run: run.state.ended, patience_s)

    def result(self, run: Run) -> str:
        """What the sample's last step wrote."""
        place = paths.output_location(self.settings, run.id, "result")
        container = self.application.storage.container(place.account, place.container)
        return container.download_blob(f"{place.path}/all.txt").readall().decode()

    def scored(self, run_id: str) -> list[str]:
        job = self.application.store.get(run_id).job
        assert job is not None
        place = job.outputs["scored"]
        names = blob_names(self.application.storage, place.account, place.container, f"{place.path}/")
        return [name.rpartition("/")[2] for name in names]


def jobs_made(workspace: AzureMLWorkspace, run_id: str) -> list[str]:
    """The jobs that were made for a run, by the requests that made them."""
    names = [
        str(each["path"]).rpartition("/jobs/")[2]
        for each in workspace.requests()
        if each["method"] == "PUT" and each["status"] == 201
    ]
    return [name for name in names if name.startswith(f"{run_id}-")]


def azureml_environment(
    storage: str, workspace: AzureMLWorkspace, folder: Path, **more: str
) -> dict[str, str]:
    """The settings of a control plane for the sample workload, which is written below `folder`, and deploy it. A host
    may be started with them; storage is shared with whoever shares the connection string `storage`."""
    mark = uuid.uuid4().hex[:10]
    environment = {
        "AzureWebJobsStorage": storage,
        "DATA_STORAGE": storage,
        "TRIGGER_CONTAINER": f"triggers-{mark}",
        "DATA_CONTAINER": f"data-{mark}",
        "COMPUTE": "azureml",
        "WORKLOADS_FOLDER": str(write_sample(folder / "workloads")),
        **workspace.settings(),
        **more,
    }
    deploy(Settings.from_environment(environment))
    return environment


def write_sample(folder: Path) -> Path:
    """A folder of workloads with the sample one and its environment."""
    write(folder / "environments" / "sample.yml", "name: sample\nimage: mcr.microsoft.com/azureml/minimal\n")
    return write_workload(folder)


def deploy(settings: Settings) -> None:
    """What `batchscore deploy` does; the containers are made, too."""
    storage = Storage(settings)
    for account, name in (
        ("data", settings.trigger_container),
        ("data", settings.data_container),
        *(("system", name) for name in ("runs", "models", "logs")),
    ):
        storage.container(account, name, create=True)
    deploy_all(settings, storage)
    storage.close()


@contextmanager
def azureml_world(
    storage: str, workspace: AzureMLWorkspace, folder: Path, **environment: str
) -> Iterator[World]:
    """The sample workload, deployed to the workspace, and a control plane that no host moves."""
    environment = {"MAX_ACTIVE_RUNS": "20", **environment}
    settings = Settings.from_environment(azureml_environment(storage, workspace, folder, **environment))
    world = World(settings, workspace, folder)
    try:
        yield world
    finally:
        for application in world.applications:
            application.close()
