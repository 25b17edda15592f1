"""An MLTable file -> a Table: which files, how their rows are read, and what is done with them, or every mistake."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from batchscore.definitions.columns import listed, selection, told_kinds
from batchscore.definitions.model import is_remote
from batchscore.definitions.reading import Section, as_whole, nearest, shown
from batchscore.definitions.yamlnodes import Node, Problems, read
from batchscore.errors import DefinitionError
from batchscore.rows import conditions, partition_format
from batchscore.rows.encodings import CODECS
from batchscore.rows.kinds import SAMPLE_ROWS, Kind

FILE_NAME = "MLTable"
HEADERS = ("all_files_same_headers", "all_files_different_headers", "from_first_file", "no_header")
_REFUSED = {
    "read_delta_lake": "reads Delta Lake tables",
    "sample": "is written take_random_sample",
    "select_partitions": "depends on how Azure ML cuts the files",
    "query_source": "reads from a database",
}
_TOP = ("$schema", "type", "paths", "transformations", "traits", "metadata", "query_source")


@dataclass(frozen=True)
class Source:
    """An entry of `paths`: `kind` is file, folder or pattern, `text` is relative to the folder of the table."""

    kind: str
    text: str
    line: int


@dataclass(frozen=True)
class Table:
    """What an MLTable file says. `format` is None where the files themselves are the items."""

    folder: Path
    sources: tuple[Source, ...]
    format: str | None = None
    encoding: str = "utf8"
    delimiter: str = ","
    header: str = HEADERS[0]
    empty_as_string: bool = False
    multi_line: bool = False
    path_column: bool = False
    sample_rows: int | None = SAMPLE_ROWS
    """How many rows decide the types of columns; None where all stay text."""
    told_kinds: tuple[tuple[Any, Kind], ...] = ()
    drop_invalid: bool = False
    partition_format: str | None = None
    partition_columns_last: bool = False
    steps: tuple[dict[str, Any], ...] = ()
    """The transformations after reading, each a mapping of one name to what it needs, ready for JSON."""
    take: tuple[tuple[str, int], ...] = ()
    """`skip` and `take` in their order, for the rows of all files together."""

    @property
    def file(self) -> Path:
        return self.folder / FILE_NAME


def load_table(folder: Path) -> Table:
    """Read the MLTable file in a folder; DefinitionError lists every mistake with its line."""
    problems = Problems()
    table = read_table(folder, problems)
    if problems.found or table is None:
        raise DefinitionError(problems.sorted())
    return table


def read_table(folder: Path, problems: Problems) -> Table | None:
    """The table in a folder, or None after a problem."""
    file = folder / FILE_NAME
    if not file.is_file():
        problems.add_at(str(file), 1, "there is no such file, and an mltable is a folder with one. Write it.")
        return None
    node = read(file, problems)
    root = None if node is None else Section.of(node, "the table", problems)
    if root is None:
        return None
    root.allow(_TOP)
    root.refuse(
        "query_source", f"{_REFUSED['query_source']}, which a local run does not. Name files under paths."
    )
    root.choice("type", ("mltable",))
    sources = _sources(root)
    if not sources and "query_source" not in root and not problems.found:
        root.missing("paths", "List what it is made of: - file:, - folder: or - pattern:.")
    return _Transformations(Table(folder, tuple(sources)), problems).read(root)


def _sources(root: Section) -> list[Source]:
    node = root.get("paths")
    result: list[Source] = []
    for item in listed(root, node, "paths"):
        entry = Section.of(item, "an entry of paths", root.problems)
        if entry is None:
            continue
        entry.allow(("file", "folder", "pattern"))
        for kind in ("file", "folder", "pattern"):
            text = entry.text(kind)
            if text is None:
                continue
            plain = text.removeprefix("file:") if text.startswith("file:./") else text
            if is_remote(plain) or plain.startswith("file:"):
                entry.refuse(
                    kind, f"{text!r} is elsewhere; a local run reads what lies below the MLTable's folder."
                )
            elif (
                PurePosixPath(plain).is_absolute() or ".." in PurePosixPath(plain).parts or not plain.strip()
            ):
                entry.refuse(
                    kind, f"is {text!r}; it must be a path below the MLTable's folder, such as ./data.csv."
                )
            elif kind == "pattern" and any(
                "**" in part and part != "**" for part in PurePosixPath(plain).parts
            ):
                entry.refuse(kind, f"is {text!r}; ** must stand alone between slashes, as in ./**/*.csv.")
            else:
                result.append(Source(kind, plain, item.line))
    return result


@dataclass
class _Transformations:
    """Reads `transformations` in their order into a table."""

    table: Table
    problems: Problems
    said: dict[str, Any] = field(default_factory=dict)
    steps: list[dict[str, Any]] = field(default_factory=list)
    take: list[tuple[str, int]] = field(default_factory=list)

    def read(self, root: Section) -> Table:
        for item in listed(root, root.get("transformations"), "transformations"):
            if isinstance(item.value, str):
                section = Section(
                    item, {item.value: Node(item.file, item.line, {})}, "a transformation", self.problems
                )
            else:
                found = Section.of(item, "a transformation", self.problems)
                if found is None:
                    continue
                section = found
            for name in section.values:
                self._one(name, section)
        return Table(
            **{**vars(self.table), **self.said, "steps": tuple(self.steps), "take": tuple(self.take)}
        )

    def _one(self, name: str, section: Section) -> None:
        known: dict[str, Callable[[Section, str], None]] = {
            "read_delimited": self._delimited,
            "read_json_lines": self._json_lines,
            "read_parquet": self._parquet,
            "extract_columns_from_partition_format": self._partition_format,
            "keep_columns": self._columns,
            "drop_columns": self._columns,
            "convert_column_types": self._convert,
            "filter": self._filter,
            "take": self._count,
            "skip": self._count,
            "take_random_sample": self._sample,
        }
        if name in _REFUSED:
            section.refuse(name, f"{_REFUSED[name]}, which a local run does not do. Remove it.")
        elif name not in known:
            self.problems.add(
                section.values[name],
                f"there is no transformation {name!r}. {nearest(name, known, 'There are')}",
            )
        elif name.startswith("read_"):
            if "format" in self.said:
                section.refuse(name, "is the second reader of this table. Keep one.")
            elif self.steps or self.take:
                section.refuse(name, "comes after what is done with its rows. Write it first.")
            else:
                known[name](section, name)
        elif name != "extract_columns_from_partition_format" and "format" not in self.said:
            section.refuse(
                name, "is for rows, and no read_delimited, read_json_lines or read_parquet is above it."
            )
        else:
            known[name](section, name)

    def _options(self, section: Section, name: str, legal: tuple[str, ...]) -> Section | None:
        if section.values[name].value in (None, {}):
            return Section(section.values[name], {}, name, self.problems)
        options = Section.of(section.values[name], name, self.problems)
        if options is not None:
            options.allow((*legal, "include_path_column", "path_column", "partition_size"))
            options.refuse("path_column", "is not understood by Azure ML's reader. Use include_path_column.")
            self.said["path_column"] = bool(options.flag("include_path_column"))
            options.whole("partition_size", 1)
        return options

    def _encoding(self, options: Section) -> None:
        encoding = options.choice("encoding", tuple(CODECS))
        if encoding is not None:
            self.said["encoding"] = encoding

    def _delimited(self, section: Section, name: str) -> None:
        self.said["format"] = "delimited"
        legal = (
            "delimiter",
            "header",
            "encoding",
            "empty_as_string",
            "support_multi_line",
            "infer_column_types",
        )
        options = self._options(section, name, legal)
        if options is None:
            return
        self._encoding(options)
        delimiter = options.text("delimiter")
        if delimiter is not None and (len(delimiter) != 1 or delimiter in '"\r\n'):
            options.wrong("delimiter", "one character (Azure ML's reader uses the first of two)")
        elif delimiter is not None:
            self.said["delimiter"] = delimiter
        self.said["header"] = options.choice("header", HEADERS) or HEADERS[0]
        self.said["empty_as_string"] = bool(options.flag("empty_as_string"))
        self.said["multi_line"] = bool(options.flag("support_multi_line"))
        self._inference(options)

    def _inference(self, options: Section) -> None:
        node = options.get("infer_column_types")
        if node is None or isinstance(node.value, bool):
            self.said["sample_rows"] = None if node is not None and node.value is False else SAMPLE_ROWS
            return
        inference = options.section("infer_column_types")
        if inference is None:
            return
        inference.allow(("sample_size", "column_type_overrides"))
        self.said["sample_rows"] = inference.whole("sample_size", 1) or SAMPLE_ROWS
        self.said["told_kinds"] = tuple(told_kinds(inference, "column_type_overrides"))

    def _json_lines(self, section: Section, name: str) -> None:
        self.said["format"] = "json_lines"
        options = self._options(section, name, ("invalid_lines", "encoding"))
        if options is None:
            return
        self._encoding(options)
        self.said["drop_invalid"] = options.choice("invalid_lines", ("error", "drop")) == "drop"

    def _parquet(self, section: Section, name: str) -> None:
        self.said["format"] = "parquet"
        self._options(section, name, ())

    def _partition_format(self, section: Section, name: str) -> None:
        node = section.values[name]
        text = node.value
        if isinstance(text, dict):
            inner = Section(node, text, name, self.problems)
            inner.allow(("partition_format",))
            text = inner.text("partition_format")
            if text is None:
                if "partition_format" not in inner:
                    inner.missing("partition_format", "Write one, such as /{store}/{day:yyyy/MM/dd}/*.csv.")
                return
        if not isinstance(text, str):
            section.wrong(name, "a mapping with partition_format")
            return
        if self.said.get("partition_format"):
            section.refuse(name, "is there twice. Keep one.")
            return
        try:
            partition_format.parsed(text)
        except partition_format.PartitionFormatError as error:
            section.refuse(name, f"is {text!r}: {error}.")
            return
        if self.said.get("format") and (not self.said.get("path_column") or self.steps or self.take):
            section.refuse(
                name,
                "comes after the reader, where Azure ML has no paths any more and fills its columns with nulls. "
                "Write it before the reader, or right after one with include_path_column: true.",
            )
            return
        self.said["partition_format"] = text
        self.said["partition_columns_last"] = "format" in self.said

    def _columns(self, section: Section, name: str) -> None:
        which = selection(section, name)
        if which is not None:
            self.steps.append({name: which})

    def _convert(self, section: Section, name: str) -> None:
        if self.said.get("format") == "parquet":
            section.refuse(
                name, "of a Parquet table is not supported: its columns have types. Convert them in run()."
            )
            return
        told = told_kinds(section, name)
        if told:
            self.steps.append({name: [[which, list(kind)] for which, kind in told]})

    def _filter(self, section: Section, name: str) -> None:
        text = section.text(name)
        if text is None:
            return
        try:
            conditions.parsed(text)
        except conditions.UnsupportedConditionError as error:
            section.refuse(
                name,
                f"holds {shown(str(error))}, which is not supported. Compare columns with values, as in "
                'col("x") > 1 and not col("name") == "a".',
            )
            return
        self.steps.append({name: text})

    def _count(self, section: Section, name: str) -> None:
        count = as_whole(section.values[name].value)
        if count is None or count < (1 if name == "take" else 0):
            section.wrong(name, "a whole number of rows")
        elif any(each in step for step in self.steps for each in ("filter", "take_random_sample")):
            section.refuse(name, "after filter or take_random_sample is not supported. Write it before them.")
        else:
            self.take.append((name, count))

    def _sample(self, section: Section, name: str) -> None:
        options = Section.of(section.values[name], name, self.problems)
        if options is None:
            return
        options.allow(("probability", "seed"))
        node = options.get("probability")
        probability = None if node is None else node.value
        if (
            isinstance(probability, bool)
            or not isinstance(probability, (int, float))
            or not 0 <= probability <= 1
        ):
            section.refuse(name, "needs a probability from 0 to 1 and a seed.")
            return
        seed = options.whole("seed", -(2**31))
        if seed is None:
            options.missing("seed", "Write one; Azure ML wants it too.")
            return
        self.steps.append({name: {"probability": float(probability), "seed": seed}})
