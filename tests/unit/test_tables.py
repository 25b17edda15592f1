"""Tables cut into mini-batches and read again: each row once, none across files, whatever the bytes are."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from batchscore.compute.local.tables import Items, TableError, plan
from batchscore.definitions.mltable import load_table
from batchscore.rows import reader


def table(folder: Path, files: dict[str, str | bytes], transformations: str, paths: str = "") -> Path:
    """A folder with files and an MLTable that reads them all, or those of `paths`."""
    for name, content in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
    listed = paths or "[" + ", ".join(f'{{file: "{name}"}}' for name in files) + "]"
    (folder / "MLTable").write_text(f"paths: {listed}\ntransformations: {transformations}\n")
    return folder


def planned(folder: Path, size: int | None = None, keys: tuple[str, ...] = ()) -> Items:
    return plan(load_table(folder), size, keys)


def frames(items: Items) -> list[Any]:
    """What `run()` would be handed, the table and the parts sent as JSON as they are to a worker."""
    told = json.loads(json.dumps(items.table))
    found = [reader.read(told, json.loads(json.dumps(batch.parts))) for batch in items.batches]
    return [rows.frame for rows in found]


def described(frame: Any) -> dict[str, tuple[str, list[Any]]]:
    """Column -> its dtype and values, nulls as None."""
    return {
        name: (str(frame[name].dtype), [None if _is_null(value) else value for value in frame[name].tolist()])
        for name in frame.columns
    }


def _is_null(value: object) -> bool:
    return value is None or value != value or str(value) == "NaT"


CSV = "[read_delimited]"
cells = st.text(alphabet=st.sampled_from("ab1 -.,\"é日'\t"), max_size=6)
breaks = st.text(alphabet=st.sampled_from('ab,"\n\r'), max_size=6)


def encoded(rows: list[list[str]], ending: str) -> str:
    """Rows as a CSV file, every cell quoted."""
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator=ending).writerows(rows)
    return text.getvalue()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    files=st.lists(st.lists(st.lists(cells, min_size=2, max_size=2), max_size=12), min_size=1, max_size=3),
    size=st.integers(1, 90),
    ending=st.sampled_from(["\n", "\r\n"]),
    mark=st.booleans(),
    final=st.booleans(),
)
def test_every_row_is_in_one_mini_batch_and_no_mini_batch_crosses_a_file(
    tmp_path_factory: pytest.TempPathFactory,
    files: list[list[list[str]]],
    size: int,
    ending: str,
    mark: bool,
    final: bool,
) -> None:
    texts: dict[str, str | bytes] = {}
    for number, rows in enumerate(files):
        text = encoded([["x", "y"], *rows], ending)
        texts[f"{number}.csv"] = ("\ufeff" if mark else "") + (text if final else text.removesuffix(ending))
    folder = table(
        tmp_path_factory.mktemp("t"), texts, "[{read_delimited: {infer_column_types: false, encoding: utf8}}]"
    )
    items = planned(folder, size)
    read = frames(items)
    assert [row for frame in read for row in frame.to_numpy().tolist()] == [
        row for rows in files for row in rows
    ]
    assert [len(frame) for frame in read] == [batch.rows for batch in items.batches]
    assert all(batch.rows for batch in items.batches)
    assert all(len({part["file"] for part in batch.parts}) == 1 for batch in items.batches)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.lists(breaks, min_size=2, max_size=2), min_size=1, max_size=8),
    ending=st.sampled_from(["\n", "\r\n"]),
)
def test_quoted_line_breaks_survive_where_a_table_supports_them(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]], ending: str
) -> None:
    options = "{support_multi_line: true, infer_column_types: false}"
    folder = table(
        tmp_path_factory.mktemp("t"),
        {"a.csv": encoded([["x", "y"], *rows], ending)},
        f"[{{read_delimited: {options}}}]",
    )
    (frame,) = frames(planned(folder, 7))
    assert frame.to_numpy().tolist() == rows


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=60) | st.text(max_size=40).map(str.encode), size=st.integers(1, 30))
def test_whatever_bytes_a_file_has_rows_are_read_or_the_file_is_named(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, size: int
) -> None:
    folder = table(tmp_path_factory.mktemp("t"), {"a.csv": data}, CSV)
    try:
        read = frames(planned(folder, size))
    except (TableError, ValueError) as error:
        assert "a.csv" in str(error)
        with pytest.raises(UnicodeDecodeError):
            data.decode()
    else:
        lines = [line for line in data.removeprefix(b"\xef\xbb\xbf").split(b"\n") if line]
        assert sum(len(frame) for frame in read) == max(len(lines) - 1, 0)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    counts=st.lists(st.integers(0, 9), min_size=1, max_size=3),
    skip=st.integers(0, 12),
    take=st.integers(1, 12),
)
def test_skip_and_take_count_rows_over_all_files(
    tmp_path_factory: pytest.TempPathFactory, counts: list[int], skip: int, take: int
) -> None:
    texts: dict[str, str | bytes] = {}
    every: list[int] = []
    for number, count in enumerate(counts):
        own = range(100 * number + 10, 100 * number + 10 + count)
        every += own
        texts[f"{number}.csv"] = "x\n" + "".join(f"{value}\n" for value in own)
    folder = table(
        tmp_path_factory.mktemp("t"), texts, f"[read_delimited, {{skip: {skip}}}, {{take: {take}}}]"
    )
    items = planned(folder, 7)
    assert [value for frame in frames(items) for value in frame["x"]] == every[skip : skip + take]


@pytest.mark.parametrize(
    ("header", "frames_expected"),
    [
        ("all_files_same_headers", [{"x": ("str", ["1"]), "y": ("str", ["a"])}, {"x": ("str", ["b"]), "y": ("str", ["4"])}]),
        ("all_files_different_headers", [{"x": ("bool", [True]), "y": ("str", ["a"])}, {"y": ("str", ["b"]), "z": ("int64", [4])}]),
        ("from_first_file", [{"x": ("str", ["1"]), "y": ("str", ["a"])}, {"x": ("str", ["y", "b"]), "y": ("str", ["z", "4"])}]),
        ("no_header", [{"Column1": ("str", ["x", "1"]), "Column2": ("str", ["y", "a"])}, {"Column1": ("str", ["y", "b"]), "Column2": ("str", ["z", "4"])}]),
    ],
)  # fmt: skip
def test_headers(tmp_path: Path, header: str, frames_expected: list[dict[str, Any]]) -> None:
    files: dict[str, str | bytes] = {"0.csv": "", "a.csv": "\nx,y\n1,a\n", "b.csv": "y,z\nb,4\n"}
    folder = table(tmp_path, files, f"[{{read_delimited: {{header: {header}}}}}]")
    assert [described(frame) for frame in frames(planned(folder))] == frames_expected


def test_types_come_from_the_first_200_rows_of_all_files_and_each_mini_batch_has_its_own_nulls(
    tmp_path: Path,
) -> None:
    first = (
        "x,y,z\n"
        + "".join(f"{number},,t\n" for number in range(5))
        + "".join(f"{number},{number},\n" for number in range(5, 9))
    )
    late = "x,y,z\n" + "7,8,t\n" * 195 + "oops,1.5,f\n"
    folder = table(tmp_path, {"a.csv": first, "b.csv": late}, CSV)
    items = planned(folder, 30)
    read = [described(frame) for frame in frames(items)]
    assert read[0] == {
        "x": ("int64", [0, 1, 2, 3, 4]),
        "y": ("object", [None] * 5),
        "z": ("bool", [True] * 5),
    }
    assert read[1]["y"] == ("int64", [5, 6, 7, 8])
    assert read[1]["z"] == ("object", [None] * 4)
    assert read[-1]["x"] == ("object", [None])
    assert read[-1]["y"] == ("int64", [1])


def test_ragged_rows_are_filled_or_add_numbered_columns(tmp_path: Path) -> None:
    folder = table(tmp_path, {"a.csv": "x,y\n1,a\n2\n3,c,d\n"}, CSV)
    (frame,) = frames(planned(folder))
    assert described(frame) == {
        "x": ("int64", [1, 2, 3]),
        "y": ("str", ["a", None, "c"]),
        "Column3": ("str", [None, None, "d"]),
    }
    assert frame.index.tolist() == [0, 1, 2]


def test_json_lines_keep_objects_and_lists(tmp_path: Path) -> None:
    lines = '{"i": 1, "o": {"a": 1, "b": [1, 2]}, "s": "x"}\n\n{"i": 2, "o": {"a": 2}, "s": null}\n'
    folder = table(tmp_path, {"a.jsonl": lines}, "[read_json_lines]")
    (frame,) = frames(planned(folder))
    assert described(frame)["i"] == ("int64", [1, 2])
    assert described(frame)["s"] == ("str", ["x", None])
    first, second = frame["o"]
    assert (first["a"], first["b"].tolist()) == (1, [1, 2])
    assert second == {"a": 2, "b": None}


def test_a_parquet_file_is_cut_at_its_row_groups_and_keeps_its_types(tmp_path: Path) -> None:
    data = pyarrow.table({"x": pyarrow.array(range(25), pyarrow.int32()), "s": [f"v{n}" for n in range(25)]})
    parquet.write_table(data, tmp_path / "a.parquet", row_group_size=10)
    folder = table(
        tmp_path,
        {},
        '[read_parquet, {filter: col("x") > 8}, {keep_columns: x}]',
        "[{pattern: ./*.parquet}]",
    )
    items = planned(folder, 1)
    assert [batch.rows for batch in items.batches] == [10, 10, 5]
    assert next(described(frame) for frame in frames(items)) == {"x": ("int32", [9])}
    assert [len(frame) for frame in frames(items)] == [1, 10, 5]


STORES: dict[str, str | bytes] = {
    "1/north/p.csv": "q\n5\n6\n",
    "1/south/p.csv": "q\n7\n",
    "2/north/p.csv": "q\n8\n",
    "1/north/r.csv": "q\n9\n",
}


def test_partition_keys_gather_the_rows_of_all_files_with_the_same_values(tmp_path: Path) -> None:
    steps = (
        "[{read_delimited: {include_path_column: true}}, "
        '{extract_columns_from_partition_format: {partition_format: "{store}/{side}/{file}.{ext}"}}, '
        "{drop_columns: [Path, file, ext]}]"
    )
    folder = table(tmp_path, STORES, steps, "[{pattern: ./**/*.csv}]")
    items = planned(folder, 1, ("side", "store"))
    assert [dict(batch.keys) for batch in items.batches] == [
        {"side": "north", "store": "1"},
        {"side": "south", "store": "1"},
        {"side": "north", "store": "2"},
    ]
    assert described(frames(items)[0]) == {
        "q": ("int64", [5, 6, 9]),
        "store": ("str", ["1", "1", "1"]),
        "side": ("str", ["north"] * 3),
    }
    assert [dict(batch.keys) for batch in planned(folder, None, ("store",)).batches] == [
        {"store": "1"},
        {"store": "2"},
    ]


def test_columns_of_a_partition_format_before_the_reader_have_types_and_come_first(tmp_path: Path) -> None:
    steps = "[{extract_columns_from_partition_format: {partition_format: '/{store}/{side}/*.csv'}}, read_delimited]"
    folder = table(tmp_path, STORES, steps, "[{pattern: ./**/*.csv}]")
    assert described(frames(planned(folder))[0]) == {
        "store": ("int64", [1, 1]),
        "side": ("str", ["north", "north"]),
        "q": ("int64", [5, 6]),
    }


def test_a_table_without_a_reader_has_files_as_items(tmp_path: Path) -> None:
    step = "[{extract_columns_from_partition_format: {partition_format: '/{store}/{side}/*.csv'}}]"
    folder = table(tmp_path, STORES, step, "[{folder: ./}]")
    items = planned(folder, 3)
    assert items.table is None
    assert [batch.items for batch in items.batches] == [
        ("1/north/p.csv", "1/north/r.csv", "1/south/p.csv"),
        ("2/north/p.csv",),
    ]
    grouped = planned(folder, None, ("side",)).batches
    assert [(dict(batch.keys), len(batch.items)) for batch in grouped] == [
        ({"side": "north"}, 3),
        ({"side": "south"}, 1),
    ]


def test_a_random_sample_is_the_same_at_every_try(tmp_path: Path) -> None:
    text = "x\n" + "".join(f"{number}\n" for number in range(2, 400))
    folder = table(
        tmp_path, {"a.csv": text}, "[read_delimited, {take_random_sample: {probability: 0.25, seed: 7}}]"
    )
    once, again = (
        [value for frame in frames(planned(folder, 300)) for value in frame["x"]] for _ in range(2)
    )
    assert once == again
    assert 60 < len(once) < 140


@pytest.mark.parametrize(
    ("paths", "steps", "keys", "message"),
    [
        ("[{file: b.csv}]", CSV, (), "MLTable:1: there is no file 'b.csv'"),
        ("[{folder: ./b}]", CSV, (), "MLTable:1: there is no folder './b'"),
        ("[{pattern: ./*.tsv}]", CSV, (), "MLTable:1: no file matches pattern './*.tsv'"),
        ("[{file: a.csv}]", CSV, ("store",), "it has no partition_format"),
        ("[{file: a.csv}]", "[{extract_columns_from_partition_format: {partition_format: '/{s}/*.csv'}}, read_delimited]",
         ("store",), "its partition_format has s"),
        ("[{file: a.csv}]", "[{extract_columns_from_partition_format: {partition_format: '/{s}/*.csv'}}, read_delimited]",
         ("s",), "the path 'a.csv' does not fit partition_format"),
        ("[{file: a.csv}]", "[read_parquet]", (), "a.csv: it is not a Parquet file"),
    ],
)  # fmt: skip
def test_files_that_are_not_as_the_table_says_are_named(
    tmp_path: Path, paths: str, steps: str, keys: tuple[str, ...], message: str
) -> None:
    folder = table(tmp_path, {"a.csv": "x\n1\n"}, steps, paths)
    with pytest.raises(TableError) as error:
        planned(folder, None, keys)
    assert message in str(error.value)
