"""Tables as the items of a parallel step on the local engine, with real worker processes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from batchscore.compute.base import JobState, JobStatus, Overrides
from batchscore.compute.local.engine import Engine
from batchscore.definitions import load_pipeline
from batchscore.definitions.model import Input, ParallelStep
from batchscore.errors import DefinitionError
from tests.local_pipelines import Workplace, command, parallel, write

TELL = """
    import json

    def init():
        pass

    def run(rows, mini_batch_context):
        context = mini_batch_context
        print(json.dumps([type(rows).__module__, list(rows.columns), rows.index.tolist(), context.dataset_name,
                          context.minibatch_index, context.partition_key_value]))
        return rows[["id"]] if len(rows.columns) > 1 else rows["id"].tolist()
"""


def table(folder: Path, rows: int = 12, steps: str = "[read_delimited]") -> Path:
    """Two CSV files below `data`, with so many rows in all, and their MLTable."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, numbers in (("a", range(2, 2 + rows // 2)), ("b", range(2 + rows // 2, 2 + rows))):
        (folder / f"{name}.csv").write_text("id,word\n" + "".join(f"{n},w{n}\n" for n in numbers))
    (folder / "MLTable").write_text(f"paths: [{{pattern: ./*.csv}}]\ntransformations: {steps}\n")
    return folder


def step_of(place: Workplace, script: str, size: int | None = 20, **changes: object) -> ParallelStep:
    step = parallel(place.root, script, size=1, inputs={"data": Input("data", "mltable", 1)}, **changes)
    return ParallelStep(**{**vars(step), "mini_batch_size": size})


@pytest.fixture
def place(tmp_path: Path) -> Workplace:
    table(tmp_path / "data")
    return Workplace(tmp_path)


def numbers(status: JobStatus) -> tuple[int, int, int | None]:
    (step,) = status.steps
    return step.items_done, step.items_failed, step.items_total


def test_rows_come_as_data_frames_each_once_and_are_counted(place: Workplace) -> None:
    status = place.run(step_of(place, TELL, append_row_to="out"))
    assert status.state is JobState.SUCCEEDED, place.log()
    assert numbers(status) == (12, 0, 12)
    lines = place.results()
    assert [line["items"] for line in lines[:2]] == [["a.csv (bytes 8 to 23)"], ["a.csv (bytes 23 to 38)"]]
    assert sorted((place.out / "parallel_run_step.txt").read_text().split(), key=int) == [
        str(n) for n in range(2, 14)
    ]
    log = place.log()
    assert '["pandas", ["id", "word"], [0, 1, 2], "data", "0", {}]' in log


def test_a_table_is_one_mini_batch_for_each_file_up_to_a_megabyte_when_no_size_is_said(
    place: Workplace,
) -> None:
    place.run(step_of(place, TELL, None))
    assert [line["items"] for line in place.results()] == [
        ["a.csv (bytes 8 to 38)"],
        ["b.csv (bytes 8 to 46)"],
    ]


def test_the_run_changes_the_size_in_bytes(place: Workplace) -> None:
    place.overrides = Overrides(mini_batch_size=15)
    place.run(step_of(place, TELL, None))
    assert len(place.results()) == 6


def test_a_mini_batch_without_rows_after_a_filter_is_done_without_run(place: Workplace) -> None:
    table(place.root / "data", steps="[read_delimited, {filter: col('id') > 10}]")
    status = place.run(step_of(place, TELL))
    assert status.state is JobState.SUCCEEDED, place.log()
    assert numbers(status) == (3, 0, 3)
    assert place.log().count('"pandas"') == 1


def test_the_error_threshold_counts_rows(place: Workplace) -> None:
    script = """
        def run(rows):
            if 4 in rows["id"].tolist():
                raise ValueError("no fours")
            return rows["id"].tolist()[:-1] if 13 in rows["id"].tolist() else rows
    """
    quick = {"retry": ParallelStep.retry.__class__(timeout_s=60, max_retries=0)}
    status = place.run(step_of(place, script, 20, error_threshold=4, **quick))
    assert status.state is JobState.SUCCEEDED, place.log()
    assert numbers(status) == (8, 4, 12)
    status = place.run(step_of(place, script, 20, error_threshold=3, **quick))
    assert status.state is JobState.FAILED
    assert "4 of 12 items failed, more than error_threshold 3 allows" in status.message
    assert "a.csv (bytes 8 to 23)" in status.message
    assert "no fours" in status.message


def test_a_file_that_cannot_be_decoded_fails_its_mini_batch_by_name(place: Workplace) -> None:
    (place.root / "data" / "b.csv").write_bytes(b"id,word\n" + b"1,a\n" * 300 + b"2,\xff\n")
    status = place.run(step_of(place, TELL, 1300, retry=ParallelStep.retry.__class__(60, 0)))
    assert "ValueError: b.csv: byte 0xff" in place.log()
    assert numbers(status)[0] == 6


