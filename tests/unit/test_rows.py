"""How rows of tables are read: every expectation here was observed of Azure ML's own reader (azureml-dataprep-rslex
2.26) on the same bytes."""

from __future__ import annotations

import io
from typing import Any

import pytest

from batchscore.rows import blocks, conditions, dates, delimited, encodings, json_lines, partition_format
from batchscore.rows.kinds import Kind, converted, inferred


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["1", "2", None], Kind("int")),
        ([" 1", "2 "], Kind("int")),
        (["1", "2.0"], Kind("float")),
        (["1.", ".5"], Kind("float")),
        (["1e3", "2E-2"], Kind("float")),
        (["nan", "inf", "1"], Kind("float")),
        (["9223372036854775807", "2"], Kind("int")),
        (["9223372036854775808", "2"], Kind("float")),
        (["1,000", "2"], Kind()),
        (["1_000", "2"], Kind()),
        (["0x10", "2"], Kind()),
        (["-", "1"], Kind()),
        (["NULL", "1"], Kind()),
        (["", "1"], Kind()),
        (["True", "false", "TRUE"], Kind("boolean")),
        (["t", "f"], Kind("boolean")),
        (["0", "1"], Kind("boolean")),
        (["01", "+1", "-0"], Kind("boolean")),
        (["-1", "0"], Kind("int")),
        (["true", "2"], Kind()),
        (["yes", "no"], Kind()),
        ([None, None], Kind()),
        (["2020-01-02", None], Kind("datetime", ("%Y-%m-%d",))),
        (["2020-1-2"], Kind("datetime", ("%Y-%m-%d",))),
        (["2020-01-02", "2020/01/03"], Kind("datetime", ("%Y-%m-%d", "%Y/%m/%d"))),
        (["2020-01-02", "x"], Kind()),
        (["2020-01-02", "1"], Kind()),
        (["20200102"], Kind("int")),
    ],
)
def test_the_type_of_a_column_is_what_all_values_of_the_sample_are(
    values: list[str | None], kind: Kind
) -> None:
    assert inferred(values) == kind


@pytest.mark.parametrize(
    ("values", "forms"),
    [
        (["2020-01-02T10:11:12"], ["%Y-%m-%dT%H:%M:%S"]),
        (["2020-01-02T10:11:12.123Z"], ["%Y-%m-%dT%H:%M:%S.%f%z"]),
        (["2020-01-02 10:11:12 +0200"], ["%Y-%m-%d %H:%M:%S%z"]),
        (["2020/12/25 10:11:12.5"], ["%Y/%m/%d %H:%M:%S.%f"]),
        (["13/02/2020"], ["%d/%m/%Y"]),
        (["12/25/2020"], ["%m/%d/%Y"]),
        (["01/02/2020"], []),
        (["01/02/2020", "13/02/2020"], ["%d/%m/%Y"]),
        (["12/25/2020", "13/02/2020"], None),
        (["01/02/2020", "2020-01-02"], ["%Y-%m-%d"]),
        (["12/25/2020 10:11:12 PM"], ["%m/%d/%Y %I:%M:%S %p"]),
        (["12/25/2020 1:11PM"], ["%m/%d/%Y %I:%M %p"]),
        (["12/25/2020 10:11"], ["%m/%d/%Y %H:%M"]),
        (["12/25/20"], ["%m/%d/%y"]),
        (["25/12/20"], ["%Y/%m/%d"]),
        (["31-12-99"], ["%d-%m-%y"]),
        (["02-Jan-2020"], ["%d-%b-%Y"]),
        (["25-Dec-2020 10:11"], ["%d-%b-%Y %H:%M"]),
        (["2020-01-02 10:11"], None),
        (["2020-01-02T24:00:00"], None),
        (["2020-2-30"], None),
        (["2020-01-02 "], None),
        ([" 2020-01-02"], ["%Y-%m-%d"]),
        (["Jan 2, 2020"], None),
        (["01.02.2020"], None),
        (["12/25/2020T10:11:12"], None),
    ],
)
def test_dates_are_known_by_their_format(values: list[str], forms: list[str] | None) -> None:
    assert dates.forms_of(values) == forms


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("int", "1.5", 1),
        ("int", "-2.7", -2),
        ("int", "1e3", 1000),
        ("int", " 7 ", 7),
        ("int", "x", None),
        ("int", "nan", 0),
        ("int", "inf", 2**63 - 1),
        ("int", "9223372036854775808", 2**63 - 1),
        ("int", "true", None),
        ("float", "5.", 5.0),
        ("float", "1_0", None),
        ("boolean", "1", True),
        ("boolean", " true ", True),
        ("boolean", "00", None),
        ("boolean", "tRuE", None),
    ],
)
def test_a_value_beyond_the_sample_that_does_not_fit_becomes_null(kind: str, text: str, value: Any) -> None:
    assert converted([text], Kind(kind)) == [value]


