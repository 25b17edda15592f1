"""Of every template: nothing unused, no cycle, nothing secret said, nothing that changes from one deployment to the next."""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any

from tests.infra.bicep import Parameter, Template, resolved
from tests.infra.deployment import GROUP
from tests.infra.scenarios import EVENT_SUBSCRIPTIONS, MAIN, Infra
from tests.infra.syntax import Node

_SECRET = re.compile(r"(?i)(?<!publicn)(secret|password|sas|accesskey|sharedkey|connectionstring|token)")
_SECRET_CALLS = {
    "listKeys",
    "listAccountSas",
    "listServiceSas",
    "list",
    "getSecret",
    "listSecrets",
    "listCallbackUrl",
}
_NO_SECRET = {"applicationInsightsConnectionString": "names a place; local authentication is off"}
_ROOT_FILES = {
    MAIN,
    EVENT_SUBSCRIPTIONS,
    "infra/main.parameters.json",
}
_CODE = (".bicep", ".json", ".kql", ".asaql")


def works_out(infra: Infra) -> Iterator[str]:
    """Every scenario comes to resources: parameters, conditions, outputs and functions fit each other."""
    _ = infra.deployments, infra.subscriptions
    yield from infra.broken


def nothing_is_unused(infra: Infra) -> Iterator[str]:
    """Parameters, variables, existing resources, outputs of modules, files and abbreviations are all used."""
    used_files = set(_ROOT_FILES)
    outputs: dict[str, set[str]] = {}
    for template in infra.files.templates():
        for symbol in (*template.parameters, *template.variables):
            if symbol not in template.used:
                yield f"{template.path}: nothing uses {symbol}"
        for symbol, resource in template.resources.items():
            if resource.existing and symbol not in template.used:
                yield f"{template.path}: nothing uses {symbol}"
        used_files |= {template.module_path(module) for module in template.modules.values()}
        source = infra.files[template.path]
        for symbol, module in template.modules.items():
            asked = set(re.findall(rf"\b{symbol}!?(?:\[\w+])?[.!?]*\.outputs\.(\w+)", source))
            outputs.setdefault(template.module_path(module), set()).update(asked)
        for function, call in template.calls():
            if function in ("loadJsonContent", "loadTextContent"):
                used_files.add(resolved(template.path, call.parts[0].literal or ""))
    for path in infra.files:
        if path.endswith(_CODE) and path not in used_files:
            yield f"{path}: nothing uses this file"
    for path, asked in outputs.items():
        for output in infra.files.template(path).outputs.keys() - asked:
            yield f"{path}: nothing uses the output {output}"
    abbreviations = json.loads(infra.files["infra/abbreviations.json"])
    for name in abbreviations:
        if not re.search(
            rf"\babbreviations\.{name}\b", "".join(infra.files[each.path] for each in infra.files.templates())
        ):
            yield f"infra/abbreviations.json: nothing uses {name}"


def modules_wait_in_no_circle(infra: Infra) -> Iterator[str]:
    """Neither files nor what is deployed waits for itself."""
    files = {
        each.path: {each.module_path(module) for module in each.modules.values()}
        for each in infra.files.templates()
    }
    yield from _circles("files", files)
    for template in infra.files.templates():
        waits = {symbol: needs(template, symbol) for symbol in (*template.resources, *template.modules)}
        yield from _circles(template.path, waits)


def starts_are_known(infra: Infra) -> Iterator[str]:
    """What things are called, whether they are made and how often is said by parameters, names and ids: Azure must know it
    before it makes anything, so Bicep refuses there what a resource or module says of itself afterwards."""
    for template in infra.files.templates():
        for declaration in (*template.resources.values(), *template.modules.values()):
            wanted = [
                each for each in (declaration.condition, declaration.body.properties.get("name")) if each
            ]
            wanted += [declaration.loop.values] if declaration.loop else []
            for part in wanted:
                yield from _said_later(template, part)
        for part in (each for expressions in template.parts.values() for each in expressions):
            for loop in part.all():
                if loop.kind == "for":
                    yield from _said_later(template, loop.parts[0])


