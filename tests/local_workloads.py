"""A small workload as Azure ML files, and jobs for it, for the tests of computes."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, field, replace
from pathlib import Path

from batchscore import paths
from batchscore.compute.base import Compute, Job, JobState, JobStatus, Location, Overrides, Scalar
from batchscore.settings import Settings
from batchscore.storage import Storage
from tests.azurite import blob_names, blob_text
from tests.local_pipelines import write

PIPELINE = """
    type: pipeline
    name: sample
    inputs:
      data: {type: uri_folder}
      note: {type: uri_file, optional: true}
      mode: {type: string, default: ok}
      gate: {type: string, optional: true}
    outputs:
      scored: {type: uri_folder, mode: rw_mount}
      receipts: {type: uri_folder, mode: rw_mount}
      result: {type: uri_folder, mode: upload}
    jobs:
      score:
        type: parallel
        component: file:./score.yml
        inputs:
          data: ${{parent.inputs.data}}
          mode: ${{parent.inputs.mode}}
          gate: ${{parent.inputs.gate}}
        outputs:
          scored: ${{parent.outputs.scored}}
          receipts: ${{parent.outputs.receipts}}
      collect:
        type: command
        component: file:./collect.yml
        inputs:
          scored: ${{parent.jobs.score.outputs.scored}}
          note: ${{parent.inputs.note}}
          mode: ${{parent.inputs.mode}}
          gate: ${{parent.inputs.gate}}
        outputs:
          result: ${{parent.outputs.result}}
"""
NESTED = """
    type: pipeline
    name: nested
    inputs:
      data: {type: uri_folder}
      mode: {type: string, default: ok}
      gate: {type: string, optional: true}
    outputs:
      scored: {type: uri_folder, mode: rw_mount}
      receipts: {type: uri_folder, mode: rw_mount}
      result: {type: uri_folder, mode: upload}
    jobs:
      part:
        type: pipeline
        component: ./score.pipeline.yml
        inputs:
          data: ${{parent.inputs.data}}
          mode: ${{parent.inputs.mode}}
          gate: ${{parent.inputs.gate}}
        outputs:
          scored: ${{parent.outputs.scored}}
          receipts: ${{parent.outputs.receipts}}
          result: ${{parent.outputs.result}}
"""
SCORE = """
    type: parallel
    name: sample_score
    inputs:
      data: {type: uri_folder}
      mode: {type: string}
      gate: {type: string, optional: true}
    outputs:
      scored: {type: uri_folder, mode: rw_mount}
      receipts: {type: uri_folder, mode: rw_mount}
    input_data: ${{inputs.data}}
    mini_batch_size: "1"
    max_concurrency_per_instance: 2
    resources: {instance_count: 1}
    retry_settings: {max_retries: 0, timeout: 300}
    error_threshold: 0
    mini_batch_error_threshold: -1
    logging_level: INFO
    task:
      type: run_function
      code: .
      entry_script: score.py
      environment: azureml:sample@latest
      program_arguments: >-
        --mode ${{inputs.mode}} $[[--gate ${{inputs.gate}}]]
        --scored ${{outputs.scored}} --receipts ${{outputs.receipts}}
"""
SCORE_SCRIPT = '''
    """Upper-cases each file. Notes every item it works on in `worked` beside itself, where a test can count."""
    import argparse, os, pathlib, signal, subprocess, time

    parser = argparse.ArgumentParser()
    for name in ("--mode", "--gate", "--scored", "--receipts"):
        parser.add_argument(name, default="")
    arguments, _ = parser.parse_known_args()
    scored, receipts = pathlib.Path(arguments.scored), pathlib.Path(arguments.receipts)

    def run(mini_batch):
        rows = []
        for item in map(pathlib.Path, mini_batch):
            receipt = receipts / f"{item.name}.1ok.0failed.1.jsonl"
            if not (receipt.exists() and (scored / item.name).exists()):
                print("working on", item.name, flush=True)
                if arguments.gate:
                    notes = pathlib.Path(arguments.gate + ".notes")
                    notes.mkdir(exist_ok=True)
                    (notes / f"{item.name}.{time.monotonic_ns()}").write_text("")
                if arguments.mode == "endless" and item.name != "a.txt":
                    child = subprocess.Popen(["sleep", "300"])
                    (notes / f"pid.{child.pid}").write_text("")
                    (notes / f"pid.{os.getpid()}").write_text("")
                    signal.signal(signal.SIGTERM, signal.SIG_IGN)
                    time.sleep(300)
                if arguments.mode == "gated" and item.name != "a.txt":
                    while not os.path.exists(arguments.gate):
                        time.sleep(0.02)
                if arguments.mode == "broken" and item.name != "a.txt":
                    raise ValueError("cannot read " + item.name)
                (scored / item.name).write_text(item.read_text().upper())
                receipt.write_text('{"item": "%s"}' % item.name)
            rows.append(item.name)
        return rows
'''
COLLECT = """
    type: command
    name: sample_collect
    inputs:
      scored: {type: uri_folder}
      note: {type: uri_file, optional: true}
      mode: {type: string}
      gate: {type: string, optional: true}
    outputs:
      result: {type: uri_folder, mode: upload}
    code: .
    environment: azureml:sample@latest
    command: >-
      python collect.py ${{inputs.mode}} ${{inputs.scored}} ${{outputs.result}}
      $[[--gate ${{inputs.gate}}]] $[[--note ${{inputs.note}}]]
