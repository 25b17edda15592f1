"""Files of readings, as people and services write them: what is read, what is counted as bad, what is refused."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensors import csv_readings, readings, readings_file
from sensors.errors import ReadingsError
from sensors.fields import Faults
from sensors.readings import read_tables
from sensors.readings_file import ReadingsFile

LANDED = {
    "ts": "2026-11-21T17:00:05.250Z",
    "device": "pump-1",
    "tag": "7",
    "value": 1.5,
    "id": "a",
    "partition": "0",
    "sequence": 12,
    "index": 0,
    "enqueued": "2026-11-21T17:00:06Z",
}


def lines(*rows: object) -> str:
    return "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)


def read(folder: Path, *contents: str | bytes) -> tuple[list[dict[str, Any]], Faults]:
    files = []
    for number, content in enumerate(contents):
        path = folder / str(number)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        files.append(ReadingsFile(path, path.name))
    faults = Faults()
    found = [row for table in read_tables(files, faults) for row in table.to_pylist()]
    return found, faults


def brief(rows: list[dict[str, Any]]) -> list[tuple[str, str, float]]:
    return [(row["device"], row["tag"], row["value"]) for row in rows]


def test_landed_readings_keep_what_they_are_told_apart_by(tmp_path: Path) -> None:
    without_id = {key: value for key, value in LANDED.items() if key != "id"} | {"sequence": 13}
    rows, faults = read(tmp_path, lines(LANDED, without_id))
    assert faults.rows == 0
    assert rows[0] == {
        "device": "pump-1",
        "tag": "7",
        "time": 1795280405250000000,
        "value": 1.5,
        "id": "a",
        "partition": "0",
        "sequence": 12,
        "index": 0,
        "enqueued": 1795280406000000000,
    }
    assert rows[1] == rows[0] | {"id": None, "sequence": 13}


def test_an_id_that_only_a_later_line_has_is_read(tmp_path: Path) -> None:
    without_id = {key: value for key, value in LANDED.items() if key != "id"}
    rows, _ = read(tmp_path, lines(without_id, LANDED))
    assert [row["id"] for row in rows] == [None, "a"]


FORMS = {
    "the reference's csv": "TS,Device,Tag,Value\n2018-08-28 23:00:05.000,1,4,84.5\n2018-08-28 23:00:06.000,2,4,1\n",
    "csv with other columns, order and ends of lines": "value,note,tag,DEVICE,Ts\r\n84.5,x,4,1,2018-08-28T23:00:05Z\r\n"
    '1,"a, b",4,2,2018-08-28T23:00:06Z',
    "lines of Stream Analytics": '{"WindowEnd":"2018-08-28T23:00:05.0000000Z","deviceId":"1","tag":"4","val":84.5,"n":3}\r\n'
    '{"WindowEnd":"2018-08-28T23:00:06.0000000Z","deviceId":"2","tag":"4","val":1.0,"n":1}',
    "lines with whole numbers for names": '{"TS":"2018-08-28T23:00:05Z","Device":1,"Tag":4,"Value":84.5}\n'
    '{"TS":"2018-08-28T23:00:06Z","Device":2,"Tag":4,"Value":1}\n',
    "lines of several kinds": '{"ts":"2018-08-28T23:00:05Z","device":1,"tag":"4","value":84.5}\n\n'
    '{"TIME":"2018-08-28T23:00:06Z","device":"2","tag":4,"value":1}\n',
    "an array on a line": '[{"ts":"2018-08-28T23:00:05Z","device":"1","tag":"4","value":84.5},'
    '{"ts":"2018-08-28T23:00:06Z","device":"2","tag":"4","value":1}]',
    "an array over lines": '[\n  {"ts":"2018-08-28T23:00:05Z","device":"1",\n  "tag":"4","value":84.5}\r\n,'
    '{"ts":"2018-08-28T23:00:06Z","device":"2","tag":"4","value":1}\n]\n',
}


@pytest.mark.parametrize("content", FORMS.values(), ids=FORMS.keys())
def test_every_known_form_says_the_same(tmp_path: Path, content: str) -> None:
    rows, faults = read(tmp_path, content)
    assert brief(rows) == [("1", "4", 84.5), ("2", "4", 1.0)]
    assert [row["time"] for row in rows] == [1535497205000000000, 1535497206000000000]
    assert faults.rows == 0


@pytest.mark.parametrize("content", FORMS.values(), ids=FORMS.keys())
def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path: Path, content: str) -> None:
    rows, faults = read(tmp_path, "\ufeff" + content)
    assert brief(rows) == [("1", "4", 84.5), ("2", "4", 1.0)]
    assert faults.rows == 0


def test_files_of_all_forms_are_read_in_order(tmp_path: Path) -> None:
    rows, faults = read(tmp_path, *FORMS.values(), b"", b"\n \n")
    assert brief(rows) == [("1", "4", 84.5), ("2", "4", 1.0)] * len(FORMS)
    assert faults.rows == 0


BAD_LINES = [
    ("no json", "the line is no JSON object"),
    ("[1]", "the line is no JSON object"),
    ("[" * 5000, "the line is no JSON object"),
    (LANDED | {"device": ""}, "device is no name: text or a whole number"),
    (LANDED | {"device": True}, "device is no name: text or a whole number"),
    (LANDED | {"device": "\ud83d"}, "device is no name: text or a whole number"),
    (LANDED | {"ts": "\udc00"}, "time is no text"),
    (LANDED | {"tag": 1.5}, "tag is no name: text or a whole number"),
    (LANDED | {"tag": None}, "tag is missing"),
    ({key: LANDED[key] for key in LANDED if key != "value"}, "value is missing"),
    (LANDED | {"value": "1.5"}, "value is no number"),
    (LANDED | {"value": True}, "value is no number"),
    (LANDED | {"value": float("nan")}, "value is not finite"),
    (LANDED | {"value": float("-inf")}, "value is not finite"),
    (LANDED | {"value": 10**400}, "value is not finite"),
    (LANDED | {"ts": 5}, "time is no text"),
    (LANDED | {"ts": "soon"}, "the time is no ISO 8601 time of the years 1678 to 2261"),
]


@pytest.mark.parametrize(("line", "reason"), BAD_LINES, ids=str)
def test_a_bad_line_is_counted_with_its_reason_and_costs_no_other(
    tmp_path: Path, line: object, reason: str
) -> None:
    rows, faults = read(tmp_path, lines(LANDED, line, LANDED))
    assert brief(rows) == [("pump-1", "7", 1.5)] * 2
    assert faults.reasons == {reason: 1}
    assert faults.examples[0]["file"] == "0"


BAD_ROWS = [
    (b"2018-08-28 23:00:05,1,4", "the line has not 4 fields"),
    (b"2018-08-28 23:00:05,1,4,5,6", "the line has not 4 fields"),
    (b"2018-08-28 23:00:05,1,4,", "value is missing"),
    (b"2018-08-28 23:00:05,1,4,high", "value is no number"),
    (b"2018-08-28 23:00:05,1,4,1_0", "value is no number"),
    (b"2018-08-28 23:00:05,1,4,inf", "value is not finite"),
    (b"2018-08-28 23:00:05,1,4,nan", "value is not finite"),
    (b"2018-08-28 23:00:05,,4,5", "device is missing"),
    (b"yesterday,1,4,5", "the time is no ISO 8601 time of the years 1678 to 2261"),
    (b"2018-08-28 23:00:05,\xff,4,5", "the line is not UTF-8"),
]


@pytest.mark.parametrize(("line", "reason"), BAD_ROWS, ids=str)
def test_a_bad_row_of_a_csv_is_counted_with_its_reason(tmp_path: Path, line: bytes, reason: str) -> None:
    good = b"2018-08-28 23:00:05.000,1,4,84.5\n"
    rows, faults = read(tmp_path, b"TS,Device,Tag,Value\n" + good + line + b"\n" + good)
    assert brief(rows) == [("1", "4", 84.5)] * 2
    assert faults.reasons == {reason: 1}


WRITERS = [
    lambda row: json.dumps(row) + "\n",
    lambda row: ",".join(str(row.get(name, "")) for name in ("ts", "device", "tag", "value", "id")) + "\n",
]


@pytest.mark.parametrize(("write", "head"), [(WRITERS[0], ""), (WRITERS[1], "ts,device,tag,value,id\n")])
def test_what_is_wrong_with_a_row_is_sought_in_ever_smaller_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Any, head: str
) -> None:
    """So that one bad row in thousands does not make all of them be read one by one."""
    given = [LANDED | {"value": float(number), "device": "pümp"} for number in range(400)]
    for number in (0, 57, 58, 211, 399):
        given[number] = given[number] | {"value": "bad"}
    one_by_one = []
    usual = readings.table_of_rows
    for module in (readings, csv_readings):
        monkeypatch.setattr(
            module, "table_of_rows", lambda rows, faults: one_by_one.append(len(rows)) or usual(rows, faults)
        )
    monkeypatch.setattr(readings_file, "FEW_BYTES", 1000)
    rows, faults = read(tmp_path, head + "".join(map(write, given)))
    assert [row["value"] for row in rows] == [row["value"] for row in given if row["value"] != "bad"]
    assert faults.reasons == {"value is no number": 5}
    assert 0 < sum(one_by_one) < 100


def test_an_array_that_is_still_written_is_read_so_far_and_counted(tmp_path: Path) -> None:
    rows, faults = read(tmp_path, '[{"ts":"2018-08-28T23:00:05Z","device":"1","tag":"4","value":84.5},\n7,')
    assert brief(rows) == [("1", "4", 84.5)]
    assert faults.reasons == {
        "the element is no JSON object": 1,
        "the array is not closed; is the file still written?": 1,
    }


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("A,B\n1,2\n", r"0 begins with 'A,B': neither JSON nor a header .*\(no time, device, tag, value\)"),
        ("TS,Device,Value\n", r"\(no tag\)"),
        ("TS,Device,Tag,Value,TS\n", "a name twice"),
        ('[{"ts":"2018-08-28T23:00:05Z"} x]', r"0 is no JSON array from 'x\]' on"),
        ("[{}] more", "no JSON array from 'more' on"),
        (b'[{"device":"\xff"}]', "0 is not UTF-8"),
    ],
)
def test_what_is_no_file_of_readings_is_refused_by_name(tmp_path: Path, content: str, said: str) -> None:
    with pytest.raises(ReadingsError, match=said):
        read(tmp_path, content)


@pytest.mark.parametrize("piece", [1, 7, 64, 1000])
@pytest.mark.parametrize("content", FORMS.values(), ids=FORMS.keys())
def test_where_a_file_is_cut_into_pieces_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, piece: int
) -> None:
    monkeypatch.setattr(readings_file, "PIECE_BYTES", piece)
    rows, faults = read(tmp_path, content.replace('"1"', '"pümp"'))
    assert [row["value"] for row in rows] == [84.5, 1.0]
    assert faults.rows == 0


def test_a_line_without_an_end_is_refused_instead_of_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readings_file, "LONGEST_ROW_BYTES", 100)
    with pytest.raises(ReadingsError, match="0: a line is longer than"):
        read(tmp_path, "x" * 200)
    with pytest.raises(ReadingsError, match="0 is no JSON array"):
        read(tmp_path, '[{"a": "' + "x" * 200)


NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=5) | st.integers(-9, 1 << 40)
FIELDS = st.fixed_dictionaries(
    {
        "ts": st.sampled_from(
            ["2026-11-21T17:00:05.250Z", "2026-11-21 17:00:05", "2026-11-21T17:00:05+02:00"]
        ),
        "device": NAMES,
        "tag": NAMES,
        "value": st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(1 << 70), 1 << 70),
    },
    optional={
        "id": st.text(max_size=3) | st.integers(0, 9) | st.none(),
        "partition": st.sampled_from(["0", 1]),
        "sequence": st.integers(0, 1 << 62),
        "index": st.integers(0, 9),
        "enqueued": st.sampled_from(["2026-11-21T17:00:06Z", "soon", None]),
        "more": st.just({"a": [1]}),
    },
)


@given(rows=st.lists(FIELDS, max_size=5))
def test_rows_are_the_same_read_together_and_read_one_by_one(rows, tmp_path_factory) -> None:
    """A bad line makes its whole piece be read row by row."""
    folder = tmp_path_factory.mktemp("case")
    together, faults = read(folder, lines(*rows))
    one_by_one, _ = read(folder, lines(*rows, "{no json"))
    assert together == one_by_one
    assert faults.rows == 0
    assert len(together) == len(rows)


@given(data=st.data(), content=st.sampled_from(sorted(FORMS.values())))
def test_damage_of_any_kind_is_counted_or_refused_by_name_and_raises_nothing_else(
    data, content, tmp_path_factory
) -> None:
    damaged = bytearray((content * 3).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        rows, faults = read(tmp_path_factory.mktemp("damaged"), bytes(damaged))
    except ReadingsError as error:
        assert str(error).startswith("0")
    else:
        assert rows or faults.rows
        assert all(row["device"] and row["tag"] and math.isfinite(row["value"]) for row in rows)


def test_only_the_first_bad_rows_are_shown_and_all_are_counted(tmp_path: Path) -> None:
    _, faults = read(tmp_path, lines(LANDED, *["x" * 500] * 50))
    assert faults.rows == 50
    assert len(faults.examples) == 20
    assert faults.examples[0]["row"] == "x" * 200


def test_blank_lines_before_the_first_row_are_nothing(tmp_path: Path) -> None:
    rows, faults = read(tmp_path, *("\n\r\n  \n" + content for content in FORMS.values()))
    assert brief(rows) == [("1", "4", 84.5), ("2", "4", 1.0)] * len(FORMS)
    assert faults.rows == 0
