"""What a template comes to: the resources it would make with given parameters, worked out on paper.

Names, ids, conditions, loops, modules and functions are computed as Bicep does. What only Azure knows becomes a value that
follows from the resource's id: an identity's ids are GUIDs made from it, addresses are made from names, anything else is a
text in ‹›. So two expressions that mean the same thing have the same value, and two that do not differ.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import operator
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from tests.infra.bicep import Declaration, Files, Template, loop_of, resolved
from tests.infra.syntax import BicepError, Node

SUBSCRIPTION = "/subscriptions/11111111-2222-4333-8444-555555555555"
TENANT = "99999999-2222-4333-8444-555555555555"
GROUP = f"{SUBSCRIPTION}/resourceGroups/rg-paper"
_NOTHING = object()


@dataclass
class Resource:
    """A resource of a deployment; its body is worked out when it is asked for."""

    type: str
    version: str
    symbol: str
    template: str
    line: int
    name: str
    id: str
    existing: bool
    present: bool
    """False where its condition does not hold."""
    declaration: Declaration = field(repr=False)
    local: dict[str, Any] = field(repr=False)
    _read: Callable[[], dict[str, Any]] = field(repr=False)
    nested: dict[str, Resource] = field(default_factory=dict, repr=False)

    @cached_property
    def body(self) -> dict[str, Any]:
        return self._read()

    @property
    def properties(self) -> dict[str, Any]:
        value = self.body.get("properties", {})
        assert isinstance(value, dict)
        return value

    @property
    def scope(self) -> str:
        """The id of what it is on, for a role assignment and its like."""
        return self.id.rsplit("/providers/", 1)[0]

    def __str__(self) -> str:
        return f"{self.template}:{self.line} {self.symbol}"


@dataclass
class Module:
    symbol: str
    present: bool
    inside: Scope | None


@dataclass
class Deployment:
    """A template with its parameters: what it makes, and what it says afterwards."""

    resources: list[Resource]
    outputs: dict[str, Any]
    guids: dict[str, tuple[str, ...]]
    """Every GUID that `guid()` made, and of what."""
    modules: list[Scope]

    def of(self, kind: str) -> list[Resource]:
        return [each for each in self.resources if each.type == kind]

    def one(self, kind: str, name: str = "") -> Resource:
        found = [each for each in self.of(kind) if name in each.name]
        if len(found) != 1:
            raise BicepError(f"{len(found)} resources {kind} with {name!r} in their names instead of one")
        return found[0]


def deploy(files: Files, path: str, parameters: Mapping[str, Any], scope: str = SUBSCRIPTION) -> Deployment:
    """Deploy a template on paper."""
    guids: dict[str, tuple[str, ...]] = {}
    top = Scope(files, files.template(path), dict(parameters), scope, guids)
    scopes = list(top.all())
    resources = [each for each_scope in scopes for each in each_scope.resources() if not each.existing]
    for each in resources:
        _ = each.body
    outputs = {name: top.output(name) for name in top.template.outputs}
    return Deployment(resources, outputs, guids, scopes)


def later(resource_id: str, *path: str) -> str:
    """What Azure says about a resource once it is there."""
    name = resource_id.rsplit("/", 1)[-1]
    match ".".join(path):
        case (
            "properties.principalId"
            | "properties.clientId"
            | "identity.principalId"
            | "identity.tenantId" as what
        ):
            return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{resource_id} {what}"))
        case "properties.primaryEndpoints.blob" | "properties.primaryEndpoints.queue" as what:
            return f"https://{name}.{what.rsplit('.', 1)[-1]}.core.windows.net/"
        case "properties.primaryEndpoints.table" | "properties.primaryEndpoints.file" as what:
            return f"https://{name}.{what.rsplit('.', 1)[-1]}.core.windows.net/"
        case "properties.serviceBusEndpoint":
            return f"https://{name}.servicebus.windows.net:443/"
        case "properties.defaultHostName":
            return f"{name}.azurewebsites.net"
        case "properties.ConnectionString":
            return f"InstrumentationKey={uuid.uuid5(uuid.NAMESPACE_URL, resource_id)};IngestionEndpoint=https://paper/"
        case what:
            return f"‹{resource_id} {what}›"


class Later:
    """Part of a resource that is not said in its body."""

    def __init__(self, resource: Resource, path: tuple[str, ...]) -> None:
        self.resource, self.path = resource, path

    def value(self) -> str:
        return later(self.resource.id, *self.path)


class Scope:
    """One template with its parameters, in one place."""

    def __init__(
        self,
        files: Files,
        template: Template,
        given: dict[str, Any],
        scope: str,
        guids: dict[str, tuple[str, ...]],
    ) -> None:
        self.files, self.template, self.given, self.place, self.guids = files, template, given, scope, guids
        self._values: dict[str, Any] = {}
        for name in given:
            if name not in template.parameters:
                raise BicepError(f"{template.path} has no parameter {name}")
        for name in template.parameters:
            self._check(name, self.symbol(name))

    # ---- what there is

    def all(self) -> Iterator[Scope]:
        """This one and those of the modules that are present."""
        yield self
        for name in self.template.modules:
            for module in _listed(self.symbol(name)):
                if module.present:
                    yield from module.inside.all()

    def resources(self) -> Iterator[Resource]:
        for name in self.template.resources:
            for each in _listed(self.symbol(name)):
                if each.present:
                    yield from self._with_nested(each)

    def _with_nested(self, resource: Resource) -> Iterator[Resource]:
        yield resource
        for name in resource.declaration.nested:
            yield from self._with_nested(self._nested(resource, name))

    def _nested(self, owner: Resource, name: str) -> Resource:
        if name not in owner.nested:
            declaration = owner.declaration.nested[name]
            kind = f"{owner.type}/{declaration.target.partition('@')[0]}@{owner.version}"
            owner.nested[name] = self._resource(replace(declaration, target=kind), owner.local, owner)
        return owner.nested[name]

    def output(self, name: str) -> Any:
        output = self.template.outputs.get(name)
        if output is None:
            raise BicepError(f"{self.template.path} has no output {name}")
        key = f"output {name}"
        if key not in self._values:
            self._values[key] = self.plain(output.value)
        return self._values[key]

    def symbol(self, name: str) -> Any:
        value = self._values.get(name, _NOTHING)
        if value is _UNDER_WAY:
            raise BicepError(f"{self.template.path}: {name} needs itself")
        if value is _NOTHING:
            self._values[name] = _UNDER_WAY
            value = self._values[name] = self._symbol(name)
        return value

    def _symbol(self, name: str) -> Any:
        template = self.template
        if name in template.parameters:
            if name in self.given:
                return self.given[name]
            parameter = template.parameters[name]
            if parameter.default is not None:
                return self.plain(parameter.default)
            if parameter.type.endswith("?"):
                return None
            raise BicepError(f"{template.path}: nobody gives the parameter {name}")
        if name in template.variables:
            return self.value(template.variables[name], {})
        declaration = template.resources.get(name) or template.modules[name]
        make = self._resource if name in template.resources else self._module
        if declaration.loop is None:
            return make(declaration, {})
        return [make(declaration, local) for local in self._locals(declaration.loop, {})]

    def _check(self, name: str, value: Any) -> None:
        """Whether a parameter's value is one that its declaration lets through."""
        parameter = self.template.parameters[name]
        kind = parameter.type.removesuffix("?")
        wanted = {"string": str, "bool": bool, "int": int, "object": dict, "array": list}
        python = list if kind.endswith("[]") else wanted.get(kind)
        fits = value is None if value is None else python is None or isinstance(value, python)
        if isinstance(value, bool) and kind == "int":
            fits = False
        if value is None and not parameter.type.endswith("?"):
            fits = False
        if not fits:
            raise BicepError(
                f"{self.template.path}: the parameter {name} is {value!r}, and it must be {kind}"
            )
        rules = {key: self.plain(nodes[0]) for key, nodes in parameter.decorators.items() if nodes}
        if "allowed" in rules and value not in rules["allowed"]:
            raise BicepError(f"{self.template.path}: {name} is {value!r}, which is not allowed")
        size = value if isinstance(value, int) else len(value or "")
        least = rules.get("minValue", rules.get("minLength", size))
        most = rules.get("maxValue", rules.get("maxLength", size))
        if not least <= size <= most:
            raise BicepError(f"{self.template.path}: {name} is {value!r}, out of its bounds")

    # ---- declarations

    def _locals(self, each: Any, local: dict[str, Any]) -> list[dict[str, Any]]:
        values = self.value(each.values, local)
        return [
            {**local, each.item: value} | ({each.index: number} if each.index else {})
            for number, value in enumerate(values)
        ]

    def _present(self, declaration: Declaration, local: dict[str, Any]) -> bool:
        return declaration.condition is None or bool(self.value(declaration.condition, local))

    def _resource(
        self, declaration: Declaration, local: dict[str, Any], owner: Resource | None = None
    ) -> Resource:
        kind, _, version = declaration.target.partition("@")
        keys = declaration.body.properties
        name = self.value(keys["name"], local)
        parent = self.value(keys["parent"], local) if "parent" in keys else owner
        scope = self.value(keys["scope"], local) if "scope" in keys else None
        if isinstance(parent, Resource):
            place = f"{parent.id}/{kind.rsplit('/', 1)[-1]}/{name}"
        elif kind == "Microsoft.Resources/resourceGroups":
            place = f"{self.place}/resourceGroups/{name}"
        else:
            provider, *types = kind.split("/")
            pairs = "/".join(f"{a}/{b}" for a, b in zip(types, name.split("/"), strict=True))
            within = self.place if scope is None else scope.id if isinstance(scope, Resource) else scope["id"]
            place = f"{within}/providers/{provider}/{pairs}"
        return Resource(
            kind,
            version,
            declaration.symbol,
            self.template.path,
            declaration.line,
            name,
            place,
            declaration.existing,
            (owner is None or owner.present) and self._present(declaration, local),
            declaration,
            local,
            lambda: self.plain(declaration.body, local, skip=("parent", "scope", "dependsOn")),
        )

    def _module(self, declaration: Declaration, local: dict[str, Any]) -> Module:
        if not self._present(declaration, local):
            return Module(declaration.symbol, False, None)
        keys = declaration.body.properties
        template = self.files.template(self.template.module_path(declaration))
        given = self.plain(keys["params"], local) if "params" in keys else {}
        scope = self.value(keys["scope"], local) if "scope" in keys else None
        place = self.place if scope is None else scope.id if isinstance(scope, Resource) else scope["id"]
        wanted = SUBSCRIPTION if template.scope == "subscription" else None
        if (place == SUBSCRIPTION) != (wanted == SUBSCRIPTION):
            raise BicepError(f"{self.template.path}:{declaration.line}: {template.path} is not for {place}")
        return Module(declaration.symbol, True, Scope(self.files, template, given, place, self.guids))

    # ---- expressions

    def plain(self, node: Node, local: dict[str, Any] | None = None, skip: tuple[str, ...] = ()) -> Any:
        """An expression's value as texts, numbers, lists and dictionaries."""
        return _plain(self.value(node, local or {}, skip))

    def value(self, node: Node, local: dict[str, Any], skip: tuple[str, ...] = ()) -> Any:
        match node.kind:
            case "value":
                return node.value
            case "text":
                return self._text(node, local)
            case "name":
                return self._name(node, local)
            case "array":
                return [self.value(part, local) for part in node.parts]
            case "object":
                found = {}
                for part in node.parts:
                    if part.kind == "property":
                        key = self._text(part.parts[0], local)
                        if key not in skip:
                            found[key] = self.value(part.parts[1], local)
                return found
            case "for":
                return [self.value(node.parts[1], inside) for inside in self._locals(loop_of(node), local)]
            case "choice":
                condition, one, other = node.parts
                return self.value(one if self.value(condition, local) else other, local)
            case "binary":
                return self._binary(node, local)
            case "unary":
                value = self.value(node.parts[0], local)
                return not value if node.value == "!" else -value
            case "member" | "index":
                return self._member(node, local)
            case "nested":
                return self._nested(self.value(node.parts[0], local), str(node.value))
            case "method":
                owner = self.value(node.parts[0], local) if node.parts[0].value not in ("az", "sys") else None
                if owner is not None:
                    return Later(owner, (f"{node.value}()",)).value()
                return self._call(str(node.value), node.parts[1:], node, local)
            case "call":
                return self._call(str(node.value), node.parts, node, local)
            case "lambda":
                return self._function(node, local)
        raise self._unknown(node, f"a {node.kind}")

    def _unknown(self, node: Node, what: str) -> BicepError:
        return BicepError(f"{self.template.path}:{node.line}: no value is known of {what}")

    def _name(self, node: Node, local: dict[str, Any]) -> Any:
        name = str(node.value)
        if name in local:
            return local[name]
        if name not in self.template.symbols:
            raise BicepError(f"{self.template.path}:{node.line}: nothing is called {name}")
        return self.symbol(name)

    def _text(self, node: Node, local: dict[str, Any]) -> str:
        pieces = node.value
        assert isinstance(pieces, tuple)
        return "".join(
            piece if isinstance(piece, str) else _said(_plain(self.value(piece, local))) for piece in pieces
        )

    def _binary(self, node: Node, local: dict[str, Any]) -> Any:
        left = _plain(self.value(node.parts[0], local))
        if node.value == "&&":
            return bool(left) and bool(self.value(node.parts[1], local))
        if node.value == "||":
            return bool(left) or bool(self.value(node.parts[1], local))
        if node.value == "??" and left is not None:
            return left
        right = _plain(self.value(node.parts[1], local))
        match node.value:
            case "??":
                return right
            case "=~" | "!~":
                return (left.lower() == right.lower()) == (node.value == "=~")
        known = _OPERATORS.get(str(node.value))
        if known is None:
            raise self._unknown(node, str(node.value))
        return known(left, right)

    def _member(self, node: Node, local: dict[str, Any]) -> Any:
        value = self.value(node.parts[0], local)
        key = _plain(self.value(node.parts[1], local)) if node.kind == "index" else node.value
        try:
            return self._part(value, key)
        except (KeyError, IndexError):
            if node.safe:
                return None
            raise BicepError(f"{self.template.path}:{node.line}: there is no {key!r}") from None

    def _part(self, value: Any, key: Any) -> Any:
        if isinstance(value, Resource):
            match key:
                case "id" | "name" | "type":
                    return getattr(value, key)
                case "apiVersion":
                    return value.version
            if not value.present:
                raise BicepError(
                    f"{self.template.path}: {value.symbol} is not there and its {key} is asked for"
                )
            if not value.existing and key in value.body and key not in ("properties", "identity"):
                return value.body[key]
            return Later(value, (key,))
        if isinstance(value, Later):
            path = (*value.path, str(key))
            found: Any = {} if value.resource.existing else value.resource.body
            for step in path:
                found = found.get(step, _NOTHING) if isinstance(found, dict) else _NOTHING
            return Later(value.resource, path) if found is _NOTHING or isinstance(found, dict) else found
        if isinstance(value, Module):
            if key == "name":
                return value.symbol
            if key == "outputs":
                if value.inside is None:
                    raise BicepError(
                        f"{self.template.path}: {value.symbol} is not there and its outputs are asked for"
                    )
                return value.inside
        if isinstance(value, Scope):
            return value.output(key)
        if isinstance(value, str) and value.startswith("‹"):
            return f"{value[:-1]}.{key}›"
        if isinstance(value, list):
            return value[key]
        if isinstance(value, dict):
            return value[key]
        raise KeyError(key)

    def _call(self, name: str, parts: tuple[Node, ...], node: Node, local: dict[str, Any]) -> Any:
        values = [_plain(self.value(part, local)) for part in parts]
        match name:
            case "loadTextContent":
                return self.files[resolved(self.template.path, values[0])]
            case "loadJsonContent":
                return json.loads(self.files[resolved(self.template.path, values[0])])
            case "resourceGroup":
                if values:
                    return {
                        "id": f"{SUBSCRIPTION}/resourceGroups/{values[-1]}",
                        "name": values[-1],
                        "location": "eastus",
                    }
                if "/resourceGroups/" not in self.place:
                    raise BicepError(f"{self.template.path}:{node.line}: there is no resource group here")
                return {
                    "id": self.place,
                    "name": self.place.rsplit("/", 1)[-1],
                    "location": "eastus",
                    "tags": {},
                }
            case "resourceId" | "extensionResourceId" | "subscriptionResourceId":
                at = self.place if name == "resourceId" else SUBSCRIPTION
                if name == "extensionResourceId":
                    at, values = values[0], values[1:]
                provider, *types = values[0].split("/")
                pairs = "/".join(f"{a}/{b}" for a, b in zip(types, values[1:], strict=True))
                return f"{at}/providers/{provider}/{pairs}"
            case "guid":
                made = str(uuid.uuid5(uuid.NAMESPACE_URL, "\n".join(map(str, values))))
                self.guids[made] = tuple(map(str, values))
                return made
        known = _FUNCTIONS.get(name)
        if known is None:
            raise self._unknown(node, f"{name}()")
        return known(*values)

    def _function(self, node: Node, local: dict[str, Any]) -> Callable[..., Any]:
        names = node.value
        assert isinstance(names, list)

        def called(*values: Any) -> Any:
            return _plain(self.value(node.parts[0], {**local, **dict(zip(names, values, strict=False))}))

        return called