def test_typed_values_are_converted_on() -> None:
    assert converted([3.0, 1.5, None], Kind("string")) == ["3", "1.5", None]
    assert converted([True, False], Kind("string")) == ["True", "False"]
    assert converted([True], Kind("int")) == [None]
    moment = dates.nanoseconds("2020-01-02 03:04:05.5", "%Y-%m-%d %H:%M:%S.%f")
    assert converted([moment], Kind("string"), "datetime") == ["2020-01-02T03:04:05.500+00:00"]


def test_times_are_nanoseconds_in_utc_and_none_where_the_format_does_not_fit() -> None:
    assert dates.nanoseconds("2020-01-02T10:11:12+02:00", "%Y-%m-%dT%H:%M:%S%z") == 1_577_952_672 * 10**9
    assert dates.nanoseconds("1600-01-01", "%Y-%m-%d") == dates.NOT_A_TIME
    assert dates.nanoseconds("2020/01/02", "%Y-%m-%d") is None
    assert dates.nanoseconds("12/25/69", "%m/%d/%y") == dates.nanoseconds("2069-12-25", "%Y-%m-%d")
    assert dates.nanoseconds("12/25/70", "%m/%d/%y") == dates.nanoseconds("1970-12-25", "%Y-%m-%d")


@pytest.mark.parametrize(
    ("line", "fields"),
    [
        ('"a"b"c,d"e,z', ['ab"c', 'd"e', "z"]),
        ('"a" ,b,c', ["a ", "b", "c"]),
        ('"a""b"c,d,e', ['a"bc', "d", "e"]),
        ('"",b,', ["", "b", None]),
        (",,", [None, None, None]),
        ('p,"unclosed,x', ["p", '"unclosed', "x"]),
        ('a,b"c"d,e', ["a", 'b"c"d', "e"]),
        ('"a"","b",c', ['a",b"', "c"]),
        ('"""a""",b,c', ['"a"', "b", "c"]),
        ('a, c ,"b"', ["a", " c ", "b"]),
        ('x,"', ["x", '"']),
    ],
)
def test_quotation_marks_hold_only_where_a_field_begins_with_one(line: str, fields: list[str | None]) -> None:
    assert delimited.fields(line, ",") == fields


def test_only_a_line_feed_ends_a_line_and_only_an_empty_one_is_skipped() -> None:
    assert list(delimited.lines("a\rb\r\n\nc\r\n\r\nd")) == ["a\rb", "c", "", "d"]


def test_quoted_line_breaks_stay_in_their_field_when_a_table_says_so() -> None:
    text = 'x,y\n1,"a\nb"\n2,"p\r\nq"\r\n3,"say ""x"""'
    assert list(delimited.records(text, ",")) == [
        ["x", "y"],
        ["1", "a\nb"],
        ["2", "p\r\nq"],
        ["3", 'say "x"'],
    ]


def test_header_names_are_trimmed_numbered_and_told_apart() -> None:
    assert delimited.header([" x ", None, "x", "x", "y,1"]) == ["x", "Column2", "x_1", "x_2", "y,1"]
    assert delimited.column(["a"], 2) == "Column3"


@pytest.mark.parametrize(
    ("block_bytes", "rows"),
    [
        (4, [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]),
        (7, [1, 1, 1, 2, 1, 1, 1, 1, 1]),
        (10, [2, 1, 2, 2, 1, 2]),
        (16, [3, 2, 3, 2]),
        (22, [4, 3, 3]),
        (64, [10]),
    ],
)
def test_a_line_belongs_to_the_block_that_the_line_break_before_it_lies_in(
    block_bytes: int, rows: list[int]
) -> None:
    data = b"x,y\n" + b"".join(b"%02d,ab\n" % number for number in range(10))
    found = list(blocks.cut(io.BytesIO(data), len(data), 4, block_bytes))
    assert [block.rows for block in found] == rows
    assert b"".join(data[block.start : block.end] for block in found) == data[4:]


@pytest.mark.parametrize(
    ("encoding", "data", "text"),
    [
        ("iso88591", b"\x80\x85\xe9\x81", "€…é\x81"),
        ("ascii", b"\xc3\xa9", "é"),
        ("utf16", b"\xff\xfea\x00", "a"),
        ("utf-16", b"a\x00", "a"),
    ],
)
def test_encodings_mean_what_they_mean_to_azure_ml(encoding: str, data: bytes, text: str) -> None:
    assert encodings.decoded(data, encoding) == text


