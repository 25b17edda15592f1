"""The workload `demo/paint`, right in every way and with a word to Azure ML in each place that has one, for tests that put
one mistake into it."""

from __future__ import annotations

from pathlib import Path

PIPELINE = """\
$schema: https://azuremlschemas.azureedge.net/latest/pipelineComponent.schema.json
type: pipeline
name: paint_pictures
version: "1"
display_name: Paint pictures
tags:
  team: painters
inputs:
  pictures:
    type: uri_folder
  strength:
    type: number
    default: 0.8
    min: 0
    max: 1
  style:
    type: string
    enum: [night, wave]
    optional: true
  seed:
    type: integer
    default: 3
outputs:
  painted:
    type: uri_folder
    mode: rw_mount
  receipts:
    type: uri_folder
    mode: rw_mount
  rows:
    type: uri_file
jobs:
  prepare:
    type: command
    component: ./prepare.yml
    compute: azureml:cpu-cluster
    identity:
      type: user_identity
    queue_settings:
      job_tier: standard
    limits:
      timeout: 600
    inputs:
      source: ${{parent.inputs.pictures}}
      seed: ${{parent.inputs.seed}}
  paint:
    type: parallel
    component: ./paint.yml
    compute: azureml:gpu-cluster
    inputs:
      items: ${{parent.jobs.prepare.outputs.prepared}}
      strength: ${{parent.inputs.strength}}
      style: ${{parent.inputs.style}}
    outputs:
      painted: ${{parent.outputs.painted}}
      receipts: ${{parent.outputs.receipts}}
      rows: ${{parent.outputs.rows}}
    mini_batch_size: "4"
    retry_settings:
      max_retries: 1
"""
PREPARE = """\
$schema: https://azuremlschemas.azureedge.net/latest/commandComponent.schema.json
type: command
name: prepare_pictures
version: "1"
inputs:
  source:
    type: uri_folder
  seed:
    type: integer
    min: 0
    max: 9
outputs:
  prepared:
    type: uri_folder
code: ./code
environment: azureml:painting@latest
distribution:
  type: pytorch
  process_count_per_instance: 1
environment_variables:
  COLOUR: red
command: >-
  pip install paint && python prepare.py --source ${{inputs.source}} --seed ${{inputs.seed}}
  --out ${{outputs.prepared}}
"""
PAINT = """\
$schema: https://azuremlschemas.azureedge.net/latest/parallelComponent.schema.json
type: parallel
name: paint_picture
version: "1"
inputs:
  items:
    type: uri_folder
    mode: ro_mount
  strength:
    type: number
    min: 0
    max: 1
  style:
    type: string
    optional: true
outputs:
  painted:
    type: uri_folder
    mode: rw_mount
  receipts:
    type: uri_folder
    mode: rw_mount
  rows:
    type: uri_file
input_data: ${{inputs.items}}
mini_batch_size: "10"
max_concurrency_per_instance: 2
error_threshold: 5
mini_batch_error_threshold: 2
logging_level: INFO
resources:
  instance_count: 1
  shm_size: 2g
retry_settings:
  timeout: 60
  max_retries: 2
task:
  type: run_function
  code: ./code
  entry_script: entry/paint.py
  environment: azureml:painting-gpu@latest
  program_arguments: >-
    --strength ${{inputs.strength}} $[[--style ${{inputs.style}}]]
    --out ${{outputs.painted}} --receipts ${{outputs.receipts}} --progress_update_timeout 600
  append_row_to: ${{outputs.rows}}
"""
SCRIPT = """\
def init(): ...


def run(mini_batch):
    return mini_batch
"""
ENVIRONMENT = """\
$schema: https://azuremlschemas.azureedge.net/latest/environment.schema.json
name: painting
version: "1"
image: mcr.microsoft.com/azureml/base:latest
"""
GPU_ENVIRONMENT = ENVIRONMENT.replace("name: painting", "name: painting-gpu\ntags: {accelerator: gpu}")
CLUSTER = """\
$schema: https://azuremlschemas.azureedge.net/latest/amlCompute.schema.json
type: amlcompute
name: cpu-cluster
size: Standard_D16ads_v5
max_instances: 4
"""
GPU_CLUSTER = CLUSTER.replace("cpu-cluster", "gpu-cluster").replace("D16ads_v5", "NC4as_T4_v3")
JOB = """\
$schema: https://azuremlschemas.azureedge.net/latest/pipelineJob.schema.json
type: pipeline
component: ./paint.pipeline.yml
inputs:
  pictures: {type: uri_folder, path: ./pictures}
settings: {default_compute: azureml:cpu-cluster}
"""
P, C, T, S = "demo/paint.pipeline.yml", "demo/prepare.yml", "demo/paint.yml", "demo/code/entry/paint.py"
FILES = {
    P: PIPELINE,
    C: PREPARE,
    T: PAINT,
    S: SCRIPT,
    "demo/code/prepare.py": "",
    "demo/pictures/a.jpg": "",
    "environments/cpu.yml": ENVIRONMENT,
    "environments/gpu.yml": GPU_ENVIRONMENT,
    "computes/cpu.yml": CLUSTER,
    "computes/gpu.yml": GPU_CLUSTER,
}


def workload_in(folder: Path, file: str = "", old: str = "", new: str = "") -> Path:
    """The workload with one edit; its pipeline file."""
    for name, text in FILES.items():
        if name == file:
            assert old in text
            text = text.replace(old, new, 1)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder / P
