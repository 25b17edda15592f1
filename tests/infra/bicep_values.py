"""What Bicep files say, as values: parameters in, variables, resources and outputs of all modules out.

A reader for tests, not a compiler: it knows the expressions that `infra/` uses, and raises for any other. What Azure
alone knows (ids, client ids, endpoints) is made up, the same for the same name.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import tree_sitter_bicep
from tree_sitter import Language, Node, Parser

SUBSCRIPTION = "00000000-aaaa-4bbb-8ccc-000000000001"
TENANT = "00000000-aaaa-4bbb-8ccc-000000000002"
GROUP = "rg-group"

_PARSER = Parser(Language(tree_sitter_bicep.language()))
_SPACE = uuid.UUID(TENANT)
_ESCAPES = {"\\n": "\n", "\\t": "\t", "\\r": "\r", "\\'": "'", "\\\\": "\\", "\\$": "$"}

Value = Any
Accessor = Callable[[Value], Value]


class NotThereError(Exception):
    """Something is read of what is not deployed, or is no such thing."""


def _named(node: Node) -> list[Node]:
    return [child for child in node.named_children if child.type not in ("comment", "diagnostic_comment")]


def _text(node: Node) -> str:
    return (node.text or b"").decode()


def _kids(node: Node, kind: str) -> list[Node]:
    return [child for child in node.children if child.type == kind]


@dataclass
class Resource:
    """A resource or module as it is declared; of a loop the element that is evaluated."""

    type: str
    body: Node
    existing: bool


@dataclass
class Bicep:
    """One deployment of one file. `parameters` that are not given have their defaults."""

    path: Path
    parameters: Mapping[str, Value] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.defaults: dict[str, Node | None] = {}
        self.variables: dict[str, Node] = {}
        self.resources: dict[str, Resource] = {}
        self.modules: dict[str, Resource] = {}
        self.output_nodes: dict[str, Node] = {}
        self._known: dict[str, Value] = {}
        self._deployed: dict[str, Bicep] = {}
        root = _PARSER.parse(self.path.read_bytes()).root_node
        if root.has_error:
            raise ValueError(f"{self.path} is no Bicep")
        for node in root.children:
            self._declare(node)
        strange = self.parameters.keys() - self.defaults.keys()
        missing = {name for name, node in self.defaults.items() if node is None} - self.parameters.keys()
        if strange or missing:
            raise NotThereError(
                f"{self.path.name}: {sorted(strange)} are no parameters; {sorted(missing)} lack"
            )

    def _declare(self, node: Node) -> None:
        names = _kids(node, "identifier")
        if not names:
            return
        name = _text(names[0])
        if node.type == "parameter_declaration":
            self.defaults[name] = _named(node)[-1] if _kids(node, "=") else None
        elif node.type == "variable_declaration":
            self.variables[name] = _named(node)[-1]
        elif node.type == "output_declaration":
            self.output_nodes[name] = _named(node)[-1]
        elif node.type in ("resource_declaration", "module_declaration"):
            kind = self._string(_kids(node, "string")[0], {})
            there = self.modules if node.type == "module_declaration" else self.resources
            there[name] = Resource(kind, _named(node)[-1], bool(_kids(node, "existing")))

    @cached_property
    def outputs(self) -> dict[str, Value]:
        return {name: self.value(node) for name, node in self.output_nodes.items()}

    def resource(self, name: str) -> Value:
        """A resource's body, a list of bodies for a loop, None where its condition does not hold."""
        if name not in self._known:
            self._known[name] = self._body(self.resources[name].body, {})
        return self._known[name]

    def _body(self, node: Node, local: Mapping[str, Value]) -> Value:
        if node.type == "if_statement":
            condition, body = _named(node)
            return self.value(body, local) if self.value(condition, local) else None
        return self.value(node, local)

    def module(self, name: str) -> Bicep:
        """The deployment of a module; NotThereError where its condition does not hold."""
        if name not in self._deployed:
            module = self.modules[name]
            body = self._body(module.body, {})
            if body is None:
                raise NotThereError(f"{self.path.name}: {name} is not deployed here, and something reads it")
            self._deployed[name] = Bicep((self.path.parent / module.type).resolve(), body.get("params", {}))
        return self._deployed[name]

    def deployed(self) -> dict[str, Bicep]:
        """Every module that is deployed, by its symbol; loops left out."""
        found = {}
        for name, module in self.modules.items():
            if module.body.type != "for_statement" and self._body(module.body, {}) is not None:
                found[name] = self.module(name)
        return found

    # ---- expressions

    def value(self, node: Node, local: Mapping[str, Value] | None = None) -> Value:
        return self._value(node, local or {}, [])

    def _value(self, node: Node, local: Mapping[str, Value], after: list[Accessor]) -> Value:
        """`after`: what is read of the value. The grammar hangs `.x` of `a ? b : c.x` on the whole; here it goes to c."""
        kind = node.type
        if kind in ("member_expression", "subscript_expression") and not self._symbol(node, local):
            inner, accessor = self._access(node, local)
            return self._value(inner, local, [accessor, *after])
        if kind == "ternary_expression":
            condition, yes, no = _named(node)
            if self.value(condition, local):
                return self._value(yes, local, [])
            return self._value(no, local, after)
        if kind == "binary_expression":
            return self._binary(node, local, after)
        if kind == "unary_expression":
            return not self._value(_named(node)[0], local, after)
        found = self._plain(node, local)
        for accessor in after:
            found = accessor(found)
        return found

    def _access(self, node: Node, local: Mapping[str, Value]) -> tuple[Node, Accessor]:
        inner, key = _named(node)[0], _named(node)[-1]
        index = _text(key) if node.type == "member_expression" else self.value(key, local)
        safe = bool(_kids(node, ".?"))

        def read(found: Value) -> Value:
            if safe and (found is None or index not in found):
                return None
            return found[index]

        return inner, read

    def _symbol(self, node: Node, local: Mapping[str, Value]) -> bool:
        """Whether this is a path that begins at a resource or module of this file."""
        path = _text(node).replace("!", "").replace("?", "").split(".")
        return (
            node.type == "member_expression"
            and path[0] not in local
            and (path[0] in self.resources or path[0] in self.modules)
            and all(part.isidentifier() for part in path)
        )

    def _plain(self, node: Node, local: Mapping[str, Value]) -> Value:
        kind = node.type
        if kind == "parenthesized_expression":
            return self.value(_named(node)[0], local)
        if kind == "string":
            return self._string(node, local)
        if kind == "number":
            return int(_text(node))
        if kind == "boolean":
            return _text(node) == "true"
        if kind == "null":
            return None
        if kind == "array":
            return [self.value(child, local) for child in _named(node)]
        if kind == "object":
            return self._object(node, local)
        if kind == "for_statement":
            return self._loop(node, local)
        if kind == "identifier":
            return self._identifier(_text(node), local)
        if kind == "member_expression":
            return self._of_symbol(_text(node).replace("!", "").replace("?", "").split("."))
        if kind == "call_expression":
            name, arguments = _named(node)
            return self._call(_text(name), _named(arguments), local)
        raise NotImplementedError(f"{self.path.name}: {kind} {_text(node)[:60]!r}")

    def _string(self, node: Node, local: Mapping[str, Value]) -> str:
        found = ""
        _, *parts = node.children
        for child in parts:
            text = _text(child)
            if child.type == "string_content":
                found += text
            elif child.type == "escape_sequence":
                found += _ESCAPES[text]
            else:
                found += text[
                    : -len(text.lstrip())
                ]  # the grammar counts spaces before it to what ends plain text
            if child.type == "interpolation":
                found += _as_text(self.value(_named(child)[0], local))
        return found.removeprefix("\n") if _text(node).startswith("'''") else found

    def _object(self, node: Node, local: Mapping[str, Value]) -> dict[str, Value]:
        found = {}
        for child in _named(node):
            key, value = _named(child)
            name = self._string(key, local) if key.type == "string" else _text(key)
            found[name] = self.value(value, local)
        return found

    def _loop(self, node: Node, local: Mapping[str, Value]) -> list[Value]:
        names, items, body = _named(node)
        variables = [_text(child) for child in _named(names)] or [_text(names)]
        return [
            self._body(body, {**local, **dict(zip(variables, (item, index), strict=False))})
            for index, item in enumerate(self.value(items, local))
        ]

    def _identifier(self, name: str, local: Mapping[str, Value]) -> Value:
        if name in local:
            return local[name]
        if name in self.resources or name in self.modules:
            return Symbol(self, name)
        if name not in self._known:
            if name in self.parameters:
                self._known[name] = self.parameters[name]
            elif name in self.defaults:
                default = self.defaults[name]
                assert default is not None
                self._known[name] = self.value(default)
            elif name in self.variables:
                self._known[name] = self.value(self.variables[name])
            else:
                raise NotThereError(f"{self.path.name}: {name} is declared nowhere")
        return self._known[name]

    def _of_symbol(self, path: list[str]) -> Value:
        name, *rest = path
        if name in self.modules:
            if rest[0] == "name":
                return self._body(self.modules[name].body, {})["name"]
            found: Value = self.module(name).outputs
            for part in rest[1:]:
                if part not in found:
                    raise NotThereError(f"{self.path.name}: {'.'.join(path)} is no output")
                found = found[part]
            return found
        body = self.resource(name)
        if body is None:
            raise NotThereError(f"{self.path.name}: {name} is not deployed here, and something reads it")
        return made_up(self.resources[name].type, self.full_name(name), rest, body)

    def full_name(self, name: str) -> str:
        body = self.resource(name)
        parent = body.get("parent")
        return f"{self.full_name(parent.name)}/{body['name']}" if parent else str(body["name"])

    def _binary(self, node: Node, local: Mapping[str, Value], after: list[Accessor]) -> Value:
        left_node, right_node = _named(node)
        operator = next(_text(child) for child in node.children if not child.is_named)
        left = self.value(left_node, local)
        if operator == "&&" and not left:
            return False
        if operator == "||" and left:
            return True
        if operator == "??" and left is not None:
            return left
        right = self._value(right_node, local, after)
        operations: dict[str, Callable[[Value, Value], Value]] = {
            "&&": lambda _, b: b,
            "||": lambda _, b: b,
            "??": lambda _, b: b,
            "==": lambda a, b: a == b,
            "!=": lambda a, b: a != b,
            "<": lambda a, b: a < b,
            ">": lambda a, b: a > b,
            "<=": lambda a, b: a <= b,
            ">=": lambda a, b: a >= b,
            "+": lambda a, b: a + b,
            "-": lambda a, b: a - b,
            "*": lambda a, b: a * b,
            "/": lambda a, b: a // b,
            "%": lambda a, b: a % b,
            "=~": lambda a, b: a.lower() == b.lower(),
        }
        return operations[operator](left, right)

    def _call(self, name: str, nodes: list[Node], local: Mapping[str, Value]) -> Value:
        if name in ("map", "filter", "toObject", "sort", "reduce"):
            items = self.value(nodes[0], local)
            function = self._function(nodes[1], local)
            if name == "map":
                return [function(item) for item in items]
            if name == "filter":
                return [item for item in items if function(item)]
            if name == "toObject":
                of = self._function(nodes[2], local) if len(nodes) > 2 else lambda item: item
                return {function(item): of(item) for item in items}
            raise NotImplementedError(name)
        arguments = [self.value(node, local) for node in nodes]
        if name in ("loadJsonContent", "loadTextContent"):
            text = (self.path.parent / arguments[0]).read_text()
            return json.loads(text) if name == "loadJsonContent" else text
        if name not in _FUNCTIONS:
            raise NotImplementedError(f"{self.path.name}: {name}()")
        return _FUNCTIONS[name](*arguments)

    def _function(self, node: Node, local: Mapping[str, Value]) -> Callable[[Value], Value]:
        name, body = _named(node)
        return lambda item: self.value(body, {**local, _text(name): item})