def test_a_byte_that_an_encoding_does_not_have_is_named() -> None:
    with pytest.raises(encodings.DecodingError, match="byte 0xff at 1 is not utf8"):
        encodings.decoded(b"a\xff", "utf8")


def test_the_first_value_that_is_not_null_decides_the_type_of_a_json_column() -> None:
    rows = json_lines.records(
        [
            '{"i": null, "o": {"a": 1}}',
            '{"i": 1, "o": {"b": "x"}}',
            '{"i": 2.5, "o": 5}',
            '{"i": true, "e": {}}',
        ],
        drop_invalid=False,
    )
    values, _, lost = json_lines.columns(rows)
    assert values == {
        "i": [None, 1, None, None],
        "o": [{"a": 1, "b": None}, {"a": None, "b": "x"}, None, None],
        "e": [None, None, None, None],
    }
    assert lost == {"i": 2, "o": 1}


@pytest.mark.parametrize("line", ["nope", "[1]", "3", '{"a": NaN}', '{"a": 1,}', "\t"])
def test_a_line_that_is_no_json_object_is_an_error_or_dropped(line: str) -> None:
    assert json_lines.records(['{"a": 1}', line], drop_invalid=True) == [{"a": 1}]
    with pytest.raises(json_lines.JsonLineError, match="line 2 of the mini-batch"):
        json_lines.records(['{"a": 1}', line], drop_invalid=False)


@pytest.mark.parametrize(
    ("expression", "kept"),
    [
        ('col("x") > 1', [0, 2]),
        ("col('x') > 1 or name == \"bob\"", [0, 1, 2]),
        ('not col("x") > 1', [3]),
        ('col("x") != 3', [0, 3]),
        ('col("x") < -0.5', [3]),
        ('2 < col("x")', [2]),
        ('col("flag")', [0, 2]),
        ('col("flag") == False and (col("x") < 0 or col("name") == "q")', [3]),
        ('col("name") == 12', []),
        ('col("absent") > 1', []),
    ],
)
def test_a_filter_keeps_rows_for_which_it_is_true(expression: str, kept: list[int]) -> None:
    rows = [
        {"name": "ann", "x": 1.5, "flag": True},
        {"name": "bob", "x": None, "flag": False},
        {"name": "cy", "x": 3.0, "flag": True},
        {"name": "d", "x": -1.0, "flag": False},
    ]
    test = conditions.parsed(expression)
    assert [index for index, row in enumerate(rows) if test(row) is True] == kept


@pytest.mark.parametrize(
    "expression",
    ['col("x") in [1]', "isnull(col('x'))", 'col("x") + 1 > 2', "__import__('os')", 'col("x") == None', "1 < x < 2", "(",
     'col("d") > datetime(2020, 1, 1)', 'col("a") == col("b")'],
)  # fmt: skip
def test_a_filter_that_is_not_understood_is_refused(expression: str) -> None:
    with pytest.raises(conditions.UnsupportedConditionError):
        conditions.parsed(expression)


@pytest.mark.parametrize(
    ("form", "path", "values"),
    [
        ("/{s}/{b}/*.csv", "1/dominicks/p.csv", {"s": "1", "b": "dominicks"}),
        ("{s}/{b}/{file}.{ext}", "1/a b/p.csv", {"s": "1", "b": "a b", "file": "p", "ext": "csv"}),
        ("*/s={s}/*", "2020/01/s=A/x.csv", {"s": "A"}),
        ("/{a}-{b}.csv", "c-d-e.csv", {"a": "c-d", "b": "e"}),
        ("/x.{s}/*", "xz2/p.csv", None),
        ("/{d:yyyy/MM/dd}/{f}.csv", "2020/01/02/x.csv", {"f": "x", "d": 1_577_923_200 * 10**9}),
    ],
)
def test_columns_come_from_paths(form: str, path: str, values: dict[str, Any] | None) -> None:
    found = partition_format.parsed(form).values(path)
    assert found == values
    assert found is None or list(found) == list(values or {})


@pytest.mark.parametrize("form", ["/{}/x", "/{a}/{a}", "/{d:yyyy/QQ}", "/{d:MM}", "/a/*.csv", "/{a"])
def test_a_partition_format_that_cannot_be_is_refused(form: str) -> None:
    with pytest.raises(partition_format.PartitionFormatError):
        partition_format.parsed(form)
