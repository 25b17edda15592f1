"""A small component registered with an Azure ML workspace, and jobs of it that do real work."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

from azure.storage.blob import ContainerClient

from batchscore.storage import BLOB_API_VERSION

COMPONENT = """
$schema: https://azuremlschemas.azureedge.net/latest/parallelComponent.schema.json
type: parallel
name: {name}
version: "1"
inputs:
  items: {{type: uri_folder}}
  limit: {{type: integer, optional: true}}
outputs:
  results: {{type: uri_folder, mode: rw_mount}}
input_data: ${{{{inputs.items}}}}
mini_batch_size: "1"
max_concurrency_per_instance: 1
error_threshold: -1
mini_batch_error_threshold: 5
task:
  type: run_function
  code: ./code
  entry_script: entry.py
  environment: azureml:{name}:1
  program_arguments: --results ${{{{outputs.results}}}}
"""
ENTRY = """
import argparse, pathlib, time


def init():
    global results
    parser = argparse.ArgumentParser()
    parser.add_argument("--results")
    results = pathlib.Path(parser.parse_known_args()[0].results)


def run(mini_batch):
    done = []
    for item in map(pathlib.Path, mini_batch):
        text = item.read_text()
        if text == "wait":
            time.sleep(100)
        if text == "slow":
            time.sleep(0.3)
        if text == "fail":
            raise ValueError(f"{item.name} is a bad one")
        (results / item.name).write_text(text.upper())
        done.append(item.name)
    return done
"""
JOB = """
$schema: https://azuremlschemas.azureedge.net/latest/pipelineJob.schema.json
type: pipeline
display_name: a job
inputs:
  items: {{type: uri_folder, path: "azureml://datastores/{name}/paths/items/"}}
outputs:
  results: {{type: uri_folder, mode: rw_mount, path: "azureml://datastores/{name}/paths/results/"}}
settings: {{default_compute: "azureml:{name}"}}
jobs:
  score:
    type: parallel
    component: azureml:{name}:1
    inputs: {{items: "${{{{parent.inputs.items}}}}"}}
    outputs: {{results: "${{{{parent.outputs.results}}}}"}}
"""


class Registered:
    """An environment, a component with its code, a cluster of two nodes and a datastore with its container, all of one
    name of their own."""

    def __init__(self, client: Any, folder: Path, storage: str) -> None:
        from azure.ai.ml import load_component
        from azure.ai.ml.entities import AmlCompute, AzureBlobDatastore, Environment

        self.name = f"n{uuid.uuid4().hex[:10]}"
        self.folder = folder
        self.container = ContainerClient.from_connection_string(
            storage, self.name, api_version=BLOB_API_VERSION
        )
        self.container.create_container()
        (folder / "code").mkdir(parents=True)
        (folder / "code" / "entry.py").write_text(ENTRY)
        (folder / "component.yml").write_text(COMPONENT.format(name=self.name))
        (folder / "job.yml").write_text(JOB.format(name=self.name))
        cluster = AmlCompute(name=self.name, size="STANDARD_DS3_V2", max_instances=2)
        client.compute.begin_create_or_update(cluster).result()
        client.datastores.create_or_update(
            AzureBlobDatastore(name=self.name, account_name="devstoreaccount1", container_name=self.name)
        )
        client.environments.create_or_update(
            Environment(name=self.name, version="1", image="example.org/image:1")
        )
        self.component = client.components.create_or_update(load_component(folder / "component.yml"))

    def job(self, name: str = "", *, nodes: int = 1) -> Any:
        """A job of one step; read anew, for the client writes into what it is given."""
        from azure.ai.ml import load_job

        job = load_job(self.folder / "job.yml")
        job.name = name or f"job-{uuid.uuid4().hex[:10]}"
        if nodes != 1:
            job.jobs["score"].resources = {"instance_count": nodes}
        return job

    def put(self, **items: str) -> None:
        """Items for jobs: their content by name."""
        for name, text in items.items():
            self.container.upload_blob(f"items/{name}", text.encode(), overwrite=True)

    def results(self) -> dict[str, str]:
        """What jobs have made: content by the item's name."""
        names = self.container.list_blob_names(name_starts_with="results/")
        return {
            name.rpartition("/")[2]: self.container.download_blob(name).readall().decode() for name in names
        }
