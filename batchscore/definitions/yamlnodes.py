"""YAML with positions: a file's text -> a tree of nodes that know their line, and the problems found on the way."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from batchscore.errors import Problem

LARGEST_FILE_BYTES = 1_000_000
DEEPEST = 50

Scalar = str | int | float | bool


@dataclass(frozen=True)
class Node:
    """A value in a file. `line` is that of its key, where it has one, so that it is where a person looks.

    `value` is None, a scalar, a list of nodes or a dict of nodes by key.
    """

    file: str
    line: int
    value: Scalar | list[Node] | dict[str, Node] | None


@dataclass
class Problems:
    """What is wrong with the files of one pipeline, gathered while reading on."""

    found: list[Problem] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    """The files that were read, each once."""
    registering: list[Problem] = field(default_factory=list)
    """What keeps Azure ML from registering a component, and from nothing else."""

    def add(self, at: Node, message: str) -> None:
        self.add_at(at.file, at.line, message)

    def add_at(self, file: str, line: int, message: str) -> None:
        problem = Problem(file, line, message)
        if problem not in self.found:
            self.found.append(problem)

    def sorted(self) -> tuple[Problem, ...]:
        """By file, in the order in which the files were first complained about, then by line."""
        files = list(dict.fromkeys(problem.file for problem in self.found))
        return tuple(sorted(self.found, key=lambda problem: (files.index(problem.file), problem.line)))


Stamps = tuple[tuple[Path, int, int], ...]


def stamps(files: Iterable[Path]) -> Stamps:
    """The files with their times and sizes, in the order of their names: another value once one has changed."""
    found = [(file, file.stat()) for file in sorted(files)]
    return tuple((file, stat.st_mtime_ns, stat.st_size) for file, stat in found)


def plain(node: Node) -> object:
    """What a node says, without its lines."""
    if isinstance(node.value, dict):
        return {key: plain(value) for key, value in node.value.items()}
    if isinstance(node.value, list):
        return [plain(item) for item in node.value]
    return node.value


def read(path: Path, problems: Problems) -> Node | None:
    """The root node of a YAML file, or None after a problem that leaves nothing to go on with."""
    file = str(path)
    if path not in problems.files:
        problems.files.append(path)
    text = _text(path, file, problems)
    if text is None:
        return None
    try:
        loader = yaml.SafeLoader(text)
        try:
            root = loader.get_single_node()
            if root is None:
                problems.add_at(file, 1, "the file is empty. Write a pipeline or a component into it.")
                return None
            return _Converter(loader, file, problems).node(root, root.start_mark.line + 1)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = " ".join(part for part in (error.context, error.problem) if part)
        line = mark.line + 1 if mark else 1
        problems.add_at(file, line, f"the file is not YAML: {what}. {_hint(error, text, line)}")
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        problems.add_at(
            file, line, f"the character U+{ord(text[error.position]):04X} is not allowed in YAML. Remove it."
        )
    except RecursionError:
        problems.add_at(file, 1, "the file is nested too deeply to be read. Flatten it.")
    return None


def _text(path: Path, file: str, problems: Problems) -> str | None:
    try:
        with path.open("rb") as stream:
            data = stream.read(LARGEST_FILE_BYTES + 1)
    except IsADirectoryError:
        problems.add_at(file, 1, "this is a folder. Name a YAML file in it.")
        return None
    except OSError as error:
        reason = "there is no such file" if isinstance(error, FileNotFoundError) else str(error.strerror)
        problems.add_at(file, 1, f"the file cannot be read: {reason}. Check the path.")
        return None
    if len(data) > LARGEST_FILE_BYTES:
        problems.add_at(file, 1, f"the file is larger than {LARGEST_FILE_BYTES} bytes, which no pipeline is.")
        return None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        problems.add_at(file, line, f"byte {error.start} is not UTF-8. Save the file as UTF-8.")
        return None


def _hint(error: yaml.MarkedYAMLError, text: str, line: int) -> str:
    lines = text.splitlines()
    shown = lines[line - 1] if line <= len(lines) else ""
    if "\t" in shown[: len(shown) - len(shown.lstrip())] or "'\\t'" in (error.problem or ""):
        return "Indent with spaces, not tabs."
    if "single document" in (error.context or ""):
        return "Keep one document in the file, without a second '---'."
    if "undefined alias" in (error.problem or ""):
        return "Define the anchor before it is used."
    return "Check the indentation, the colons and the quotes there."


class _Converter:
    """PyYAML's nodes -> ours. Aliases share their value, so a file cannot grow by repeating itself."""

    def __init__(self, loader: yaml.SafeLoader, file: str, problems: Problems) -> None:
        self.loader, self.file, self.problems = loader, file, problems
        self.values: dict[int, Scalar | list[Node] | dict[str, Node] | None] = {}
        self.open: set[int] = set()

    def node(self, node: yaml.Node, line: int) -> Node:
        return Node(self.file, line, self.value(node))

    def value(self, node: yaml.Node) -> Scalar | list[Node] | dict[str, Node] | None:
        key = id(node)
        if key in self.open:
            self.add(node, "an anchor contains itself. Write the value out instead.")
            return None
        if key not in self.values:
            if len(self.open) >= DEEPEST:
                self.add(node, f"nested more than {DEEPEST} levels deep. Flatten it.")
                return None
            self.open.add(key)
            try:
                self.values[key] = self.fresh(node)
            finally:
                self.open.discard(key)
        return self.values[key]

    def fresh(self, node: yaml.Node) -> Scalar | list[Node] | dict[str, Node] | None:
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node)
        if isinstance(node, yaml.SequenceNode):
            return [self.node(item, item.start_mark.line + 1) for item in node.value]
        return self.scalar(node) if isinstance(node, yaml.ScalarNode) else None

    def mapping(self, node: yaml.MappingNode) -> dict[str, Node]:
        lines: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self.add(key, "a key must be a plain word. Quote it if it begins with a bracket.")
            elif key.value in lines and key.tag != "tag:yaml.org,2002:merge":
                self.add(
                    key, f"{key.value!r} appears twice (first at line {lines[key.value]}). Keep one of them."
                )
            else:
                lines[key.value] = key.start_mark.line + 1
        self.loader.flatten_mapping(node)
        result: dict[str, Node] = {}
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                result[key.value] = self.node(value, key.start_mark.line + 1)
        return result

    def scalar(self, node: yaml.ScalarNode) -> Scalar | None:
        kind = node.tag.removeprefix("tag:yaml.org,2002:")
        text = str(node.value)
        try:
            if kind == "null":
                return None
            if kind == "bool":
                return bool(self.loader.construct_yaml_bool(node))
            if kind == "int":
                return int(self.loader.construct_yaml_int(node))
            if kind == "float":
                return float(self.loader.construct_yaml_float(node))
        except (ValueError, IndexError):
            self.add(node, f"{text[:60]!r} cannot be read as a number. Quote it if it is text.")
            return text
        if kind not in ("str", "timestamp"):
            self.add(node, f"the tag {node.tag!r} is not allowed here. Write the plain value.")
        return text

    def add(self, node: yaml.Node, message: str) -> None:
        self.problems.add_at(self.file, node.start_mark.line + 1, message)
