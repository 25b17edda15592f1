"""An MLTable file: what is understood, and every mistake refused with its line before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from batchscore.definitions import load_pipeline
from batchscore.definitions.mltable import load_table
from batchscore.errors import DefinitionError

RIGHT = """\
type: mltable
paths:
  - pattern: ./**/*.csv
transformations:
  - read_delimited:
      delimiter: ","
      encoding: ascii
      header: all_files_same_headers
      include_path_column: true
  - extract_columns_from_partition_format:
      partition_format: "{store}/{file}.csv"
  - convert_column_types:
      - columns: [a, b]
        column_type: string
      - columns: when
        column_type: {datetime: {formats: ["%Y-%m-%d"]}}
  - keep_columns: [a, b, when, store]
  - drop_columns: {pattern: "^x"}
  - skip: 2
  - take: 10
  - filter: col("a") == "x"
  - take_random_sample: {probability: 0.5, seed: 3}
"""


def folder_with(root: Path, text: str) -> Path:
    (root / "MLTable").write_text(text)
    return root


def test_a_table_says_files_reader_and_transformations(tmp_path: Path) -> None:
    table = load_table(folder_with(tmp_path, RIGHT))
    assert [(source.kind, source.text) for source in table.sources] == [("pattern", "./**/*.csv")]
    assert (table.format, table.encoding, table.path_column, table.sample_rows) == (
        "delimited",
        "ascii",
        True,
        200,
    )
    assert (table.partition_format, table.partition_columns_last) == ("{store}/{file}.csv", True)
    assert [next(iter(step)) for step in table.steps] == [
        "convert_column_types",
        "keep_columns",
        "drop_columns",
        "filter",
        "take_random_sample",
    ]
    assert table.take == (("skip", 2), ("take", 10))


@pytest.mark.parametrize(
    ("transformations", "form"),
    [
        ("[read_delimited]", "delimited"),
        ("[{read_json_lines: {invalid_lines: drop, encoding: utf8}}]", "json_lines"),
        ("[read_parquet]", "parquet"),
        ("[]", None),
    ],
)
def test_the_reader_decides_what_items_are(tmp_path: Path, transformations: str, form: str | None) -> None:
    text = f"paths: [{{file: a.csv}}]\ntransformations: {transformations}\n"
    assert load_table(folder_with(tmp_path, text)).format == form


# fmt: off
FAULTS = [
    ("type: mltable", "type: uri_folder", "type is 'uri_folder'; it must be one of mltable", 1),
    ("type: mltable", "tipe: mltable", "'tipe' is not a key of the table. Did you mean 'type'?", 1),
    ("  - pattern: ./**/*.csv\n", "", "has no paths", 1),
    ("pattern: ./**/*.csv", "pattern: ./**.csv", "** must stand alone", 3),
    ("pattern: ./**/*.csv", "pattern: ../*.csv", "a path below the MLTable's folder", 3),
    ("pattern: ./**/*.csv", "file: /etc/passwd", "a path below the MLTable's folder", 3),
    ("pattern: ./**/*.csv", "file: https://x.blob.core.windows.net/a.csv", "is elsewhere", 3),
    ("pattern: ./**/*.csv", "fil: a.csv", "Did you mean 'file'?", 3),
    ("read_delimited:", "read_delimted:", "there is no transformation 'read_delimted'. Did you mean", 5),
    ("- read_delimited:", "- read_delta_lake: {}\n  - read_delimited:", "reads Delta Lake tables", 5),
    ('delimiter: ","', 'delimiter: "||"', "one character", 6),
    ("encoding: ascii", "encoding: utf8 bom", "encoding is 'utf8 bom'; it must be one of utf8", 7),
    ("header: all_files_same_headers", "header: first", "one of all_files_same_headers", 8),
    ("include_path_column: true", "include_path_column: yes please", "true or false", 9),
    ("include_path_column: true", "quote: x", "'quote' is not a key of read_delimited", 9),
    ("include_path_column: true", "include_path_column: false", "comes after the reader", 10),
    ('"{store}/{file}.csv"', '"{store}/{store}.csv"', "no other column of the format has", 10),
    ("column_type: string", "column_type: decimal", "boolean, float, string, int, or a mapping", 14),
    ('["%Y-%m-%d"]', '["%Q"]', "formats of %Y", 16),
    ("keep_columns: [a, b, when, store]", "keep_columns: 3", "a column, a list of columns", 17),
    ('{pattern: "^x"}', '{pattern: "(x"}', "no regular expression", 18),
    ("take: 10", "take: 0", "a whole number of rows", 20),
    ("  - skip: 2\n", "  - filter: a > 1\n  - skip: 2\n", "after filter or take_random_sample is not supported", 20),
    ('col("a") == "x"', "isnull(a)", "holds 'isnull(a)', which is not supported", 21),
    ("probability: 0.5", "probability: 2", "a probability from 0 to 1", 22),
    (", seed: 3", "", "Write one; Azure ML wants it too", 22),
    ("  - skip: 2\n", "  - select_partitions: [0]\n", "depends on how Azure ML cuts the files", 19),
    ("  - skip: 2\n", "  - sample: {sampler: random_percent}\n", "is written take_random_sample", 19),
    ("  - skip: 2\n", "  - read_parquet\n", "is the second reader", 19),
    ("paths:", "query_source: {query: x}\npaths:", "reads from a database", 2),
]
# fmt: on


@pytest.mark.parametrize(("old", "new", "message", "line"), FAULTS)
def test_a_mistake_is_refused_with_its_line(
    tmp_path: Path, old: str, new: str, message: str, line: int
) -> None:
    assert RIGHT.count(old) >= 1
    with pytest.raises(DefinitionError) as error:
        load_table(folder_with(tmp_path, RIGHT.replace(old, new, 1)))
    found = [
        (problem.line, problem.message) for problem in error.value.problems if message in problem.message
    ]
    assert found, str(error.value)
    assert found[0][0] == line
    assert all(problem.file == str(tmp_path / "MLTable") for problem in error.value.problems)


def test_a_folder_without_the_file_is_no_table(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match="MLTable:1: there is no such file"):
        load_table(tmp_path)


PIPELINE = """\
$schema: https://azuremlschemas.azureedge.net/latest/pipelineJob.schema.json
type: pipeline
jobs:
  score:
    type: parallel
    inputs:
      rows: {type: mltable, path: ./table, mode: eval_mount}
      other: {type: mltable, path: ./table}
    outputs:
      out: {type: uri_file}
    input_data: ${{inputs.rows}}
    mini_batch_size: "10kb"
    partition_keys: [store]
    task: {type: run_function, code: ./code, entry_script: score.py, environment: azureml:x:1,
           append_row_to: "${{outputs.out}}",
           program_arguments: --append_row_file_name rows.csv --append_row_dataframe_header True}
