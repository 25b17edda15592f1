"""Every mistake in a pipeline file is refused with its file, its line and a remedy.

Each row edits one thing in a pipeline that is right, and names a part of the message and the text of the line
that the message points at.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from batchscore.definitions import load_pipeline
from batchscore.errors import DefinitionError

PIPELINE = """\
$schema: https://azuremlschemas.azureedge.net/latest/pipelineComponent.schema.json
type: pipeline
name: paint
version: 1
display_name: Paint pictures
inputs:
  pictures:
    type: uri_folder
    description: what is painted
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
  table:
    type: uri_file
    optional: true
outputs:
  painted:
    type: uri_folder
    mode: rw_mount
  rows:
    type: uri_file
jobs:
  prepare:
    type: command
    component: file:./steps/prepare.yml
    compute: azureml:cpu
    inputs:
      source: ${{parent.inputs.pictures}}
      seed: ${{parent.inputs.seed}}
  paint:
    type: parallel
    component: ./steps/paint.yml
    inputs:
      items: ${{parent.jobs.prepare.outputs.prepared}}
      strength: ${{parent.inputs.strength}}
      style: ${{parent.inputs.style}}
    outputs:
      painted: ${{parent.outputs.painted}}
      rows: ${{parent.outputs.rows}}
    mini_batch_size: "4"
    retry_settings:
      max_retries: 1
"""

PREPARE = """\
$schema: https://azuremlschemas.azureedge.net/latest/commandComponent.schema.json
type: command
name: prepare
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
code: ../code
environment: azureml:painting@latest
command: >-
  python prepare.py --source ${{inputs.source}} --seed ${{inputs.seed}}
  --out ${{outputs.prepared}}
"""

PAINT = """\
$schema: https://azuremlschemas.azureedge.net/latest/parallelComponent.schema.json
type: parallel
name: paint
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
retry_settings:
  timeout: 60
  max_retries: 2
task:
  type: run_function
  code: ../code
  entry_script: entry/paint.py
  environment:
    image: mcr.microsoft.com/azureml/base:latest
    conda_file: ../code/conda.yml
  program_arguments: >-
    --strength ${{inputs.strength}} $[[--style ${{inputs.style}}]]
    --out ${{outputs.painted}} --progress_update_timeout 600
  append_row_to: ${{outputs.rows}}
