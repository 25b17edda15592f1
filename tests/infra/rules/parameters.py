"""main.bicep, main.parameters.json and docs/deploy.md know the same variables."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from tests.infra.deployment import SUBSCRIPTION, Scope
from tests.infra.scenarios import ASKED, PARAMETERS, SCENARIOS, Infra, variables

_OF_AZD = {"AZURE_ENV_NAME", "AZURE_LOCATION", "AZURE_PRINCIPAL_ID", "AZURE_PRINCIPAL_TYPE"}


def parameters_are_given(infra: Infra) -> Iterator[str]:
    """Every parameter of main.bicep is filled from a variable, and every entry of the file is a parameter."""
    given = json.loads(infra.files[PARAMETERS])["parameters"]
    for name in given.keys() ^ infra.main.parameters.keys():
        yield f"{name} is in {'main.parameters.json' if name in given else 'main.bicep'} alone"
    seen: dict[str, str] = {}
    for name, entry in given.items():
        if entry.keys() != {"value"}:
            yield f"{name} has more than a value"
        for variable, _ in variables(json.dumps(entry)):
            if variable in seen:
                yield f"{variable} is given to {name} and to {seen[variable]}"
            seen[variable] = name


def defaults_agree(infra: Infra) -> Iterator[str]:
    """A default of main.parameters.json is that of main.bicep, so that azd and az make the same."""
    values = infra.parameters({})
    scope = Scope(infra.files, infra.main, infra.parameters(ASKED), SUBSCRIPTION, {})
    for name, parameter in infra.main.parameters.items():
        if parameter.default is None or name not in values:
            continue
        here = scope.plain(parameter.default)
        if here != values[name]:
            yield f"{name} is {here!r} in main.bicep and {values[name]!r} in main.parameters.json"


def scenarios_use_every_variable(infra: Infra) -> Iterator[str]:
    """What the scenarios say is a variable that there is: a misspelt one would test nothing."""
    known = {variable for variable, _ in variables(infra.files[PARAMETERS])}
    said = {*ASKED, *(variable for scenario in SCENARIOS.values() for variable in scenario)}
    for variable in said - known:
        yield f"a scenario sets {variable}, which main.parameters.json does not know"


def variables_are_documented(infra: Infra) -> Iterator[str]:
    """docs/deploy.md tells of every variable, with the default that it has."""
    page = infra.files["docs/deploy.md"]
    for variable, default in variables(infra.files[PARAMETERS]):
        if variable in _OF_AZD:
            continue
        rows = [row for row in page.splitlines() if row.startswith("|") and f"`{variable}`" in row]
        if not rows:
            yield f"docs/deploy.md has no row for {variable}"
        elif default and not any(re.search(rf"(?<![\w.]){re.escape(default)}(?![\w.])", row) for row in rows):
            yield f"docs/deploy.md does not say that {variable} is {default} by itself"