"""
COLLECT_SCRIPT = """
    import os, pathlib, sys, time
    mode, scored, result, *rest = sys.argv[1:]
    options = dict(zip(rest[::2], rest[1::2]))
    lines = [path.read_text() for path in sorted(pathlib.Path(scored).iterdir())]
    if "--note" in options:
        lines.append(pathlib.Path(options["--note"]).read_text())
    pathlib.Path(result, "all.txt").write_text("\\n".join(lines))
    if mode == "broken-at-the-end":
        if not os.path.exists(options["--gate"]):
            sys.exit("the collection is broken")
"""


def write_workload(folder: Path) -> Path:
    """The workload `sample/score` in a folder of workloads, and `sample/nested`, which holds it as a component."""
    write(folder / "sample" / "nested.pipeline.yml", NESTED)
    write(folder / "sample" / "score.pipeline.yml", PIPELINE)
    write(folder / "sample" / "score.yml", SCORE)
    write(folder / "sample" / "score.py", SCORE_SCRIPT)
    write(folder / "sample" / "collect.yml", COLLECT)
    write(folder / "sample" / "collect.py", COLLECT_SCRIPT)
    return folder


@dataclass
class Jobs:
    """Jobs of the sample workload, on data that it puts into storage; each job has a run of its own."""

    settings: Settings
    storage: Storage
    folder: Path
    overrides: Overrides = field(default_factory=Overrides)

    @property
    def gate(self) -> Path:
        """The file that gated jobs wait for."""
        return self.folder / "gate"

    @property
    def notes(self) -> Path:
        return self.folder / "gate.notes"

    def worked_on(self) -> list[str]:
        """The names of the items that were worked on, once for each time."""
        names = [path.name.rpartition(".")[0] for path in self.notes.iterdir()]
        return sorted(name for name in names if name != "pid")

    def pids(self) -> list[int]:
        """The processes that endless items note."""
        return [int(path.name[4:]) for path in self.notes.glob("pid.*")] if self.notes.exists() else []

    def job(self, **inputs: Scalar | Location) -> Job:
        """A job on three small files; more inputs by name."""
        run = uuid.uuid4().hex[:20]
        container = self.storage.container("data", self.settings.data_container)
        for name in ("a", "b", "c"):
            container.upload_blob(f"{run}/in/{name}.txt", f"text {name}".encode(), overwrite=True)
        return Job(
            name=paths.job_name(run, 1),
            run_id=run,
            attempt=1,
            workload="sample/score",
            pipeline="sample/score.pipeline.yml",
            inputs={"data": self.at(f"{run}/in"), **inputs},
            outputs={
                name: paths.output_location(self.settings, run, name)
                for name in ("scored", "receipts", "result")
            },
            logs=paths.logs_location(run, 1),
            overrides=self.overrides,
        )

    def endless(self) -> Job:
        """It finishes `a.txt` and then works on `b.txt` and `c.txt` for ever."""
        return self.job(mode="endless", gate=str(self.gate))

    def gated(self) -> Job:
        """It finishes `a.txt` and then waits for the gate."""
        return self.job(mode="gated", gate=str(self.gate))

    def failing(self) -> Job:
        """Its step `score` fails at `b.txt` or `c.txt`."""
        return self.job(mode="broken")

    def nested(self, job: Job) -> Job:
        """The same job by the pipeline that holds the sample's as a component."""
        return replace(job, workload="sample/nested", pipeline="sample/nested.pipeline.yml")

    def next_attempt(self, job: Job) -> Job:
        """The same run, once more."""
        attempt = job.attempt + 1
        return replace(
            job,
            name=paths.job_name(job.run_id, attempt),
            attempt=attempt,
            logs=paths.logs_location(job.run_id, attempt),
        )

    def at(self, path: str) -> Location:
        return paths.input_location(self.settings, path)

    def blobs(self, place: Location) -> list[str]:
        """What lies below a location, by names relative to it."""
        prefix = f"{place.path}/"
        return [
            name.removeprefix(prefix)
            for name in blob_names(self.storage, place.account, place.container, prefix)
        ]

    def remove(self, place: Location) -> None:
        """Remove the blobs below a place."""
        for name in blob_names(self.storage, place.account, place.container, place.path + "/"):
            self.storage.container(place.account, place.container).delete_blob(name)

    def text(self, place: Location, name: str) -> str:
        return blob_text(self.storage, place.account, place.container, f"{place.path}/{name}")


def ended(compute: Compute, job: Job, timeout_s: float = 40.0) -> JobStatus:
    """Wait until a job has ended."""
    deadline = time.monotonic() + timeout_s
    while not (status := compute.status(job.name)).state.ended:
        assert time.monotonic() < deadline, f"it did not end: {status}"
        time.sleep(0.05)
    return status


def running(compute: Compute, job: Job, items_done: int = 1, timeout_s: float = 40.0) -> JobStatus:
    """Wait until so many items of a job's first step are done."""
    deadline = time.monotonic() + timeout_s
    while True:
        status = compute.status(job.name)
        if status.state is JobState.RUNNING and status.steps and status.steps[0].items_done >= items_done:
            return status
        assert not status.state.ended, f"it ended: {status}"
        assert time.monotonic() < deadline, f"it did not get so far: {status}"
        time.sleep(0.05)