"""


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "score.py").write_text("def run(mini_batch): ...")
    (tmp_path / "table").mkdir()
    folder_with(tmp_path / "table", RIGHT)
    (tmp_path / "job.yml").write_text(PIPELINE)
    return tmp_path / "job.yml"


def test_a_step_takes_a_table_with_its_mini_batch_size_in_bytes(pipeline: Path) -> None:
    (step,) = load_pipeline(pipeline).steps
    assert (step.mini_batch_size, step.partition_keys) == (10_240, ("store",))
    pipeline.write_text(PIPELINE.replace('    mini_batch_size: "10kb"\n', ""))
    assert load_pipeline(pipeline).steps[0].mini_batch_size is None


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"10kb"', '"0kb"', "mini_batch_size is '0kb'; it must be from 1 to"),
        ('"10kb"', '"10tb"', "mini_batch_size is '10tb'; it must be a whole number"),
        (
            "[store]",
            "[store, store]",
            "partition_keys is a list; it must be a list of column names, each once",
        ),
        ("[store]", "store", "it must be a list of column names"),
        (
            "other: {type: mltable, path: ./table}",
            "other: {type: mltable, path: ./table, mode: eval_download}",
            "mode 'eval_download' of input 'other' is not supported yet",
        ),
        ("path: ./table, mode", "path: ./job.yml, mode", "is a file, and the type is mltable"),
        ("path: ./table, mode", "path: ./code, mode", "there is no such file, and an mltable is a folder"),
        ("rows.csv", "a/b.csv", "it must be the name of a file"),
    ],
)
def test_a_pipeline_that_uses_a_table_wrongly_is_refused(
    pipeline: Path, old: str, new: str, message: str
) -> None:
    assert old in PIPELINE
    pipeline.write_text(PIPELINE.replace(old, new, 1))
    with pytest.raises(DefinitionError) as error:
        load_pipeline(pipeline)
    assert message in str(error.value)


def test_a_mistake_in_a_table_is_a_mistake_of_the_pipeline_that_names_it(pipeline: Path) -> None:
    folder_with(pipeline.parent / "table", RIGHT.replace("take: 10", "tak: 10"))
    with pytest.raises(DefinitionError, match=r"table/MLTable:20: there is no transformation 'tak'"):
        load_pipeline(pipeline)