def modules_take_what_they_are_given(infra: Infra) -> Iterator[str]:
    """A module's bounds are no closer than those of the parameter that is handed on to it: else Bicep warns."""
    for template in infra.files.templates():
        for module in template.modules.values():
            inside = infra.files.template(template.module_path(module)).parameters
            given = module.body.properties.get("params")
            for name, value in given.properties.items() if given else ():
                own = template.parameters.get(str(value.value)) if value.kind == "name" else None
                if own is None or name not in inside:
                    continue
                for bound, closer in (("min", operator.lt), ("max", operator.gt)):
                    for kind in ("Value", "Length"):
                        wanted = _number(inside[name], bound + kind)
                        had = _number(own, bound + kind)
                        if wanted is not None and (had is None or closer(had, wanted)):
                            yield f"{template.path}: {own.name} may be what {module.target} does not take: {bound}{kind}"


def no_output_is_secret(infra: Infra) -> Iterator[str]:
    """What a deployment says is kept in its history, for whoever may read that."""
    for template in infra.files.templates():
        for output in template.outputs.values():
            for function, _ in template.calls(output.value):
                if function in _SECRET_CALLS:
                    yield f"{template.path}: the output {output.name} says what {function}() gives"
            if _SECRET.search(output.name) and output.name not in _NO_SECRET:
                yield f"{template.path}: the output {output.name} looks like a secret"
            for found in _SECRET.finditer(_written(output.value)):
                if output.name not in _NO_SECRET:
                    yield f"{template.path}: the output {output.name} says {found[0]}"


def no_key_is_listed(infra: Infra) -> Iterator[str]:
    """But the key by which Event Grid calls the Function app."""
    for template in infra.files.templates():
        for function, call in template.calls():
            if function not in _SECRET_CALLS:
                continue
            if (
                template.path != EVENT_SUBSCRIPTIONS
                or function != "listKeys"
                or "host/default" not in _written(call)
            ):
                yield f"{template.path}:{call.line}: {function}()"


def secrets_are_marked(infra: Infra) -> Iterator[str]:
    """A parameter that is a secret carries @secure, so that it is in no history."""
    for template in infra.files.templates():
        for parameter in template.parameters.values():
            marked = "secure" in parameter.decorators
            if _SECRET.search(parameter.name) and parameter.name not in (*_NO_SECRET, "token") and not marked:
                yield f"{template.path}: the parameter {parameter.name} is not @secure"


def second_deployment_changes_nothing(infra: Infra) -> Iterator[str]:
    """No name and no value is made of the time or of chance, and no resource group is locked."""
    for template in infra.files.templates():
        for function, call in template.calls():
            if function in ("utcNow", "newGuid"):
                yield f"{template.path}:{call.line}: {function}()"
        for resource in template.resources.values():
            if resource.target.startswith("Microsoft.Authorization/locks"):
                yield f"{template.path}:{resource.line}: a lock keeps clusters from growing and shrinking"


def everything_is_described(infra: Infra) -> Iterator[str]:
    """Every parameter and output has a description."""
    for template in infra.files.templates():
        for each in (*template.parameters.values(), *template.outputs.values()):
            if "description" not in each.decorators:
                yield f"{template.path}: {each.name} has no @description"


def ids_are_those_of_resources(infra: Infra) -> Iterator[str]:
    """An id of the resource group that a resource names is the id of a resource that there is, or of a part of one."""
    for name, deployment in infra.deployments.items():
        there = {each.id.lower() for each in deployment.resources}
        there |= {
            f"{network.id}/subnets/{subnet['name']}".lower()
            for network in deployment.of("Microsoft.Network/virtualNetworks")
            for subnet in network.properties.get("subnets", [])
        }
        second = infra.subscriptions.get(name)
        for resource in (*deployment.resources, *(second.resources if second else ())):
            scope = (
                resource.scope if "/providers/Microsoft.Authorization/roleAssignments/" in resource.id else ""
            )
            for text_ in (*_texts(resource.body), scope):
                if text_.lower().startswith(_group(deployment)) and "/providers/" in text_:
                    id_ = text_.lower().removesuffix("/blobservices/default")
                    if id_ not in there and text_.lower() not in there:
                        yield f"{name}: {resource} names {text_}, which there is not"


def existing_resources_exist(infra: Infra) -> Iterator[str]:
    """What a template takes for there is made by the deployment."""
    for name, deployment in infra.deployments.items():
        there = {each.id.lower() for each in deployment.resources}
        second = infra.subscriptions.get(name)
        for scope in (*deployment.modules, *(second.modules if second else ())):
            for each in scope.resources():
                part = each.id.lower().endswith("services/default")
                if each.existing and not part and each.id.lower() not in there:
                    yield f"{name}: {each} is {each.id}, which nobody makes"