@dataclass(frozen=True)
class Symbol:
    """A resource that is named as a value, such as a parent or a scope."""

    file: Bicep = field(repr=False, compare=False)
    name: str


def made_up(kind: str, name: str, path: list[str], body: Mapping[str, Value]) -> Value:
    """What Azure would answer for a property of a resource."""
    kind = kind.partition("@")[0]
    place = ".".join(path)
    parts = name.split("/")
    if place == "name":
        return parts[-1]
    if place == "id":
        types = kind.split("/")
        pairs = "/".join(f"{a}/{b}" for a, b in zip(types[1:], parts, strict=True))
        return f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}/providers/{types[0]}/{pairs}"
    if place.startswith("properties.primaryEndpoints."):
        return f"https://{name}.{path[-1]}.core.windows.net/"
    if place in ("properties.clientId", "properties.principalId", "identity.principalId"):
        return str(uuid.uuid5(_SPACE, f"{kind} {name} {place}"))
    found: Value = body
    for part in path:
        if not isinstance(found, Mapping) or part not in found:
            return f"<{place} of {name}>"
        found = found[part]
    return found


def _as_text(value: Value) -> str:
    if isinstance(value, bool):
        return str(value)  # as the Resource Manager: string(true) is 'True'
    return (
        value
        if isinstance(value, str)
        else json.dumps(value)
        if isinstance(value, (dict, list))
        else str(value)
    )


