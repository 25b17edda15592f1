"""Bicep files as values: what each declares, with its expressions left as they are written.

`Files` is a folder of files, of which some may be changed in memory; `Template` is one of those that are Bicep. What a
template comes to with given parameters is worked out in `deployment`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from tests.infra.syntax import Node, Statement, statements

Decorators = Mapping[str, tuple[Node, ...]]


class Files(Mapping[str, str]):
    """The text files of a folder by their path in it, some of them changed in memory. Lists those in `infra/`."""

    def __init__(self, root: Path, changed: Mapping[str, str] | None = None) -> None:
        self.root = root
        self.changed = dict(changed or {})
        self._texts: dict[str, str] = {}

    def __getitem__(self, path: str) -> str:
        if path in self.changed:
            return self.changed[path]
        if path not in self._texts:
            file = self.root / path
            if not file.is_file():
                raise KeyError(path)
            self._texts[path] = file.read_text(encoding="utf-8")
        return self._texts[path]

    def __iter__(self) -> Iterator[str]:
        for file in sorted((self.root / "infra").rglob("*")):
            if file.is_file():
                yield file.relative_to(self.root).as_posix()

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def template(self, path: str) -> Template:
        """The template at this path; a text that was read before is not read again."""
        source = self[path]
        if (path, source) not in _READ:
            _READ[path, source] = _template(path, source)
        return _READ[path, source]

    def templates(self) -> list[Template]:
        return [self.template(path) for path in self if path.endswith(".bicep")]


@dataclass(frozen=True)
class Parameter:
    name: str
    type: str
    default: Node | None
    decorators: Decorators


@dataclass(frozen=True)
class Output:
    name: str
    type: str
    value: Node
    decorators: Decorators


@dataclass(frozen=True)
class Loop:
    """`for (item, index) in values`."""

    item: str
    index: str | None
    values: Node


@dataclass(frozen=True)
class Declaration:
    """A resource (`target` is its type with the version) or a module (`target` is its path)."""

    symbol: str
    target: str
    body: Node
    existing: bool
    condition: Node | None
    loop: Loop | None
    line: int

    @property
    def expressions(self) -> list[Node]:
        """Body, condition, and what it is repeated for."""
        found = [self.body]
        if self.condition is not None:
            found.append(self.condition)
        if self.loop is not None:
            found.append(self.loop.values)
        return found

    @property
    def nested(self) -> dict[str, Declaration]:
        """The resources that are declared in its body."""
        inside = [part.value for part in self.body.parts if isinstance(part.value, Statement)]
        return {statement.name: _declaration(statement) for statement in inside}


@dataclass(frozen=True)
class Template:
    path: str
    scope: str = "resourceGroup"
    parameters: dict[str, Parameter] = field(default_factory=dict)
    variables: dict[str, Node] = field(default_factory=dict)
    resources: dict[str, Declaration] = field(default_factory=dict)
    modules: dict[str, Declaration] = field(default_factory=dict)
    outputs: dict[str, Output] = field(default_factory=dict)

    @cached_property
    def symbols(self) -> set[str]:
        return {*self.parameters, *self.variables, *self.resources, *self.modules}

    def module_path(self, module: Declaration) -> str:
        """The path, from the root of the files, of the template that a module names."""
        return resolved(self.path, module.target)

    @cached_property
    def parts(self) -> dict[str, list[Node]]:
        """The expressions of each declaration, outputs as `output …`."""
        found = {name: [each.default] for name, each in self.parameters.items() if each.default is not None}
        found |= {name: [node] for name, node in self.variables.items()}
        for declaration in (*self.resources.values(), *self.modules.values()):
            found[declaration.symbol] = list(_with_nested(declaration))
        return found | {f"output {name}": [each.value] for name, each in self.outputs.items()}

    def names(self, declaration: str) -> set[str]:
        """The symbols that a declaration names."""
        return {
            str(node.value)
            for part in self.parts.get(declaration, [])
            for node in part.all()
            if node.kind == "name" and node.value in self.symbols
        }

    @cached_property
    def used(self) -> set[str]:
        """The symbols that anything but their own declaration names."""
        return {name for declaration in self.parts for name in self.names(declaration) - {declaration}}

    def calls(self, *parts: Node) -> Iterator[tuple[str, Node]]:
        """The functions that are called, in these expressions or in all, by name."""
        for part in parts or [each for expressions in self.parts.values() for each in expressions]:
            for node in part.all():
                if node.kind in ("call", "method"):
                    yield str(node.value), node


def resolved(path: str, other: str) -> str:
    """A path that a file names, from the root: `infra/main.bicep` and `modules/a.bicep` -> `infra/modules/a.bicep`."""
    found = path.split("/")[:-1]
    for part in other.split("/"):
        if part == "..":
            found.pop()
        elif part != ".":
            found.append(part)
    return "/".join(found)


_READ: dict[tuple[str, str], Template] = {}


def _template(path: str, source: str) -> Template:
    read = statements(path, source)
    scope = next((each.value for each in read if each.keyword == "targetScope"), None)
    template = Template(path, (scope.literal if scope else None) or "resourceGroup")
    for each in read:
        match each.keyword, each.value:
            case "param", default:
                template.parameters[each.name] = Parameter(each.name, each.type, default, each.decorators)
            case "var", Node() as value:
                template.variables[each.name] = value
            case "output", Node() as value:
                template.outputs[each.name] = Output(each.name, each.type, value, each.decorators)
            case "resource", _:
                template.resources[each.name] = _declaration(each)
            case "module", _:
                template.modules[each.name] = _declaration(each)
    return template


def _declaration(statement: Statement) -> Declaration:
    body, condition, loop = statement.value, None, None
    assert body is not None
    if body.kind == "for":
        loop = loop_of(body)
        body = body.parts[1]
    if body.kind == "if":
        condition, body = body.parts
    return Declaration(
        statement.name, statement.type, body, statement.existing, condition, loop, statement.line
    )


def loop_of(node: Node) -> Loop:
    names = node.value
    assert isinstance(names, list)
    return Loop(names[0], names[1] if len(names) > 1 else None, node.parts[0])


def _with_nested(declaration: Declaration) -> Iterator[Node]:
    yield from declaration.expressions
    for each in declaration.nested.values():
        yield from _with_nested(each)
