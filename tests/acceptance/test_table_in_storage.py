"""A triggered run whose input is a table in Blob storage: a prefix with an MLTable file, brought here like a folder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from batchscore.compute.base import Job, JobState
from batchscore.compute.local.backend import LocalCompute
from batchscore.settings import Settings
from batchscore.storage import Storage
from tests.local_pipelines import write
from tests.local_workloads import Jobs, ended

PIPELINE = """\
type: pipeline
name: rows
inputs:
  rows: {type: mltable}
outputs:
  out: {type: uri_folder}
jobs:
  score:
    type: parallel
    inputs: {rows: {type: mltable, path: "${{parent.inputs.rows}}"}}
    outputs: {out: {type: uri_folder, path: "${{parent.outputs.out}}"}}
    input_data: ${{inputs.rows}}
    mini_batch_size: "1kb"
    max_concurrency_per_instance: 1
    task: {type: run_function, code: ., entry_script: score.py, environment: azureml:any:1,
           append_row_to: "${{outputs.out}}"}
"""
DATA = {
    "MLTable": "paths: [{pattern: ./**/*.csv}]\ntransformations: [read_delimited]\n",
    "a/x.csv": "n\n2\n3\n",
}


@pytest.fixture
def local(settings: Settings, tmp_path: Path) -> Settings:
    write(tmp_path / "workloads" / "sample" / "rows.pipeline.yml", PIPELINE)
    write(
        tmp_path / "workloads" / "sample" / "score.py",
        "def run(rows):\n    return [n * 2 for n in rows['n']]\n",
    )
    return replace(settings, workloads_folder=tmp_path / "workloads")


@pytest.fixture
def compute(local: Settings) -> Iterator[LocalCompute]:
    compute = LocalCompute(local)
    yield compute
    compute.close()


def job_on(data: dict[str, str], local: Settings, storage: Storage, folder: Path) -> tuple[Jobs, Job]:
    jobs = Jobs(local, storage, folder)
    job = jobs.job()
    place = f"{job.run_id}/table"
    for name, text in data.items():
        storage.container("data", local.data_container).upload_blob(f"{place}/{name}", text.encode())
    outputs = {"out": job.outputs["result"]}
    return jobs, replace(
        job, pipeline="sample/rows.pipeline.yml", inputs={"rows": jobs.at(place)}, outputs=outputs
    )


def test_the_rows_of_a_table_in_storage_are_scored(
    compute: LocalCompute, local: Settings, storage: Storage, tmp_path: Path
) -> None:
    jobs, job = job_on(DATA, local, storage, tmp_path)
    compute.submit(job)
    status = ended(compute, job)
    assert (status.state, status.message) == (JobState.SUCCEEDED, "")
    assert [(step.items_done, step.items_total) for step in status.steps] == [(2, 2)]
    assert jobs.text(job.outputs["out"], "parallel_run_step.txt") == "4\n6\n"


def test_a_mistake_in_its_mltable_file_fails_the_run_with_file_and_line(
    compute: LocalCompute, local: Settings, storage: Storage, tmp_path: Path
) -> None:
    wrong = DATA | {"MLTable": DATA["MLTable"].replace("read_delimited", "read_delimted")}
    jobs, job = job_on(wrong, local, storage, tmp_path)
    compute.submit(job)
    status = ended(compute, job)
    assert status.state is JobState.FAILED
    assert (
        "MLTable:2: there is no transformation 'read_delimted'. Did you mean 'read_delimited'?"
        in status.message
    )
    assert jobs.blobs(job.outputs["out"]) == []