def _union(*values: Value) -> Value:
    if isinstance(values[0], list):
        found: list[Value] = []
        for item in (item for value in values for item in value):
            if item not in found:
                found.append(item)
        return found
    merged: dict[str, Value] = {}
    for value in values:
        for key, item in value.items():
            both = isinstance(item, dict) and isinstance(merged.get(key), dict)
            merged[key] = _union(merged[key], item) if both else item
    return merged


def _digest(*values: Value) -> str:
    letters = "abcdefghijklmnopqrstuvwxyz234567"
    return "".join(
        letters[byte % 32] for byte in hashlib.sha256("\n".join(map(str, values)).encode()).digest()[:13]
    )


def _resource_id(*parts: str) -> str:
    at = next(index for index, part in enumerate(parts) if "/" in part)
    types = parts[at].split("/")
    pairs = "/".join(f"{a}/{b}" for a, b in zip(types[1:], parts[at + 1 :], strict=True))
    return f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}/providers/{types[0]}/{pairs}"


def _subscription_id(*parts: str) -> str:
    at = next(index for index, part in enumerate(parts) if "/" in part)
    types = parts[at].split("/")
    pairs = "/".join(f"{a}/{b}" for a, b in zip(types[1:], parts[at + 1 :], strict=True))
    return f"/subscriptions/{SUBSCRIPTION}/providers/{types[0]}/{pairs}"


