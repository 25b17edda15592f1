"""A folder with one small workload, `demo/copy`, for tests of what stands on workloads."""

from __future__ import annotations

from pathlib import Path

PIPELINE = """\
$schema: https://azuremlschemas.azureedge.net/latest/pipelineComponent.schema.json
type: pipeline
name: copy
version: "1"
inputs:
  files: {type: uri_folder}
  table: {type: uri_file, optional: true}
  sheet: {type: mltable, optional: true}
  model: {type: custom_model, optional: true}
  strength: {type: number, default: 1.0, min: 0, max: 1}
  mode: {type: string, default: fast, enum: [fast, good]}
outputs:
  copies: {type: uri_folder, mode: rw_mount}
  list: {type: uri_folder}
  receipts: {type: uri_folder, mode: rw_mount}
jobs:
  copy:
    type: parallel
    component: ./copy.yml
    inputs:
      files: ${{parent.inputs.files}}
      strength: ${{parent.inputs.strength}}
      mode: ${{parent.inputs.mode}}
      table: ${{parent.inputs.table}}
      model: ${{parent.inputs.model}}
    outputs:
      copies: ${{parent.outputs.copies}}
      receipts: ${{parent.outputs.receipts}}
    environment_variables: {COLOUR: blue, API_KEY: none}
  list:
    type: command
    component: ./list.yml
    inputs:
      copies: ${{parent.jobs.copy.outputs.copies}}
    outputs:
      list: ${{parent.outputs.list}}
"""
COPY = """\
$schema: https://azuremlschemas.azureedge.net/latest/parallelComponent.schema.json
type: parallel
name: copy_files
version: "1"
is_deterministic: false
inputs:
  files: {type: uri_folder}
  table: {type: uri_file, optional: true}
  model: {type: custom_model, optional: true}
  strength: {type: number}
  mode: {type: string}
outputs:
  copies: {type: uri_folder, mode: rw_mount}
  receipts: {type: uri_folder, mode: rw_mount}
input_data: ${{inputs.files}}
mini_batch_size: "2"
max_concurrency_per_instance: 2
error_threshold: -1
mini_batch_error_threshold: -1
retry_settings: {timeout: 60, max_retries: 1}
resources: {instance_count: 1}
task:
  type: run_function
  code: .
  entry_script: copy_files.py
  environment: azureml:any:1
  program_arguments: >-
    --copies ${{outputs.copies}} --receipts ${{outputs.receipts}} --mode ${{inputs.mode}}
    --strength ${{inputs.strength}} $[[--table ${{inputs.table}}]] $[[--model ${{inputs.model}}]]
"""
LIST = """\
$schema: https://azuremlschemas.azureedge.net/latest/commandComponent.schema.json
type: command
name: list_files
version: "1"
is_deterministic: false
inputs:
  copies: {type: uri_folder}
outputs:
  list: {type: uri_folder}
code: .
environment: azureml:any:1
command: ls ${{inputs.copies}} > ${{outputs.list}}/list.txt
"""
SCRIPT = """\
import argparse, shutil
from pathlib import Path


def init():
    global arguments
    parser = argparse.ArgumentParser()
    for name in ("copies", "receipts", "mode", "strength", "table", "model"):
        parser.add_argument(f"--{name}")
    arguments, _ = parser.parse_known_args()


def run(mini_batch):
    for file in mini_batch:
        shutil.copy(file, Path(arguments.copies) / Path(file).name)
    return [Path(file).name for file in mini_batch]
"""


def write_workloads(root: Path) -> Path:
    """Write the workload below `root` and give the folder of workloads."""
    folder = root / "workloads" / "demo"
    folder.mkdir(parents=True)
    (folder / "copy.pipeline.yml").write_text(PIPELINE)
    (folder / "copy.yml").write_text(COPY)
    (folder / "list.yml").write_text(LIST)
    (folder / "copy_files.py").write_text(SCRIPT)
    return folder.parent


def write_two_workloads(root: Path) -> Path:
    """Beside `demo/copy`, which runs on CPUs, `demo/paint`, whose first step needs a GPU."""
    folder = write_workloads(root)
    (folder / "environments").mkdir()
    for name, accelerator in (("demo", "none"), ("paint", "gpu")):
        (folder / "environments" / f"{name}.yml").write_text(
            f"name: {name}\ntags: {{accelerator: {accelerator}}}\nimage: ubuntu\n"
        )
    demo = folder / "demo"
    for name, text in (("copy", COPY), ("list", LIST)):
        (demo / f"{name}.yml").write_text(text.replace("azureml:any:1", "azureml:demo@latest"))
    paint = COPY.replace("name: copy_files", "name: paint_files")
    (demo / "paint.yml").write_text(paint.replace("azureml:any:1", "azureml:paint@latest"))
    pipeline = PIPELINE.replace("./copy.yml", "./paint.yml").replace("name: copy\n", "name: paint\n")
    (demo / "paint.pipeline.yml").write_text(pipeline)
    return folder