RETURNED = {
    "pandas.DataFrame({'a': [1, 2], 'b c': ['x y', None], 'f': [0.5, float('nan')]})": '1 "x y" 0.5\n2  \n',
    "[1, 'two words', 0.1 + 0.2, None]": "1\ntwo words\n0.30000000000000004\nNone\n",
    "[{'a': 1, 'b': [2]}, ('x', 1), ['y']]": "{'a': 1, 'b': [2]}\n('x', 1)\n['y']\n",
    "('a', 'b')": "a\nb\n",
    "numpy.array([1.5, 2.0])": "1.5\n2.0\n",
    "numpy.array([[1, 2], [3, 4]])": "[1 2]\n[3 4]\n",
    "pandas.Series([1, 2], index=['p', 'q'])": "1\n2\n",
    "pandas.Series(['a b'])": "a b\n",
}


@pytest.mark.parametrize(("returned", "written"), RETURNED.items())
def test_returned_rows_are_written_as_azure_ml_writes_them(
    place: Workplace, returned: str, written: str
) -> None:
    """Its driver writes `str` of each element of a list, and a data frame with `to_csv(sep=" ", header=None)`."""
    table(place.root / "data", 2)
    (place.root / "data" / "b.csv").unlink()
    script = f"import numpy, pandas\n\ndef run(rows):\n    return {returned}\n"
    status = place.run(step_of(place, script, append_row_to="out"))
    assert status.state is JobState.SUCCEEDED, place.log()
    assert (place.out / "parallel_run_step.txt").read_text() == written


def test_a_header_is_written_once_and_the_file_has_the_name_that_is_asked_for(place: Workplace) -> None:
    told = "--append_row_file_name Scores.CSV --append_row_dataframe_header True"
    place.run(step_of(place, TELL, append_row_to="out", program_arguments=told))
    lines = (place.out / "scores.csv").read_text().splitlines()
    assert lines[0] == "id"
    assert sorted(lines[1:], key=int) == [str(n) for n in range(2, 14)]


def test_a_worker_without_pandas_says_which_interpreter_lacks_it(place: Workplace) -> None:
    write(place.root / "code" / "pandas.py", "raise ImportError('none here')")
    bare = write(
        place.root / "bare", f'#!/bin/sh\nPYTHONPATH="{place.root}/code" exec {sys.executable} "$@"\n'
    )
    bare.chmod(0o755)
    place.python = {"bare": str(bare)}
    status = place.run(step_of(place, TELL, environment="bare"))
    assert status.state is JobState.FAILED
    assert "the package pandas is not installed for " in status.message
    assert "-m pip install pandas" in status.message


def test_files_of_a_table_are_items_where_it_has_no_reader(place: Workplace) -> None:
    table(place.root / "data", steps="[]")
    script = "def run(names):\n    return [open(name).readline().strip() for name in names]\n"
    status = place.run(step_of(place, script, 1, append_row_to="out"))
    assert numbers(status) == (2, 0, 2)
    assert (place.out / "parallel_run_step.txt").read_text() == "id,word\n" * 2


def test_a_command_step_is_handed_the_folder(place: Workplace) -> None:
    line = "cat ${{inputs.data}}/MLTable > ${{outputs.out}}/seen"
    step = command(place.root, line, inputs={"data": Input("data", "mltable", 1, mode="direct")})
    assert place.run(step).state is JobState.SUCCEEDED
    assert (place.out / "seen").read_text() == (place.root / "data" / "MLTable").read_text()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "MLTable in it, but it is a folder"),
        ("paths: [{file: ../x.csv}]\n", "MLTable:1: an entry of paths"),
    ],
)
def test_a_folder_that_is_no_table_fails_the_step_with_a_sentence(
    place: Workplace, text: str | None, message: str
) -> None:
    (place.root / "data" / "MLTable").unlink()
    if text is not None:
        (place.root / "data" / "MLTable").write_text(text)
    status = place.run(step_of(place, TELL))
    assert status.state is JobState.FAILED
    assert message in status.message


SALES = """\
$schema: https://azuremlschemas.azureedge.net/latest/pipelineJob.schema.json
type: pipeline
settings: {default_compute: azureml:cpu-cluster}
jobs:
  cut:
    type: command
    component: ./cut/cut.yml
    inputs:
      source: {type: uri_file, path: ./sales/sales.csv}
      keys: shop,brand
    outputs:
      table: {type: mltable, mode: rw_mount}
  train:
    type: parallel
    compute: azureml:cpu-cluster
    inputs:
      sales: {path: "${{parent.jobs.cut.outputs.table}}", type: mltable, mode: direct}
      target: sold
    outputs:
      models: {type: uri_folder, mode: rw_mount}
    partition_keys: [shop, brand]
    resources: {instance_count: 2}
    input_data: ${{inputs.sales}}
    max_concurrency_per_instance: 2
    retry_settings: {max_retries: 2, timeout: 60}
    error_threshold: -1
    mini_batch_error_threshold: 5
    logging_level: INFO
    task:
      type: run_function
      code: ./train
      entry_script: train.py
      environment: {image: "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04", conda_file: ./train/conda.yml}
      program_arguments: --target ${{inputs.target}} --models ${{outputs.models}}
      append_row_to: ${{outputs.models}}
"""

