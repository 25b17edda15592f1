"""Hooks use variables that somebody gives, and azd finds what azure.yaml names."""

from __future__ import annotations

import re
from collections.abc import Iterator

import yaml

from tests.infra.bicep import Files
from tests.infra.rules.functions import LEFT_AS_THEY_ARE, app_settings
from tests.infra.scenarios import EVENT_SUBSCRIPTIONS, PARAMETERS, Infra, variables

_OF_AZD = {
    "AZURE_ENV_NAME",
    "AZURE_LOCATION",
    "AZURE_SUBSCRIPTION_ID",
    "AZURE_PRINCIPAL_ID",
    "AZURE_TENANT_ID",
}
_OF_SHELLS = {"HOME", "PATH", "PWD", "TMPDIR", "CI"}
# Settings of the app that somebody may have put in the azd environment; hooks have a default for them.
_OF_PEOPLE = {"TRIGGER_CONTAINER", "DATA_CONTAINER"}
_VARIABLE = re.compile(r"\$\{?([A-Za-z_]\w*)")
_NEEDED = re.compile(r"\bneed_value ([A-Za-z_]\w*)|for name in ([\w\s\\]+);")


def hooks_use_what_is_given(infra: Infra) -> Iterator[str]:
    """Each variable of a hook is one of azd, of main.parameters.json, an output, or its own."""
    outputs = set(infra.main.outputs)
    given = outputs | _OF_AZD | _OF_SHELLS | {name for name, _ in variables(infra.files[PARAMETERS])}
    scripts = _scripts(infra.files)
    if not scripts:
        yield "there are no hooks"
    own = set().union(*(_assigned(text) for text in scripts.values()))
    for path, text in scripts.items():
        plain = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
        asked = set(_VARIABLE.findall(plain))
        for match in _NEEDED.finditer(plain):
            asked |= set((match[1] or match[2]).replace("\\", " ").split())
        for name in sorted(asked - given - own - _OF_PEOPLE):
            yield f"{path} uses {name}, which nobody gives"


def second_stage_gets_its_parameters(infra: Infra) -> Iterator[str]:
    """The post-deploy hook gives event-subscriptions.bicep parameters that it has, and all that it must have."""
    source = infra.files["infra/hooks/postdeploy.sh"]
    if "--template-file infra/event-subscriptions.bicep" not in source:
        yield "the post-deploy hook does not deploy the second stage"
        return
    function = next((part for part in source.split("\n}\n") if EVENT_SUBSCRIPTIONS in part), "")
    given = set(re.findall(r"""[\s"](\w+)=(?:\$|true\b|false\b)""", function.split("() {", 1)[-1]))
    parameters = infra.files.template(EVENT_SUBSCRIPTIONS).parameters
    for name in sorted(given - parameters.keys()):
        yield f"the hook gives {name}, which {EVENT_SUBSCRIPTIONS} does not have"
    for name, parameter in parameters.items():
        if parameter.default is None and name not in given:
            yield f"the hook does not give {name}"


def outputs_have_readers(infra: Infra) -> Iterator[str]:
    """Each output of main.bicep is a setting of batchscore or is used by a hook."""
    scripts = "\n".join(_scripts(infra.files).values())
    settings = {key for deployment in infra.deployments.values() for key in app_settings(deployment)}
    for name in infra.main.outputs if not infra.broken else ():
        if name not in settings | LEFT_AS_THEY_ARE.keys() and not re.search(rf"\b{name}\b", scripts):
            yield f"nothing reads the output {name}"


def azure_yaml_names_what_is_there(infra: Infra) -> Iterator[str]:
    """Its module, its folders, and hooks that can be run."""
    document = yaml.safe_load(infra.files["azure.yaml"])
    if document["infra"] != {"provider": "bicep", "path": "infra", "module": "main"}:
        yield f"the infrastructure is {document['infra']}"
    services = document["services"]
    if services.keys() != {"functions"}:
        yield f"the services are {', '.join(services)}"
    for service in services.values():
        if (service["host"], service["language"]) != ("function", "python"):
            yield f"the service is a {service['host']} in {service['language']}"
        if not (infra.files.root / service["project"] / "function_app.py").is_file():
            yield f"there is no Function app in {service['project']}"
    named = set()
    for hooks in (document["hooks"], *(service.get("hooks", {}) for service in services.values())):
        for hook in hooks.values():
            script = hook["posix"]["run"]
            named.add(script)
            if script not in _scripts(infra.files):
                yield f"there is no {script}"
            elif not infra.files[script].startswith("#!/bin/sh\n"):
                yield f"{script} does not say what runs it"
    for script in sorted(_scripts(infra.files).keys() - named):
        if not any(
            re.search(rf"\. .*/{script.rsplit('/', 1)[-1]}", text) for text in _scripts(infra.files).values()
        ):
            yield f"nothing runs {script}"


def _scripts(files: Files) -> dict[str, str]:
    return {path: files[path] for path in files if path.endswith(".sh")}


def _assigned(text: str) -> set[str]:
    """The variables that a script sets itself."""
    found = set(re.findall(r"""(?:^|[;\s({"])([A-Za-z_]\w*)=""", text))
    found |= set(re.findall(r"\bfor (\w+) in\b", text))
    for read in re.findall(r"\bread (?:-\w+ )*([\w ]+)", text):
        found |= set(read.split())
    return found