_UNDER_WAY = object()


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _plain(value: Any) -> Any:
    if isinstance(value, Later):
        return value.value()
    if isinstance(value, Resource):
        return {"id": value.id, "name": value.name}
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return value


def _said(value: Any) -> str:
    """A value inside a text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (dict, list)):
        return json.dumps(value, separators=(",", ":"))
    return "" if value is None else str(value)


def _union(*values: Any) -> Any:
    if isinstance(values[0], list):
        found: list[Any] = []
        for value in values:
            found += [each for each in value if each not in found]
        return found
    merged: dict[str, Any] = {}
    for value in values:
        for key, each in value.items():
            old = merged.get(key)
            merged[key] = _union(old, each) if isinstance(old, dict) and isinstance(each, dict) else each
    return merged


def _concat(*values: Any) -> Any:
    if isinstance(values[0], list):
        return [each for value in values for each in value]
    return "".join(map(_said, values))


def _contains(container: Any, item: Any) -> bool:
    if isinstance(container, dict):
        return item.lower() in {key.lower() for key in container}
    return item in container


def _unique(*values: Any) -> str:
    digest = hashlib.sha256("\n".join(map(str, values)).encode()).digest()
    return "".join("abcdefghijklmnopqrstuvwxyz234567"[byte % 32] for byte in digest[:13])


def _items(value: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": value[key]} for key in sorted(value, key=str.lower)]


def _subnet(network: str, bits: int, index: int) -> str:
    return str(list(ipaddress.ip_network(network).subnets(new_prefix=bits))[index])


def _coalesce(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.floordiv,
    "%": operator.mod,
}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "any": lambda value: value,
    "array": lambda value: value if isinstance(value, list) else [value],
    "bool": lambda value: value if isinstance(value, bool) else str(value).lower() == "true",
    "cidrSubnet": _subnet,
    "coalesce": _coalesce,
    "concat": _concat,
    "contains": _contains,
    "empty": lambda value: value is None or len(value) == 0,
    "endsWith": lambda value, end: value.lower().endswith(end.lower()),
    "environment": lambda: {
        "name": "AzureCloud",
        "suffixes": {
            "storage": "core.windows.net",
            "keyvaultDns": ".vault.azure.net",
            "acrLoginServer": ".azurecr.io",
        },
        "authentication": {"loginEndpoint": "https://login.microsoftonline.com/"},
        "resourceManager": "https://management.azure.com/",
    },
    "filter": lambda values, holds: [value for value in values if holds(value)],
    "first": lambda values: values[0] if values else None,
    "flatten": lambda values: [each for value in values for each in value],
    "format": lambda pattern, *values: pattern.format(*values),
    "int": int,
    "items": _items,
    "join": lambda values, between: between.join(map(_said, values)),
    "json": json.loads,
    "last": lambda values: values[-1] if values else None,
    "length": len,
    "listKeys": lambda place, *_: {
        "keys": [{"value": f"‹keys of {place}›"}],
        "systemKeys": _SystemKeys(place),
    },
    "map": lambda values, made: [made(value) for value in values],
    "max": lambda *values: max(values),
    "min": lambda *values: min(values),
    "objectKeys": lambda value: sorted(value),
    "padLeft": lambda value, size, fill=" ": str(value).rjust(size, fill),
    "range": lambda start, count: list(range(start, start + count)),
    "reduce": lambda values, start, made: _reduce(values, start, made),
    "replace": lambda value, old, new: value.replace(old, new),
    "skip": lambda value, count: value[count:],
    "split": lambda value, between: value.split(between),
    "startsWith": lambda value, start: value.lower().startswith(start.lower()),
    "string": _said,
    "subscription": lambda: {
        "id": SUBSCRIPTION,
        "subscriptionId": SUBSCRIPTION.rsplit("/", 1)[-1],
        "tenantId": TENANT,
        "displayName": "Paper",
    },
    "substring": lambda value, start, count=None: value[start : None if count is None else start + count],
    "take": lambda value, count: value[:count],
    "tenant": lambda: {"tenantId": TENANT},
    "toLower": str.lower,
    "toObject": lambda values, key, value=None: {
        key(each): value(each) if value else each for each in values
    },
    "toUpper": str.upper,
    "trim": str.strip,
    "union": _union,
    "uniqueString": _unique,
}


class _SystemKeys(dict[str, str]):
    def __init__(self, place: str) -> None:
        super().__init__()
        self.place = place

    def __getitem__(self, name: str) -> str:
        return f"‹system key {name} of {self.place}›"


def _reduce(values: list[Any], start: Any, made: Callable[[Any, Any], Any]) -> Any:
    for value in values:
        start = made(start, value)
    return start