def no_name_is_too_long(infra: Infra) -> Iterator[str]:
    """Names fit what Azure lets through, for the longest environment, too."""
    limits = {
        "Microsoft.Storage/storageAccounts": r"[a-z0-9]{3,24}",
        "Microsoft.KeyVault/vaults": r"(?!.*--)[A-Za-z][A-Za-z0-9-]{1,22}[A-Za-z0-9]",
        "Microsoft.ContainerRegistry/registries": r"[A-Za-z0-9]{5,50}",
        "Microsoft.EventHub/namespaces": r"[A-Za-z][A-Za-z0-9-]{4,48}[A-Za-z0-9]",
        "Microsoft.MachineLearningServices/workspaces": r"[A-Za-z0-9][A-Za-z0-9_-]{2,32}",
        "Microsoft.MachineLearningServices/workspaces/computes": r"[A-Za-z][A-Za-z0-9-]{1,22}[A-Za-z0-9]",
        "Microsoft.MachineLearningServices/workspaces/datastores": r"[a-z0-9_]{1,255}",
        "Microsoft.Web/sites": r"[A-Za-z0-9][A-Za-z0-9-]{0,30}[A-Za-z0-9]",
        "Microsoft.OperationalInsights/workspaces": r"[A-Za-z0-9][A-Za-z0-9-]{2,61}[A-Za-z0-9]",
        "Microsoft.StreamAnalytics/streamingjobs": r"[A-Za-z0-9_-]{3,63}",
        "Microsoft.EventGrid/systemTopics": r"[A-Za-z0-9-]{3,50}",
        "Microsoft.ManagedIdentity/userAssignedIdentities": r"[A-Za-z0-9][A-Za-z0-9_-]{2,127}",
    }
    for deployment in infra.deployments.values():
        ids = [each.id.lower() for each in deployment.resources]
        for resource in deployment.resources:
            wanted = limits.get(resource.type)
            if wanted and not re.fullmatch(wanted, resource.name):
                yield f"{resource}: {resource.type} cannot be called {resource.name!r}"
            if ids.count(resource.id.lower()) > 1:
                yield f"{resource}: {resource.id} is made twice"


def _number(parameter: Parameter, decorator: str) -> int | None:
    """What a decorator of a parameter says, also the negative."""
    for node in parameter.decorators.get(decorator, ()):
        sign, node = (-1, node.parts[0]) if node.kind == "unary" else (1, node)
        return sign * node.value if isinstance(node.value, int) else None
    return None


def _said_later(template: Template, expression: Node) -> Iterator[str]:
    """What in an expression, through variables as well, is known only when something has been made."""
    made = {*template.resources, *template.modules}
    for node in expression.all():
        if node.kind == "name" and node.value in template.variables:
            yield from _said_later(template, template.variables[str(node.value)])
        if node.kind in ("call", "method") and node.value in {*_SECRET_CALLS, "reference"}:
            yield f"{template.path}:{expression.line}: {node.value}() is known too late"
        if node.kind == "member" and node.value not in ("id", "name", "type", "apiVersion"):
            owner = node.parts[0]
            while owner.kind in ("index", "nested"):
                owner = owner.parts[0]
            if owner.kind == "name" and owner.value in made:
                yield f"{template.path}:{expression.line}: {owner.value}.{node.value} is known too late"


def _group(deployment: Any) -> str:
    return GROUP.replace("rg-paper", deployment.outputs["AZURE_RESOURCE_GROUP"]).lower()


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield str(key)
            yield from _texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)


def _written(node: Node) -> str:
    """The names and texts of an expression."""
    found = []
    for each in node.all():
        if each.kind == "text" and isinstance(each.value, tuple):
            found += [piece for piece in each.value if isinstance(piece, str)]
        elif isinstance(each.value, str):
            found.append(each.value)
    return " ".join(found)


def needs(template: Template, symbol: str) -> set[str]:
    """The resources and modules that must be there before this one, through variables as well."""
    seen: set[str] = set()
    todo = [*template.names(symbol)]
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            if name in template.variables:
                todo += template.names(name)
    return seen & {*template.resources, *template.modules}


def _circles(what: str, waits: Mapping[str, set[str]]) -> Iterator[str]:
    try:
        TopologicalSorter(waits).prepare()
    except CycleError as error:
        yield f"{what}: {' waits for '.join(error.args[1])}"