"""

P, C, T = "paint.pipeline.yml", "steps/prepare.yml", "steps/paint.yml"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A pipeline of two steps that is right in every way."""
    for name in ("steps", "code/entry", "pictures"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("code/prepare.py", "code/entry/paint.py", "code/conda.yml", "pictures/a.jpg"):
        (tmp_path / name).touch()
    (tmp_path / "code/entry/paint.py").write_text("def run(mini_batch): ...")
    for name, text in ((P, PIPELINE), (C, PREPARE), (T, PAINT)):
        (tmp_path / name).write_text(text)
    return tmp_path


def problems_of(path: Path) -> list[tuple[str, int, str]]:
    with pytest.raises(DefinitionError) as caught:
        load_pipeline(path)
    return [
        (str(Path(problem.file).resolve().relative_to(path.parent.resolve())), problem.line, problem.message)
        for problem in caught.value.problems
    ]


def test_the_pipeline_that_the_rows_edit_is_right(folder: Path) -> None:
    assert [step.name for step in load_pipeline(folder / P).steps] == ["prepare", "paint"]


# (file, what is replaced, by what, part of the message, text of the line it points at)
EDITS: list[tuple[str, str, str, str, str]] = [
    # keys
    (P, "display_name:", "displayname:", "'displayname' is not a key of the pipeline. Did you mean 'display_name'?", "displayname"),
    (P, "    mini_batch_size:", "    mini_batchsize:", "Did you mean 'mini_batch_size'?", "mini_batchsize"),
    (T, "  max_retries: 2", "  max_retry: 2", "is not a key of the component 'paint.yml': retry_settings. Did you mean 'max_retries'?", "max_retry"),
    (T, "  entry_script:", "  entryscript:", "Did you mean 'entry_script'?", "entryscript"),
    (T, "  instance_count: 1", "  instances: 1", "'instances' is not a key of", "instances: 1"),
    (T, "    conda_file:", "    conda:", "Did you mean 'conda_file'?", "conda:"),
    (P, "    default: 0.8", "    defualt: 0.8", "Did you mean 'default'?", "defualt"),
    (P, "    mode: rw_mount\n  rows", "    modus: rw_mount\n  rows", "Did you mean 'mode'?", "modus"),
    (P, "version: 1\n", "version: 1\nversion: 2\n", "'version' appears twice (first at line 4)", "version: 2"),
    (C, "    max: 9\n", "    max: 9\n    max: 10\n", "'max' appears twice", "max: 10"),
    (P, "version: 1\n", "settings:\n  default_compute: azureml:cpu\n", "'settings' is not a key of the pipeline", "settings"),
    # kinds
    (P, "type: pipeline\n", "type: pipline\n", "it must be pipeline", "pipline"),
    (P, "type: pipeline\n", "", "has no type. Say type: pipeline.", "$schema"),
    (P, "pipelineComponent.schema", "commandComponent.schema", "says commandComponent", "$schema"),
    (T, "parallelComponent.schema", "commandComponent.schema", "says commandComponent", "$schema"),
    (P, "    type: command\n", "    type: commnd\n", "'commnd'; it must be command, parallel or pipeline. Did you mean 'command'?", "commnd"),
    (P, "    type: command\n", "    type: parallel\n", "it must be parallel", "type: command"),
    (P, "    type: command\n", "    type: sweep\n", "'sweep' is not supported yet by the local engine", "sweep"),
    (P, "    type: command\n", "    type: automl\n", "'automl' is not supported yet", "automl"),
    (P, "    type: command\n", "    type: spark\n", "'spark' is not supported yet", "spark"),
    (P, "    type: command\n", "    type: pipeline\n", "type is 'command'; it must be pipeline, as in step 'prepare'", "type: command"),
    (C, "type: command\nname", "type: pipeline\nname", "it must be command, as in step 'prepare'", "type: pipeline"),
    (C, "type: command\nname", "type: sweep\nname", "is of type 'sweep', which is not supported yet", "component: file:"),
    (P, "file:./steps/prepare.yml", "azureml:prepare:1", "'azureml:prepare:1' is registered with Azure ML. Say what it is here: --map azureml:prepare:1=PATH, or a line azureml:prepare:1: PATH in azureml-local.yml", "component: azureml"),
    (P, "file:./steps/prepare.yml", "./steps/prepar.yml", "'./steps/prepar.yml' is not there", "prepar.yml"),
    (P, "file:./steps/prepare.yml", "[a]", "component is a list; it must be the path of a component file", "component: [a]"),
    (P, "    component: file:./steps/prepare.yml\n", "", "has no command. Say what to run", "prepare:"),
    (P, "  prepare:\n    type", "  1st step:\n    type", "step '1st step' is not a name", "1st step"),
    (P, "  seed:\n    type: integer", "  the-seed:\n    type: integer", "input 'the-seed' is not a name", "the-seed"),
    # declared inputs and outputs
    (P, "    type: number\n", "    type: nummer\n", "Did you mean 'number'?", "nummer"),
    (P, "    type: number\n", "", "input 'strength' has no type. Say one of", "strength:"),
    (P, "    type: uri_file\n    optional", "    type: mlflow_mdel\n    optional", "Did you mean 'mlflow_model'?", "mlflow_mdel"),
    (P, "    default: 0.8", "    default: 1.5", "default is 1.5; it must be at most 1.", "default: 1.5"),
    (P, "    default: 0.8", "    default: -1", "default is -1; it must be at least 0.", "default: -1"),
    (P, "    default: 0.8", "    default: much", "default is 'much'; it must be a number.", "default: much"),
    (P, "    default: 0.8", "    default: .nan", "it must be a number", "default: .nan"),
    (P, "    default: 0.8", "    default: [1]", "default is a list; it must be a single value", "default: [1]"),
    (P, "    default: 3", "    default: 3.5", "default is 3.5; it must be a whole number.", "3.5"),
    (P, "    default: 3", "    default: true", "default is true; it must be a whole number.", "default: true"),
    (P, "    enum: [night, wave]\n", "    enum: [night, wave]\n    default: day\n", "it must be one of 'night', 'wave'", "default: day"),
    (P, "    enum: [night, wave]", "    enum: [night, 3]", "a value of enum is 3; it must be text", "enum"),
    (P, "    enum: [night, wave]", "    enum: night", "enum is 'night'; it must be a list", "enum: night"),
    (P, "    max: 1\n", "    max: -1\n", "min is 0, more than max -1", "min: 0"),
    (P, "    max: 1\n", "    max: high\n", "max is 'high'; it must be a number", "high"),
    (P, "    enum: [night, wave]", "    min: 3", "min is for numbers only, and this is a string", "min: 3"),
    (P, "    optional: true\n  seed", "    optional: perhaps\n  seed", "optional is 'perhaps'; it must be true or false", "perhaps"),
    (P, "    type: uri_file\n    optional: true", "    type: uri_file\n    default: x.csv", "default is for numbers and text only", "x.csv"),
    (P, "    mode: rw_mount\n  rows", "    mode: rw_mnt\n  rows", "mode is 'rw_mnt'; it must be one of rw_mount", "rw_mnt"),
    (T, "    mode: ro_mount", "    mode: eval_mount", "'eval_mount' is not supported yet", "eval_mount"),
    (P, "    type: uri_folder\n    mode: rw_mount\n", "    mode: rw_mount\n", "output 'painted' has no type", "painted:"),
    (P, "  rows:\n    type: uri_file\njobs", "  rows:\n    type: uri_file\n  more:\n    type: uri_file\njobs", "output 'more' is written by no step", "more:"),
    (P, "inputs:\n  pictures:\n    type: uri_folder\n    description: what is painted\n", "inputs:\n  pictures: text\n", "input 'pictures' is 'text'; it must be a mapping", "pictures: text"),
    # references
    (P, "${{parent.inputs.seed}}", "${{parent.inputs.sed}}", "no such input. Did you mean 'seed'?", "seed: ${{"),
    (P, "${{parent.inputs.seed}}", "${{inputs.seed}}", "write ${{parent.inputs.seed}}", "seed: ${{"),
    (P, "${{parent.inputs.seed}}", "${{parent.inputs.seed", "has no '}}'", "seed: ${{"),
    (P, "${{parent.inputs.style}}", "the ${{parent.inputs.style}}", "a reference must stand alone", "the ${{"),
    (P, "${{parent.inputs.style}}", "${{parent.style}}", "It must be ${{parent.inputs.<name>}} or", "${{parent.style}}"),
    (P, "parent.jobs.prepare.outputs.prepared", "parent.jobs.prepar.outputs.prepared", "there is no step 'prepar'. Did you mean 'prepare'?", "items:"),
    (P, "parent.jobs.prepare.outputs.prepared", "parent.jobs.prepare.outputs.done", "step 'prepare' has no such output", "items:"),
    (P, "parent.jobs.prepare.outputs.prepared", "parent.outputs.painted", "${{parent.jobs.paint.outputs.painted}}", "items:"),
    (P, "      painted: ${{parent.outputs.painted}}", "      painted: ${{parent.outputs.panted}}", "no such output. Did you mean 'painted'?", "panted"),
    (P, "      painted: ${{parent.outputs.painted}}", "      painted: ${{outputs.painted}}", "only be one of the pipeline's", "${{outputs"),
    (P, "      painted: ${{parent.outputs.painted}}", "      painted: results", "it must be ${{parent.outputs.name}} or a mapping", "results"),
    (P, "      rows: ${{parent.outputs.rows}}", "      rows: ${{parent.outputs.painted}}", "writes already. Give each its own", "rows: ${{"),
    (P, "      rows: ${{parent.outputs.rows}}", "      row: ${{parent.outputs.rows}}", "the component has no output 'row'", "row: ${{"),
    (P, "      strength: ${{parent.inputs.strength}}\n", "", "gives no 'strength', which the component needs", "paint:"),
    (P, "      strength: ${{parent", "      strenght: ${{parent", "has no input 'strenght'. Did you mean 'strength'?", "strenght"),
    (P, "      strength: ${{parent.inputs.strength}}\n", "      strength:\n", "input 'strength' is empty", "strength:"),
    (P, "${{parent.inputs.pictures}}", "${{parent.jobs.paint.outputs.painted}}", "prepare → paint → prepare", "prepare:"),
    (P, "${{parent.jobs.prepare.outputs.prepared}}", "${{parent.jobs.paint.outputs.painted}}", "paint → paint", "paint:"),
    (P, "    default: 3\n", "    optional: true\n", "is required, and ${{parent.inputs.seed}} is optional", "seed: ${{"),
    # types
    (P, "${{parent.inputs.pictures}}", "${{parent.inputs.seed}}", "must be of type uri_folder, and ${{parent.inputs.seed}} is of type integer", "source:"),
    (P, "    type: uri_folder\n    description", "    type: uri_file\n    description", "must be of type uri_folder, and ${{parent.inputs.pictures}} is of type uri_file", "source:"),
    (P, "${{parent.inputs.strength}}", "${{parent.inputs.style}}", "must be of type number, and ${{parent.inputs.style}} is of type string", "strength: ${{"),
    (P, "${{parent.inputs.seed}}", "${{parent.inputs.strength}}", "must be of type integer", "seed: ${{"),
    (P, "${{parent.inputs.seed}}", "12", "input 'seed' is 12; it must be at most 9.", "seed: 12"),
    (P, "${{parent.inputs.seed}}", "many", "input 'seed' is 'many'; it must be a whole number.", "seed: many"),
    (P, "    default: 3\n", "    default: 12\n", "own value for ${{parent.inputs.seed}} is 12; it must be at most 9", "seed: ${{"),
    (P, "${{parent.inputs.pictures}}", "pictures", "is 'pictures'; it must be of type uri_folder", "source:"),
    (P, "source: ${{parent.inputs.pictures}}", "source: {type: uri_folder, path: ./picturs}", "'./picturs' is not there", "picturs"),
    (P, "source: ${{parent.inputs.pictures}}", "source: {type: uri_folder, path: pictures/a.jpg}", "is a file, and the type is uri_folder", "a.jpg"),
    (P, "source: ${{parent.inputs.pictures}}", "source: {path: pictures/a.jpg}", "is a file, and the type is uri_folder", "a.jpg"),
    (P, "source: ${{parent.inputs.pictures}}", "source: {type: uri_folder}", "input 'source' has no path", "source:"),
    (P, "source: ${{parent.inputs.pictures}}", "source: {path: 'azureml:pictures:1'}", "which a local run does not fetch. Say what it is here: --map azureml:pictures:1=PATH", "source:"),
    (P, "source: ${{parent.inputs.pictures}}", "source: {path: 'azureml://datastore/x/paths/y'}", "is no address that Azure ML knows", "source:"),
    (P, "source: ${{parent.inputs.pictures}}", "source: {path: 'ftp://host/x'}", "begins with 'ftp'", "source:"),
    (P, "source: ${{parent.inputs.pictures}}", "source: {type: uri_file, path: '${{parent.inputs.pictures}}'}", "is uri_file here and uri_folder in the component", "source:"),
    (P, "      rows: ${{parent.outputs.rows}}", "      rows: {type: uri_folder, path: '${{parent.outputs.rows}}'}", "is uri_folder here and uri_file in the component", "rows: {"),
    (P, "  rows:\n    type: uri_file", "  rows:\n    type: uri_folder", "is of type uri_file, and the pipeline's output 'rows' is of type uri_folder", "rows: ${{"),
    (P, "      rows: ${{parent.outputs.rows}}", "      rows: {path: ./out.csv}", "it must be an address in a datastore", "out.csv"),
    (P, "      rows: ${{parent.outputs.rows}}", "      rows: {path: 'azureml://datastores/d/paths/${{run}}/x.csv'}", "only ${{name}}, ${{output_name}} and ${{default_datastore}}", "x.csv"),
    (P, "    compute: azureml:cpu", "    compute: ${{parent.inputs.cluster}}", "no input of the pipeline", "compute"),
    (P, "    compute: azureml:cpu", "    compute: [azureml:cpu]", "compute is a list; it must be text", "compute"),
    # the command
    (C, "--seed ${{inputs.seed}}", "--seed ${{inputs.sead}}", "no such input. Did you mean 'seed'?", "command:"),
    (C, "--out ${{outputs.prepared}}", "--out ${{outputs.prepard}}", "no such output. Did you mean 'prepared'?", "command:"),
    (C, "--seed ${{inputs.seed}}", "--seed ${{parent.inputs.seed}}", "Bind it under inputs: and use that name", "command:"),
    (C, "--seed ${{inputs.seed}}", "--seed ${{name}}", "only ${{inputs.name}} and ${{outputs.name}}", "command:"),
    (C, "--seed ${{inputs.seed}}", "--seed ${{inputs.seed}", "has a '${{' without its '}}'", "command:"),
    (C, "--seed ${{inputs.seed}}", "$[[--seed ${{inputs.seed}}", "has a '$[[' without its ']]'", "command:"),
    (C, "--seed ${{inputs.seed}}", "$[[--verbose]]", "names no input", "command:"),
    (C, "--seed ${{inputs.seed}}", "--seed `echo ${{inputs.seed}}`", "in backquotes", "command:"),
    (C, "--seed ${{inputs.seed}}", "--seed $((${{inputs.seed}}+1))", "in arithmetic", "command:"),
    (C, "--seed ${{inputs.seed}}", "--seed '${{inputs.seed}}", "a quote that is not closed", "command:"),
    (C, "python prepare.py", "python prepair.py", "'prepair.py', which is not in the code folder", "command:"),
    (C, "command: >-\n", "comand: >-\n", "Did you mean 'command'?", "comand"),
    (C, "code: ../code", "code: ./code", "code './code' is not there", "code: ./code"),
    (C, "code: ../code", "code: ../code/prepare.py", "is a file; name the folder that holds it", "code: ../code/prepare.py"),
    (C, "code: ../code", "code: azureml:code:1", "'azureml:code:1' is not on this machine. Say what it is here: --map azureml:code:1=PATH", "code: azureml"),
    (C, "environment: azureml:painting@latest\n", "", "has no environment", "$schema"),
    (C, "environment: azureml:painting@latest", "environment: painting", "it must be azureml:<name>:<version>", "environment: painting"),
    (C, "environment: azureml:painting@latest", "environment: {conda_file: ../code/conda.yml}", "has no image", "environment:"),
    (C, "environment: azureml:painting@latest", "environment: {build: {path: ../docker}}", "path '../docker' is not there", "environment:"),
    (C, "code: ../code", "code: ../code\nadditional_includes: [../x]", "additional_includes: '../x' is not there", "additional_includes"),
    (C, "code: ../code", "code: ../code\nadditional_includes: [../code/prepare.py]", "'prepare.py' is in the code folder", "additional_includes"),
    (C, "code: ../code", "code: ../code\nadditional_includes: x", "it must be a list of paths", "additional_includes"),
    (P, "    compute: azureml:cpu\n", "    compute: azureml:cpu\n    additional_includes: []\n", "additional_includes comes from the component", "additional_includes"),
    (P, "    compute: azureml:cpu\n", "    compute: azureml:cpu\n    limits: {timeout: 0}\n", "timeout is 0; it must be a whole number from 1", "limits"),
    (P, "    compute: azureml:cpu\n", "    compute: azureml:cpu\n    limits: {time: 5}\n", "Did you mean 'timeout'?", "limits"),
    (P, "    compute: azureml:cpu\n", "    compute: azureml:cpu\n    resources: {instance_count: '${{parent.inputs.sed}}'}\n", "Did you mean 'seed'?", "resources"),
    (C, "code: ../code", "code: ../code\nenvironment_variables: {VERBOSE: true}", "VERBOSE is true; it must be text (quote it)", "VERBOSE"),
    (P, "    compute: azureml:cpu", "    command: python x.py", "command comes from the component", "command: python x.py"),
    # the parallel step
    (P, '"4"', '"0"', "mini_batch_size is '0'; it must be a whole number from 1", "mini_batch_size"),
    (P, '"4"', "-2", "mini_batch_size is -2", "mini_batch_size"),
    (P, '"4"', "1.5", "mini_batch_size is 1.5", "mini_batch_size"),
    (P, '"4"', "1mb", "is '1mb', a size of tables, and the items are files. Give a number", "mini_batch_size"),
    (P, '"4"', "${{parent.inputs.seed}}", "a reference there is not supported yet", "mini_batch_size"),
    (T, "    type: uri_folder\n    mode: ro_mount", "    type: mltable", "must be of type mltable, and", "items:"),
    (T, "max_concurrency_per_instance: 2", "max_concurrency_per_instance: 0", "from 1", "max_concurrency"),
    (T, "max_concurrency_per_instance: 2", "max_concurrency_per_instance: -3", "from 1", "max_concurrency"),
    (T, "\nerror_threshold: 5", "\nerror_threshold: -5", "error_threshold is -5; it must be a whole number from -1", "error_threshold: -5"),
    (T, "\nerror_threshold: 5", "\nerror_threshold: 1.5", "error_threshold is 1.5", "error_threshold: 1.5"),
    (T, "\nerror_threshold: 5", "\nerror_threshold: true", "error_threshold is true", "error_threshold: true"),
    (T, "mini_batch_error_threshold: 2", "mini_batch_error_threshold: -2", "from -1", "mini_batch_error_threshold"),
    (T, "logging_level: INFO", "logging_level: info", "did you mean 'INFO'?", "logging_level"),
    (T, "logging_level: INFO", "logging_level: ERROR", "one of DEBUG, INFO, WARNING", "logging_level"),
    (T, "  instance_count: 1", "  instance_count: 0", "instance_count is 0; it must be a whole number from 1", "instance_count"),
    (T, "  timeout: 60", "  timeout: -1", "timeout is -1; it must be a whole number from 1 to 259200", "timeout: -1"),
    (T, "  timeout: 60", "  timeout: 0", "timeout is 0", "timeout: 0"),
    (T, "  timeout: 60", "  timeout: 300000", "timeout is 300000", "timeout: 300000"),
    (T, "  max_retries: 2", "  max_retries: -1", "max_retries is -1; it must be a whole number from 0", "max_retries: -1"),
    (T, "retry_settings:\n  timeout: 60\n  max_retries: 2\n", "retry_settings: 3\n", "retry_settings is 3; it must be a mapping", "retry_settings: 3"),
    (T, "input_data: ${{inputs.items}}\n", "", "has no input_data", "$schema"),
    (T, "input_data: ${{inputs.items}}", "input_data: ${{inputs.item}}", "no such input. Did you mean 'items'?", "input_data"),
    (T, "input_data: ${{inputs.items}}", "input_data: items", "it must be ${{inputs.<name>}}", "input_data"),
    (T, "input_data: ${{inputs.items}}", "input_data: ${{outputs.rows}}", "it must be ${{inputs.<name>}}", "input_data"),
    (T, "input_data: ${{inputs.items}}", "input_data: ${{inputs.strength}}", "of type number. Items are files", "input_data"),
    (T, "    mode: ro_mount", "    optional: true", "which is optional. Without it there are no items", "input_data"),
    (T, "input_data: ${{inputs.items}}", "input_data: ${{inputs.items}}\npartition_keys: [day]", "partition_keys are columns of a table, and the items are files", "partition_keys"),
    (T, "input_data: ${{inputs.items}}", "input_data: ${{inputs.items}}\nadditional_includes: [x]", "is dropped by Azure ML for a parallel step", "additional_includes"),
    (T, "  append_row_to: ${{outputs.rows}}", "  append_row_to: ${{outputs.row}}", "no such output. Did you mean 'rows'?", "append_row_to"),
    (T, "  append_row_to: ${{outputs.rows}}", "  append_row_to: rows.csv", "it must be ${{outputs.<name>}}", "append_row_to"),
    (T, "entry_script: entry/paint.py", "entry_script: entry/pain.py", "'entry/pain.py' is not in the code folder", "entry_script"),
    (T, "entry_script: entry/paint.py", "entry_script: paint.py", "Did you mean 'entry/paint.py'?", "entry_script"),
    (T, "entry_script: entry/paint.py", "entry_script: ../steps/x.py", "a path inside the code folder", "entry_script"),
    (T, "entry_script: entry/paint.py", "entry_script: entry/paint", "it must be a Python file", "entry_script"),
    (T, "  entry_script: entry/paint.py\n", "", "has no entry_script", "task:"),
    (T, "  code: ../code\n", "", "has no code", "task:"),
    (T, "  code: ../code\n", "  code: ../cod\n", "code '../cod' is not there", "code: ../cod"),
    (T, "  type: run_function\n", "  type: model\n", "it must be one of run_function, function", "type: model"),
    (T, "  type: run_function\n", "", "has no type. Say type: run_function.", "task:"),
    (T, "conda_file: ../code/conda.yml", "conda_file: ../conda.yml", "conda_file '../conda.yml' is not there", "conda_file"),
    (T, "$[[--style ${{inputs.style}}]]", "--style ${{inputs.style}}", "Write $[[--style ${{inputs.style}}]]", "program_arguments"),
    (T, "${{inputs.strength}}", "${{inputs.strengh}}", "Did you mean 'strength'?", "program_arguments"),
    (T, "--progress_update_timeout 600", "--progress_update_timeout 0", "--progress_update_timeout '0'; it must be a number from 1", "program_arguments"),
    (T, "--progress_update_timeout 600", "--allowed_failed_percent=120", "from 0 to 100", "program_arguments"),
    (T, "--progress_update_timeout 600", "--copy_logs_to_parent 1", "it must be True or False", "program_arguments"),
    (T, "--progress_update_timeout 600", "--error_threshold 7", "says --error_threshold 7, and error_threshold is 5", "program_arguments"),
    (T, "--out ${{outputs.painted}}", '--out "${{outputs.painted}}', "a quote that is not closed", "program_arguments"),
    # not YAML
    (P, "type: pipeline\n", "type: [pipeline\n", "the file is not YAML", ""),
    (P, "  pictures:\n    type: uri_folder", "  pictures:\n\ttype: uri_folder", "Indent with spaces, not tabs.", "\ttype"),
    (P, "name: paint\n", "name: !!python/name:os.system x\n", "is not allowed here", "name: !!python"),
    (P, "name: paint\n", "name: *missing\n", "undefined alias", "*missing"),
    (P, "name: paint\n", "name: &a [*a]\n", "an anchor contains itself", "name:"),
    (P, "version: 1\n", "? [a]\n: 1\n", "a key must be a plain word", "? [a]"),
    (P, "type: pipeline\n", "---\ntype: pipeline\n", "the file is not YAML", ""),
]  # fmt: skip


@pytest.mark.parametrize(
    ("file", "old", "new", "message", "line_text"),
    EDITS,
    ids=[f"{i}-{e[3][:50]}" for i, e in enumerate(EDITS)],
)
def test_a_mistake_is_refused_where_it_is(
    folder: Path, file: str, old: str, new: str, message: str, line_text: str
) -> None:
    text = (folder / file).read_text()
    assert old in text
    text = text.replace(old, new, 1)
    (folder / file).write_text(text)

    problems = problems_of(folder / P)

    matching = [(name, line) for name, line, said in problems if message in said]
    assert matching, problems
    lines = {name: (folder / name).read_text().splitlines() for name, _ in matching}
    assert any(line_text in lines[name][line - 1] for name, line in matching), (matching, problems)
    assert len({said for _, _, said in problems}) <= 3, "one mistake is not told in many ways"
    assert all(said.endswith((".", "?", "}")) for _, _, said in problems), problems


# whole files: (content, part of the message, line)
FILES: list[tuple[bytes, str, int]] = [
    (b"", "the file is empty", 1),
    (b"# nothing but a remark\n", "the file is empty", 1),
    (b"just words\n", "the pipeline is 'just words'; it must be a mapping", 1),
    (b"- a\n- b\n", "the pipeline is a list; it must be a mapping", 1),
    (b"type: pipeline\n", "has no jobs", 1),
    (b"type: pipeline\njobs: {}\n", "has no jobs", 1),
    (b"type: pipeline\njobs: [a]\n", "jobs is a list; it must be a mapping", 2),
    (b"type: pipeline\njobs:\n  a: 3\n", "step 'a' is 3; it must be a mapping", 3),
    (b"type: pipeline\njobs:\n  a: {}\n", "step 'a' has no type. Say type: command or type: parallel.", 3),
    (b"type: command\ncommand: echo\n", "this is the file of one step", 1),
    (b"type: pipeline\n\xff\xfe\n", "byte 15 is not UTF-8", 2),
    (b"type: pipeline\nname: a\x07b\n", "U+0007 is not allowed", 2),
    (b"type: pipeline\n---\ntype: pipeline\n", "Keep one document in the file", 2),
    (b"a: " + b"[" * 5000, "nested too deeply", 1),
    (b"a: " + b"[" * 60 + b"]" * 60, "nested more than 50 levels deep", 1),
    (b"x" * 1_000_001, "larger than 1000000 bytes", 1),
]


@pytest.mark.parametrize(("content", "message", "line"), FILES, ids=[each[1][:40] for each in FILES])
def test_a_file_that_is_no_pipeline_is_refused(
    tmp_path: Path, content: bytes, message: str, line: int
) -> None:
    path = tmp_path / "x.pipeline.yml"
    path.write_bytes(content)
    assert any(message in said and at == line for _, at, said in problems_of(path)), problems_of(path)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    for path, message in ((tmp_path / "none.yml", "there is no such file"), (tmp_path, "this is a folder")):
        with pytest.raises(DefinitionError, match=message) as caught:
            load_pipeline(path)
        assert caught.value.problems[0].file == str(path)


JOB = """\
$schema: https://azuremlschemas.azureedge.net/latest/pipelineJob.schema.json
type: pipeline
experiment_name: hello
inputs:
  pictures:
    type: uri_folder
    path: ./pictures
  seed: 3
outputs:
  out:
jobs:
  hello:
    type: command
    inputs:
      pictures: ${{parent.inputs.pictures}}
      seed: ${{parent.inputs.seed}}
    outputs:
      out: ${{parent.outputs.out}}
    environment: azureml:hello@latest
    command: ls ${{inputs.pictures}} > ${{outputs.out}}/${{inputs.seed}}.txt
"""

JOB_EDITS: list[tuple[str, str, str, str]] = [
    ("  seed: 3", "  seed: {type: integer, default: 3}", "a pipeline job gives values. Write the value alone", "seed: {"),
    ("    path: ./pictures", "    path: ./pictures\n    optional: true", "optional declares", "optional"),
    ("  seed: 3", "  seed:", "input 'seed' is empty", "seed:"),
    ("  seed: 3", "  seed: ${{parent.inputs.seed}}", "a pipeline job has no parent. Write the value", "seed: ${{"),
    ("    path: ./pictures", "    path: ${{inputs.seed}}", "a pipeline job has no parent", "pictures:"),
    ("    path: ./pictures", "    path: ''", "path is empty. Say where the file or folder is", "path: ''"),
    ("experiment_name: hello", "experiment_name: [hello]", "experiment_name is a list; it must be text", "experiment_name"),
    ("experiment_name: hello", "compute: 3", "compute is 3; it must be text", "compute"),
    ("experiment_name: hello", "identity: user", "identity is 'user'; it must be a mapping", "identity"),
    ("experiment_name: hello", "name: '${{x}}'", "it must be letters, digits, and", "name:"),
    ("    type: command", "    type: command\n    code: ''", "code is ''; it must be the path of a folder", "code: ''"),
    ("    environment: azureml:hello@latest", "    environment: {image: x, conda_file: [a]}", "it must be the path of a conda file, or its content", "environment"),
    ("    environment: azureml:hello@latest", "    environment: {image: x, conda_file: ''}", "conda_file '' is not there", "environment"),
    ("    environment: azureml:hello@latest", "    environment: ./env.yml", "file './env.yml' is not there", "environment"),
    ("    environment: azureml:hello@latest", "    environment: {image: x, build: {path: .}}", "exclude each other", "environment"),
    ("    type: command", "    type: command\n    limits: 3", "limits is 3; it must be a mapping", "limits: 3"),
    ("  seed: 3", "  seed: [3]", "input 'seed' is a list", "seed: [3]"),
    ("    path: ./pictures", "    path: ./picture", "'./picture' is not there", "./picture"),
    ("    path: ./pictures", "    path: azureml://stores/x/y", "is no address that Azure ML knows", "azureml://"),
    ("    path: ./pictures\n", "", "has no path", "pictures:"),
    ("    type: uri_folder\n", "    type: uri_flder\n", "Did you mean 'uri_folder'?", "uri_flder"),
    ("  out:\n", "  out: ${{parent.jobs.hello.outputs.out}}\n", "Let the step say ${{parent.outputs.out}}", "  out: ${{"),
    ("experiment_name: hello", "settings: {on_init: hello}", "on_init is in Azure ML's private preview", "settings"),
    ("experiment_name: hello", "settings: {on_finalize: hello}", "on_finalize is in Azure ML's private preview", "settings"),
    ("experiment_name: hello", "settings: {force_rerun: always}", "it must be true or false", "settings"),
    ("experiment_name: hello", "component: ./other.yml", "component and jobs exclude each other", "component"),
    ("experiment_name: hello", "experiment: hello", "Did you mean 'experiment_name'?", "experiment:"),
    ("    environment: azureml:hello@latest\n", "", "has no environment", "hello:"),
    ("ls ${{inputs.pictures}}", "ls ${{inputs.picturs}}", "Did you mean 'pictures'?", "command:"),
    ("      seed: ${{parent.inputs.seed}}", "      seed: ${{parent.inputs.sead}}", "Did you mean 'seed'?", "seed: ${{"),
    ("      out: ${{parent.outputs.out}}", "      out: {type: uri_file, path: '${{parent.inputs.seed}}'}", "only be one of the pipeline's", "out: {"),
    ("    command: ls", "    command: |\n      # ${{inputs.seed}}\n      ls", "in a comment", "command:"),
    ("    command: ls", "    command: |\n      cat << EOF\n      ${{inputs.seed}}\n      EOF\n      ls", "after a here-document", "command:"),
    ("    command: ls", "    command: X=${X:-${{inputs.seed}}} ls", "in ${…}", "command:"),
    ("    command: ls", "    command: ' '\n    comment: ls", "it must be a command line", "command:"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "message", "line_text"),
    JOB_EDITS,
    ids=[f"{i}-{e[2][:50]}" for i, e in enumerate(JOB_EDITS)],
)
def test_a_mistake_in_a_pipeline_job_is_refused_where_it_is(
    folder: Path, old: str, new: str, message: str, line_text: str
) -> None:
    assert old in JOB
    text = JOB.replace(old, new, 1)
    path = folder / "job.yml"
    path.write_text(text)

    problems = problems_of(path)

    lines = [line for _, line, said in problems if message in said]
    assert lines, problems
    assert line_text in text.splitlines()[lines[0] - 1], problems
    assert len(problems) <= 3, problems
    assert all(said.endswith((".", "?", "}")) for _, _, said in problems), problems


def test_the_pipeline_job_that_the_rows_edit_is_right(folder: Path) -> None:
    (folder / "job.yml").write_text(JOB)
    assert load_pipeline(folder / "job.yml").inputs["seed"].default == 3


ODD = ["", "[]", "{}", "-1.5", "true", "'${{'", "'${{inputs.}}'", "'${{parent.jobs}}'", "[1, [2]]", "{a: {b: c}}", "'//'", "'$[['", "'file:'", "azureml:"]  # fmt: skip


@pytest.mark.parametrize("file", [P, C, T])
def test_nothing_that_is_written_breaks_the_reader(folder: Path, file: str) -> None:
    """Whatever stands behind a key, the file is accepted or every problem names a line of a file and a remedy."""
    good = (folder / file).read_text()
    lines = good.splitlines()
    for number, line in enumerate(lines):
        key, colon, _ = line.partition(":")
        if not colon:
            continue
        odd = f"{key}: {ODD[number % len(ODD)]}"
        (folder / file).write_text("\n".join([*lines[:number], odd, *lines[number + 1 :]]) + "\n")
        try:
            load_pipeline(folder / P)
        except DefinitionError as error:
            for problem in error.problems:
                length = len(Path(problem.file).read_text().splitlines())
                assert 1 <= problem.line <= length + 1, (odd, problem)
                assert problem.message.endswith((".", "?", "}")), (odd, problem)


def test_all_mistakes_are_told_at_once_and_in_order(folder: Path) -> None:
    edits = {
        P: [("default: 0.8", "default: 8"), ("${{parent.inputs.seed}}", "${{parent.inputs.sed}}")],
        T: [("timeout: 60", "timeout: -1"), ("entry/paint.py", "entry/none.py"), ("--out", "--out ${{inputs.no}}")],
        C: [("python prepare.py", "python none.py")],
    }  # fmt: skip
    for file, pairs in edits.items():
        text = (folder / file).read_text()
        for old, new in pairs:
            text = text.replace(old, new)
        (folder / file).write_text(text)

    problems = problems_of(folder / P)

    assert len(problems) == 6
    for file in (P, C, T):
        lines = [line for name, line, _ in problems if name == file]
        assert lines == sorted(lines)
        assert lines


def test_a_component_used_twice_tells_its_mistake_once(folder: Path) -> None:
    text = (folder / P).read_text()
    again = text[text.index("  prepare:") : text.index("  paint:\n    type")].replace("prepare:", "again:")
    (folder / P).write_text(text + again)
    (folder / C).write_text(PREPARE.replace("max: 9", "max: -9"))
    assert len(problems_of(folder / P)) == 1


def test_the_error_reads_as_file_line_and_remedy(folder: Path) -> None:
    (folder / P).write_text(PIPELINE.replace("default: 0.8", "default: 8"))
    with pytest.raises(DefinitionError) as caught:
        load_pipeline(folder / P)
    assert str(caught.value) == f"{folder / P}:12: input 'strength': default is 8; it must be at most 1."