def _format(text: str, *values: Value) -> str:
    for index, value in enumerate(values):
        text = text.replace(f"{{{index}}}", _as_text(value))
    return text


_FUNCTIONS: dict[str, Callable[..., Value]] = {
    "array": lambda value: value if isinstance(value, list) else [value],
    "bool": lambda value: str(value).lower() in ("true", "1"),
    "concat": lambda *values: [item for value in values for item in value],
    "contains": lambda where, what: what in where,
    "empty": lambda value: not value,
    "endsWith": lambda text, end: text.lower().endswith(end.lower()),
    "environment": lambda: {"suffixes": {"storage": "core.windows.net", "acrLoginServer": ".azurecr.io"}},
    "first": lambda value: value[0] if value else None,
    "flatten": lambda values: [item for value in values for item in value],
    "format": _format,
    "guid": lambda *values: str(uuid.uuid5(_SPACE, "\n".join(map(str, values)))),
    "indexOf": lambda text, part: text.lower().find(part.lower()),
    "int": int,
    "intersection": lambda one, other: [item for item in one if item in other],
    "items": lambda value: [{"key": key, "value": value[key]} for key in sorted(value)],
    "join": lambda values, between: between.join(map(_as_text, values)),
    "json": json.loads,
    "last": lambda value: value[-1] if value else None,
    "length": len,
    "max": max,
    "min": min,
    "objectKeys": sorted,
    "range": lambda start, count: list(range(start, start + count)),
    "replace": lambda text, old, new: text.replace(old, new),
    "resourceGroup": lambda *_: {
        "id": f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}",
        "name": GROUP,
        "location": "here",
    },
    "resourceId": _resource_id,
    "skip": lambda value, count: value[count:],
    "split": lambda text, between: text.split(between),
    "startsWith": lambda text, start: text.lower().startswith(start.lower()),
    "string": _as_text,
    "subscription": lambda: {
        "id": f"/subscriptions/{SUBSCRIPTION}",
        "subscriptionId": SUBSCRIPTION,
        "tenantId": TENANT,
    },
    "subscriptionResourceId": _subscription_id,
    "substring": lambda text, start, count=None: (
        text[start:] if count is None else text[start : start + count]
    ),
    "take": lambda value, count: value[:count],
    "tenant": lambda: {"tenantId": TENANT},
    "toLower": str.lower,
    "toUpper": str.upper,
    "trim": str.strip,
    "union": _union,
    "uniqueString": _digest,
}