CUT = """
    import argparse, csv, pathlib

    import yaml

    parser = argparse.ArgumentParser()
    for name in ("--source", "--keys", "--table"):
        parser.add_argument(name)
    given = parser.parse_args()
    keys = given.keys.split(",")
    out = pathlib.Path(given.table)
    for row in csv.DictReader(open(given.source)):
        folder = out.joinpath(*(row.pop(key) for key in keys))
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "part.csv"
        new = not file.exists()
        with file.open("a") as stream:
            writer = csv.DictWriter(stream, list(row))
            if new:
                writer.writeheader()
            writer.writerow(row)
    form = "".join(f"{{{key}}}/" for key in keys) + "{file}.{extension}"
    (out / "MLTable").write_text(yaml.safe_dump({
        "type": "mltable",
        "paths": [{"pattern": "./**/*.csv"}],
        "transformations": [
            {"read_delimited": {"delimiter": ",", "encoding": "ascii", "header": "all_files_same_headers",
                                "include_path_column": True}},
            {"extract_columns_from_partition_format": {"partition_format": form}},
            {"drop_columns": ["Path", "file", "extension"]},
        ],
    }))
"""

TRAIN = """
    import argparse, json, pathlib

    import pandas

    def init():
        global given
        parser = argparse.ArgumentParser()
        parser.add_argument("--target")
        parser.add_argument("--models")
        given, _ = parser.parse_known_args()

    def run(rows, mini_batch_context):
        keys = mini_batch_context.partition_key_value
        folder = pathlib.Path(given.models).joinpath(*(str(value) for value in keys.values()))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model.json").write_text(json.dumps(
            {"days": rows["day"].dt.strftime("%m-%d").tolist(), "mean": rows[given.target].mean(),
             "shops": rows["shop"].tolist()}))
        return pandas.DataFrame({**{key: [value] for key, value in keys.items()}, "mean": rows[given.target].mean()})
"""


def test_a_model_for_each_partition_of_a_table_that_another_step_has_made(tmp_path: Path) -> None:
    """The constructs of Azure ML's public sample of many models: a step cuts the data, the next trains for each key."""
    component = """\
        type: command
        name: cut
        version: 1
        inputs:
          source: {type: uri_file}
          keys: {type: string}
        outputs:
          table: {type: mltable}
        code: ./
        environment: {image: mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04}
        command: >-
          python cut.py --source ${{inputs.source}} --keys ${{inputs.keys}} --table ${{outputs.table}}
        """
    write(tmp_path / "job.yml", SALES)
    write(tmp_path / "cut" / "cut.yml", component)
    write(tmp_path / "cut" / "cut.py", CUT)
    write(tmp_path / "train" / "train.py", TRAIN)
    write(tmp_path / "train" / "conda.yml", "dependencies: [python=3.11]")
    rows = [f"2026-01-0{1 + n // 6},{n},{1 + n % 3},{'AB'[n % 2]}\n" for n in range(24)]
    write(tmp_path / "sales" / "sales.csv", "day,sold,shop,brand\n" + "".join(rows))
    engine = Engine(load_pipeline(tmp_path / "job.yml"), {}, {}, tmp_path / "work", tmp_path / "logs")
    status = engine.run()
    assert status.state is JobState.SUCCEEDED, status.message
    models = tmp_path / "work" / "steps" / "train" / "models"
    assert json.loads((models / "1" / "A" / "model.json").read_text()) == {
        "days": ["01-01", "01-02", "01-03", "01-04"],
        "mean": 9.0,
        "shops": ["1"] * 4,
    }
    written = sorted((models / "parallel_run_step.txt").read_text().splitlines())
    assert [(step.items_done, step.items_failed) for step in status.steps] == [(0, 0), (6, 0)]
    assert written == ["1 A 9.0", "1 B 12.0", "2 A 13.0", "2 B 10.0", "3 A 11.0", "3 B 14.0"]


def test_a_table_given_to_a_run_is_read_before_anything_starts(tmp_path: Path) -> None:
    place = Workplace(tmp_path)
    table(tmp_path / "data", steps="[read_delimited, {tak: 3}]")
    place.inputs = {"rows": tmp_path / "data"}
    from tests.local_pipelines import pipeline

    whole = pipeline(
        place.root, command(place.root, "touch ${{outputs.out}}/x"), inputs=(Input("rows", "mltable", 1),)
    )
    with pytest.raises(DefinitionError, match=r"MLTable:2: there is no transformation 'tak'"):
        place.engine(whole).run()
    assert not place.out.exists()
